"""Draws of masks by networks that know the distribution: mean and spread of many are those that theory has."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from uadtools.diffusion.schedule import Schedule
from uadtools.diffusion.steps import spaced
from uadtools.healing.heal import heal
from uadtools.models.model import load_model

DRAWS, STEPS = 150, 8
MEAN, DEVIATION, SHARE = 0.2, 0.15, 0.3
LINEAR = Schedule.of("linear")


class OfGaussian(nn.Module):
    """Knows that pixels are independent draws from N(MEAN, DEVIATION^2), in the units of [-1, 1]; tells x0."""

    def forward(self, x, t):
        abar = LINEAR.alpha_bar(int(t[0]))
        variance = abar * DEVIATION**2 + 1 - abar
        return MEAN + math.sqrt(abar) * DEVIATION**2 / variance * (x[:, -1:] - math.sqrt(abar) * MEAN)


class OfBits(nn.Module):
    """Knows that bits are independent, and SHARE of them are 1; tells flips."""

    def forward(self, x, t):
        flipped = chance_of_1(x[:, -1:] > 0, int(t[0]))
        flipped = torch.where(x[:, -1:] > 0, 1 - flipped, flipped)
        return torch.logit(flipped)


def chance_of_1(bit, t):
    """How likely z_0 is 1 where z_t is `bit`, by Bayes."""
    same = (1 + LINEAR.alpha_bar(t)) / 2
    one, none = torch.where(bit, SHARE * same, SHARE * (1 - same)), torch.where(bit, 1 - same, same) * (1 - SHARE)
    return one / (one + none)


def drawn(phantom, path, net, **how):
    model = replace(load_model(path, device="cpu", precision="fp32"), net=net)
    made = heal(phantom, model, **{"samples": DRAWS, "steps": STEPS, "batch": 64, **how})
    brain = phantom.need("brain").data > 0
    return made.need("anomaly").data[brain], made.need("spread").data[brain]


def agree(mean, spread, of_mean, of_spread):
    """In the mean over pixels, within four deviations of that of so many draws, and in each within five and a half."""
    assert len(mean) > 500
    error = of_spread / math.sqrt(DRAWS)
    assert mean.mean() == pytest.approx(of_mean, abs=4 * error / math.sqrt(len(mean)))
    assert np.abs(mean - of_mean).max() < 5.5 * error
    assert np.sqrt((spread**2).mean()) == pytest.approx(of_spread * math.sqrt(1 - 1 / DRAWS), rel=0.02)
    assert spread.std() > 0


def carried(steps, eta=0.0, schedule=LINEAR, deviation=DEVIATION):
    """Mean and variance of what DDIM makes of pure noise with that network, worked out step by step.

    With v the variance of x_t, x0 and eps are the mean and (x_t - mean) times sqrt(abar) deviation^2 / v and
    sqrt(1 - abar) / v, so each step multiplies what x_t is beyond its mean.
    """
    top = schedule.alpha_bar(spaced(999, steps)[0])
    offset, variance = -math.sqrt(top) * MEAN, 1.0
    for s, to in pairwise([*spaced(999, steps), -1]):
        now, then = schedule.alpha_bar(s), schedule.alpha_bar(to)
        sigma = eta * math.sqrt((1 - then) / (1 - now) * (1 - now / then))
        of_x0, of_eps = math.sqrt(now) * deviation**2, math.sqrt(1 - now)
        kept = (math.sqrt(then) * of_x0 + math.sqrt(1 - then - sigma**2) * of_eps) / (now * deviation**2 + 1 - now)
        offset, variance = kept * offset, kept**2 * variance + sigma**2
    return MEAN + offset, variance


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_draws_of_a_gaussian_have_the_mean_and_the_deviation_that_so_many_steps_leave(phantom, mask_models, eta):
    mean, variance = carried(STEPS, eta)
    made = drawn(phantom, mask_models["segment"], OfGaussian(), eta=eta)
    agree(*made, (mean + 1) / 2, math.sqrt(variance) / 2)


def test_draws_of_many_steps_have_those_of_the_data(phantom, mask_models):
    mean, spread = drawn(phantom, mask_models["segment"], OfGaussian(), steps=250, samples=24)
    assert mean.mean() == pytest.approx((MEAN + 1) / 2, abs=1e-3)
    assert np.sqrt((spread**2).mean() * 24 / 23) == pytest.approx(DEVIATION / 2, rel=0.06)


@pytest.mark.parametrize(
    ("kind", "steps", "narrow", "wide"),
    [("linear", 20, 0.62, 0.86), ("cosine", 20, 0.79, 0.92), ("cosine", 100, 0.95, 0.98), ("linear", 1000, 0.99, 1)],
)
def test_what_few_steps_leave_of_a_deviation(kind, steps, narrow, wide):
    for deviation, share in ((0.15, narrow), (0.5, wide)):
        mean, variance = carried(steps, schedule=Schedule.of(kind), deviation=deviation)
        assert math.sqrt(variance) / deviation == pytest.approx(share, abs=0.005)
        assert mean == pytest.approx(MEAN, abs=2e-3)


def test_draws_of_bits_have_their_share_and_the_deviation_of_what_is_known_at_the_last_step(phantom, mask_models):
    last = spaced(999, STEPS)[-1]
    one, none = (float(chance_of_1(torch.tensor(bit), last)) for bit in (True, False))
    share = (1 - LINEAR.alpha_bar(last)) / 2 + LINEAR.alpha_bar(last) * SHARE
    assert share * one + (1 - share) * none == pytest.approx(SHARE)
    made = drawn(phantom, mask_models["bernoulli"], OfBits())
    agree(*made, SHARE, (one - none) * math.sqrt(share * (1 - share)))
