"""Denoisers that are led: towards what a gradient, or a class that the network knows, says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from uadtools.diffusion.process import (
    ConditionalDenoiser,
    Denoiser,
    Prediction,
    Timesteps,
    eps_from_x0,
    levels,
)
from uadtools.diffusion.schedule import Schedule

Gradient = Callable[[Tensor, Timesteps], Tensor]
"""Gives that of a logarithm of a probability, by x_t, at t: gradient(x_t, t), shaped like x_t."""
Limit = Callable[[Tensor], Tensor]
"""Limits x0, in the units of [-1, 1]."""


def clamped(x0: Tensor) -> Tensor:
    return x0.clamp(-1, 1)


@dataclass(frozen=True)
class GradientGuided:
    """A denoiser whose eps is led along a gradient: eps - scale sqrt(1 - abar) gradient.

    Where x0 is limited, it is after that.
    Source: Dhariwal & Nichol 2021, algorithm 2; Bercea et al. 2024 (survey), 2.3.
    """

    model: Denoiser
    gradient: Gradient
    scale: float

    @property
    def schedule(self) -> Schedule:
        return self.model.schedule

    def predict(self, x_t: Tensor, t: Timesteps, *, clamp: bool = False) -> Prediction:
        guess, (signal, noise) = self.model.predict(x_t, t), levels(t, self.schedule, x_t)
        shift = self.scale * noise * self.gradient(x_t, t)
        led = Prediction(guess.x0 + noise / signal * shift, guess.eps - shift)
        return _limited(led, x_t, t, self.schedule, clamped if clamp else None)


@dataclass(frozen=True)
class ClassifierFree:
    """A denoiser that is led from what it sees without a class to what it sees with one, and beyond: u + scale (c - u).

    code, without: (B, D), what the model is told of the class, and of none; scale: 0 no guidance, 1 the class as it is;
    limit: of x0, where it is limited. Source: Ho & Salimans 2022, eq. 6, whose w is scale - 1.
    """

    model: ConditionalDenoiser
    code: Tensor
    without: Tensor
    scale: float
    limit: Limit = clamped

    @property
    def schedule(self) -> Schedule:
        return self.model.schedule

    def predict(self, x_t: Tensor, t: Timesteps, *, clamp: bool = False) -> Prediction:
        return self.both(x_t, t, clamp=clamp)[0]

    def both(self, x_t: Tensor, t: Timesteps, *, clamp: bool = False) -> tuple[Prediction, Prediction]:
        """Return what it is led to see, and what it sees without a class."""
        told, plain = (self.model.predict(x_t, t, code=code) for code in (self.code, self.without))
        x0, eps = (u + self.scale * (c - u) for c, u in ((told.x0, plain.x0), (told.eps, plain.eps)))
        limit = self.limit if clamp else None
        led, plain = (_limited(guess, x_t, t, self.schedule, limit) for guess in (Prediction(x0, eps), plain))
        return led, plain


def _limited(guess: Prediction, x_t: Tensor, t: Timesteps, schedule: Schedule, limit: Limit | None) -> Prediction:
    if limit is None:
        return guess
    x0 = limit(guess.x0)
    return Prediction(x0, eps_from_x0(x_t, t, x0, schedule))


def scaled_back(x0: Tensor, share: float) -> Tensor:
    """Limit intensities, 0 at x0 = -1, to a quantile of the slice, and where that is above 1 scale them back to 1.

    Each channel has a quantile of its own, as contrasts have levels of their own.

    x0: (B, C, H, W); share: of the values that the quantile is above of. What is empty stays so, where thresholding of
    |x0| would make it brighter. Source: Saharia et al. 2022 (Imagen), section 2.3, dynamic thresholding.
    """
    intensity = (x0 + 1) / 2
    level = intensity.flatten(2).quantile(share, dim=2).clamp(min=1).view(*x0.shape[:2], *[1] * (x0.ndim - 2))
    return 2 * intensity.clamp(min=0).minimum(level) / level - 1
