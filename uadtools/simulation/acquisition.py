"""The same healthy brain, scanned otherwise: blurred, in thick slices, shifted by a part of a voxel, or cropped.

None is a lesion. What changes is how sharp a scan is, which differs most between scanners and between pipelines, and
how much of the head it shows.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadtools.errors import UadError
from uadtools.simulation.artefacts import Artefact, Drawn, Floats, Spacing

Interpolation = Literal["linear", "spline"]
ORDERS: dict[Interpolation, Literal[1, 3]] = {"linear": 1, "spline": 3}
KEPT = (1, 99)
"""Percentiles of the signal that stay where they were, as preprocessing would have it."""


def blur(data: Floats, spacing: Spacing, rng: np.random.Generator, level: float) -> tuple[Floats, Drawn]:
    """Smooth by a Gaussian of `level` mm in all directions; data: (X, Y, Z), at least 0."""
    changed = ndimage.gaussian_filter(_grown(data), level / np.array(spacing), mode="nearest")
    return _kept(changed, data), {"millimetres": level}


def thick(data: Floats, spacing: Spacing, rng: np.random.Generator, level: float) -> tuple[Floats, Drawn]:
    """Average over slices of `level` mm along a random axis, and interpolate between their middles linearly.

    data: (X, Y, Z), at least 0. The first slice begins at a random height, up to its thickness above the volume. Only
    an axis whose voxels are thinner is drawn; raises UadError when there is none.
    """
    axes = [axis for axis in range(3) if spacing[axis] < level]
    if not axes:
        raise UadError(f"slices of {level:g} mm are no thicker than voxels of {min(spacing):.3g} mm (more --level)")
    axis = axes[int(rng.integers(len(axes)))]
    start, width, count = float(rng.uniform(-1, 0)), level / spacing[axis], data.shape[axis]
    edges = width * (start + np.arange(np.ceil(count / width - start) + 1))  # in voxels from the volume's border
    voxel = np.arange(count)
    shares = np.minimum(edges[1:, None], voxel + 1) - np.maximum(edges[:-1, None], voxel)
    shares = np.maximum(shares, 0)
    shares /= shares.sum(axis=1, keepdims=True)
    middles = (edges[1:] + edges[:-1]) / 2 - 0.5
    back = np.stack([np.interp(voxel, middles, weights) for weights in np.eye(len(middles))], axis=1)
    changed = np.moveaxis(np.tensordot(back @ shares, _grown(data), axes=(1, axis)), 0, axis)
    return _kept(changed, data), {"axis": axis, "millimetres": level, "start": start * level}


def shift(
    data: Floats, spacing: Spacing, rng: np.random.Generator, level: float, interpolation: Interpolation = "linear"
) -> tuple[Floats, Drawn]:
    """Move the image by `level` voxels along every axis, forwards or backwards at random; data: (X, Y, Z), at least 0.

    Half a voxel is where interpolation smooths most; cubic splines overshoot at edges.
    """
    voxels = level * rng.choice((-1.0, 1.0), 3)
    changed = ndimage.shift(_grown(data), voxels, order=ORDERS[interpolation], mode="nearest")
    return _kept(changed, data), {"voxels": voxels.tolist(), "interpolation": interpolation}


def crop(data: Floats, spacing: Spacing, rng: np.random.Generator, level: float) -> tuple[Floats, Drawn]:
    """Set what lies within `level` mm of a random side's end of the signal to 0; data: (X, Y, Z), at least 0.

    As a field of view does that ends inside the head; all else stays as it is. Whole slices go: as many as have their
    middles within. Raises UadError where nothing, or no slice at all, would be left out or left.
    """
    axis, side = divmod(int(rng.integers(6)), 2)
    planes = np.flatnonzero((data > 0).any(axis=tuple({0, 1, 2} - {axis})))
    away = (planes - planes[0] if side == 0 else planes[-1] - planes) * spacing[axis] + spacing[axis] / 2
    lost = planes[away <= level]
    if not len(lost) or len(lost) == len(planes):
        raise UadError(f"{level:g} mm are {'all' if len(lost) else 'no slice'} of it along an axis (another --level)")
    changed = data.copy()
    np.moveaxis(changed, axis, 0)[lost] = 0
    return changed, {"axis": axis, "end": ("low", "high")[side], "slices": len(lost)}


ACQUISITIONS: dict[str, Artefact] = {"blur": blur, "thick": thick, "shift": shift, "crop": crop}


def _grown(data: Floats) -> NDArray[np.float64]:
    """Give what is 0 the value of the nearest voxel that is not, so that a brain's rim is not mixed with nothing."""
    nearest = ndimage.distance_transform_edt(data <= 0, return_distances=False, return_indices=True)
    return np.asarray(data[tuple(nearest)], dtype=np.float64)


def _kept(changed: NDArray[Any], data: Floats) -> Floats:
    """Bring the signal's percentiles KEPT back to where they were, and what was 0 back to 0; nothing gets below 0."""
    signal = data > 0
    now, before = np.percentile(changed[signal], KEPT), np.percentile(data[signal], KEPT)
    scale = np.ptp(before) / np.ptp(now) if np.ptp(now) else 1.0
    return np.where(signal, np.maximum(before[0] + scale * (changed - now[0]), 0), 0)
