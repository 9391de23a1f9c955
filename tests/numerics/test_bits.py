"""Bits with a network that knows which were flipped, or how likely: walks end in the truth, or in its distribution."""

import pytest
import torch

from uadtools.diffusion.bits import flip, unflip
from uadtools.diffusion.schedule import Schedule
from uadtools.diffusion.steps import spaced

SHAPE = (4, 6, 32, 32)


def noises(seed):
    drawn = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(SHAPE, generator=drawn, dtype=torch.float64)


def ones(share):
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(SHAPE, generator=generator, dtype=torch.float64) < share).double()


def end(walk):
    *_, last = walk
    return last.x_t


@pytest.mark.parametrize("t", [0, 1, 200, 999])
@pytest.mark.parametrize("kind", ["linear", "cosine", "quadratic"])
def test_who_knows_the_flips_comes_back_to_the_truth(kind, t):
    schedule, z0, noise = Schedule.of(kind), ones(0.4), noises(1)
    z_t = flip(z0, t, noise(), schedule)
    assert torch.equal(end(unflip(lambda z, s: (z - z0).abs(), z_t, range(t, -1, -1), schedule, noise)), z0)
    assert (z_t != z0).double().mean().item() == pytest.approx((1 - schedule.alpha_bar(t)) / 2, abs=0.02)


@pytest.mark.parametrize("steps", [1000, 50, 5])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_who_knows_how_likely_bits_are_keeps_their_share(kind, share, steps):
    """Independent bits, of which that share is 1: from nothing but noise the walk makes as many, in few steps as well.

    It is what the last evaluation believes, in the mean; taking the likelier bits of that is harmless after many steps.
    """
    schedule = Schedule.of(kind)

    def told(z_t, t):
        abar = schedule.alpha_bar(t)
        same = (1 + abar) / 2
        one = torch.where(z_t == 1, share * same, share * (1 - same))
        none = torch.where(z_t == 1, (1 - share) * (1 - same), (1 - share) * same)
        return (z_t - one / (one + none)).abs()

    *_, last = unflip(told, ones(0.5), spaced(999, steps), schedule, noises(2))
    made = last.x_t if steps == 1000 else last.x0_pred
    assert made.mean().item() == pytest.approx(share, abs=4 * (share * (1 - share) / made.numel()) ** 0.5)
