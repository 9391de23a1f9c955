"""Grids: where voxels lie in the world, how a volume is brought onto another grid, and how it gets back.

World coordinates are RAS millimetres, as in NIfTI. Every step that leads from a scan to the model's grid is an affine
change of grid, so the chain of steps kept in the provenance is enough to bring any result back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray
from scipy import ndimage

from uadtools.errors import UadError


@dataclass(frozen=True)
class Grid:
    """shape (X, Y, Z) in voxels and the (4, 4) affine from voxel indices to RAS millimetres."""

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along each array axis."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def orientation(self) -> str:
        """The direction in which each axis runs, e.g. RAS."""
        return "".join(nib.aff2axcodes(self.affine))

    @property
    def voxel_volume(self) -> float:
        """In millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

    def same(self, other: Grid) -> bool:
        """Same shape, and every voxel within a hundredth of a voxel of its counterpart."""
        if self.shape != other.shape:
            return False
        drift = np.linalg.inv(self.affine[:3, :3]) @ self._drift(other)
        return bool(np.abs(drift).max() < 0.01)

    def unlike(self, other: Grid) -> str:
        """Say how this grid and another differ: both, and how far apart they lie where they sound the same."""
        text = f"{self} and {other}"
        if self.shape == other.shape:
            text += f", up to {np.linalg.norm(self._drift(other), axis=0).max():.3g} mm apart"
        return text

    def _drift(self, other: Grid) -> NDArray[np.float64]:
        """Return the way in mm from this grid's corners to those of another of the same shape: (3, 8)."""
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij")).reshape(3, -1)
        drift: NDArray[np.float64] = (other.affine - self.affine)[:3] @ np.vstack([corners, np.ones(8)])
        return drift

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape))
        return f"{size} voxels of {' x '.join(f'{s:.3g}' for s in self.spacing)} mm, {self.orientation}"

    def to_json(self) -> dict[str, Any]:
        return {"shape": list(self.shape), "affine": [[float(v) for v in row] for row in self.affine]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Grid:
        """Raises KeyError, TypeError or ValueError when data are not from to_json."""
        x, y, z = (int(n) for n in data["shape"])
        affine = np.array(data["affine"], dtype=np.float64)
        if min(x, y, z) < 1 or affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.linalg.det(affine):
            raise ValueError("no grid has this shape and affine")
        return cls((x, y, z), affine)


Mode = Literal["grid-constant", "nearest"]
Chain = list[dict[str, Any]]
"""Grids a scan went through, oldest first: {"step": "input" | "reorient" | "resample" | "crop_pad", "grid": {...}}."""


def link(step: str, grid: Grid) -> dict[str, Any]:
    return {"step": step, "grid": grid.to_json()}


def native_grid(chain: Chain) -> Grid:
    """Return the grid of the original scan. Raises UadError when the chain is missing or damaged."""
    try:
        return Grid.from_json(chain[0]["grid"])
    except (IndexError, KeyError, TypeError, ValueError, OverflowError):
        raise UadError("does not say which grid it came from (its provenance is missing or damaged)") from None


def continued(chain: object, grid: Grid) -> Chain:
    """Return a chain that led to this grid, so that it can go on, or else the beginning of one."""
    try:
        if isinstance(chain, list) and native_grid(chain) and Grid.from_json(chain[-1]["grid"]).same(grid):
            return chain
    except (UadError, KeyError, TypeError, ValueError, OverflowError):
        pass
    return [link("input", grid)]


def to_ras(data: NDArray[Any], grid: Grid) -> tuple[NDArray[Any], Grid]:
    """Flip and permute axes so that they run closest to right, anterior, superior. No voxel changes its value."""
    turn = ornt_transform(io_orientation(grid.affine), axcodes2ornt(("R", "A", "S")))
    turned = np.ascontiguousarray(nib.apply_orientation(data, turn))
    affine = grid.affine @ nib.orientations.inv_ornt_aff(turn, grid.shape)
    return turned, Grid(turned.shape, affine)


def spaced_grid(grid: Grid, spacing: tuple[float, float, float]) -> Grid:
    """Return a grid over the same box with another voxel size, axes and centre kept."""
    scale = np.array(spacing) / np.array(grid.spacing)
    shape = tuple(max(1, int(np.ceil(n / s - 1e-3))) for n, s in zip(grid.shape, scale, strict=True))
    affine = grid.affine @ np.diag([*scale, 1.0])
    middle = grid.affine @ [*((np.array(grid.shape) - 1) / 2), 1.0]
    affine[:3, 3] = middle[:3] - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    x, y, z = shape
    return Grid((x, y, z), affine)


def resample(data: NDArray[Any], source: Grid, target: Grid, *, order: Literal[0, 1] = 1) -> NDArray[Any]:
    """Sample a volume at the voxels of another grid; outside the source's voxels there is 0.

    order 1: linear, after a Gaussian of the width that the coarser of the two grids asks for, so that shrinking does
    not alias and nothing rings, float32; order 0: nearest voxel, for labels. Equal grids return the data as they are.
    """
    if source.same(target):
        return data
    # rounded, so that halfway between two voxels the same one is nearest all over the volume
    mapping = np.round(np.linalg.inv(source.affine) @ target.affine, 9)
    if order == 0:
        return _sampled(data, mapping, target, order=0, mode="grid-constant")
    step = np.linalg.norm(mapping[:3, :3], axis=1)  # source voxels per target voxel, along each source axis
    widths = np.where(step > 1.01, 0.5 * np.sqrt(np.maximum(step**2 - 1, 0)), 0)
    smooth = ndimage.gaussian_filter(data.astype(np.float32), widths, mode="nearest")
    # the outer half of a border voxel has its value, as the inner half would without a neighbour
    within = _sampled(np.ones(data.shape, dtype=bool), mapping, target, order=0, mode="grid-constant")
    return np.where(within, _sampled(smooth, mapping, target, order=1, mode="nearest"), np.float32(0))


def _sampled(
    data: NDArray[Any], mapping: NDArray[np.float64], target: Grid, *, order: Literal[0, 1], mode: Mode
) -> NDArray[Any]:
    out: NDArray[Any] = ndimage.affine_transform(
        data, mapping[:3, :3], mapping[:3, 3], output_shape=target.shape, order=order, mode=mode, cval=0
    )
    return out


def cropped_grid(grid: Grid, shape: tuple[int, int, int], centre: NDArray[np.float64]) -> Grid:
    """Return the grid of `shape` voxels, in step with `grid`, whose middle is nearest to voxel `centre` of it."""
    start = np.round(centre - (np.array(shape) - 1) / 2).astype(int)
    affine = grid.affine.copy()
    affine[:3, 3] = (grid.affine @ [*start, 1.0])[:3]
    return Grid(shape, affine)


def crop_pad(data: NDArray[Any], source: Grid, target: Grid) -> NDArray[Any]:
    """Copy a volume onto a grid that is in step with its own (from cropped_grid); new voxels are 0."""
    start = np.round((np.linalg.inv(source.affine) @ target.affine)[:3, 3]).astype(int)
    out = np.zeros(target.shape, dtype=data.dtype)
    lows, highs = np.maximum(start, 0), np.minimum(start + target.shape, source.shape)
    if (highs > lows).all():
        inner = tuple(slice(a - s, b - s) for a, b, s in zip(lows, highs, start, strict=True))
        out[inner] = data[tuple(slice(a, b) for a, b in zip(lows, highs, strict=True))]
    return out
