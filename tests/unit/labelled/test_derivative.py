"""Guidance by a derivative: networks whose derivative by what they are told of the class is known."""

import pytest
import torch

from uadtools.diffusion.process import ConditionedDenoiser, both
from uadtools.diffusion.schedule import Schedule
from uadtools.labelled import derivative
from uadtools.methods.encode import there_and_back
from uadtools.models.model import load_model
from uadtools.nets.classifier import HEALTHY, NONE, SICK

SHAPE = (3, 1, 8, 6)
HOW = {"t": 300, "steps": 10}
CODES = {HEALTHY: (1.0, 0.5), SICK: (0.0, -0.5), NONE: (0.1, 0.0)}


class Told:
    """A model that sees the scan behind all noise, less a curve of what it is told times the lesion."""

    def __init__(self, scan, lesion, curve=lambda told: told):
        self.schedule, self.scan, self.lesion, self.curve = Schedule.of("linear"), scan, lesion, curve
        self.net, self.asked = self, []

    def code(self, kind, count):
        return torch.tensor(CODES[kind], dtype=torch.float64).expand(count, 2)

    def predict(self, x_t, t, *, clamp=False, code=None):
        self.asked.append(t)
        x0 = self.scan - self.curve(code.mean(dim=1).view(-1, 1, 1, 1)) * self.lesion
        return both(x0, "x0", x_t, t, self.schedule, clamp=clamp)


@pytest.fixture
def scan():
    return torch.linspace(-0.2, 0.5, 144, dtype=torch.float64).view(SHAPE)


@pytest.fixture
def lesion():
    made = torch.zeros(SHAPE, dtype=torch.float64)
    made[:2, 0, 3:5, 2:4] = torch.tensor([0.1, 0.05]).view(2, 1, 1)
    return made


def test_without_guidance_it_is_the_walk_of_the_model_that_is_told_healthy(scan, lesion):
    model = Told(scan, lesion, torch.sin)
    up, back = (ConditionedDenoiser(model, model.code(kind, 3)) for kind in (NONE, HEALTHY))
    expected = there_and_back(up, back, scan, 300, 10, lambda: 1 / 0)
    made = derivative.heal(model, scan, derivative.Options(**HOW, guidance=0.0), lambda: 1 / 0).healed
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-6)
    assert (made - scan).abs().max() > 0.05


@pytest.mark.parametrize("difference", [0.01, 0.5, 1.0])
@pytest.mark.parametrize("guidance", [0.5, 3.0])
def test_of_a_network_that_is_linear_in_the_label_the_difference_is_the_derivative(scan, lesion, difference, guidance):
    """Told healthy it sees .75 lesions less; from sick to healthy that is 1 more, as -.25 are seen by one told sick."""
    model, x_t = Told(scan, lesion), 0.3 * scan
    seen = derivative.led(model, 3, guidance, difference).predict(x_t, 100)
    told = ConditionedDenoiser(model, model.code(HEALTHY, 3)).predict(x_t, 100)
    torch.testing.assert_close((seen.x0 - told.x0) / guidance, -lesion, rtol=0, atol=1e-6)
    signal, noise = (f(model.schedule.alpha_bar(100)) ** 0.5 for f in (lambda a: a, lambda a: 1 - a))
    torch.testing.assert_close((seen.eps - told.eps) / guidance, lesion * signal / noise, rtol=0, atol=1e-6)
    options = derivative.Options(**HOW, guidance=guidance, difference=difference)
    made = derivative.heal(model, scan, options, lambda: 1 / 0).healed
    torch.testing.assert_close(made, scan - (0.75 + guidance) * lesion, rtol=0, atol=1e-6)


def test_a_smaller_difference_is_nearer_to_the_derivative(scan, lesion):
    """Of exp(told), at .75; the error of a one-sided difference is as large as the difference."""
    model, exact = Told(scan, lesion, torch.exp), -lesion * torch.exp(torch.tensor(0.75))
    told = ConditionedDenoiser(model, model.code(HEALTHY, 3)).predict(scan, 100).x0
    errors = [
        (derivative.led(model, 3, 1.0, difference).predict(scan, 100).x0 - told - exact).abs().max().item()
        for difference in (0.2, 0.1, 0.05)
    ]
    assert 1.8 < errors[0] / errors[1] < 2.2
    assert 1.8 < errors[1] / errors[2] < 2.2


def test_x0_is_limited(scan, lesion):
    options = derivative.Options(**HOW, guidance=1e3)
    made = derivative.heal(Told(scan, lesion), scan, options, lambda: 1 / 0).healed
    assert made.min() == -1


@pytest.mark.parametrize(("t", "steps"), [(300, 10), (5, 6), (0, 1)])
def test_what_is_asked_is_what_is_said(t, steps, scan, lesion):
    model, options = Told(scan, lesion), derivative.Options(t=t, steps=steps)
    derivative.heal(model, scan, options, lambda: 1 / 0)
    assert len(model.asked) == options.evaluations(SHAPE[2:])


def test_a_slice_is_healed_alike_in_any_batch(weak_models):
    model = load_model(weak_models["cfg"], device="cpu", precision="fp32")
    x = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0)) - 0.5
    options = derivative.Options(t=60, steps=4)
    whole = derivative.heal(model, x, options, lambda: 1 / 0).healed
    for i in range(3):
        alone = derivative.heal(model, x[i : i + 1], options, lambda: 1 / 0).healed
        torch.testing.assert_close(alone, whole[i : i + 1], rtol=0, atol=1e-5)
