"""What a student learns of a walk without noise (DDIM): to take two steps in one, or to see its end from anywhere.

Steps are (B,) int64, one for each image; -1 is the clean image.
"""

from __future__ import annotations

from torch import Tensor

from uadtools.diffusion.process import Denoiser, Timesteps, add_noise, levels
from uadtools.diffusion.schedule import Schedule

DEVIATION = 0.05
"""At the level of noise of this deviation over the image's own, half of what a consistency model says is the image."""


def carried(model: Denoiser, x_t: Tensor, t: Tensor, to: Tensor) -> Tensor:
    """Take one step of the walk, from t to `to`. x_t: (B, C, H, W)."""
    guess = model.predict(x_t, t)
    return add_noise(guess.x0, to, guess.eps, model.schedule)


def halved(model: Denoiser, x_t: Tensor, t: Tensor, between: Tensor, to: Tensor) -> Tensor:
    """Return the x0 by which one step from t to `to` leads where the model's two steps by way of `between` lead.

    That is (x_to - r x_t) / (sqrt(abar_to) - r sqrt(abar_t)), with r = sqrt((1 - abar_to) / (1 - abar_t)).
    Source: Salimans & Ho 2022, algorithm 2 and appendix G.
    """
    there = carried(model, carried(model, x_t, t, between), between, to)
    signal, noise = levels(t, model.schedule, x_t)
    signal_there, noise_there = levels(to, model.schedule, x_t)
    left = noise_there / noise
    return (there - left * x_t) / (signal_there - left * signal)


def truncated_snr(t: Tensor, schedule: Schedule) -> Tensor:
    """Return what the loss of each image weighs, (B,): signal over noise, abar_t / (1 - abar_t), but at least 1.

    Source: Salimans & Ho 2022, section 4.
    """
    abar = schedule.alpha_bars(t)
    return (abar / (1 - abar)).clamp(min=1)


def consistent(x_t: Tensor, t: Timesteps, x0: Tensor, schedule: Schedule) -> Tensor:
    """Make a consistency model of a network that sees x0 behind x_t: c_skip x_t / sqrt(abar_t) + c_out x0.

    c_skip = d^2 / (d^2 + s^2) with s^2 = (1 - abar_t) / abar_t and d = DEVIATION, which is 1 for the clean image, t =
    -1, so that this is given back as it is. c_out = 1 - c_skip, where the paper has d s / sqrt(d^2 + s^2): its network
    is trained from other targets, and one that tells x0 is left nearly as it was.
    Source: Song et al. 2023, eq. 5 and appendix C.
    """
    signal, noise = levels(t, schedule, x_t)
    kept = DEVIATION**2 / (DEVIATION**2 + (noise / signal) ** 2)
    return kept * x_t / signal + (1 - kept) * x0
