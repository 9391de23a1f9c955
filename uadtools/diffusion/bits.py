"""Diffusion of bits: each is flipped now and then, and walks back by how likely it is that it was.

Bits are zeros and ones in float32, (B, D, h, w). Source: Sohl-Dickstein et al. 2015; Wolleb et al. 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from torch import Tensor, where
from torch.special import ndtr

from uadtools.diffusion.process import Timesteps
from uadtools.diffusion.samplers import Noise, Step
from uadtools.diffusion.schedule import Schedule

Told = Callable[[Tensor, int], Tensor]
"""told(z_t, t): the probability that each bit of z_t is another one than in z_0."""


def flip(z0: Tensor, t: Timesteps, eps: Tensor, schedule: Schedule) -> Tensor:
    """Flip each bit with probability (1 - abar_t) / 2, so that z_t ~ Bernoulli(abar_t z_0 + (1 - abar_t) / 2).

    t: one step for all, or (B,) int64; eps: standard normal, shaped like z0, of which those in the lower tail flip.
    """
    if isinstance(t, int):
        rate: float | Tensor = (1 - schedule.alpha_bar(t)) / 2
    else:
        rate = (1 - schedule.alpha_bars(t).view(-1, *[1] * (z0.ndim - 1))) / 2
    return where(ndtr(eps) < rate, 1 - z0, z0)


def posterior(z_t: Tensor, z0: Tensor, t: int, to: int, schedule: Schedule) -> Tensor:
    """Return the probability that z_to is 1, given z_t of a later step and how likely each bit of z_0 is 1.

    It is q(z_t | z_to) q(z_to | z_0) over the sum of that for both z_to, averaged over z_0; at to = -1 it is z0. Wolleb
    et al.'s program puts the probabilities into the formula for bits, which counts z_t twice; for bits both are the
    same.
    """
    before = schedule.alpha_bar(to)
    kept = schedule.alpha_bar(t) / before
    if_1, if_0 = (kept * bit + (1 - kept) / 2 for bit in (z_t, 1 - z_t))  # q(z_t | z_to)

    def of(bit: int) -> Tensor:
        one, none = (before * side + (1 - before) / 2 for side in (bit, 1 - bit))  # q(z_to | z_0)
        return if_1 * one / (if_1 * one + if_0 * none)

    return z0 * of(1) + (1 - z0) * of(0)


def unflip(
    told: Told,
    z_t: Tensor,
    timesteps: Sequence[int],
    schedule: Schedule,
    noise: Noise,
    *,
    keep: Callable[[Tensor, Tensor], Tensor] = lambda z0, flips: z0,
) -> Iterator[Step]:
    """Walk back over the given steps, largest first, then to the bits without flips, of which it takes the likelier.

    keep(z0, flips): puts back what is known of z_0 into what is believed of it, both as probabilities. noise: standard
    normal, a draw for each step but the last.
    """
    for s, to in pairwise([*timesteps, -1]):
        flips = told(z_t, s)
        z0 = keep((z_t - flips).abs(), flips)
        z_t = (ndtr(noise()) < posterior(z_t, z0, s, to, schedule)).to(z0) if to >= 0 else (z0 > 0.5).to(z0)
        yield Step(s, z_t, z0)
