"""Random fields on slabs, (D, H, W), each from a seed of its own, and how they are smoothed and sampled."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


def white(seed: int, shape: Sequence[int]) -> Floats:
    """Draw independent standard normal values."""
    return np.random.default_rng(seed).standard_normal(tuple(shape), dtype=np.float32)


def wavy(seed: int, shape: Sequence[int], cells: Sequence[float]) -> Floats:
    """Draw a smooth field: standard normal values `cells` voxels apart, and what is linear in between."""
    counts = [max(2, int(np.ceil(size / cell)) + 1) for size, cell in zip(shape, cells, strict=True)]
    field = white(seed, counts)
    for axis, (size, count) in enumerate(zip(shape, counts, strict=True)):
        field = np.moveaxis(np.tensordot(_linear(size, count), field, (1, axis)), 0, axis)
    return np.ascontiguousarray(field, dtype=np.float32)


@lru_cache(maxsize=4096)
def _linear(size: int, count: int) -> Floats:
    """Return the weights, (size, count), with which `count` values make `size` by linear interpolation."""
    places = np.linspace(0, count - 1, size)
    return np.asarray(np.maximum(0, 1 - np.abs(places[:, None] - np.arange(count))), dtype=np.float32)


def smooth(field: NDArray[Any], widths: Sequence[float]) -> Floats:
    """Smooth with a Gaussian of these deviations in voxels, cut off at three; borders are repeated."""
    made = np.asarray(field, dtype=np.float32)  # masks, too: SciPy would answer in their own type
    for axis, width in enumerate(widths):
        if width > 0.05:
            made = ndimage.gaussian_filter1d(made, width, axis=axis, mode="nearest", truncate=3.0)
    return made


def sample(slab: Floats, rows: Floats, columns: Floats) -> Floats:
    """Take every slice at places (H, W) between its pixels, bilinearly; beyond the border it is 0."""
    _, height, width = slab.shape
    top, left = np.floor(rows).astype(np.intp), np.floor(columns).astype(np.intp)
    down, right = rows - top, columns - left
    made = np.zeros((len(slab), *rows.shape), np.float32)
    for y, wy in ((top, 1 - down), (top + 1, down)):
        for x, wx in ((left, 1 - right), (left + 1, right)):
            within = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            weight = np.where(within, wy * wx, 0).astype(np.float32)
            made += slab[:, np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)] * weight
    return made
