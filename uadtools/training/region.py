"""What a latent diffusion model takes for healthy: the bound that it has on healthy slices, at every position."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from uadtools.diffusion.bound import bound_map, evenly
from uadtools.models.model import Model
from uadtools.noise.source import SliceNoise
from uadtools.training.data import Slices

LOOKS, MOST, BATCH = 50, 1000, 32
"""Steps of the bound, slices that are asked about at most, and how many at a time."""


def healthy_limits(model: Model, slices: Slices, seed: int) -> Tensor:
    """Return the percentile of the bound over healthy slices at each position of the latent, (h, w) or (d, h, w).

    Which percentile, and the steps of the bound, are the model's. Source: Pinaya et al. 2022, section 3.
    """
    region = model.config.region
    chosen = np.linspace(0, len(slices) - 1, min(MOST, len(slices))).round().astype(int)
    found = []
    batch = 1 if slices.solid else BATCH
    for start in range(0, len(chosen), batch):
        x = slices.windows(chosen[start : start + batch], 0, model.device)
        z = model.to_latent(slices.seen(x))
        keys = [(seed, start + i) for i in range(len(z))]
        noise = SliceNoise(model.config.noise, tuple(z.shape[1:]), keys, model.device)
        found.append(bound_map(model, z, evenly(region.steps, LOOKS), noise).cpu())
    return torch.cat(found)[:, 0].quantile(region.percentile / 100, dim=0)
