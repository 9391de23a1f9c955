"""There and back again."""

import pytest
import torch
from oracles import Gaussian

from uadtools.diffusion.process import add_noise, both, eps_from_x0, x0_from_eps
from uadtools.diffusion.samplers import ddim, ddim_encode
from uadtools.diffusion.schedule import Schedule

SHAPE = (4, 1, 8, 8)
TIMES = [0, 1, 250, 500, 900]


def drawn(seed, dtype=torch.float64):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture(params=["linear", "cosine"])
def schedule(request):
    return Schedule.of(request.param)


@pytest.mark.parametrize("t", TIMES)
def test_x0_to_eps_to_x0(schedule, t):
    x0, eps = drawn(0), drawn(1)
    x_t = add_noise(x0, t, eps, schedule)
    torch.testing.assert_close(x0_from_eps(x_t, t, eps, schedule), x0, rtol=0, atol=1e-10)
    torch.testing.assert_close(eps_from_x0(x_t, t, x0, schedule), eps, rtol=0, atol=1e-10)
    torch.testing.assert_close(x0_from_eps(x_t, t, eps_from_x0(x_t, t, x0, schedule), schedule), x0, rtol=0, atol=1e-10)


@pytest.mark.parametrize("clamp", [False, True])
@pytest.mark.parametrize("target", ["eps", "x0"])
@pytest.mark.parametrize("t", TIMES)
def test_both_answers_belong_together(schedule, target, t, clamp):
    x_t, output = drawn(0), drawn(1)
    made = both(output, target, x_t, t, schedule, clamp=clamp)
    torch.testing.assert_close(add_noise(made.x0, t, made.eps, schedule), x_t, rtol=0, atol=1e-9)
    if clamp:
        assert made.x0.abs().max() <= 1
    else:
        assert (made.x0 if target == "x0" else made.eps) is output


def test_a_batch_of_steps_is_each_step_by_itself(schedule):
    x0, eps, t = drawn(0, torch.float32), drawn(1, torch.float32), torch.tensor([0, 1, 250, 999])
    made = add_noise(x0, t, eps, schedule)
    for i, step in enumerate(t.tolist()):
        expected = add_noise(x0[i : i + 1], step, eps[i : i + 1], schedule)
        torch.testing.assert_close(made[i : i + 1], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("t", [-2, 1000])
def test_steps_outside_the_schedule_are_refused(schedule, t):
    with pytest.raises(ValueError, match="outside"):
        schedule.alpha_bar(t)


def test_encoding_and_back_returns_x0_as_steps_grow(schedule):
    model, x0 = Gaussian(schedule), 0.3 + 0.4 * drawn(0)

    def error(gap):
        way = list(range(0, 801, gap))
        *_, up = ddim_encode(model, x0, way)
        *_, down = ddim(model, up.x_t, way[::-1], drawn)
        return (down.x_t - x0).abs().max().item()

    errors = [error(gap) for gap in (100, 25, 5, 1)]
    assert errors[1] < errors[0] / 2
    assert errors[2] < errors[1] / 3
    assert errors[3] < errors[2] / 3
    assert errors[3] < 0.015
