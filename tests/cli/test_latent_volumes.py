"""Latents of whole volumes: the same commands, one more axis."""

import json

import numpy as np
import pytest

from uadtools.models.checkpoint import read_config, read_tensors
from uadtools.volume.stream import read_image

GRID = ["grid={shape=[16, 16, 8], spacing=[2, 2, 2]}", "training={steps=2, batch=2, log_every=1, validate_every=1}"]
BOOK = ["widths=[4, 8]", "residuals=1", "codes=16", "dimension=3"]
UNET = ["network.base=8", "network.multipliers=[1, 2]", "network.groups=4", "network.heads=2"]


def settings(*changes):
    return [word for change in changes for word in ("--set", change)]


@pytest.fixture
def trained(uad, prepared, here):
    book = settings(*GRID, *(f"network.{line}" for line in BOOK))
    words = ["train", prepared, "--val", prepared, "--recipe", "vqvae-t1-3d", *book, "-o", "v.safetensors"]
    made = uad(*words, "--json")
    assert made.status == 0, made.err
    told = json.loads(made.out)
    assert 0 < told["codebook"]["used"] <= 1 <= told["codebook"]["perplexity"] <= 16
    latent = settings(*GRID, *UNET, *(f"autoencoder.{line}" for line in BOOK), "autoencoder.pretrained=v.safetensors")
    words = ["train", prepared, "--val", prepared, "--recipe", "ldm-t1-3d", *latent, "-o", "m.safetensors"]
    told = json.loads(uad(*words, "--device", "cpu", "--json").out)
    assert read_config(here / told["model"]).training["precision"] == "float32"
    return "m.safetensors"


def test_volumes_are_not_learnt_in_bf16_on_a_cpu(uad, prepared):
    """Their gradients are now and then no numbers there."""
    words = [
        "train",
        prepared,
        "--recipe",
        "vqvae-t1-3d",
        *settings(*GRID),
        "-o",
        "v.safetensors",
        "--precision",
        "bf16",
    ]
    uad(*words, "--device", "cpu").fails("train", 1, "--precision bf16", "fp32 on a CPU")


def test_a_volume_is_healed_whole_in_its_region(uad, trained, prepared, here):
    assert read_tensors(here / trained)["limits"].shape == (1, 2, 4, 4)
    assert all(uad("models", "check", made).status == 0 for made in (trained, "v.safetensors"))
    assert uad("heal", prepared, "--model", trained, "--maps", "--chain", 3, "-o", "h.nii.gz").status == 0
    scan, healed = read_image(here / prepared), read_image(here / "h.nii.gz")
    assert healed.grid.same(scan.grid)
    region = read_image(here / "h_region.nii.gz").data
    assert set(np.unique(region)) <= {0, 1}
    cubes = region.reshape(4, 4, 4, 4, 2, 4)
    inside = (scan.data > 0).reshape(cubes.shape).all(axis=(1, 3, 5))
    whole = cubes.all(axis=(1, 3, 5)) | ~cubes.any(axis=(1, 3, 5))
    assert whole[inside].all()  # a position of the latent is a cube of 4 voxels, not a square
    bounds = uad("heal", prepared, "--model", trained, "--chain", 3, "-o", "-").out
    told = json.loads(uad("score", "--json", stdin=bounds).out)[0]
    assert told["bound"] > 0
    assert told["chain"] > 0


def test_volumes_and_slices_do_not_mix(uad, prepared):
    words = settings(*GRID, "network.axes=2", "network.base=8", "network.groups=4")
    uad("train", prepared, "--recipe", "ldm-t1-3d", *words, "-o", "m.safetensors").fails(
        "train", 1, "autoencoder.axes 3: other than network.axes"
    )
    words = settings("network.axes=3", "network.patch=1")
    uad("train", prepared, "--recipe", "t1-ddpm", *words, "-o", "m.safetensors").fails(
        "train", 1, "network.axes 3: models of kind 'diffusion' see slices"
    )
    words = settings("grid.shape=[16, 16, 6]")
    uad("train", prepared, "--recipe", "vqvae-t1-3d", *words, "-o", "m.safetensors").fails(
        "train", 1, "6 is no multiple of 4"
    )
