"""Grids: where voxels lie in the world, how a volume is brought onto another grid, and how it gets back.

World coordinates are RAS millimetres, as in NIfTI. Every step that leads from a scan to the model's grid is an affine
change of grid, so the chain of steps kept in the provenance is enough to bring any result back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij")).reshape(3, -1)
        drift = np.linalg.inv(self.affine) @ (other.affine - self.affine) @ np.vstack([corners, np.ones(8)])
        return bool(np.abs(drift[:3]).max() < 0.01)

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape))
        return f"{size} voxels of {' x '.join(f'{s:.3g}' for s in self.spacing)} mm, {self.orientation}"

    def to_json(self) -> dict[str, Any]:
        return {"shape": list(self.shape), "affine": [[float(v) for v in row] for row in self.affine]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Grid:
        x, y, z = (int(n) for n in data["shape"])
        affine = np.array(data["affine"], dtype=np.float64)
        if affine.shape != (4, 4):
            raise ValueError("affine is not 4x4")
        return cls((x, y, z), affine)


Chain = list[dict[str, Any]]
"""Grids a scan went through, oldest first: {"step": "input" | "reorient" | "resample" | "crop_pad", "grid": {...}}."""


def link(step: str, grid: Grid) -> dict[str, Any]:
    return {"step": step, "grid": grid.to_json()}


def native_grid(chain: Chain) -> Grid:
    """Return the grid of the original scan. Raises UadError when the chain is missing or damaged."""
    try:
        return Grid.from_json(chain[0]["grid"])
    except (IndexError, KeyError, TypeError, ValueError):
        raise UadError("does not say which grid it came from (its provenance is missing or damaged)") from None


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
    return Grid(shape, affine)


def resample(data: NDArray[Any], source: Grid, target: Grid, *, order: int = 1) -> NDArray[Any]:
    """Sample a volume at the voxels of another grid; outside the source there is 0.

    order 1: linear, after a Gaussian of the width that the coarser of the two grids asks for, so that shrinking does
    not alias and nothing rings; order 0: nearest voxel, for labels. Equal grids return the data as they are.
    """
    if source.same(target):
        return data
    mapping = np.linalg.inv(source.affine) @ target.affine
    if order > 0:
        step = np.abs(mapping[:3, :3]).max(axis=1)  # source voxels per target voxel, along each source axis
        widths = np.where(step > 1.01, 0.5 * np.sqrt(np.maximum(step**2 - 1, 0)), 0)
        data = ndimage.gaussian_filter(data.astype(np.float32), widths, mode="nearest")
    return ndimage.affine_transform(
        data, mapping[:3, :3], mapping[:3, 3], output_shape=target.shape, order=order, mode="grid-constant", cval=0
    )


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
