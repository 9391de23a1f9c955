"""Samplers: generators that walk an image along the diffusion steps.

Each yields a Step after every evaluation of the model, so the caller owns progress, early stop and saving; the last
Step holds the result. With a model that knows the true eps every sampler returns x0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from torch import Tensor

from uadtools.diffusion.distillation import consistent
from uadtools.diffusion.process import Denoiser, Prediction, add_noise, both
from uadtools.diffusion.schedule import Schedule

Variance = Literal["small", "large", "learned"]
Noise = Callable[[], Tensor]
"""Gives the next noise for the batch at each call, (B, C, H, W), from one independent stream per slice."""


Keep = Callable[[Tensor, int], Tensor]
"""Changes where a step has led: keep(x, t) puts back what is known of an image at the noise level of t, -1 for none."""

Degraded = Callable[[Tensor, int], Tensor]
"""degraded(x0, s): the image as it is at severity s, from 0 on; at -1 it is x0."""

MULTISTEP = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}
"""What the last evaluations weigh in a step, the latest first, by how many there are (Adams & Bashforth)."""


class Step(NamedTuple):
    """The model was asked at step t; x_t is where the walk went from there, x0_pred what the model saw behind it."""

    t: int
    x_t: Tensor
    x0_pred: Tensor


def single(model: Denoiser, x_t: Tensor, t: int, *, clamp: bool = False) -> Iterator[Step]:
    """Jump from x_t to the model's x0 in one evaluation. Source: Damudi & Kini 2024, section 3.4."""
    x0 = model.predict(x_t, t, clamp=clamp).x0
    yield Step(t, x0, x0)


def ddpm(  # noqa: PLR0913  one parameter per published choice
    model: Denoiser,
    x_t: Tensor,
    t: int,
    noise: Noise,
    *,
    clamp: bool = False,
    variance: Variance = "small",
    keep: Keep = lambda x, t: x,
    repeats: int = 1,
) -> Iterator[Step]:
    """Walk back every step from t to 0; no noise is added in the last one.

    variance: small is the posterior's, large is beta_t (as AnoDDPM's code has it), learned lies between them, where the
    model says (Nichol & Dhariwal 2021, eq. 15). keep: what is known of the image is put back after every step. repeats:
    how often each step is taken; before each but the first, its noise is added again, so that what is made and what is
    kept come to fit (resampling).
    Source: Ho et al. 2020, algorithm 2; Lugmayr et al. 2022 (RePaint), algorithm 1.
    """
    for s in range(t, -1, -1):
        for left in reversed(range(repeats if s > 0 else 1)):
            guess = model.predict(x_t, s, clamp=clamp)
            posterior = model.schedule.posterior(s)
            x_t = posterior.x0_weight * guess.x0 + posterior.x_t_weight * x_t
            if s > 0:
                x_t = x_t + _variance(guess, s, model.schedule, variance) ** 0.5 * noise()
            x_t = keep(x_t, s - 1)
            yield Step(s, x_t, guess.x0)
            if left:
                beta = float(model.schedule.betas[s])
                x_t = math.sqrt(1 - beta) * x_t + math.sqrt(beta) * noise()


def _variance(guess: Prediction, t: int, schedule: Schedule, variance: Variance) -> float | Tensor:
    """Return the variance of the noise of a step back from t > 0."""
    small, large = schedule.posterior(t).variance, schedule.large_variance(t)
    if variance != "learned":
        return small if variance == "small" else large
    if guess.share is None:
        raise ValueError("this model did not learn its variance")
    return (guess.share * math.log(large) + (1 - guess.share) * math.log(small)).exp()


def _move(guess: Prediction, to: int, schedule: Schedule, sigma: float | Tensor = 0.0) -> Tensor:
    """Place a prediction at the noise level of step `to`, leaving room for noise of deviation sigma."""
    abar = schedule.alpha_bar(to)
    left = 1 - abar - sigma**2
    share = left.clamp(min=0).sqrt() if isinstance(left, Tensor) else math.sqrt(max(left, 0.0))
    return math.sqrt(abar) * guess.x0 + share * guess.eps


def ddim(
    model: Denoiser,
    x_t: Tensor,
    timesteps: Sequence[int],
    noise: Noise,
    *,
    eta: float | Tensor = 0.0,
    clamp: bool = False,
    keep: Keep = lambda x, t: x,
) -> Iterator[Step]:
    """Walk back over the given steps, largest first, then to the clean image. eta 0: no noise; eta 1: as DDPM.

    eta: one for all, or a map of it, (B, 1, H, W), which walks each pixel in its own way from one and the same guess.
    keep: what is known of the image is put back after every step. Source: Song et al. 2021, eq. 12.
    """
    for s, to in pairwise([*timesteps, -1]):
        guess = model.predict(x_t, s, clamp=clamp)
        now, then = model.schedule.alpha_bar(s), model.schedule.alpha_bar(to)
        sigma = eta * math.sqrt((1 - then) / (1 - now)) * math.sqrt(1 - now / then)
        x_t = _move(guess, to, model.schedule, sigma)
        if to >= 0 and (isinstance(sigma, Tensor) or sigma > 0):
            x_t = x_t + sigma * noise()
        x_t = keep(x_t, to)
        yield Step(s, x_t, guess.x0)


def cold(
    predict: Callable[[Tensor, int], Tensor], x_t: Tensor, severities: Sequence[int], degraded: Degraded
) -> Iterator[Step]:
    """Walk from a degraded image to the clean one without noise: x_next = x_t - D(x0, s) + D(x0, next).

    predict(x_t, s): the clean image behind one of severity s; severities: largest first; degraded: D, which of severity
    -1 leaves the image as it is, so that the last step arrives at the clean one.
    Source: Bansal et al. 2022 (Cold Diffusion), algorithm 2.
    """
    for s, to in pairwise([*severities, -1]):
        x0 = predict(x_t, s)
        x_t = x_t - degraded(x0, s) + degraded(x0, to)
        yield Step(s, x_t, x0)


def blended(x: Tensor, first: int) -> Degraded:
    """Blend the clean image with what was given, x, in the share s of the first severity.

    Source: Naval Marimont et al. 2023, section 2.3.
    """
    return lambda x0, s: x0 + (s + 1) / (first + 1) * (x - x0)


def consistency(model: Denoiser, x_t: Tensor, timesteps: Sequence[int], noise: Noise) -> Iterator[Step]:
    """Jump to the end of the walk, noise that to the next of the steps, and jump again: largest first.

    Source: Song et al. 2023, algorithm 1.
    """
    for s, to in pairwise([*timesteps, -1]):
        x0 = consistent(x_t, s, model.predict(x_t, s).x0, model.schedule)
        x_t = add_noise(x0, to, noise(), model.schedule) if to >= 0 else x0
        yield Step(s, x_t, x0)


def ddim_encode(model: Denoiser, x: Tensor, timesteps: Sequence[int], *, clamp: bool = False) -> Iterator[Step]:
    """Walk from the clean image up to the noise that DDIM (eta 0) would turn into it.

    timesteps: ascending; the model is asked at each but the last, where x already is taken to be.
    Source: Bercea et al. 2024 (survey), eq. 6.
    """
    for s, to in pairwise(timesteps):
        guess = model.predict(x, s, clamp=clamp)
        x = _move(guess, to, model.schedule)
        yield Step(s, x, guess.x0)


def heun(model: Denoiser, x_t: Tensor, timesteps: Sequence[int], *, clamp: bool = False) -> Iterator[Step]:
    """Walk the same ODE as DDIM (eta 0) with second-order steps: two evaluations each, one in the last.

    With y = x / sqrt(abar) and s = sqrt((1 - abar) / abar) the ODE is dy/ds = eps; this is Heun's rule for it.
    Source: Karras et al. 2022, algorithm 1; survey section 6.5.
    """
    for s, to in pairwise([*timesteps, -1]):
        guess = model.predict(x_t, s, clamp=clamp)
        moved = _move(guess, to, model.schedule)
        if to >= 0:
            next_guess = model.predict(moved, to, clamp=clamp)
            now, then = model.schedule.alpha_bar(s), model.schedule.alpha_bar(to)
            slope = (guess.eps + next_guess.eps) / 2
            step = math.sqrt((1 - then) / then) - math.sqrt((1 - now) / now)
            moved = math.sqrt(then) * (x_t / math.sqrt(now) + step * slope)
        x_t = moved
        yield Step(s, x_t, guess.x0)


def dpm_solver(model: Denoiser, x_t: Tensor, timesteps: Sequence[int], *, clamp: bool = False) -> Iterator[Step]:
    """Walk the same ODE with multistep steps of second order: DPM-Solver++(2M), one evaluation each.

    From the last two x0 that the model saw it goes on to the one in the middle of the step; the first step and the last
    one, to the clean image, are DDIM's. Source: Lu et al. 2022 (DPM-Solver++), algorithm 2.
    """
    seen: tuple[float, Tensor] | None = None
    for s, to in pairwise([*timesteps, -1]):
        x0 = model.predict(x_t, s, clamp=clamp).x0
        now, then = model.schedule.alpha_bar(s), model.schedule.alpha_bar(to)
        here, middle = _log_ratio(now), x0
        if seen is not None and to >= 0:
            before, x0_before = seen
            middle = x0 + (_log_ratio(then) - here) / (2 * (here - before)) * (x0 - x0_before)
        left = math.sqrt((1 - then) / (1 - now))
        x_t = left * x_t + (math.sqrt(then) - left * math.sqrt(now)) * middle
        seen = here, x0
        yield Step(s, x_t, x0)


def pndm(model: Denoiser, x_t: Tensor, timesteps: Sequence[int], *, clamp: bool = False) -> Iterator[Step]:
    """Walk by pseudo linear multistep: DDIM's steps, with eps extrapolated from the last four that the model saw.

    One evaluation a step: the first steps take the rules of order 1 to 3, where the paper's F-PNDM has a pseudo
    Runge-Kutta of four evaluations each, which is more than all of a short walk. The last step, to the clean image, is
    extrapolated, too: on Gaussian data that leaves a half to a fifth of the error. Source: Liu et al. 2022, eq. 12.
    """
    seen: list[Tensor] = []
    for s, to in pairwise([*timesteps, -1]):
        guess = model.predict(x_t, s, clamp=clamp)
        seen = [guess.eps, *seen[:3]]
        weights = MULTISTEP[len(seen)]
        eps = sum((weight * one for weight, one in zip(weights[1:], seen[1:], strict=True)), weights[0] * seen[0])
        x_t = _move(both(eps, "eps", x_t, s, model.schedule, clamp=clamp), to, model.schedule)
        yield Step(s, x_t, guess.x0)


def _log_ratio(abar: float) -> float:
    """Return the logarithm of signal over noise, which those steps are even in."""
    return math.log(abar / (1 - abar)) / 2
