"""With a model that knows the truth, every sampler returns it."""

import math

import pytest
import torch
from oracles import Knows

from uadtools.diffusion.process import add_noise, both
from uadtools.diffusion.samplers import blended, cold, ddim, ddim_encode, ddpm, dpm_solver, heun, pndm, single
from uadtools.diffusion.schedule import Schedule
from uadtools.diffusion.steps import spaced

SHAPE = (3, 1, 6, 5)


def drawn(seed, scale=1.0):
    return scale * torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def noises(scale):
    seeds = iter(range(10_000, 20_000))
    return lambda: drawn(next(seeds), scale)


def never():
    raise AssertionError("this walk draws no noise")


SAMPLERS = {
    "single": lambda model, x: single(model, x, 499),
    "ddpm without noise": lambda model, x: ddpm(model, x, 499, noises(0.0)),
    "ddpm": lambda model, x: ddpm(model, x, 499, noises(1.0)),
    "ddpm, large": lambda model, x: ddpm(model, x, 499, noises(1.0), variance="large"),
    "ddpm, any noise": lambda model, x: ddpm(model, x, 499, noises(7.0)),
    "ddim": lambda model, x: ddim(model, x, spaced(499, 20), never),
    "ddim, one step": lambda model, x: ddim(model, x, spaced(499, 1), never),
    "ddim, eta 1": lambda model, x: ddim(model, x, spaced(499, 20), noises(1.0), eta=1.0),
    "ddim, every step": lambda model, x: ddim(model, x, spaced(499, 500), noises(1.0), eta=0.5),
    "heun": lambda model, x: heun(model, x, spaced(499, 20)),
    "dpm": lambda model, x: dpm_solver(model, x, spaced(499, 20)),
    "dpm, one step": lambda model, x: dpm_solver(model, x, spaced(499, 1)),
    "pndm": lambda model, x: pndm(model, x, spaced(499, 20)),
    "pndm, one step": lambda model, x: pndm(model, x, spaced(499, 1)),
    "heun, one step": lambda model, x: heun(model, x, spaced(499, 1)),
}


@pytest.mark.parametrize("clamp", [False, True])
@pytest.mark.parametrize("target", ["eps", "x0"])
@pytest.mark.parametrize("kind", ["linear", "cosine", "quadratic"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_the_truth_comes_back(name, kind, target, clamp, monkeypatch):
    schedule = Schedule.of(kind)
    x0 = drawn(0).clamp(-1, 1)
    model = Knows(x0, schedule, target)
    monkeypatch.setattr(model, "predict", lambda x, t, *, clamp=clamp: Knows.predict(model, x, t, clamp=clamp))
    *_, last = SAMPLERS[name](model, add_noise(x0, 499, drawn(1), schedule))
    torch.testing.assert_close(last.x_t, x0, rtol=0, atol=1e-10)
    torch.testing.assert_close(last.x0_pred, x0, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize("sampler", ["ddim", "dpm", "heun", "pndm"])
def test_walks_without_noise_keep_eps_on_every_level(sampler, kind):
    schedule, x0, eps = Schedule.of(kind), drawn(0), drawn(1)
    model, way = Knows(x0, schedule, "eps"), spaced(799, 13)
    x_t = add_noise(x0, 799, eps, schedule)
    plain = {"dpm": dpm_solver, "heun": heun, "pndm": pndm}
    walk = plain[sampler](model, x_t, way) if sampler in plain else ddim(model, x_t, way, never)
    for step, to in zip(walk, [*way[1:], -1], strict=True):
        torch.testing.assert_close(step.x_t, add_noise(x0, to, eps, schedule), rtol=0, atol=1e-10)


def test_pndm_extrapolates_eps_from_the_last_four():
    """A model that says another eps at every step: the walk moves with their Adams-Bashforth mean."""
    schedule, x0 = Schedule.of("linear"), drawn(0)
    way = [500, 400, 300, 200, 100]
    told = {t: drawn(i) for i, t in enumerate(way)}

    class Says:
        def predict(self, x_t, t, *, clamp=False):
            return both(told[t], "eps", x_t, t, schedule)

    model = Says()
    model.schedule = schedule
    weights = [[1], [1.5, -0.5], [23 / 12, -4 / 3, 5 / 12], *[[55 / 24, -59 / 24, 37 / 24, -3 / 8]] * 2]
    x = add_noise(x0, 500, drawn(9), schedule)
    for i, (step, to) in enumerate(zip(pndm(model, x, way), [*way[1:], -1], strict=True)):
        eps = sum(w * told[t] for w, t in zip(weights[i], way[i::-1], strict=False))
        now, then = schedule.alpha_bar(way[i]), schedule.alpha_bar(to)
        clean = (x - math.sqrt(1 - now) * eps) / math.sqrt(now)
        x = math.sqrt(then) * clean + math.sqrt(1 - then) * eps
        torch.testing.assert_close(step.x_t, x, rtol=0, atol=1e-10)


def test_encoding_keeps_eps_on_every_level():
    schedule, x0, eps = Schedule.of("linear"), drawn(0), drawn(1)
    way = [0, 10, 200, 450, 999]
    walk = ddim_encode(Knows(x0, schedule, "eps"), add_noise(x0, 0, eps, schedule), way)
    for step, to in zip(walk, way[1:], strict=True):
        torch.testing.assert_close(step.x_t, add_noise(x0, to, eps, schedule), rtol=0, atol=1e-9)


def test_ddim_with_eta_1_over_every_step_is_ddpm():
    schedule, x0 = Schedule.of("linear"), drawn(0)
    model, x_t = Knows(0.5 * x0, schedule, "x0"), add_noise(x0, 60, drawn(1), schedule)
    for one, other in zip(
        ddim(model, x_t, spaced(60, 61), noises(1.0), eta=1.0), ddpm(model, x_t, 60, noises(1.0)), strict=True
    ):
        torch.testing.assert_close(one.x_t, other.x_t, rtol=0, atol=1e-10)


def test_a_map_of_eta_walks_each_pixel_by_its_own():
    schedule, x0 = Schedule.of("linear"), drawn(0)
    model, x_t = Knows(0.5 * x0, schedule, "x0"), add_noise(x0, 60, drawn(1), schedule)
    ways = [ddim(model, x_t, spaced(60, 5), noises(1.0), eta=eta) for eta in (0.3, 1.0)]
    where = torch.arange(x_t[:, :1].numel()).view_as(x_t[:, :1]) % 2 == 0
    mixed = ddim(model, x_t, spaced(60, 5), noises(1.0), eta=1 - 0.7 * where.to(x_t))
    for made, some, full in zip(mixed, *ways, strict=True):
        torch.testing.assert_close(made.x_t, torch.where(where, some.x_t, full.x_t), rtol=0, atol=1e-10)


def test_large_variance_adds_more_noise():
    schedule, x0 = Schedule.of("linear"), torch.zeros(SHAPE, dtype=torch.float64)
    for t in (1, 5, 500):
        small, large = (
            next(ddpm(Knows(x0, schedule, "x0"), x0, t, lambda: torch.ones_like(x0), variance=v)).x_t.max().item()
            for v in ("small", "large")
        )
        assert small == pytest.approx(math.sqrt(schedule.posterior(t).variance), rel=1e-12)
        assert large == pytest.approx(math.sqrt(schedule.betas[t]), rel=1e-12)
        assert small < large


@pytest.mark.parametrize("steps", [1, 3, 10, 100])
def test_the_walk_of_cold_diffusion_arrives_at_the_truth_along_the_blends(steps):
    """Of the clean image and what was given, in the share of severities that are left."""
    clean, given = drawn(0), drawn(1)
    way, asked = spaced(99, steps), []

    def knows(x_t, s):
        blend = (s + 1) / 100
        torch.testing.assert_close(x_t, clean + blend * (given - clean), rtol=0, atol=1e-10)
        asked.append(s)
        return clean

    walk = list(cold(knows, given, way, blended(given, way[0])))
    assert asked == [step.t for step in walk] == way
    torch.testing.assert_close(walk[-1].x_t, clean, rtol=0, atol=1e-10)


def test_the_walk_of_cold_diffusion_weighs_what_it_is_told_by_its_steps():
    """A guess that changes on the way moves x by its own share of the severities alone."""
    given, guesses = drawn(0), {99: drawn(1), 49: drawn(2), 9: drawn(3)}
    *_, last = cold(lambda x_t, s: guesses[s], given, list(guesses), blended(given, 99))
    torch.testing.assert_close(last.x_t, 0.5 * guesses[99] + 0.4 * guesses[49] + 0.1 * guesses[9], rtol=0, atol=1e-10)


@pytest.mark.parametrize(("t", "steps"), [(0, 1), (9, 10), (250, 25), (999, 50), (999, 1000), (300, 7)])
def test_spaced_starts_at_t_and_never_repeats(t, steps):
    way = spaced(t, steps)
    assert way[0] == t
    assert len(way) == steps
    assert sorted(set(way), reverse=True) == way
    assert way[-1] >= 0
    gaps = [a - b for a, b in zip(way, [*way[1:], -1], strict=True)]
    assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize(("t", "steps"), [(0, 2), (9, 0), (9, 11), (9, -1)])
def test_spaced_refuses_what_cannot_be(t, steps):
    with pytest.raises(ValueError, match="steps, not"):
        spaced(t, steps)
