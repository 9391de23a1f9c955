"""Pyramid noise: Gaussian noise of several scales, from single pixels to the whole image, in one field."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RATIOS = 2.0, 4.0
"""Between which it is drawn how much coarser a level is than the one before, to the power of the level."""


def pyramid_fields(
    shape: Sequence[int], seeds: NDArray[np.int64], *, levels: int = 10, discount: float = 0.8
) -> NDArray[np.float32]:
    """Draw one field per seed: sum_i discount^i U(z_i), over its deviation.

    z_0 is Gaussian noise in every pixel, z_i that of an image r^i times smaller, r drawn from RATIOS for each level,
    and U brings it back to full size, bilinearly; there are no more levels after one of a single row or column, and at
    most so many. shape: (C, H, W), of which channels share sizes alone; seeds: (B,) int64. Returns (B, C, H, W).

    The deviation is that which fields of these sizes have in the mean over all pixels, known from the weights; so each
    is Gaussian, and keeps the offset that the coarsest level gives it. Source: Frotscher et al. 2024 (ANDi), section
    3.2. Their code draws ratios for the whole batch, adds z_0 twice, and divides by the batch's own deviation, by which
    a slice's noise depends on the others.
    """
    channels, height, width = shape
    fields = np.empty((len(seeds), channels, height, width), dtype=np.float32)
    for field, seed in zip(fields, seeds, strict=True):
        rng = np.random.default_rng((2, int(seed) & (2**63 - 1)))
        total, variance = rng.standard_normal((channels, height, width)), 1.0
        for level in range(1, levels):
            ratio = rng.uniform(*RATIOS) ** level
            rows, columns = (_bilinear(size, max(1, int(size / ratio))) for size in (height, width))
            coarse = rng.standard_normal((channels, rows.shape[1], columns.shape[1]))
            total += discount**level * (rows @ coarse @ columns.T)
            variance += discount ** (2 * level) * _share(rows) * _share(columns)
            if min(coarse.shape[1:]) == 1:
                break
        field[:] = total / np.sqrt(variance)
    return fields


def _share(weights: NDArray[np.float64]) -> float:
    """Return the variance that upsampling leaves of independent values, in the mean over the pixels."""
    return float((weights**2).sum(axis=1).mean())


@lru_cache(maxsize=256)
def _bilinear(size: int, values: int) -> NDArray[np.float64]:
    """Return what each of the values weighs at each pixel, (size, values); beyond the outermost, these go on."""
    place = np.clip((np.arange(size) + 0.5) * values / size - 0.5, 0, values - 1)
    return np.asarray(np.maximum(1 - np.abs(place[:, None] - np.arange(values)), 0))
