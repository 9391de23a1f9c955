"""Diffusion of bits against its formulas, with numbers worked out by hand and by going through both values."""

from itertools import product

import numpy as np
import pytest
import torch

from uadtools.diffusion.bits import flip, posterior, unflip
from uadtools.diffusion.schedule import Schedule

SMALL = Schedule(np.array([0.2, 0.5]))


def bits(*values):
    return torch.tensor(values, dtype=torch.float64)


def spread(count=10_001):
    """Standard normal numbers of which every share that lies in a tail is in it."""
    return torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count)


@pytest.mark.parametrize(("t", "rate"), [(0, 0.1), (1, 0.3)])
@pytest.mark.parametrize("bit", [0, 1])
def test_as_many_bits_are_flipped_as_the_schedule_says(bit, t, rate):
    """By hand: abar is .8 and .4, half of the rest flips."""
    z0 = torch.full((10_001,), float(bit), dtype=torch.float64)
    assert (flip(z0, t, spread(), SMALL) != z0).double().mean() == pytest.approx(rate, abs=1e-4)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_steps_one_by_one_flip_as_many_as_one_leap(kind):
    """By the products of what a single step makes of 0 and 1."""
    schedule, chain = Schedule.of(kind), np.eye(2)
    for t, beta in enumerate(schedule.betas):
        chain = chain @ np.array([[1 - beta / 2, beta / 2], [beta / 2, 1 - beta / 2]])
        if t in (0, 200, 999):
            z0 = torch.zeros(10_001, dtype=torch.float64)
            made = flip(z0, t, spread(), schedule).mean()
            assert made == pytest.approx(chain[0, 1], abs=1e-4)


def test_each_slice_has_a_step_of_its_own():
    eps = spread().repeat(3, 2, 1)[..., None]
    z0 = torch.ones_like(eps)
    t = torch.tensor([0, 200, 999])
    schedule = Schedule.of("linear")
    together = flip(z0, t, eps, schedule)
    alone = torch.stack([flip(z0[i], int(s), eps[i], schedule) for i, s in enumerate(t)])
    assert (together != alone).double().mean() < 1e-4  # abar in 32 bits, or in 64
    assert together.mean(dim=(1, 2, 3)).tolist() == sorted(together.mean(dim=(1, 2, 3)).tolist(), reverse=True)


def test_the_posterior_worked_out_by_hand():
    """At t = 1, q(z_1 | z) is .75 for the same bit, q(z | z_0) is .9."""
    z_t, z0 = bits(1, 1, 0, 0), bits(1, 0, 1, 0)
    expected = bits(27 / 28, 1 / 4, 3 / 4, 1 / 28)
    torch.testing.assert_close(posterior(z_t, z0, 1, 0, SMALL), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("t", "to"), [(0, -1), (1, 0), (7, 6), (200, 199), (999, 998), (999, 700), (3, -1)])
@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_the_posterior_is_what_bayes_says_of_the_steps(kind, t, to):
    """Over several steps a bit is the same as it was with (1 + their product of 1 - beta) / 2."""
    schedule = Schedule.of(kind)
    beta, before = 1 - np.prod(1 - schedule.betas[to + 1 : t + 1]), schedule.alpha_bar(to)

    def same(stays, one, other):
        return stays if one == other else 1 - stays

    for z_t, z0 in product((0, 1), (0, 1)):
        joint = [same(1 - beta / 2, z_t, z) * same((1 + before) / 2, z, z0) for z in (0, 1)]
        made = posterior(bits(z_t), bits(z0), t, to, schedule)
        assert made.item() == pytest.approx(joint[1] / sum(joint), rel=1e-9, abs=1e-15)
        rough = posterior(bits(z_t).float(), bits(z0).float(), t, to, schedule)
        assert rough.item() == pytest.approx(made.item(), rel=1e-6)


def test_who_is_not_sure_of_a_bit_takes_the_mean_over_both():
    z_t = bits(0, 1)
    of_0, of_1 = (posterior(z_t, bits(z0, z0), 1, 0, SMALL) for z0 in (0, 1))
    made = posterior(z_t, bits(0.3, 0.3), 1, 0, SMALL)
    torch.testing.assert_close(made, 0.7 * of_0 + 0.3 * of_1, rtol=0, atol=1e-12)
    assert torch.equal(posterior(z_t, bits(0.3, 0.4), 0, -1, SMALL), bits(0.3, 0.4))  # no step is left


def test_every_step_is_asked_for_and_all_but_the_last_draw():
    """Steps towards 1 and 0 by what is drawn; the last takes the likelier bits."""
    asked, draws = [], iter([bits(-9, 9, 0)])

    def told(z_t, t):
        asked.append((t, z_t.tolist()))
        return bits(0.4, 0.4, 0.6)

    steps = list(unflip(told, bits(0, 1, 1), (1, 0), SMALL, lambda: next(draws)))
    assert [step.t for step in steps] == [1, 0]
    assert asked == [(1, [0, 1, 1]), (0, steps[0].x_t.tolist())]
    assert steps[0].x_t[:2].tolist() == [1, 0]
    torch.testing.assert_close(steps[0].x0_pred, bits(0.4, 0.6, 0.4), rtol=0, atol=1e-12)
    assert steps[1].x_t.tolist() == [1, 0, 1 - steps[0].x_t[2].item()]
