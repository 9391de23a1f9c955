"""The terms of the variational bound: how far each reverse step is from where it should lead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from uadtools.diffusion.process import Denoiser, add_noise
from uadtools.diffusion.samplers import Noise
from uadtools.diffusion.schedule import Schedule

POSITIONS = 2**13
"""Of latents that the model is asked about at a time: one image of these sizes would leave a processor idle."""


def bound_term(
    x0: Tensor, x0_pred: Tensor, t: int, schedule: Schedule, *, variance: Literal["small", "large"] = "small"
) -> Tensor:
    """L_{t-1} = KL(q(x_{t-1} | x_t, x0) || p(x_{t-1} | x_t)) of each element, in nats.

    Both are Gaussian; with the posterior's variance (small) this is w^2 (x0 - x0_pred)^2 / (2 variance), w the weight
    of x0 in the posterior's mean; large: p has the variance beta_t. x0, x0_pred: any shape; t: 1 or more (at 0 there is
    another term of the bound, and it is left out). Raises ValueError for t = 0.

    Source: Ho et al. 2020, eq. 5 and 8; Pinaya et al. 2022, eq. 1.
    """
    if t < 1:
        raise ValueError("the bound has no such term at t = 0")
    posterior = schedule.posterior(t)
    away = (posterior.x0_weight * (x0 - x0_pred)) ** 2
    if variance == "small":
        return away / (2 * posterior.variance)
    ratio = posterior.variance / schedule.large_variance(t)
    return (ratio - 1 - math.log(ratio)) / 2 + away / (2 * schedule.large_variance(t))


def evenly(steps: tuple[int, int], count: int) -> list[int]:
    """Pick `count` steps of [low, high), evenly spaced; all of them where there are no more."""
    low, high = steps
    return sorted({int(t) for t in np.linspace(low, high - 1, min(count, high - low)).round()})


@torch.no_grad()
def bound_map(model: Denoiser, x0: Tensor, timesteps: Sequence[int], noise: Noise) -> Tensor:
    """Average the bound's terms over steps and channels, with fresh noise at each step.

    x0: (B, C, h, w) or (B, C, d, h, w), never clamped. Returns (B, 1, h, w) or (B, 1, d, h, w), in nats per element.
    Few images are looked at in several steps at a time.
    """
    total = torch.zeros_like(x0[:, :1])
    at_once = max(1, POSITIONS // total.numel())
    for start in range(0, len(timesteps), at_once):
        part = timesteps[start : start + at_once]
        x_t = torch.cat([add_noise(x0, t, noise(), model.schedule) for t in part])
        seen = model.predict(x_t, torch.tensor(part, device=x0.device).repeat_interleave(len(x0))).x0
        for t, x0_pred in zip(part, torch.split(seen, len(x0)), strict=True):
            total += bound_term(x0, x0_pred, t, model.schedule).mean(dim=1, keepdim=True)
    return total / len(timesteps)
