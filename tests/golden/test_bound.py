"""The terms of the bound, as guided-diffusion, AnoDDPM and MONAI compute them (golden/data/05)."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from uadtools.diffusion.bound import bound_term
from uadtools.diffusion.process import add_noise, both
from uadtools.diffusion.schedule import Schedule

SCHEDULE = Schedule.of("linear")


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "data" / "05_vlb.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def term(golden, t, noise, **choices):
    """Their network that stood in was fB, which tells the noise."""
    x0 = torch.from_numpy(golden["x0"])
    x_t = add_noise(x0, t, torch.from_numpy(noise), SCHEDULE)
    guess = both(0.9 * x_t.sin() + 0.1 * t / 1000, "eps", x_t, t, SCHEDULE, clamp=choices.pop("clamp"))
    return bound_term(x0, guess.x0, t, SCHEDULE, **choices)


@pytest.mark.parametrize("t", [1, 2, 10, 50, 100, 250, 400, 599, 600])
@pytest.mark.parametrize("clip", [0, 1])
@pytest.mark.parametrize("variance", ["small", "large"])
def test_guided_diffusion(golden, variance, clip, t):
    """In bits, a mean over the elements."""
    made = term(golden, t, golden["noise_per_t_descending"][999 - t], clamp=bool(clip), variance=variance)
    bits = made.flatten(1).mean(dim=1) / math.log(2)
    np.testing.assert_allclose(bits, golden[f"guided_{variance}_clip{clip}_vb"][:, 999 - t], rtol=0, atol=1e-4)


def test_anoddpm(golden):
    made = [term(golden, t, golden["noise_per_t_descending"][999 - t], clamp=True, variance="large") for t in (10, 400)]
    bits = torch.stack(made).flatten(2).mean(dim=2).T / math.log(2)
    np.testing.assert_allclose(bits, golden["ano_vb"][:, [989, 599]], rtol=0, atol=1e-4)


@pytest.mark.parametrize("clip", [0, 1])
def test_maps_of_monai(golden, clip):
    """In nats, with one noise for all steps; below t = 10 its variance is not what it should be."""
    for t, expected in zip(golden["monai_map_t"], golden[f"monai_clip{clip}_kl_maps"], strict=True):
        if t >= 10:
            made = term(golden, int(t), golden["noise_per_t_descending"][0], clamp=bool(clip))
            np.testing.assert_allclose(made, expected, rtol=0, atol=2e-5)


def test_there_is_no_term_at_t_0():
    with pytest.raises(ValueError, match="no such term at t = 0"):
        bound_term(torch.zeros(1), torch.zeros(1), 0, SCHEDULE)
