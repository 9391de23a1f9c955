"""Guidance: what a gradient and a class do to a prediction, by hand, and that none of it does nothing."""

import math

import pytest
import torch

from uadtools.diffusion.guidance import ClassifierFree, GradientGuided, clamped, scaled_back
from uadtools.diffusion.process import ConditionedDenoiser, both
from uadtools.diffusion.samplers import ddim
from uadtools.diffusion.schedule import Schedule
from uadtools.interface.healing import end

SHAPE = (2, 1, 4, 3)
LINEAR = Schedule.of("linear")


def drawn(seed, scale=1.0):
    return scale * torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Told:
    """A denoiser that sees a tenth of what it is shown, and its code on top."""

    def __init__(self, target="x0"):
        self.schedule, self.target = LINEAR, target

    def predict(self, x_t, t, *, clamp=False, code=None):
        seen = x_t / 10 + (0 if code is None else code.view(-1, 1, 1, 1))
        return both(seen, self.target, x_t, t, self.schedule, clamp=clamp)


def code(value):
    return torch.full((2, 1), value, dtype=torch.float64)


@pytest.mark.parametrize("clamp", [False, True])
@pytest.mark.parametrize("target", ["x0", "eps"])
def test_guidance_of_0_is_no_guidance(target, clamp):
    model, x_t = Told(target), drawn(0, 3.0)
    plain, led = model.predict(x_t, 300, clamp=clamp), GradientGuided(model, lambda x, t: drawn(1), 0.0)
    free = ClassifierFree(model, code(0.4), code(0.0), 0.0)
    for made in (led.predict(x_t, 300, clamp=clamp), free.predict(x_t, 300, clamp=clamp)):
        assert torch.equal(made.x0, plain.x0)
        assert torch.equal(made.eps, plain.eps)


@pytest.mark.parametrize("target", ["x0", "eps"])
@pytest.mark.parametrize("t", [300, torch.tensor([40, 700])])
def test_a_gradient_moves_eps_by_its_scale_and_the_noise(target, t):
    x_t, gradient = drawn(0), drawn(1)
    abar = torch.tensor([LINEAR.alpha_bar(int(s)) for s in torch.as_tensor(t).expand(2)]).view(2, 1, 1, 1)
    plain = Told(target).predict(x_t, t)
    made = GradientGuided(Told(target), lambda x, s: gradient, 7.0).predict(x_t, t)
    torch.testing.assert_close(made.eps, plain.eps - 7 * (1 - abar).sqrt() * gradient, rtol=0, atol=1e-5)
    torch.testing.assert_close(abar.sqrt() * made.x0 + (1 - abar).sqrt() * made.eps, x_t, rtol=0, atol=1e-5)


def test_x0_is_limited_after_it_was_led():
    made = GradientGuided(Told(), lambda x, t: torch.ones_like(x), 1e3).predict(drawn(0), 300, clamp=True)
    assert (made.x0 == 1).all()
    low = GradientGuided(Told(), lambda x, t: -torch.ones_like(x), 1e3).predict(drawn(0), 300, clamp=True)
    assert (low.x0 == -1).all()


@pytest.mark.parametrize(("scale", "expected"), [(0.0, 0.0), (1.0, 0.3), (3.0, 0.9)])
def test_a_class_leads_as_far_as_its_scale_says(scale, expected):
    x_t = drawn(0)
    led, plain = ClassifierFree(Told(), code(0.3), code(0.0), scale).both(x_t, 300)
    torch.testing.assert_close(plain.x0, x_t / 10, rtol=0, atol=1e-12)
    torch.testing.assert_close(led.x0, x_t / 10 + expected, rtol=0, atol=1e-12)
    abar = LINEAR.alpha_bar(300)
    torch.testing.assert_close(math.sqrt(abar) * led.x0 + math.sqrt(1 - abar) * led.eps, x_t, rtol=0, atol=1e-12)


def test_a_walk_with_a_scale_of_1_is_that_of_the_class():
    walks = [ClassifierFree(Told(), code(0.3), code(0.0), 1.0), ConditionedDenoiser(Told(), code(0.3))]
    made = [end(ddim(model, drawn(0), [300, 200, 100], lambda: 0, clamp=True)) for model in walks]
    torch.testing.assert_close(*made, rtol=0, atol=1e-9)


def test_intensities_above_the_quantile_are_cut_and_scaled_back_and_what_is_empty_stays():
    intensity = torch.linspace(0, 2, 101, dtype=torch.float64).view(1, 1, 101, 1)
    x0 = torch.cat([2 * intensity - 1, intensity - 1])  # up to 2, and up to 1
    made = (scaled_back(x0, 0.9) + 1) / 2
    torch.testing.assert_close(made[0], (intensity[0] / 1.8).clamp(max=1), rtol=0, atol=1e-9)
    torch.testing.assert_close(made[1], intensity[0] / 2, rtol=0, atol=1e-9)
    assert made[:, :, 0].abs().max() == 0
    dark = torch.full((1, 1, 2, 2), -3.0)
    assert torch.equal(scaled_back(dark, 0.5), torch.full_like(dark, -1))
    assert torch.equal(clamped(x0), x0.clamp(-1, 1))
