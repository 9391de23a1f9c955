"""A transformer of codes in the commands, from training to the comparison."""

import json

import numpy as np
import pytest
import torch

import uadtools
from uadtools.models.checkpoint import read_config, read_tensors, save_model
from uadtools.models.model import load_model
from uadtools.volume.io import Image, save
from uadtools.volume.stream import read_image, read_path

GRID = ["grid={shape=[16, 16, 8], spacing=[2, 2, 2]}", "training.batch=2", "training.log_every=1",
        "training.validate_every=1", "intensity.kind=percentile"]  # fmt: skip
BOOK = ["widths=[4, 8]", "residuals=1", "codes=16", "dimension=3"]
TINY = ["network.width=8", "network.layers=1", "network.heads=2", "optimiser.decay=0"]

PLAN = """
name = "codes"
[data]
val = ["a.nii.gz"]
[postproc]
median = 1
erode = 0
[[set]]
name = "blobs"
val = ["a.nii.gz"]
test = ["b.nii.gz", "c.nii.gz"]
simulate = { kind = "blobs", size = [6.0, 12.0] }
[[method]]
name = "one order"
model = "m.safetensors"
[[method]]
name = "eight"
model = "m.safetensors"
heal = { method = "transformer", orders = 8 }
"""


def settings(*changes):
    return [word for change in changes for word in ("--set", change)]


@pytest.fixture
def learn(uad, prepared, here):
    """Train an autoencoder, and a transformer of its codes for so many steps; returns the result."""
    book = settings(*GRID, *(f"network.{line}" for line in BOOK))
    assert uad("train", prepared, "--recipe", "vqvae", *book, "--steps", 2, "-o", "v.safetensors").status == 0
    model, x = load_model(here / "v.safetensors", device="cpu"), read_image(prepared).data.T[:, None].copy()
    latents = model.net.encode(2 * torch.from_numpy(x).float() - 1).movedim(1, -1).flatten(0, 2)
    codes = {"codebook.codes": latents[:: len(latents) // 16][:16]}  # two steps leave all latents with one code
    config = read_config(here / "v.safetensors")
    save_model(here / "v.safetensors", config, read_tensors(here / "v.safetensors") | codes)
    own = settings(*GRID, *TINY, *(f"autoencoder.{line}" for line in BOOK), "autoencoder.pretrained=v.safetensors")

    def train(*words, steps=2, model="m.safetensors"):
        given = ["train", prepared, "--val", prepared, "--recipe", "transformer-headct", *own, "--steps", steps]
        return uad(*given, *words, "-o", model)

    return train


@pytest.fixture
def trained(learn):
    assert learn().status == 0
    return "m.safetensors"


def test_a_model_knows_its_autoencoder_and_what_is_healthy(trained, here):
    weights, config = read_tensors(here / trained), read_config(here / trained)
    assert config.training["started_from"].startswith("vqvae:")
    assert weights["limits"].shape == (8, 4, 4)
    assert weights["limits"].isfinite().all()
    autoencoder = read_tensors(here / "v.safetensors")
    assert all((weights[f"autoencoder.{name}"] == value).all() for name, value in autoencoder.items())


def test_a_run_that_goes_on_is_as_one_that_never_stopped(learn, here):
    assert learn(steps=3, model="whole.safetensors").status == 0
    assert learn(steps=1).status == 0
    assert learn("--resume", steps=3).status == 0
    one, other = (read_tensors(here / name) for name in ("whole.safetensors", "m.safetensors"))
    assert one.keys() == other.keys()
    assert all((one[name] == other[name]).all() for name in one)


def test_limits_are_learnt_anew_without_training(learn, trained, here):
    before = read_tensors(here / trained)
    assert learn("--resume", "--set", "region.percentile=50").status == 0
    after = read_tensors(here / trained)
    assert (after["limits"] < before["limits"]).any()
    assert all((before[name] == after[name]).all() for name in before if name != "limits")


@pytest.mark.parametrize("orders", [1, 8])
def test_one_order_and_eight_in_a_pipe_are_the_same_as_in_files_and_from_python(uad, trained, prepared, here, orders):
    words = ["heal", prepared, "--model", trained, "--orders", orders]
    assert uad(*words, "--maps", "-o", "h.nii.gz").status == 0
    assert uad("score", prepared, "h.nii.gz", "--region", "h_region.nii.gz", "-o", "files.nii.gz").status == 0
    stream = uad(*words, "-o", "-").out
    (told,) = uad("score", "-", "--json", "-o", "pipe.nii.gz", stdin=stream).json
    made = read_image(here / "pipe.nii.gz").data
    np.testing.assert_array_equal(made, read_image(here / "files.nii.gz").data)
    (study,) = read_path(prepared)
    scored = uadtools.score(uadtools.heal(study, str(here / trained), orders=orders))
    np.testing.assert_allclose(scored.product.data, made, rtol=0, atol=1e-6)
    region, nll = (read_image(here / f"h_{role}.nii.gz").data for role in ("region", "nll"))
    assert set(np.unique(region)) <= {np.float32(n / orders) for n in range(orders + 1)}
    inside = scored.brain()
    assert told["nll"] == pytest.approx(nll[inside].mean(), rel=1e-4)
    assert told["nll"] > 0
    assert told["bound"] is None
    arguments = json.loads((here / "h.json").read_text())["history"][-1]["arguments"]
    assert (arguments["method"], arguments["orders"], arguments["samples"]) == ("transformer", orders, 1)


def test_several_draws_have_a_spread(uad, trained, prepared, here):
    words = ["heal", prepared, "--model", trained, "--samples", 3, "--maps", "-o", "h.nii.gz"]
    assert uad(*words).status == 0
    assert read_image(here / "h_spread.nii.gz").data.max() > 0


def test_with_nothing_unlikely_the_score_is_nothing(uad, tiny_guided, prepared, here):
    weights = read_tensors(tiny_guided["transformer"])
    weights["limits"] = weights["limits"].new_full((8, 4, 4), 1e4)
    save_model(here / "none.safetensors", read_config(tiny_guided["transformer"]), weights)
    stream = uad("heal", prepared, "--model", "none.safetensors", "--orders", 8, "-o", "-").out
    assert uad("score", "-", "-o", "s.nii.gz", stdin=stream).status == 0
    made = read_image(here / "s.nii.gz").data
    assert made.max() <= 1.1e-6  # of a brain, which is above 0
    assert (made > 0).any()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-t", 200], "-t has no effect with --method transformer"),
        (["--variant", "a"], "--variant has no effect with --method transformer"),
        (["--method", "ldm"], "models of kind 'transformer' (this one can do: transformer)"),
    ],
)
def test_what_the_model_cannot_do_is_refused(options, said, uad, prepared, tiny_guided):
    uad("heal", prepared, "--model", tiny_guided["transformer"], *options).fails("heal", 1, said)


@pytest.mark.parametrize("orders", [0, 9])
def test_there_are_one_to_eight_orders(orders, uad, prepared, tiny_guided):
    words = ["heal", prepared, "--model", tiny_guided["transformer"], "--orders", orders]
    uad(*words).fails("heal", 2, "--orders")


def test_orders_have_no_effect_elsewhere(uad, prepared, tiny_model):
    uad("heal", prepared, "--model", tiny_model, "--orders", 2).fails("heal", 1, "--orders has no effect")


def test_it_needs_an_autoencoder_of_its_sizes(uad, learn, prepared):
    words = ["train", prepared, "--recipe", "transformer-headct", *settings(*GRID, *TINY), "-o", "n.safetensors"]
    uad(*words).fails("train", 1, "autoencoder.pretrained is needed", "uad-train --recipe vqvae")
    refused = learn("--set", "autoencoder.codes=17", model="n.safetensors")
    assert refused.status == 1
    assert refused.lines[-1].startswith("uad-train: error: v.safetensors: other sizes: codes is 16 there, 17 in the ")


def test_a_comparison_tells_how_well_the_likelihood_tells_who_is_sick(uad, trained, prepared, here):
    scan = read_image(prepared)
    for seed, name in enumerate("abc"):
        speckle = np.random.default_rng(seed).normal(0, 0.01, scan.data.shape)
        data = np.where(scan.data > 0, np.clip(scan.data + speckle, 0.01, 1), 0).astype(np.float32)
        save(Image(data, scan.grid, "scan"), here / f"{name}.nii.gz")
    (here / "plan.toml").write_text(PLAN)
    assert uad("bench", "plan.toml", "-o", "out").status == 0
    (table,) = json.loads((here / "out/codes.json").read_text())["sets"]
    rows = {row["method"]: row for row in table["rows"]}
    assert rows.keys() == {"one order", "eight"}
    assert all(0 <= row["image_auroc_nll"]["value"] <= 1 for row in rows.values())
