"""The U-Net with AnoDDPM's and pDDPM's choices, given their weights (golden/data/06a, 06c)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from uadtools.models.foreign_names import of_guided
from uadtools.nets.blocks import sinusoid
from uadtools.nets.unet import UNet

SIZES = {"base": 32, "multipliers": (1, 2), "attention": (2,)}
ANODDPM = {"res_blocks": 2, "heads": 2, "embedding": "add", "sinusoid": "sin_cos"}
PDDPM = {
    "res_blocks": 1,
    "heads": 2,
    "embedding": "scale_shift",
    "sinusoid": "cos_sin",
    "attention_order": "qkv_first",
}


def read(name):
    with np.load(Path(__file__).parent / "data" / f"{name}.npz", allow_pickle=False) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


@pytest.fixture(scope="module")
def anoddpm():
    return read("06a_anoddpm_unet_tiny")


@pytest.fixture(scope="module")
def pddpm():
    return read("06c_pddpm_unet_tiny_patched_ss")


def filled(golden, **choices):
    net = UNet(**SIZES, **choices)
    net.load_state_dict({of_guided(key[4:]): value for key, value in golden.items() if key.startswith("sd::")})
    return net.eval()


@torch.no_grad()
def answer(golden, **choices):
    return filled(golden, **choices)(golden["x"], golden["t"])


def close(made, expected):
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-4)


def test_anoddpm(anoddpm):
    close(answer(anoddpm, **ANODDPM), anoddpm["output"])


def test_anoddpm_with_one_head_is_another_network(anoddpm):
    made = answer(anoddpm, **{**ANODDPM, "heads": 1})
    close(made, anoddpm["output_n_heads1"])
    assert (made - anoddpm["output"]).abs().max() > 1


def test_pddpm(pddpm):
    close(answer(pddpm, **PDDPM), pddpm["output"])


@pytest.mark.parametrize("change", [{"heads": 1}, {"attention_order": "heads_first"}, {"sinusoid": "sin_cos"}])
def test_pddpm_with_another_choice_is_another_network(pddpm, change):
    assert (answer(pddpm, **{**PDDPM, **change}) - pddpm["output"]).abs().max() > 0.01


def test_sinusoids(anoddpm, pddpm):
    close(sinusoid(anoddpm["t"], 32, "sin_cos"), anoddpm["sinusoidal"])
    close(sinusoid(pddpm["t"], 32, "cos_sin"), pddpm["sinusoidal"])


@torch.no_grad()
def test_time_embedding(anoddpm):
    made = filled(anoddpm, **ANODDPM).time_embed(sinusoid(anoddpm["t"], 32, "sin_cos"))
    close(made, anoddpm["time_emb"])
