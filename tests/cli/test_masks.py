"""What learns from masks, from the command line: trained, healed with, scored, detected, judged and compared."""

import json

import numpy as np
import pytest

from uadtools.models.checkpoint import read_config, read_tensors
from uadtools.volume.stream import read_image, read_path

CHAIN = ("--median", 1, "--erode", 0, "--min-size", 1)
TINY = ["grid.shape=[16, 16, 8]", "network.base=8", "network.multipliers=[1, 2]", "network.groups=4", "network.patch=1",
        "training.batch=2", "training.log_every=1", "training.validate_every=2", "optimiser.decay=0"]  # fmt: skip
OWN = {
    "supervised": ["network.reach=1"],
    "segment": ["network.reach=1", "defaults.samples=2"],
    "bernoulli": ["network.reach=1", "defaults.samples=2", "kernel=bernoulli", "target=eps"],
    "cold": ["network.reach=1", "defaults.samples=2", "kernel=cold"],
    "lsegdiff": ["network.reach=1", "defaults.samples=2", "autoencoder.widths=[8]"],
    "joined": [],
}
DRAWING = ("segment", "bernoulli", "cold", "lsegdiff")
EVALUATIONS = dict.fromkeys(DRAWING, ("--steps", 3))


@pytest.fixture
def settings(tiny_guided):
    """Changes to the recipe of a name that make it tiny."""
    own = OWN | {"joined": [f"healer.pretrained={tiny_guided['restoration']}"]}
    return lambda name: ("segment" if name in ("bernoulli", "cold") else name, [*TINY, *own[name]])


@pytest.fixture
def train(uad, scans, settings):
    """Train a recipe on s1 with these words."""

    def run(name, *words, labels=("--labels", "s1_mask.nii.gz")):
        recipe, changes = settings(name)
        sets = [word for change in (*changes, "training.steps=4") for word in ("--set", change)]
        return uad("train", "s1.nii.gz", "--recipe", recipe, "-o", "m.safetensors", *labels, *sets, *words)

    return run


@pytest.mark.parametrize("name", OWN)
def test_from_masks_to_a_report(train, uad, here, name):
    told = train(name, "--json")
    assert told.status == 0, told.err
    config, steps = read_config(here / "m.safetensors"), EVALUATIONS.get(name, ())
    assert config.training["slices_with_lesions"] == 1
    info = uad("models", "info", "m.safetensors", "--json").json
    assert (info["kind"], info["methods"], info["scored_by"]) == (config.kind, [config.kind], "anomaly")
    assert uad("models", "check", "m.safetensors").status == 0
    heal = ("heal", "s2.nii.gz", "--model", "m.safetensors", *steps)
    result = uad(*heal)
    assert (result.status, result.out, result.err) == (0, b"", "")
    image, brain = read_image(here / "s2_anomaly.nii.gz"), read_image(here / "s2.nii.gz").data > 0
    assert image.role == "anomaly"
    np.testing.assert_array_equal(image.data > 0, brain)
    assert image.data.max() <= 1
    assert uad("score", "s2.nii.gz", "s2_anomaly.nii.gz").status == 0
    stream = uad(*heal, "-o", "-").out
    assert uad("score", "-o", "pipe.nii.gz", stdin=stream).status == 0
    np.testing.assert_array_equal(read_image(here / "pipe.nii.gz").data, read_image(here / "s2_score.nii.gz").data)
    assert uad("postproc", "s2_score.nii.gz", "--threshold", "otsu", *CHAIN).status == 0
    told = uad("eval", "s2_score.nii.gz", "--truth", "s2_mask.nii.gz", "--json")
    assert 0 < told.json["scans"][0]["auprc"] <= 1
    assert uad("report", "s2_detection.nii.gz", "-o", "s2.html").status == 0
    assert f"--method {config.kind}" in (here / "s2.html").read_text()


@pytest.mark.parametrize("name", OWN)
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(train, here, name):
    whole = train(name, "--json").json
    before = read_tensors(here / "m.safetensors")
    assert train(name, "--force", "--time", "0s").status == 0
    assert train(name, "--resume", "--json").json["steps"] == whole["steps"] == 4
    after = read_tensors(here / "m.safetensors")
    assert all((before[name] == value).all() for name, value in after.items())


@pytest.mark.parametrize("name", DRAWING)
def test_draws_have_a_mean_and_a_spread_that_follow_the_seeds(train, uad, here, name):
    assert train(name).status == 0
    heal = ("heal", "s2.nii.gz", "--model", "m.safetensors", "--steps", 2)
    assert uad(*heal, "--samples", 3, "--maps", "-o", "a.nii.gz").status == 0
    mean, spread = read_image(here / "a.nii.gz"), read_image(here / "a_spread.nii.gz")
    assert (mean.role, spread.role) == ("anomaly", "spread")
    brain = mean.data > 0
    assert spread.data[brain].max() > 0
    assert not spread.data[~brain].any()
    assert (spread.data**2 <= mean.data * (1 - mean.data) + 1e-6).all()  # as of any numbers from 0 to 1
    assert uad(*heal, "--samples", 3, "--batch", 2, "-o", "b.nii.gz").status == 0
    np.testing.assert_allclose(read_image(here / "b.nii.gz").data, mean.data, rtol=0, atol=2e-5)
    (here / "s.nii").write_bytes(uad(*heal, "-o", "-").out)  # two draws, as the model says
    (study,) = read_path(here / "s.nii")
    assert list(study.images) == ["anomaly", "spread", "scan"]
    assert study.product.provenance["history"][-1]["arguments"]["samples"] == 2
    said = "--maps: one draw has no spread, and there is no other map (several -t, or --samples)"
    uad(*heal, "--samples", 1, "--maps").fails("heal", 2, said)


@pytest.mark.parametrize("option", [("--signed", "dark"), ("--metric", "mahalanobis")])
def test_what_needs_a_healed_scan_is_refused(train, uad, option):
    assert train("segment").status == 0
    stream = uad("heal", "s2.nii.gz", "--model", "m.safetensors", "--steps", 1, "-o", "-").out
    uad("score", *option, "-o", "x.nii.gz", stdin=stream).fails("score", 1, "needs a healed scan, and its method heals")


def test_what_has_no_effect_is_refused(train, uad):
    assert train("segment").status == 0
    heal = ("heal", "s2.nii.gz", "--model", "m.safetensors")
    uad(*heal, "-t", 300).fails("heal", 1, "-t has no effect with --method segment")
    uad(*heal, "--steps", 2000).fails("heal", 1, "--steps 2000: from noise alone there are 1 to 1000")
    assert train("supervised", "--force").status == 0
    uad(*heal, "--samples", 2).fails("heal", 1, "--samples has no effect with --method supervised")
    uad(*heal, "--steps", 2).fails("heal", 1, "--steps has no effect with --method supervised")


@pytest.mark.parametrize("name", OWN)
def test_a_recipe_without_masks_says_what_it_needs(train, name):
    train(name, labels=()).fails("train", 2, "learns from masks of lesions, and for s1.nii.gz there are none")


def test_masks_with_their_labels_swapped_are_refused(train, uad, scans, here):
    from uadtools.volume.io import save

    image = read_image(here / "s1_mask.nii.gz")
    save(image.derive(1 - image.data, image.role), here / "s1_mask.nii.gz", force=True)
    train("supervised").fails("train", 1, "s1_mask.nii.gz: mask: ", "its labels seem to be swapped (--label chooses)")


def test_all_steps_at_once(train, uad, scan, here):
    assert train("segment").status == 0
    words = ("--set", "postproc.median=1", "--set", "postproc.erode=0", "--set", "heal.steps=2", "--threshold", "otsu")
    done = uad("run", scan, "--model", "m.safetensors", "-o", "out", *words, "--keep")
    assert done.status == 0, done.err
    assert {"raw_anomaly.nii.gz", "raw_score.nii.gz", "raw_detection.nii.gz"} <= {p.name for p in here.glob("out/*")}
    assert read_image(here / "out/raw_anomaly.nii.gz").provenance["history"][-1]["arguments"]["samples"] == 2


PLAN = """
name = "small"
[data]
train = ["s1.nii.gz"]
LABELS
[postproc]
median = 1
erode = 0
[[set]]
name = "blobs"
val = ["s2.nii.gz"]
test = ["s3.nii.gz"]
simulate = { kind = "blobs", size = [6.0, 8.0] }
[[method]]
name = "threshold"
heal = { method = "threshold" }
[[method]]
name = "learnt"
recipe = "RECIPE"
changes = CHANGES
"""


@pytest.fixture
def compare(uad, scans, settings, here):
    """Compare a recipe, trained with these labels, with the threshold."""
    (here / "s3.nii.gz").write_bytes((here / "s2.nii.gz").read_bytes())

    def run(name, labels):
        recipe, changes = settings(name)
        changes = json.dumps([*changes, "training.steps=4"])
        text = PLAN.replace("LABELS", labels).replace("RECIPE", recipe).replace("CHANGES", changes)
        (here / "plan.toml").write_text(text)
        return uad("bench", "plan.toml", "-o", "out", "--device", "cpu")

    return run


@pytest.mark.parametrize("name", ["supervised", "joined"])
def test_a_comparison_trains_with_masks(compare, here, name):
    done = compare(name, 'labels = ["s1_mask.nii.gz"]')
    assert done.status == 0, done.err
    table = json.loads((here / "out/small.json").read_text())
    row = {row["method"]: row for row in table["sets"][0]["rows"]}["learnt"]
    assert row["auprc"]["value"] > 0
    assert table["training"]["learnt"]["steps"] == 4
    assert len([*here.glob("out/models/*.json")]) == 1


def test_other_masks_or_labels_are_another_training(compare, here):
    from uadtools.volume.io import save

    assert compare("supervised", 'labels = ["s1_mask.nii.gz"]').status == 0
    image = read_image(here / "s1_mask.nii.gz")
    save(image.derive(2 * image.data, image.role), here / "s1_mask.nii.gz", force=True)
    assert compare("supervised", 'labels = ["s1_mask.nii.gz"]\nlabel = [2]').status == 0
    assert len([*here.glob("out/models/*.json")]) == 2
    refused = compare("supervised", 'labels = ["s1_mask.nii.gz"]\nlabel = [1]')
    assert refused.status == 1
    assert "method 'learnt': --labels: no lesion in any mask" in refused.lines[-1]


def test_a_comparison_without_masks_says_which_key_has_them(compare):
    said = "error: method 'learnt': recipe supervised learns from masks of lesions (name them as data.labels)"
    compare("supervised", "").fails("bench", 1, said)
