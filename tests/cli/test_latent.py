"""Latent diffusion from training to the score."""

import json

import numpy as np
import pytest

from uadtools.models.checkpoint import read_config, read_tensors
from uadtools.volume.stream import read_image


def settings(*changes):
    return [word for change in changes for word in ("--set", change)]


GRID = ["grid={shape=[16, 16, 8], spacing=[2, 2, 2]}", "training.batch=2", "training.log_every=1",
        "training.validate_every=1", "intensity.kind=percentile", "training.steps=2"]  # fmt: skip
BOOK = ["widths=[4, 8]", "residuals=1", "codes=16", "dimension=3"]
UNET = ["network.base=8", "network.multipliers=[1, 2]", "network.groups=4", "network.attention=[]"]


@pytest.fixture
def trained(uad, prepared):
    """Train an autoencoder and a diffusion model of its latents; returns the model's file."""
    book = settings(*GRID, *(f"network.{line}" for line in BOOK))
    assert uad("train", prepared, "--recipe", "vqvae", *book, "-o", "v.safetensors").status == 0
    latent = settings(*GRID, *UNET, *(f"autoencoder.{line}" for line in BOOK), "autoencoder.pretrained=v.safetensors")
    words = ["train", prepared, "--val", prepared, "--recipe", "ldm-headct", *latent, "-o", "m.safetensors"]
    assert uad(*words).status == 0
    return "m.safetensors"


def test_a_model_knows_its_autoencoder_the_scale_of_latents_and_what_is_healthy(uad, trained, prepared, here):
    weights, config = read_tensors(here / trained), read_config(here / trained)
    assert config.training["started_from"].startswith("vqvae:")
    assert weights["limits"].shape == (2, 4, 4)
    assert weights["limits"].isfinite().all()
    assert weights["deviation"] != 1
    autoencoder = read_tensors(here / "v.safetensors")
    assert all((weights[f"autoencoder.{name}"] == value).all() for name, value in autoencoder.items())
    assert uad("heal", prepared, "--model", "v.safetensors").status == 0  # the autoencoder heals, too, in its way


def test_the_score_counts_in_the_region_alone(uad, trained, prepared, here):
    assert uad("heal", prepared, "--model", trained, "--maps", "-o", "h.nii.gz").status == 0
    assert {"h.nii.gz", "h_region.nii.gz", "h_bound.nii.gz"} <= {path.name for path in here.iterdir()}
    region, bound = read_image(here / "h_region.nii.gz"), read_image(here / "h_bound.nii.gz")
    assert set(np.unique(region.data)) <= {0, 1}
    assert (bound.data >= 0).all()
    assert uad("score", prepared, "h.nii.gz", "-o", "plain.nii.gz").status == 0
    assert uad("score", prepared, "h.nii.gz", "--region", "h_region.nii.gz", "-o", "within.nii.gz").status == 0
    plain, within = read_image(here / "plain.nii.gz").data, read_image(here / "within.nii.gz").data
    assert (within <= plain + 1e-6).all()
    assert np.abs(within - plain).max() > 1e-3


def test_a_pipe_gives_the_same_as_files(uad, trained, prepared, here):
    assert uad("heal", prepared, "--model", trained, "--maps", "-o", "h.nii.gz").status == 0
    assert uad("score", prepared, "h.nii.gz", "--region", "h_region.nii.gz", "-o", "files.nii.gz").status == 0
    stream = uad("heal", prepared, "--model", trained, "-o", "-").out
    assert uad("score", "-", "-o", "pipe.nii.gz", stdin=stream).status == 0
    np.testing.assert_array_equal(read_image(here / "pipe.nii.gz").data, read_image(here / "files.nii.gz").data)


def test_variant_steps_and_repeats_have_an_effect(uad, trained, prepared, here):
    made = {}
    for name, options in {
        "d": [], "steps": ["--steps", 3], "a": ["--variant", "a", "-t", 90], "b": ["--variant", "b", "--steps", 4],
        "repeats": ["--variant", "a", "-t", 90, "--repeats", 2],
    }.items():  # fmt: skip
        assert uad("heal", prepared, "--model", trained, *options, "-o", f"{name}.nii", "--force").status == 0
        made[name] = read_image(here / f"{name}.nii").data
    assert json.loads((here / "d.json").read_text())["history"][-1]["arguments"]["variant"] == "d"
    assert np.abs(made["a"] - made["d"]).max() > 1e-3
    assert np.abs(made["a"] - made["repeats"]).max() > 1e-3
    assert not np.array_equal(made["steps"], made["b"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method", "sss"], "models of kind 'ldm' (this one can do: ldm)"),
        (["--eta", 0.5], "--eta has no effect with --method ldm"),
        (["--steps", 600], "--steps 600: from -t 500 there are 1 to 501"),
        (["--bounds", 201], "--bounds 201: there are 200 steps, at most"),
        (["--bounds", 7], "--bounds 7: the model knows how much is healthy over 50 steps alone (leave it out, or "),
        (["--chain", 1000], "--chain 1000: there are 999 steps, at most"),
        (["--variant", "a", "--bounds", 5], "--bounds has no effect with --variant a"),
        (["--variant", "a", "--grow", 1], "--grow has no effect with --variant a"),
    ],
)
def test_what_the_model_cannot_do_is_refused(options, said, uad, prepared, tiny_guided):
    uad("heal", prepared, "--model", tiny_guided["ldm"], *options).fails("heal", 1, said)


def test_repeats_without_an_effect_are_refused(uad, prepared, tiny_guided):
    words = ["heal", prepared, "--model", tiny_guided["ldm"], "--repeats", 2]
    uad(*words).fails("heal", 1, "--repeats has no effect where steps are left out")


def test_no_maps_without_a_region(uad, prepared, tiny_guided):
    words = ["heal", prepared, "--model", tiny_guided["ldm"], "--variant", "a", "--maps"]
    uad(*words).fails("heal", 2, "--maps", "there is no other map")


def test_options_of_latent_diffusion_have_no_effect_elsewhere(uad, prepared, tiny_model):
    words = ["heal", prepared, "--model", tiny_model, "--variant", "a", "--repeats", 2]
    uad(*words).fails("heal", 1, "--repeats, --variant has no effect with --method sss")


def test_a_diffusion_model_of_latents_needs_an_autoencoder(uad, prepared):
    words = ["train", prepared, "--recipe", "ldm-headct", *settings(*GRID, *UNET), "-o", "m.safetensors"]
    uad(*words).fails("train", 1, "autoencoder.pretrained is needed", "uad-train --recipe vqvae")


def test_a_region_beyond_the_schedule_is_refused_before_training(uad, prepared):
    words = settings(*GRID, *UNET, "region.steps=[900, 1200]")
    uad("train", prepared, "--recipe", "ldm-headct", *words, "-o", "m.safetensors").fails(
        "train", 1, "region.steps (900, 1200): beyond schedule.steps = 1000"
    )
