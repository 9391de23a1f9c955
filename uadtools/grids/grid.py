"""Grids: where voxels lie in the world, and how a volume is brought onto another grid.

World coordinates are RAS millimetres, as in NIfTI.
"""

from __future__ import annotations

import math
import operator
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray
from scipy import ndimage

from uadtools.grids.placement import Placement

MOST_VOXELS = 1 << 31
"""Of a grid that a file speaks of, and whose voxels are still to be made."""
SMALLEST_VOXEL, LARGEST_VOXEL = 0.005, 100.0
"""In mm; no scan of a head has others."""
LARGEST_SCAN = 5000.0
"""In mm, along any axis but the longest, which may be a stack of many images."""
FARTHEST = 1e5
"""In mm; no scan lies farther from the middle of its world."""
CORNERS = ndimage.generate_binary_structure(3, 3)  # 26-connected


@dataclass(frozen=True)
class Grid:
    """shape (X, Y, Z) in voxels and the (4, 4) affine from voxel indices to RAS millimetres.

    placement: how the header of the file said so, which is written back as it was; None: no file did.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    placement: Placement | None = None

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

    @property
    def shear(self) -> float:
        """By how many degrees the angle between two axes differs from a right one, at most."""
        axes = self.affine[:3, :3] / np.array(self.spacing)
        cosines = (axes.T @ axes)[np.triu_indices(3, 1)]
        return float(np.degrees(np.arcsin(np.clip(np.abs(cosines).max(), 0, 1))))

    @property
    def absurd(self) -> str:
        """Say what no scan of a head is like: voxels, size or place; an empty string where all is well."""
        extent = np.array(self.shape) * self.spacing
        middle = self.affine[:3, 3] + self.affine[:3, :3] @ (np.array(self.shape) / 2)
        if not all(SMALLEST_VOXEL <= size <= LARGEST_VOXEL for size in self.spacing):
            return f"voxels of {' x '.join(f'{size:.3g}' for size in self.spacing)} mm"
        if sorted(extent)[1] > LARGEST_SCAN:
            return f"a volume of {' x '.join(f'{length / 1000:.3g}' for length in extent)} m"
        if np.abs(middle).max() > FARTHEST:
            return f"a volume {np.abs(middle).max() / 1000:.3g} m away from the scanner's middle"
        return ""

    @property
    def stated(self) -> Placement | None:
        """How a file said that it lies there; None where no file did, or the grid was changed since."""
        for form in self.placement.said if self.placement else ():
            with suppress(ValueError):
                if self.placement and np.array_equal(self.placement.affine(form, self.shape), self.affine):
                    return self.placement
        return None

    def same(self, other: Grid, turn: float = 0.0) -> bool:
        """Same shape, and every voxel within a hundredth of a voxel of its counterpart.

        turn: in radians, by which the other may be turned around its first voxel all the same.
        """
        if self.shape != other.shape:
            return False
        drift = np.linalg.inv(self.affine[:3, :3]) @ self._drift(other)
        reach = np.linalg.norm(self.affine[:3, :3] @ self._corners, axis=0) / min(self.spacing)
        return bool((np.abs(drift) < 0.01 + turn * reach).all())

    def apart(self, other: Grid) -> float:
        """Return how far in mm a voxel lies from its counterpart in another grid of the same shape, at most."""
        return float(np.linalg.norm(self._drift(other), axis=0).max())

    def unlike(self, other: Grid) -> str:
        """Say how this grid and another differ: both, and how far apart they lie where they sound the same."""
        text = f"{self} and {other}"
        if self.shape == other.shape:
            text += f", up to {self.apart(other):.3g} mm apart"
        return text

    @property
    def _corners(self) -> NDArray[np.int_]:
        """The indices of the voxels in the corners: (3, 8), the first voxel first."""
        return np.array(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij")).reshape(3, -1)

    def _drift(self, other: Grid) -> NDArray[np.float64]:
        """Return the way in mm from this grid's corners to those of another of the same shape: (3, 8)."""
        return np.asarray((other.affine - self.affine)[:3] @ np.vstack([self._corners, np.ones(8)]))

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape))
        return f"{size} voxels of {' x '.join(f'{s:.3g}' for s in self.spacing)} mm, {self.orientation}"

    def to_json(self) -> dict[str, Any]:
        place = {"shape": list(self.shape), "affine": [[float(v) for v in row] for row in self.affine]}
        return place | ({"placement": self.stated.to_json()} if self.stated else {})

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Grid:
        """Raises KeyError, TypeError or ValueError when data are not from to_json."""
        x, y, z = (operator.index(n) for n in data["shape"])
        affine = np.array(data["affine"], dtype=np.float64)
        whole = affine.shape == (4, 4) and np.isfinite(affine).all() and (affine[3] == (0, 0, 0, 1)).all()
        if not (min(x, y, z) > 0 and math.prod((x, y, z)) <= MOST_VOXELS and whole and np.linalg.det(affine)):
            raise ValueError("no grid has this shape and affine")
        placement = Placement.from_json(data["placement"]) if "placement" in data else None
        grid = cls((x, y, z), affine, placement)
        if grid.absurd:
            raise ValueError(grid.absurd)
        return grid


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
