"""Noising, and the algebra of x0, x_t and eps, against AnoDDPM and pDDPM (golden/data/03_q_p_terms.npz)."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from uadtools.diffusion.process import add_noise, both, eps_from_x0, x0_from_eps
from uadtools.diffusion.samplers import ddpm
from uadtools.diffusion.schedule import Schedule

LINEAR, COSINE = Schedule.of("linear"), Schedule.of("cosine")
STEP = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "data" / "03_q_p_terms.npz", allow_pickle=False) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def each(golden, *names):
    """Items of the batch one by one, as (t, name's item, ...)."""
    for i, t in enumerate(golden["t"].tolist()):
        yield t, *(golden[name][i : i + 1] for name in names)


def test_add_noise_to_a_batch_of_steps(golden):
    made = add_noise(golden["x0"], golden["t"], golden["noise"], LINEAR)
    np.testing.assert_allclose(made, golden["ano_q_sample"], **STEP)


def test_add_noise_to_one_step(golden):
    for t, x0, eps, expected in each(golden, "x0", "noise", "ano_q_sample"):
        np.testing.assert_allclose(add_noise(x0, t, eps, LINEAR), expected, rtol=0, atol=1e-6)


def test_one_step_from_x0_is_another_thing_than_noise_up_to_t(golden):
    for t, x0, eps, expected in each(golden, "x0", "noise", "ano_q_sample_gradual_from_x0"):
        step = Schedule(LINEAR.betas[t : t + 1])
        np.testing.assert_allclose(add_noise(x0, 0, eps, step), expected, rtol=0, atol=1e-6)


def test_moments_of_the_forward_process(golden):
    for t, x0, mean, log_variance in each(golden, "x0", "ano_q_mean", "ano_q_logvar"):
        np.testing.assert_allclose(add_noise(x0, t, torch.zeros_like(x0), LINEAR), mean, rtol=0, atol=1e-6)
        spread = add_noise(torch.zeros_like(x0), t, torch.ones_like(x0), LINEAR)
        np.testing.assert_allclose(spread**2, log_variance.exp(), **STEP)


def test_x0_from_eps(golden):
    """At t = 999 x0 is x_t times 157, so rounding in x_t counts that much more."""
    for t, x_t, eps, expected in each(golden, "ano_q_sample", "model_eps", "ano_pred_x0_unclipped"):
        atol = 1e-5 if t < 999 else 1e-4
        np.testing.assert_allclose(x0_from_eps(x_t, t, eps, LINEAR), expected, rtol=0, atol=atol)


def test_eps_from_x0(golden):
    for t, x_t, x0, expected in each(golden, "ano_q_sample", "x0", "ano_pred_eps_from_x0"):
        atol = 1e-5 if t > 0 else 1e-4  # divided by sqrt(1 - abar_0) = 0.01
        np.testing.assert_allclose(eps_from_x0(x_t, t, x0, LINEAR), expected, rtol=0, atol=atol)


def test_posterior_mean_and_variance(golden):
    for t, x_t, x0, mean, log_variance in each(golden, "ano_q_sample", "x0", "ano_qpost_mean", "ano_qpost_logvar"):
        posterior = LINEAR.posterior(t)
        np.testing.assert_allclose(posterior.x0_weight * x0 + posterior.x_t_weight * x_t, mean, **STEP)
        if t > 0:
            np.testing.assert_allclose(np.log(posterior.variance), log_variance, **STEP)


def test_a_clamped_reverse_step(golden):
    for t, x_t, eps, x0, mean, variance in each(
        golden, "ano_q_sample", "model_eps", "ano_p_pred_x_0", "ano_p_mean", "ano_p_variance"
    ):
        made = both(eps, "eps", x_t, t, LINEAR, clamp=True)
        np.testing.assert_allclose(made.x0, x0, **STEP)
        posterior = LINEAR.posterior(t)
        np.testing.assert_allclose(posterior.x0_weight * made.x0 + posterior.x_t_weight * x_t, mean, **STEP)
        np.testing.assert_allclose(variance, LINEAR.large_variance(t), rtol=1e-6, atol=0)


def test_the_reverse_step_as_the_sampler_takes_it(golden):
    class Answers:
        schedule = LINEAR

        def __init__(self, eps):
            self.eps = eps

        def predict(self, x_t, t, *, clamp=False):
            return both(self.eps, "eps", x_t, t, LINEAR, clamp=clamp)

    for t, x_t, eps, mean in each(golden, "ano_q_sample", "model_eps", "ano_p_mean"):
        step = next(ddpm(Answers(eps), x_t, t, lambda: torch.zeros(1, 1, 8, 8), clamp=True))
        np.testing.assert_allclose(step.x_t, mean, **STEP)


def test_pddpm_full_image_in_one_evaluation(golden):
    """pDDPM: noise to t = 499 on the cosine schedule, and take the output for x0."""
    x0, eps = 2 * golden["pddpm_in01"][:1] - 1, golden["noise"][:1]
    x_t = add_noise(x0, 499, eps, COSINE)
    made = both(0.8 * x_t + 0.05, "x0", x_t, 499, COSINE)
    np.testing.assert_allclose((made.x0 + 1) / 2, golden["pddpm_full_reco01"], **STEP)
    np.testing.assert_allclose((made.x0 - x0).abs().mean(), golden["pddpm_full_loss"], **STEP)
    np.testing.assert_allclose(add_noise(made.x0, 499, made.eps, COSINE), x_t, **STEP)


def test_pddpm_inpaints_a_box(golden):
    """Only the box is noised and made anew; the loss is a mean over the whole image."""
    x0, eps = 2 * golden["pddpm_in01"][:1] - 1, golden["noise"][:1]
    left, top, right, bottom = golden["pddpm_box_xyxy"][0].tolist()
    box = torch.zeros_like(x0, dtype=torch.bool)
    box[..., top:bottom, left:right] = True
    x_t = torch.where(box, add_noise(x0, 499, eps, COSINE), x0)
    made = torch.where(box, 0.8 * x_t + 0.05, x0)
    np.testing.assert_allclose((made + 1) / 2, golden["pddpm_inpaint_reco01"], **STEP)
    np.testing.assert_allclose((made - x0).abs().mean(), golden["pddpm_inpaint_loss"], **STEP)


def test_pddpm_noise_prediction_leaves_out_a_division(golden):
    """Its x0 from eps is x_t - sqrt(1 - abar) eps, which is sqrt(abar) times the right one."""
    for t, x_t, eps, wrong in each(golden, "ano_q_sample", "model_eps", "pddpm_prednoise_reco_no_division"):
        made = x0_from_eps(x_t, t, eps, LINEAR)
        np.testing.assert_allclose(made * math.sqrt(LINEAR.alpha_bar(t)), wrong, **STEP)
        if t > 0:
            assert (made - wrong).abs().max() > 0.05


def test_pddpm_noise_prediction_as_published_is_told_from_the_right_one(golden):
    x0, eps = 2 * golden["pddpm_in01"][:1] - 1, golden["noise"][:1]
    x_t = add_noise(x0, 499, eps, COSINE)
    output = 0.8 * x_t + 0.05
    made = both(output, "eps", x_t, 499, COSINE)
    np.testing.assert_allclose((output - eps).abs().mean(), golden["pddpm_prednoise_loss"], **STEP)
    published = 2 * golden["pddpm_prednoise_reco01"] - 1
    np.testing.assert_allclose(made.x0 * math.sqrt(COSINE.alpha_bar(499)), published, **STEP)
    assert (made.x0 - published).abs().max() > 0.1
