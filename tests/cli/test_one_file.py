"""A method is one file: with tests/data/toy.py in methods/, every command knows it, and nothing else was changed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import uadtools

HOUSE = Path(uadtools.__file__).parents[1]
TOY = Path(__file__).parents[1] / "data" / "toy.py"
RECIPE = """
name = "toy"
kind = "toy"
source = "tests"
weight = 2.0
grid = { shape = [16, 16, 8] }
training = { steps = 3, batch = 2, log_every = 1, validate_every = 3 }
"""
PLAN = """
name = "toys"
[data]
train = ["a.nii.gz"]
val = ["a.nii.gz"]
[[set]]
name = "dark blobs"
val = ["a.nii.gz"]
test = ["b.nii.gz"]
simulate = { kind = "blobs", size = [6.0, 8.0] }
[[method]]
name = "threshold"
heal = { method = "threshold" }
[[method]]
name = "toy"
recipe = "toy.toml"
heal = { gain = 0.5 }
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of the package with the toy in it."""
    folder = tmp_path_factory.mktemp("house")
    shutil.copytree(HOUSE / "uadtools", folder / "uadtools", ignore=shutil.ignore_patterns("*.safetensors"))
    shutil.copytree(HOUSE / "man", folder / "man")
    shutil.copy(TOY, folder / "uadtools/methods/toy.py")
    return folder


@pytest.fixture(scope="module")
def at_work(house, tmp_path_factory):
    """A folder with a scan and a recipe, and a function that runs commands of that house in it."""
    folder = tmp_path_factory.mktemp("work")
    places = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in (16, 16, 8)], indexing="ij")
    for seed, name in enumerate("ab"):
        waves = 0.5 + 0.2 * np.random.default_rng(seed).random(places[0].shape)
        data = np.where(np.linalg.norm(places, axis=0) < 7, waves, 0).astype(np.float32)
        nib.save(nib.Nifti1Image(data, np.diag([2, 2, 2, 1])), folder / f"{name}.nii.gz")
    (folder / "toy.toml").write_text(RECIPE)
    (folder / "toys.toml").write_text(PLAN)

    def run(command, *words, status=0):
        code = f"from uadtools.cli.{command} import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, words)],
            capture_output=True,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(house)},
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    run("train", "a.nii.gz", "--recipe", "toy.toml", "-o", "toy.safetensors", "--device", "cpu")
    run.folder = folder
    return run


def test_it_is_trained_and_says_what_it_is(at_work):
    info = json.loads(at_work("models", "info", "toy.safetensors", "--json"))
    assert (info["kind"], info["methods"], info["brightest"], info["parameters"]) == ("toy", ["toy"], 1.0, 10)
    assert info["defaults"]["method"] == "toy"
    at_work("models", "check", "toy.safetensors")


def test_it_heals_with_its_option_and_its_map_and_is_scored(at_work):
    for gain in ("1", "0"):
        at_work("heal", "a.nii.gz", "--model", "toy.safetensors", "--gain", gain, "--maps", "-o", f"{gain}.nii.gz")
    assert not nib.load(at_work.folder / "0_doubt.nii.gz").get_fdata().all()
    healed, doubt = (nib.load(at_work.folder / f"0{part}.nii.gz").get_fdata() for part in ("", "_doubt"))
    scan = nib.load(at_work.folder / "a.nii.gz").get_fdata()
    np.testing.assert_allclose(healed[scan > 0], 0.5, atol=1e-3)  # the middle of [-1, 1]
    np.testing.assert_allclose(doubt[scan > 0], 2 * np.abs(scan - healed)[scan > 0], atol=2e-3)
    at_work("score", "a.nii.gz", "0.nii.gz", "-o", "score.nii.gz")
    score = nib.load(at_work.folder / "score.nii.gz").get_fdata()
    np.testing.assert_allclose(score[scan > 0], np.abs(scan - 0.5)[scan > 0], atol=2e-3)


def test_its_option_is_in_the_help_and_the_man_page_and_refused_where_it_is_idle(at_work, house):
    shown = at_work("heal", "--method", "toy", "--help")
    assert "--gain" in shown
    assert "How much of the answer is taken" in shown
    assert "--gain" not in at_work("heal", "--method", "ddim", "--help")
    subprocess.run(
        [sys.executable, house / "man/generate.py"], env={**os.environ, "PYTHONPATH": str(house)}, check=True
    )
    assert "How much of the answer is taken" in (house / "man/uad-heal.1").read_text()
    said = at_work("heal", "a.nii.gz", "--method", "blur", "--gain", "2", status=1)
    assert "--gain has no effect with --method blur" in said
    assert "weight: without a meaning for models of kind 'ae'" in at_work(
        "train", "a.nii.gz", "--recipe", "ae", "--set", "weight=2", "-o", "ae.safetensors", status=1
    )


def test_it_is_compared(at_work):
    at_work("bench", "toys.toml", "-o", "out", "--device", "cpu")
    table = json.loads((at_work.folder / "out/toys.json").read_text())
    assert [row["method"] for row in table["sets"][0]["rows"]] == ["threshold", "toy"]
