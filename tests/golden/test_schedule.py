"""Schedules against guided-diffusion, pDDPM and MONAI (golden/data/02_schedules.npz)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from uadtools.diffusion.schedule import Schedule, betas

KINDS = ["linear", "cosine"]
DOUBLE = {"rtol": 0, "atol": 1e-12}
SINGLE = {"rtol": 2e-6, "atol": 2e-6}


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "data" / "02_schedules.npz", allow_pickle=False) as file:
        return dict(file)


def posteriors(schedule):
    return np.array([schedule.posterior(t) for t in range(schedule.steps)])


@pytest.mark.parametrize("kind", KINDS)
def test_betas(golden, kind):
    np.testing.assert_allclose(betas(kind, 1000), golden[f"guided_{kind}_betas"], **DOUBLE)
    np.testing.assert_allclose(betas(kind, 50), golden[f"guided_{kind}_T50_betas"], **DOUBLE)
    np.testing.assert_allclose(betas(kind, 1000), golden[f"pddpm_{kind}_betas"], **DOUBLE)


@pytest.mark.parametrize("kind", KINDS)
def test_alphas_cumprod(golden, kind):
    schedule = Schedule.of(kind)
    np.testing.assert_allclose(schedule.alphas_cumprod, golden[f"guided_{kind}_alphas_cumprod"], **DOUBLE)
    before = [schedule.alpha_bar(t - 1) for t in range(1000)]
    np.testing.assert_allclose(before, golden[f"guided_{kind}_alphas_cumprod_prev"], **DOUBLE)
    np.testing.assert_array_equal(
        schedule.alpha_bars(torch.arange(1000)).ravel(), golden[f"guided_{kind}_alphas_cumprod"].astype(np.float32)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_posterior(golden, kind):
    x0_weight, x_t_weight, variance = posteriors(Schedule.of(kind)).T
    np.testing.assert_allclose(x0_weight, golden[f"guided_{kind}_posterior_mean_coef1"], **DOUBLE)
    np.testing.assert_allclose(x_t_weight, golden[f"guided_{kind}_posterior_mean_coef2"], **DOUBLE)
    np.testing.assert_allclose(variance, golden[f"guided_{kind}_posterior_variance"], **DOUBLE)


@pytest.mark.parametrize("kind", KINDS)
def test_large_variance(golden, kind):
    schedule = Schedule.of(kind)
    made = [schedule.large_variance(t) for t in range(1000)]
    np.testing.assert_allclose(made, golden[f"guided_{kind}_fixedlarge_variance"], **DOUBLE)


def test_pddpm_runs_the_cosine_schedule(golden):
    """Its code's default; the papers say linear, and at their t = 500 the two differ by a factor of six."""
    cosine, linear = Schedule.of("cosine"), Schedule.of("linear")
    x0_weight, x_t_weight, variance = posteriors(cosine).T
    for name, made in [
        ("betas", cosine.betas),
        ("alphas_cumprod", cosine.alphas_cumprod),
        ("sqrt_alphas_cumprod", np.sqrt(cosine.alphas_cumprod)),
        ("sqrt_one_minus_alphas_cumprod", np.sqrt(1 - cosine.alphas_cumprod)),
        ("posterior_mean_coef1", x0_weight),
        ("posterior_mean_coef2", x_t_weight),
        ("posterior_variance", variance),
    ]:
        np.testing.assert_allclose(made, golden[f"pddpm_default_buffer_{name}"], rtol=0, atol=1e-7, err_msg=name)
    assert cosine.alpha_bar(499) == pytest.approx(0.494, abs=5e-4)
    assert linear.alpha_bar(499) == pytest.approx(0.079, abs=5e-4)


def test_monai_linear(golden):
    schedule = Schedule.of("linear")
    np.testing.assert_allclose(schedule.betas, golden["monai_linear_beta_betas"], **SINGLE)
    np.testing.assert_allclose(schedule.alphas_cumprod, golden["monai_linear_beta_alphas_cumprod"], **SINGLE)
