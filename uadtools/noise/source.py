"""The noise of a model as samplers take it: one independent stream of fields per slice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uadtools.models.config import NoiseConfig
from uadtools.noise.simplex import simplex_fields


def fields(config: NoiseConfig, shape: tuple[int, int], seeds: NDArray[np.int64]) -> NDArray[np.float32]:
    """Draw one field per seed. shape: (H, W); seeds: (B,). Returns (B, 1, H, W); gaussian has unit variance."""
    if config.kind == "gaussian":
        drawn = [np.random.default_rng(int(s) & (2**63 - 1)).standard_normal(shape, dtype=np.float32) for s in seeds]
        return np.stack(drawn)[:, None]
    made = simplex_fields(
        shape,
        seeds,
        octaves=config.octaves,
        persistence=config.persistence,
        frequency=config.frequency,
        unit=config.scale == "unit",
    )
    return made[:, None]


class SliceNoise:
    """Noise for a batch of slices: the n-th call gives each slice the n-th field of its own stream.

    keys: one tuple of integers per slice (such as seed, position, sample). What a slice gets depends on its key and on
    the number of calls alone, not on the batch it is in.
    """

    def __init__(
        self, config: NoiseConfig, shape: tuple[int, int], keys: Sequence[tuple[int, ...]], device: torch.device
    ) -> None:
        self._config, self._shape, self._device = config, shape, device
        self._streams = [np.random.default_rng(key) for key in keys]

    def __call__(self) -> Tensor:
        """Return the next noise, (B, 1, H, W) float32."""
        seeds = np.array([stream.integers(2**63 - 1) for stream in self._streams], dtype=np.int64)
        return torch.from_numpy(fields(self._config, self._shape, seeds)).to(self._device)
