"""Random fields on slabs, (D, H, W), each from a seed of its own, and how they are smoothed and sampled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Labels = NDArray[np.uint8]
"""Numbers of structures."""


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
    smoothed = np.asarray(field, dtype=np.float32)
    for axis, width in enumerate(widths):
        if width > 0.05:
            lines = smoothed.reshape(-1, smoothed.shape[axis], math.prod(smoothed.shape[axis + 1 :]))
            smoothed = (_gaussian(smoothed.shape[axis], float(width)) @ lines).reshape(smoothed.shape)
    return smoothed


@lru_cache(maxsize=256)
def _gaussian(size: int, width: float) -> Floats:
    """Return the weights, (size, size), that smooth a line: three times as quick here as to convolve."""
    reach = int(3 * width + 0.5)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    rows = np.zeros((size, size + 2 * reach + 1))
    rows[:, : len(taps)] = taps / taps.sum()
    long = rows.ravel()[: size * (size + 2 * reach)].reshape(size, -1)  # each row begins one place after the one above
    weights = long[:, reach : reach + size].copy()
    weights[:, 0] += long[:, :reach].sum(axis=1)
    weights[:, -1] += long[:, reach + size :].sum(axis=1)
    return weights.astype(np.float32)


def nearest(labels: Labels, rows: Floats, columns: Floats) -> Labels:
    """Take every slice of labels at the pixels nearest to places (H, W); beyond the border it is 0."""
    padded = np.pad(labels, ((0, 0), (1, 1), (1, 1)))
    down, along = (
        np.clip(np.rint(places), -1, size).astype(np.intp) + 1
        for places, size in ((rows, labels.shape[1]), (columns, labels.shape[2]))
    )
    return padded[:, down, along]


def sample(slab: Floats, rows: Floats, columns: Floats) -> Floats:
    """Take every slice at places (H, W) between its pixels, bilinearly; beyond the border it is 0."""
    depth, height, width = slab.shape
    padded = np.pad(slab, ((0, 0), (1, 2), (1, 2)))
    rows, columns = np.clip(rows, -1, height) + 1, np.clip(columns, -1, width) + 1
    top, left = rows.astype(np.intp), columns.astype(np.intp)
    down, right = rows - top, columns - left
    corner = (top * padded.shape[2] + left).ravel()
    sampled = np.zeros((depth, corner.size), np.float32)
    for y, wy in ((0, 1 - down), (1, down)):
        for x, wx in ((0, 1 - right), (1, right)):
            part = padded.reshape(depth, -1).take(corner + (y * padded.shape[2] + x), axis=1, mode="clip")
            sampled += part * (wy * wx).ravel().astype(np.float32)
    return sampled.reshape(depth, *rows.shape)
