"""The noise of a model as samplers take it: one independent stream of fields per slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uadtools.noise.config import NoiseConfig
from uadtools.noise.on_device import simplex_on
from uadtools.noise.pyramid import pyramid_fields
from uadtools.noise.simplex import simplex_fields
from uadtools.noise.skewed import poisson_fields, speckle_fields


def fields(config: NoiseConfig, shape: Sequence[int], seeds: NDArray[np.int64]) -> NDArray[np.float32]:
    """Draw one field per seed. shape: (C, H, W); seeds: (B,). Returns (B, C, H, W), of mean 0 and unit variance but
    for simplex noise as published.

    It is drawn in each channel: were it the same, their difference would be without noise.
    """
    match config.kind:
        case "gaussian":
            streams = (np.random.default_rng(int(s) & (2**63 - 1)) for s in seeds)
            return np.stack([stream.standard_normal(tuple(shape), dtype=np.float32) for stream in streams])
        case "pyramid":
            return pyramid_fields(shape, seeds, levels=config.levels, discount=config.discount)
        case "poisson":
            return poisson_fields(shape, seeds, photons=config.photons)
        case "speckle":
            return speckle_fields(shape, seeds, looks=config.looks)
        case "simplex":
            channels, height, width = shape
            of_channels = (of_channel(seeds, channel) for channel in range(channels))
            return np.stack([simplex_fields((height, width), own, **_octaves(config)) for own in of_channels], axis=1)


def fields_on(config: NoiseConfig, shape: Sequence[int], seeds: NDArray[np.int64], device: torch.device) -> Tensor:
    """Draw the same fields, on a device: (B, C, H, W). Simplex noise is computed there where it is a CUDA device."""
    if config.kind != "simplex" or device.type != "cuda":
        return torch.from_numpy(fields(config, shape, seeds)).to(device)
    channels, height, width = shape
    of_channels = (torch.from_numpy(of_channel(seeds, channel)).to(device) for channel in range(channels))
    return torch.stack([simplex_on((height, width), own, **_octaves(config)) for own in of_channels], dim=1)


def of_channel(seeds: NDArray[np.int64], channel: int) -> NDArray[np.int64]:
    """Return the seeds of what is drawn in a channel; the first one's are those of the slices."""
    return seeds + np.int64(channel << 40)


def _octaves(config: NoiseConfig) -> dict[str, Any]:
    return {**config.model_dump(include={"octaves", "persistence", "frequency"}), "unit": config.scale == "unit"}


class SliceNoise:
    """Noise for a batch of slices: the n-th call gives each slice the n-th field of its own stream.

    keys: one tuple of integers per slice (such as seed, position, sample). What a slice gets depends on its key and on
    the number of calls alone, not on the batch it is in.
    """

    def __init__(
        self, config: NoiseConfig, shape: Sequence[int], keys: Sequence[tuple[int, ...]], device: torch.device
    ) -> None:
        self._config, self._shape, self._device = config, shape, device
        self._streams = [np.random.default_rng(key) for key in keys]

    def __call__(self) -> Tensor:
        """Return the next noise, (B, C, H, W) float32."""
        seeds = np.array([stream.integers(2**63 - 1) for stream in self._streams], dtype=np.int64)
        return fields_on(self._config, self._shape, seeds, self._device)
