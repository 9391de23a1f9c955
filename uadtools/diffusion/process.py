"""The forward process and the algebra between x0, x_t and eps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from torch import Tensor

from uadtools.diffusion.schedule import Schedule

Target = Literal["eps", "x0"]
Timesteps = int | Tensor
"""One step for a whole batch, or (B,) int64."""


class Prediction(NamedTuple):
    """What a model believes of a noisy image: the clean image and the noise, both shaped like x_t.

    share: of a model that learnt its variance, where it lies from the posterior's, 0, to beta, 1, in their logarithms.
    """

    x0: Tensor
    eps: Tensor
    share: Tensor | None = None


class Denoiser(Protocol):
    """All that a sampler needs of a model."""

    @property
    def schedule(self) -> Schedule: ...

    def predict(self, x_t: Tensor, t: Timesteps, *, clamp: bool = False) -> Prediction: ...


class ConditionalDenoiser(Denoiser, Protocol):
    """The same of a model that goes by a code, too."""

    def predict(self, x_t: Tensor, t: Timesteps, *, clamp: bool = False, code: Tensor | None = None) -> Prediction: ...


@dataclass(frozen=True)
class ConditionedDenoiser:
    """A model that is told the same code whenever it is asked, as samplers do. code: (B, D)."""

    model: ConditionalDenoiser
    code: Tensor

    @property
    def schedule(self) -> Schedule:
        return self.model.schedule

    def predict(self, x_t: Tensor, t: Timesteps, *, clamp: bool = False) -> Prediction:
        return self.model.predict(x_t, t, clamp=clamp, code=self.code)


def add_noise(x0: Tensor, t: Timesteps, eps: Tensor, schedule: Schedule) -> Tensor:
    """Noise x0 to step t: sqrt(abar_t) x0 + sqrt(1 - abar_t) eps.

    x0, eps: (B, C, H, W) or (B, C, D, H, W), images in [-1, 1]; t: one step for all, or (B,) int64, in [0, T), or -1
    for none. Returns x_t, shaped like x0.
    Source: Ho et al. 2020, eq. 4.
    """
    signal, noise = levels(t, schedule, x0)
    return signal * x0 + noise * eps


def x0_from_eps(x_t: Tensor, t: Timesteps, eps: Tensor, schedule: Schedule) -> Tensor:
    """Return (x_t - sqrt(1 - abar_t) eps) / sqrt(abar_t). Shapes as in add_noise."""
    signal, noise = levels(t, schedule, x_t)
    return (x_t - noise * eps) / signal


def eps_from_x0(x_t: Tensor, t: Timesteps, x0: Tensor, schedule: Schedule) -> Tensor:
    """Return (x_t - sqrt(abar_t) x0) / sqrt(1 - abar_t). Shapes as in add_noise."""
    signal, noise = levels(t, schedule, x_t)
    return (x_t - signal * x0) / noise


def levels(t: Timesteps, schedule: Schedule, images: Tensor) -> tuple[float | Tensor, float | Tensor]:
    """Return sqrt(abar_t) and sqrt(1 - abar_t): numbers for one step, for several tensors that multiply images."""
    if isinstance(t, int):
        abar = schedule.alpha_bar(t)
        return math.sqrt(abar), math.sqrt(1 - abar)
    abars = schedule.alpha_bars(t).view(-1, *[1] * (images.ndim - 1))
    return abars.sqrt(), (1 - abars).sqrt()


def both(
    output: Tensor, target: Target, x_t: Tensor, t: Timesteps, schedule: Schedule, *, clamp: bool = False
) -> Prediction:
    """Turn a network's output into x0 and eps, whichever of them it predicts.

    t: as in add_noise; clamp: limit x0 to [-1, 1], and let eps follow from the limited x0.
    """
    x0 = output if target == "x0" else x0_from_eps(x_t, t, output, schedule)
    if clamp:
        x0 = x0.clamp(-1, 1)
    elif target == "eps":
        return Prediction(x0, output)
    return Prediction(x0, eps_from_x0(x_t, t, x0, schedule))
