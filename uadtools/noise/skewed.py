"""Noise of scanners that is not Gaussian: counts of photons, and the speckle of coherent waves.

On a scan the deviation of both follows the signal. Here it does not: each field has mean 0 and deviation 1 in every
pixel, whatever the image, and what is kept is the distribution. docs/methods.md says why. Source: Damudi & Kini 2024
name both as future work (section 5), and no more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def poisson_fields(shape: Sequence[int], seeds: NDArray[np.int64], *, photons: float = 4.0) -> NDArray[np.float32]:
    """Draw one field per seed: (N - photons) / sqrt(photons), N a Poisson number of that mean in every pixel.

    Its skewness is 1 / sqrt(photons). shape: (C, H, W); seeds: (B,) int64. Returns (B, C, H, W).
    """
    counts = np.stack([_stream(seed).poisson(photons, tuple(shape)) for seed in seeds])
    return np.asarray((counts - photons) / np.sqrt(photons), dtype=np.float32)


def speckle_fields(shape: Sequence[int], seeds: NDArray[np.int64], *, looks: float = 1.0) -> NDArray[np.float32]:
    """Draw one field per seed: (G - 1) sqrt(looks), G the intensity of speckle in the mean of so many looks.

    G is gamma-distributed, of mean 1 and variance 1 / looks, for a single look exponential (Goodman 1976); the field's
    skewness is 2 / sqrt(looks). Shapes as in poisson_fields.
    """
    grains = np.stack([_stream(seed).gamma(looks, 1 / looks, tuple(shape)) for seed in seeds])
    return np.asarray((grains - 1) * np.sqrt(looks), dtype=np.float32)


def _stream(seed: np.int64) -> np.random.Generator:
    return np.random.default_rng((3, int(seed) & (2**63 - 1)))
