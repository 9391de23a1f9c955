"""Coarse noise: Gaussian noise of few values, blown up to the size of an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import UadError


def coarse_fields(
    shape: tuple[int, int], seeds: NDArray[np.int64], *, resolution: int = 16, std: float = 0.2
) -> NDArray[np.float32]:
    """Draw one field per seed: resolution x resolution Gaussian values, upsampled bilinearly, shifted at random.

    shape: (H, W), need not be square; seeds: (B,) int64; std: of the values, at whose places the field has this
    deviation, and halfway between four of them half of it. Returns (B, H, W). Raises UadError for a resolution under 2.

    Source: Kascenas et al. 2022 (DAE), 16 x 16 values for 128 x 128 pixels, std 0.2, images in [0, 1]. Their upsampling
    ends at the border, so that the shift moves a seam into the image; ours goes round, and there is none.
    """
    if resolution < 2:
        raise UadError(f"coarse noise of resolution {resolution}: there is no such thing (at least 2 is needed)")
    rows, columns = (_hats(size, resolution) for size in shape)
    fields = np.empty((len(seeds), *shape), dtype=np.float32)
    for field, seed in zip(fields, seeds, strict=True):
        rng = np.random.default_rng(int(seed) & (2**63 - 1))
        values = std * rng.standard_normal((resolution, resolution))
        shift = rng.integers(shape)
        field[:] = np.roll(rows @ values @ columns.T, tuple(int(s) for s in shift), axis=(0, 1))
    return fields


def _hats(size: int, resolution: int) -> NDArray[np.float64]:
    """Return what each of the values weighs at each pixel, (size, resolution); the last is the first's neighbour."""
    place = np.arange(size) * resolution / size
    apart = (place[:, None] - np.arange(resolution) + resolution / 2) % resolution - resolution / 2
    return np.asarray(np.maximum(1 - np.abs(apart), 0))
