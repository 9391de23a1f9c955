"""The noise schedule: how much of the scan is left at each step."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ScheduleKind = Literal["linear", "cosine", "quadratic"]


def betas(kind: ScheduleKind, steps: int) -> NDArray[np.float64]:
    """Return beta_t for t in [0, steps).

    linear: from 1e-4 to 2e-2 at 1000 steps, scaled with 1000 / steps otherwise (Ho et al. 2020).
    quadratic: the same ends, evenly spaced in their square roots, so that the first steps are smaller.
    cosine: 1 - f(t+1)/f(t), f(t) = cos^2((t/T + 0.008) / 1.008 * pi/2), at most 0.999 (Nichol & Dhariwal 2021).
    """
    scale = 1000 / steps
    if kind == "linear":
        return np.linspace(scale * 1e-4, scale * 2e-2, steps, dtype=np.float64)
    if kind == "quadratic":
        return np.asarray(np.linspace(math.sqrt(scale * 1e-4), math.sqrt(scale * 2e-2), steps, dtype=np.float64) ** 2)
    level = [math.cos((i / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(steps + 1)]
    return np.array([min(1 - level[i + 1] / level[i], 0.999) for i in range(steps)], dtype=np.float64)


class Posterior(NamedTuple):
    """q(x_{t-1} | x_t, x0): mean = x0_weight * x0 + x_t_weight * x_t, and its variance."""

    x0_weight: float
    x_t_weight: float
    variance: float


class Schedule:
    """beta_t and what follows from it, in float64. Steps t are integers in [0, T); t = -1 is the clean image."""

    def __init__(self, betas: NDArray[np.float64]) -> None:
        self.betas = betas
        self.alphas_cumprod = np.cumprod(1 - betas)

    @classmethod
    def of(cls, kind: ScheduleKind, steps: int = 1000) -> Schedule:
        return cls(betas(kind, steps))

    @property
    def steps(self) -> int:
        return len(self.betas)

    @cached_property
    def _alphas_cumprod_float(self) -> Tensor:
        return torch.from_numpy(np.append(1.0, self.alphas_cumprod)).float()

    def alpha_bar(self, t: int) -> float:
        """Return abar_t; 1 at t = -1."""
        if not -1 <= t < self.steps:
            raise ValueError(f"t = {t} is outside [-1, {self.steps})")
        return 1.0 if t < 0 else float(self.alphas_cumprod[t])

    def alpha_bars(self, t: Tensor) -> Tensor:
        """Return abar_t of several steps; 1 at t = -1. t: (B,) int64. Returns (B,) float32."""
        return self._alphas_cumprod_float.to(t.device)[t + 1]

    def posterior(self, t: int) -> Posterior:
        """Return q(x_{t-1} | x_t, x0) of one step. Source: Ho et al. 2020, eq. 7."""
        beta, now, before = float(self.betas[t]), self.alpha_bar(t), self.alpha_bar(t - 1)
        return Posterior(
            x0_weight=math.sqrt(before) * beta / (1 - now),
            x_t_weight=math.sqrt(1 - beta) * (1 - before) / (1 - now),
            variance=beta * (1 - before) / (1 - now),
        )

    def large_variance(self, t: int) -> float:
        """Return the larger choice of the reverse variance, beta_t: guided-diffusion's FIXED_LARGE, AnoDDPM's own."""
        return float(self.betas[t]) if t > 0 else self.posterior(1).variance
