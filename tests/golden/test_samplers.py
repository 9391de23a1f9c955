"""Samplers against guided-diffusion, AnoDDPM and MONAI, step by step (golden/data/04_samplers.npz)."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from uadtools.diffusion.process import add_noise, both
from uadtools.diffusion.samplers import ddim, ddim_encode, ddpm
from uadtools.diffusion.schedule import Schedule

LINEAR = Schedule.of("linear")
STEP, TRAJECTORY = 1e-5, 1e-4
FORMULAS = {"fA": lambda x, t: 0.1 * x + 0.01 * t, "fB": lambda x, t: 0.9 * torch.sin(x) + 0.1 * t / 1000}
CLIPS = pytest.mark.parametrize("clip", [False, True])
MODELS = pytest.mark.parametrize("name", FORMULAS)


class Formula:
    """A formula in the place of a network that predicts eps."""

    schedule = LINEAR

    def __init__(self, name):
        self.formula = FORMULAS[name]

    def predict(self, x_t, t, *, clamp=False):
        return both(self.formula(x_t, t), "eps", x_t, t, LINEAR, clamp=clamp)


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "data" / "04_samplers.npz", allow_pickle=False) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def each(golden, *names):
    for i, t in enumerate(golden["t"].tolist()):
        yield t, *(golden[name][i : i + 1] for name in names)


def replayed(noises):
    return iter(noises).__next__


def never():
    raise AssertionError("this walk draws no noise")


def close(made, expected, atol):
    """Elementwise; x0 at t = 999 runs to several hundred when it is not clipped, where float32 ends at 1e-5 of it."""
    np.testing.assert_allclose(made, expected, rtol=1e-6, atol=atol)


@pytest.mark.parametrize("eta", [0, 1])
@CLIPS
@MODELS
def test_one_ddim_step(golden, name, clip, eta):
    key = f"ddim_step_{name}_clip{clip:d}_eta{eta}"
    for t, x_t, eps, expected, x0 in each(golden, "x", "noise", key, f"{key}_x0"):
        timesteps = [t, t - 1] if t > 0 else [0]
        step = next(ddim(Formula(name), x_t, timesteps, lambda eps=eps: eps, eta=eta, clamp=clip))
        assert step.t == t
        close(step.x0_pred, x0, STEP)
        close(step.x_t, expected, STEP)


@CLIPS
@MODELS
def test_one_ddim_step_upwards(golden, name, clip):
    model = Formula(name)
    for t, x_t, expected in each(golden, "x", f"ddim_reverse_{name}_clip{clip:d}"):
        if t == 999:  # published code goes on to abar = 0, where only eps is left; our chain ends at 999
            close(model.predict(x_t, t, clamp=clip).eps, expected, STEP)
            continue
        made = next(ddim_encode(model, x_t, [t, t + 1], clamp=clip)).x_t
        # eps of a clipped x0 is divided by sqrt(1 - abar_0) = 0.01, and the published step is in float32 all the way
        close(made, expected, STEP if t > 0 else 1e-4)


def test_a_clipped_ddim_step_upwards_in_double_precision(golden):
    """Where the published float32 step is off by 6e-5, ours is not."""
    x_t = golden["x"][:1].double()
    now, then = LINEAR.alphas_cumprod[:2]
    x0 = ((x_t - (1 - now) ** 0.5 * 0.1 * x_t) / now**0.5).clamp(-1, 1)
    eps = (x_t - now**0.5 * x0) / (1 - now) ** 0.5
    exact = then**0.5 * x0 + (1 - then) ** 0.5 * eps
    close(next(ddim_encode(Formula("fA"), golden["x"][:1], [0, 1], clamp=True)).x_t, exact, 1e-6)
    assert (golden["ddim_reverse_fA_clip1"][:1] - exact).abs().max() > 5e-5


@pytest.mark.parametrize("variance", ["small", "large"])
@CLIPS
@MODELS
def test_one_ddpm_step(golden, name, clip, variance):
    for t, x_t, eps, expected in each(golden, "x", "noise", f"ddpm_step_{name}_clip{clip:d}_var{variance}"):
        step = next(ddpm(Formula(name), x_t, t, lambda eps=eps: eps, clamp=clip, variance=variance))
        close(step.x_t, expected, STEP)


class Learned(Formula):
    """A formula that says where its variance lies between the two."""

    def __init__(self, name, share):
        super().__init__(name)
        self.share = share

    def predict(self, x_t, t, *, clamp=False):
        return super().predict(x_t, t, clamp=clamp)._replace(share=torch.full_like(x_t, self.share))


@pytest.mark.parametrize(("share", "variance"), [(0, "small"), (1, "large")])
@MODELS
def test_a_learned_variance_lies_between_the_two(golden, name, share, variance):
    for t, x_t, eps, expected in each(golden, "x", "noise", f"ddpm_step_{name}_clip0_var{variance}"):
        step = next(ddpm(Learned(name, share), x_t, t, lambda eps=eps: eps, variance="learned"))
        close(step.x_t, expected, STEP)


def test_half_way_a_learned_variance_is_the_geometric_mean(golden):
    x_t = golden["x"][:1]
    mean, made = (
        next(ddpm(Learned("fA", 0.5), x_t, 300, lambda e=e: e * torch.ones_like(x_t), variance="learned")).x_t
        for e in (0, 1)
    )
    small, large = LINEAR.posterior(300).variance, LINEAR.large_variance(300)
    close(made - mean, torch.full_like(x_t, (small * large) ** 0.25), 1e-6)


@pytest.mark.parametrize("variance", ["small", "large"])
def test_ddpm_in_a_thousand_steps(golden, variance):
    walk = ddpm(Formula("fB"), golden["traj_xT"], 999, replayed(golden["traj_noise"]), clamp=True, variance=variance)
    states = {step.t: step.x_t for step in walk}
    assert list(states) == list(range(999, -1, -1))
    made = torch.stack([states[t] for t in golden["traj_ddpm_keep_t_descending"].tolist()])
    close(made, golden[f"traj_ddpm1000_fB_var{variance}_clip1"], TRAJECTORY)


@pytest.mark.parametrize("eta", [0, 1])
def test_ddim_in_fifty_steps(golden, eta):
    timesteps = golden["ddim50_timestep_map"].tolist()[::-1]
    walk = ddim(Formula("fB"), golden["traj_xT"], timesteps, replayed(golden["traj_noise"]), eta=eta, clamp=True)
    made = torch.stack([step.x_t for step in walk])
    close(made, golden[f"traj_ddim50_fB_clip1_eta{eta}_all50"], TRAJECTORY)


def test_ddim_inversion_and_back(golden):
    timesteps, model = golden["ddim50_timestep_map"].tolist(), Formula("fB")
    up = [step.x_t for step in ddim_encode(model, golden["ddim50_inv_x0"], timesteps)]
    expected = golden["ddim50_inversion_fB_clip0_all50"]
    close(torch.stack(up), expected[:49], TRAJECTORY)
    top = model.predict(up[-1], timesteps[-1]).eps  # the published last step, to abar = 0
    close(top, expected[49], TRAJECTORY)
    down = torch.stack([step.x_t for step in ddim(model, expected[49], timesteps[::-1], never)])
    close(down, golden["ddim50_inversion_then_decode_fB_all50"], TRAJECTORY)


def test_anoddpm_heals_from_249(golden):
    x_t = add_noise(golden["ano_heal250_x0"], 249, golden["ano_heal250_forward_noise"], LINEAR)
    close(x_t, golden["ano_heal250_xt"], STEP)
    walk = ddpm(Formula("fB"), x_t, 249, replayed(golden["traj_noise"]), clamp=True, variance="large")
    states = {step.t: step.x_t for step in walk}
    made = torch.stack([states[t] for t in (200, 150, 100, 50, 0)])
    close(made, golden["ano_heal250_t_200_150_100_50_0"], TRAJECTORY)


@CLIPS
def test_monai_ddim_steps(golden, clip):
    """MONAI steps down by 20 from timesteps that lie 20 or 21 apart, and keeps the network's eps when it clips x0."""

    class KeepsEps(Formula):
        def predict(self, x_t, t, *, clamp=False):
            return super().predict(x_t, t)._replace(x0=super().predict(x_t, t, clamp=clamp).x0)

    states = [golden["traj_xT"], *golden[f"monai_ddim50_fB_clip{clip:d}_all50"]]
    for t, (x_t, expected) in zip(golden["monai_ddim50_timesteps"].tolist(), pairwise(states), strict=True):
        way = [t, t - 20] if t >= 20 else [t]
        close(next(ddim(KeepsEps("fB"), x_t, way, never, clamp=clip)).x_t, expected, STEP)


def test_monai_ddim_steps_upwards(golden):
    states = [golden["ddim50_inv_x0"], *golden["monai_ddim50_reversed_fB_all50"]]
    for t, (x, expected) in zip(golden["monai_ddim50_timesteps"].tolist()[:0:-1], pairwise(states), strict=True):
        close(next(ddim_encode(Formula("fB"), x, [t, t + 20])).x_t, expected, STEP)


@CLIPS
def test_monai_ddpm_steps(golden, clip):
    """MONAI's schedule is float32, in which 1 - abar_0 is off by 3e-4."""
    expected = golden[f"monai_ddpm_step_t999_500_249_1_0_fB_clip{clip:d}"]
    for made_for, eps, t in zip(expected, golden["traj_noise"], (999, 500, 249, 1, 0), strict=False):
        step = next(ddpm(Formula("fB"), golden["traj_xT"], t, lambda eps=eps: eps, clamp=clip))
        close(step.x_t, made_for, STEP if t > 1 else 5e-4)
