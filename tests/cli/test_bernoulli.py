"""Bernoulli diffusion from training to the score."""

import json

import numpy as np
import pytest

from uadtools.models.checkpoint import read_config, read_tensors
from uadtools.volume.stream import read_image


def settings(*changes):
    return [word for change in changes for word in ("--set", change)]


GRID = ["grid={shape=[16, 16, 8], spacing=[2, 2, 2]}", "training.batch=2", "training.log_every=1",
        "training.validate_every=1", "intensity.kind=percentile", "training.steps=2"]  # fmt: skip
SIZES = ["widths=[4, 8]", "residuals=1", "bits=6"]
UNET = ["network.base=8", "network.multipliers=[1, 2]", "network.groups=4", "network.attention=[]"]
PLAN = """
name = "bits"
[data]
train = ["p.nii.gz"]
[postproc]
median = 1
erode = 0
[[set]]
name = "dark blobs"
val = ["p.nii.gz"]
test = ["q.nii.gz"]
simulate = { kind = "blobs", size = [6.0, 8.0] }
[[method]]
name = "threshold"
heal = { method = "threshold" }
[[method]]
name = "Bernoulli"
model = "m.safetensors"
heal = { method = "bernoulli", t = 20, sure = 0.4 }
"""


@pytest.fixture
def trained(uad, prepared):
    """Train an autoencoder and a diffusion model of its bits; returns the model's file."""
    book = settings(*GRID, *(f"network.{line}" for line in SIZES))
    words = ["train", prepared, "--val", prepared, "--recipe", "binary", *book, "-o", "v.safetensors"]
    assert uad(*words).status == 0
    latent = settings(*GRID, *UNET, *(f"autoencoder.{line}" for line in SIZES), "autoencoder.pretrained=v.safetensors")
    words = ["train", prepared, "--val", prepared, "--recipe", "bernoulli", *latent, "-o", "m.safetensors"]
    assert uad(*words).status == 0
    return "m.safetensors"


def test_a_model_holds_its_autoencoder_which_heals_by_itself_too(uad, trained, prepared, here):
    weights, config = read_tensors(here / trained), read_config(here / trained)
    assert config.training["started_from"].startswith("binary:")
    autoencoder = read_tensors(here / "v.safetensors")
    assert all((weights[f"autoencoder.{name}"] == value).all() for name, value in autoencoder.items())
    assert 0 <= read_config(here / "v.safetensors").training["bits"]["entropy"] <= 1
    assert uad("heal", prepared, "--model", "v.safetensors").status == 0
    info = uad("models", "info", trained, "--json").json
    assert (info["kind"], info["methods"]) == ("bernoulli", ["bernoulli"])
    uad("models", "check", trained)


def test_how_sure_the_model_must_be_has_an_effect(uad, tiny_guided, prepared, here):
    """With nothing sure enough it is the autoencoder's own reconstruction of the scan, whatever the noise."""
    made = {}
    for name, words in {"0.3": ["--sure", 0.3], "1": ["--sure", 1], "seed": ["--sure", 1, "--seed", 7]}.items():
        model = ["--model", tiny_guided["bernoulli"], "-t", 20, "--maps"]
        assert uad("heal", prepared, *model, *words, "-o", f"{name}.nii.gz").status == 0
        made[name] = [read_image(here / f"{name}{part}.nii.gz").data for part in ("", "_flipped")]
    assert not made["1"][1].any()
    np.testing.assert_array_equal(made["1"][0], made["seed"][0])
    assert 0 < made["0.3"][1].max() <= 1
    assert np.abs(made["0.3"][0] - made["1"][0]).max() > 1e-3
    assert json.loads((here / "0.3.json").read_text())["history"][-1]["arguments"]["sure"] == 0.3


def test_a_pipe_gives_the_same_as_files_and_the_square_is_a_metric(uad, tiny_guided, prepared, here):
    words = ["heal", prepared, "--model", tiny_guided["bernoulli"], "-t", 5, "--sure", 0.3]
    assert uad(*words, "-o", "h.nii.gz").status == 0
    assert uad("score", prepared, "h.nii.gz", "--metric", "l2", "-o", "files.nii.gz").status == 0
    stream = uad(*words, "-o", "-").out
    assert uad("score", "-", "--metric", "l2", "-o", "pipe.nii.gz", stdin=stream).status == 0
    score = read_image(here / "pipe.nii.gz").data
    np.testing.assert_array_equal(score, read_image(here / "files.nii.gz").data)
    scan, healed = (read_image(here / name).data for name in (prepared, "h.nii.gz"))
    np.testing.assert_allclose(score[scan > 0], (scan - healed)[scan > 0] ** 2, atol=1e-3)


def test_it_is_compared(uad, trained, here):
    (here / "bits.toml").write_text(PLAN)
    (here / "q.nii.gz").write_bytes((here / "p.nii.gz").read_bytes())
    assert uad("bench", "bits.toml", "-o", "out").status == 0
    table = json.loads((here / "out/bits.json").read_text())
    assert [row["method"] for row in table["sets"][0]["rows"]] == ["threshold", "Bernoulli"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method", "sss"], "models of kind 'bernoulli' (this one can do: bernoulli)"),
        (["--variant", "a"], "--variant has no effect with --method bernoulli"),
        (["-t", 1000], "-t 1000: outside 0 to 999"),
    ],
)
def test_what_the_model_cannot_do_is_refused(options, said, uad, prepared, tiny_guided):
    uad("heal", prepared, "--model", tiny_guided["bernoulli"], *options).fails("heal", 1, said)


def test_a_probability_is_at_most_1(uad, prepared, tiny_guided):
    uad("heal", prepared, "--model", tiny_guided["bernoulli"], "--sure", 1.5).fails("heal", 2, "--sure")


def test_the_option_has_no_effect_elsewhere(uad, prepared, tiny_model):
    words = ["heal", prepared, "--model", tiny_model, "--sure", 0.5]
    uad(*words).fails("heal", 1, "--sure has no effect with --method sss")


def test_a_diffusion_model_of_bits_needs_an_autoencoder_of_bits(uad, prepared, tiny_guided):
    words = ["train", prepared, "--recipe", "bernoulli", *settings(*GRID, *UNET), "-o", "m.safetensors"]
    uad(*words).fails("train", 1, "autoencoder.pretrained is needed", "uad-train --recipe binary")
    uad(*words, "--set", "training.loss=l1").fails("train", 1, "training.loss l1: flips are told by cross-entropy")
    other = settings(f"autoencoder.pretrained={tiny_guided['vqvae']}")
    uad(*words, *other).fails("train", 1, "a model of kind 'vqvae', not 'binary'")
