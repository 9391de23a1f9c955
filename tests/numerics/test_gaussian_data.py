"""Gaussian data with the exact denoiser: every walk ends in the data's own mean and variance."""

import pytest
import torch
from oracles import Gaussian

from uadtools.diffusion.samplers import ddim, ddim_encode, ddpm, dpm_solver, heun, pndm
from uadtools.diffusion.schedule import Schedule
from uadtools.diffusion.steps import spaced

COUNT = (64, 1, 16, 16)


def standard(seed, *, exact=False):
    """Draws of N(0, 1); exact: with a mean of exactly 0 and a variance of exactly 1."""
    x = torch.randn(COUNT, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (x - x.mean()) / x.std() if exact else x


def noises():
    drawn = torch.Generator().manual_seed(1)
    return lambda: torch.randn(COUNT, generator=drawn, dtype=torch.float64)


def start(model, t, *, exact=True):
    mean, deviation = model.level(t)
    return mean + deviation * standard(0, exact=exact)


def end(walk):
    *_, last = walk
    return last.x_t


def never():
    raise AssertionError("this walk draws no noise")


@pytest.fixture(params=["linear", "cosine"])
def model(request):
    return Gaussian(Schedule.of(request.param))


@pytest.mark.parametrize("variance", ["small", "large"])
def test_ddpm_keeps_mean_and_variance(model, variance):
    x = end(ddpm(model, start(model, 999), 999, noises(), variance=variance))
    assert x.mean().item() == pytest.approx(model.mean, abs=4 * model.deviation / 128)  # 128: root of the count
    assert x.std().item() == pytest.approx(model.deviation, rel=0.05)


def test_ddim_with_noise_keeps_mean_and_variance(model):
    x = end(ddim(model, start(model, 999), spaced(999, 250), noises(), eta=1.0))
    assert x.mean().item() == pytest.approx(model.mean, abs=4 * model.deviation / 128)
    assert x.std().item() == pytest.approx(model.deviation, rel=0.05)


def test_ddim_keeps_mean_and_variance(model):
    x = end(ddim(model, start(model, 999), spaced(999, 250), never))
    assert x.mean().item() == pytest.approx(model.mean, abs=1e-9)
    assert x.std().item() == pytest.approx(model.deviation, rel=0.02)


@pytest.mark.parametrize("walk", [heun, dpm_solver, pndm])
def test_second_order_keeps_mean_and_variance(model, walk):
    x = end(walk(model, start(model, 999), spaced(999, 100)))
    assert x.mean().item() == pytest.approx(model.mean, abs=1e-9)
    assert x.std().item() == pytest.approx(model.deviation, rel=0.02)


@pytest.mark.parametrize("steps", [10, 20, 40])
@pytest.mark.parametrize("walk", [heun, dpm_solver, pndm])
def test_second_order_is_nearer_to_the_exact_solution_than_ddim(model, steps, walk):
    x_t = start(model, 500)
    exact = model.carried(x_t, 500, -1)
    of_ddim = (end(ddim(model, x_t, spaced(500, steps), never)) - exact).abs().max()
    of_second = (end(walk(model, x_t, spaced(500, steps))) - exact).abs().max()
    assert of_second < of_ddim / 2


@pytest.mark.parametrize("walk", [heun, dpm_solver, pndm])
def test_heun_dpm_and_pndm_are_of_second_order_and_ddim_of_first(walk):
    """Half the step leaves half of DDIM's error and a quarter of theirs (without the last step, Euler's in all)."""
    model = Gaussian(Schedule.of("linear"))
    x_t = start(model, 800)
    ways = [list(range(800, 99, -gap)) for gap in (100, 50, 25)]
    exact = model.carried(x_t, 800, 100)

    def errors(walks):
        ended = [list(walk)[-2].x_t for walk in walks]  # the last one goes on from 100 to the clean image
        return [(x - exact).abs().max().item() for x in ended]

    of_ddim = errors(ddim(model, x_t, way, never) for way in ways)
    of_second = errors(walk(model, x_t, way) for way in ways)
    assert 1.5 < of_ddim[0] / of_ddim[1] < 3
    assert 1.7 < of_ddim[1] / of_ddim[2] < 2.5
    assert of_second[0] / of_second[1] > 3
    assert of_second[1] / of_second[2] > 3.3


def test_encoding_nears_the_exact_solution_as_steps_grow(model):
    x0 = start(model, 0)
    exact = model.carried(x0, 0, 500)
    errors = [(end(ddim_encode(model, x0, range(0, 501, gap))) - exact).abs().max().item() for gap in (50, 10, 2)]
    assert errors[1] < errors[0] / 3
    assert errors[2] < errors[1] / 3
    assert errors[2] < 0.03
