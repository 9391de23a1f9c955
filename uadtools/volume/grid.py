"""Grids: where voxels lie in the world, and how a volume is brought onto another grid.

World coordinates are RAS millimetres, as in NIfTI.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray
from scipy import ndimage

MOST_VOXELS = 1 << 31
"""Of a grid that a file speaks of, and whose voxels are still to be made."""
CORNERS = ndimage.generate_binary_structure(3, 3)  # 26-connected


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
        return np.asarray((other.affine - self.affine)[:3] @ np.vstack([corners, np.ones(8)]))

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape))
        return f"{size} voxels of {' x '.join(f'{s:.3g}' for s in self.spacing)} mm, {self.orientation}"

    def to_json(self) -> dict[str, Any]:
        return {"shape": list(self.shape), "affine": [[float(v) for v in row] for row in self.affine]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Grid:
        """Raises KeyError, TypeError or ValueError when data are not from to_json."""
        x, y, z = (operator.index(n) for n in data["shape"])
        affine = np.array(data["affine"], dtype=np.float64)
        if min(x, y, z) < 1 or x * y * z > MOST_VOXELS or affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise ValueError("no grid has this shape and affine")
        grid = cls((x, y, z), affine)
        if not (min(grid.spacing) > LEAST_MM and max(grid.spacing) < MOST_MM and grid.voxel_volume):
            raise ValueError("no grid has voxels of this size")
        return grid


LEAST_MM, MOST_MM = 1e-3, 1e3
"""Sizes of voxels beyond which a scan is none."""
Mode = Literal["grid-constant", "nearest"]


def oriented(data: NDArray[Any], grid: Grid, axes: str = "RAS") -> tuple[NDArray[Any], Grid]:
    """Flip and permute axes so that they run closest to these: right, anterior, superior. Voxels keep their values."""
    turn = ornt_transform(io_orientation(grid.affine), axcodes2ornt(tuple(axes)))
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


def resample(data: NDArray[Any], source: Grid, target: Grid) -> NDArray[Any]:
    """Sample a volume linearly at the voxels of another grid, float32; outside the source's voxels there is 0.

    Before shrinking, a Gaussian takes away what the coarser grid cannot show, so that nothing aliases: along each axis
    its variance is a quarter of what the voxel's own grows by, in squared voxels (a voxel of width w weighs like a
    Gaussian of deviation about w / 2). Both kernels are positive, so nothing rings: no value is darker or brighter
    than those around it, which a lesion finder would take for a lesion; cubic splines and windowed sincs overshoot at
    every edge of the brain. Equal grids return the data as they are.
    """
    if source.same(target):
        return data
    mapping = _mapping(source, target)
    step = np.linalg.norm(mapping[:3, :3], axis=1)  # source voxels per target voxel, along each source axis
    widths = np.where(step > 1.01, 0.5 * np.sqrt(np.maximum(step**2 - 1, 0)), 0)
    smooth = ndimage.gaussian_filter(data.astype(np.float32), widths, mode="nearest")
    # the outer half of a border voxel has its value, as the inner half would without a neighbour
    within = _sampled(np.ones(data.shape, dtype=bool), mapping, target, order=0, mode="grid-constant")
    return np.where(within, _sampled(smooth, mapping, target, order=1, mode="nearest"), np.float32(0))


def nearest(data: NDArray[Any], source: Grid, target: Grid) -> NDArray[Any]:
    """Give each voxel of another grid the value of the nearest voxel, as labels need it; 0 outside the source's."""
    return _sampled(data, _mapping(source, target), target, order=0, mode="grid-constant")


TIE = 1e-4
"""Share of a voxel that rounding may take from what covers half of it: a file keeps a grid in 32 bits."""


def carry_mask(mask: NDArray[np.bool_], source: Grid, target: Grid) -> NDArray[np.bool_]:
    """Bring a mask onto another grid, so that volume and components stay: nothing bleeds, nothing small vanishes.

    A target voxel is in the mask when at least half of it is covered. A 26-connected component that would keep less
    than half of its volume gets, up to that volume, the voxels that hold most of it, and one in any case. Components
    can only be lost outside the target grid, and merge where it is coarser than the gap between them.
    """
    if source.same(target):
        return mask.copy()
    mapping = _mapping(source, target)
    carried = _coverage(mask, mapping, target.shape) > 0.5 - TIE
    return _with_lost(carried, mask, mapping)


def _coverage(
    mask: NDArray[np.bool_], mapping: NDArray[np.float64], shape: tuple[int, int, int], least: int = 1
) -> NDArray[Any]:
    """Return the covered share of each target voxel: exact where axes are parallel, else asked at points in it.

    The points are no farther apart than the source's voxels, and at least `least` along each axis; their number is odd,
    so that none is half in favour.
    """
    linear = mapping[:3, :3]
    straight = np.abs(linear) > 1e-6 * np.abs(linear).max()
    if (straight.sum(axis=0) == 1).all() and (straight.sum(axis=1) == 1).all():
        order = straight.argmax(axis=0)  # the source axis along each target axis
        share = mask.transpose(order).astype(np.float32)
        for axis, of in enumerate(order):
            weights = _overlaps(shape[axis], mask.shape[of], linear[of, axis], mapping[of, 3])
            share = np.moveaxis(np.tensordot(weights, share, axes=(1, axis)), 0, axis)
        return share
    counts = np.maximum(np.ceil(np.linalg.norm(linear, axis=0) - 1e-3), least).astype(int) // 2 * 2 + 1
    covered = np.zeros(shape, dtype=np.uint16)
    for point in product(*[(np.arange(n) + 0.5) / n - 0.5 for n in counts]):
        moved = mapping.copy()
        moved[:3, 3] += linear @ point
        covered += _sampled(mask, moved, Grid(shape, np.eye(4)), order=0, mode="grid-constant")
    return np.asarray(covered / np.float32(counts.prod()))


def _overlaps(count: int, source_count: int, step: float, start: float) -> NDArray[np.float32]:
    """Return the share of each of `count` voxels that lies in each source voxel; the i-th is at start + i step."""
    middle, half = start + step * np.arange(count)[:, None], abs(step) / 2
    source_voxels = np.arange(source_count)
    ends = np.minimum(middle + half, source_voxels + 0.5) - np.maximum(middle - half, source_voxels - 0.5)
    return np.asarray(np.maximum(ends, 0) / abs(step), dtype=np.float32)


def _with_lost(carried: NDArray[np.bool_], mask: NDArray[np.bool_], mapping: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Give every component of the mask that kept less than half of its volume the voxels that hold most of it."""
    labels, _ = ndimage.label(mask, CORNERS)
    onward, scale = np.linalg.inv(mapping), 1 / abs(np.linalg.det(mapping[:3, :3]))
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        ends = np.array([(part.start - 0.5, part.stop - 0.5) for part in box])
        corners = np.array(list(product(*ends))) @ onward[:3, :3].T + onward[:3, 3]
        low = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, carried.shape)
        high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 1, 0, carried.shape)
        if (low >= high).any():
            continue
        there = mapping.copy()
        there[:3, 3] += mapping[:3, :3] @ low - ends[:, 0] - 0.5
        component = labels[box] == number
        x, y, z = (int(n) for n in high - low)
        share = _coverage(component, there, (x, y, z), least=3)  # a single voxel may lie between the middles of these
        place = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        volume = min(component.sum() * scale, share.sum())
        if 2 * (carried[place] & (share > 0)).sum() >= volume and (carried[place] & (share > 0)).any():
            continue
        most = np.argsort(-np.round(share, 6), axis=None, kind="stable")[: max(1, round(volume))]
        carried[place].flat[most[share.flat[most] > 0]] = True
    return carried


def _mapping(source: Grid, target: Grid) -> NDArray[np.float64]:
    """Return the (4, 4) matrix from target voxels to source voxels.

    Rounded, so that halfway between two voxels the same one is nearest all over the volume.
    """
    return np.asarray(np.round(np.linalg.inv(source.affine) @ target.affine, 9))


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
