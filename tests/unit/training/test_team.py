"""Two processes, started by torchrun, train the model that one trains with the same batch."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from uadtools.errors import UadError
from uadtools.interface.recipe import Recipe
from uadtools.models.checkpoint import read_tensors
from uadtools.training.team import ALONE, Team
from uadtools.training.train import train

RUN = """
import json, os, sys
from pathlib import Path
import torch
from uadtools.errors import UadError
from uadtools.training.train import train
from uadtools.interface.recipe import Recipe
torch.set_num_threads(1)
model, resume, seconds = Path(sys.argv[1]), sys.argv[2] == "resume", float(sys.argv[3])
recipe = Recipe.model_validate(json.loads(Path("recipe.json").read_text()))
told = train(["data.npz:train"], model, recipe, validation=["data.npz:val"], seed=3, resume=resume, seconds=seconds,
             device="cpu", precision="fp32")
assert bool(told) == (os.environ["RANK"] == "0")
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(
        "data.npz", **{key: np.random.default_rng(i).random((12, 16, 16)) for i, key in enumerate(("train", "val"))}
    )
    return tmp_path


def pair(model, resume="fresh", seconds="inf"):
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    words = [sys.executable, *launch, sys.executable, "-c", RUN, model, resume, seconds]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)


def written(recipe, **changes):
    made = Recipe.model_validate({**recipe.model_dump(), "training": recipe.training.model_dump() | changes})
    Path("recipe.json").write_text(json.dumps(made.model_dump(mode="json")))
    return made


@pytest.mark.parametrize("kind", ["diffusion", "vqvae"])
def test_two_processes_take_the_steps_of_one(kind, here, tiny_recipe, guided_recipes):
    recipe = written(tiny_recipe if kind == "diffusion" else guided_recipes[kind], steps=3, validate_every=3)
    train(["data.npz:train"], here / "one.safetensors", recipe, validation=["data.npz:val"], seed=3, device="cpu",
          precision="fp32")  # fmt: skip
    made = pair("two.safetensors")
    assert made.returncode == 0, made.stderr
    one, two = (read_tensors(here / f"{name}.safetensors") for name in ("one", "two"))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-3, atol=2e-5, msg=name)
    rows = [csv.DictReader((here / f"{name}.csv").read_text().splitlines()) for name in ("one", "two")]
    losses = [[float(row["loss"]) for row in part] for part in rows]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0, atol=1e-5)


def test_stopped_and_resumed_they_end_where_an_unstopped_run_ends(here, tiny_recipe):
    written(tiny_recipe, steps=2)
    assert pair("m.safetensors").returncode == 0
    written(tiny_recipe, steps=4)
    assert pair("m.safetensors", "resume").returncode == 0
    assert pair("n.safetensors").returncode == 0
    first, second = (read_tensors(here / f"{name}.last.safetensors") for name in "mn")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_they_stop_together(here, tiny_recipe):
    written(tiny_recipe, steps=100_000, validate_every=100_000)
    assert pair("m.safetensors", seconds="1").returncode == 0
    assert (here / "m.safetensors").exists()


def test_a_batch_that_cannot_be_shared_is_refused():
    assert [Team(rank, 2).part(6) for rank in (0, 1)] == [slice(0, 3), slice(3, 6)]
    assert ALONE.part(5) == slice(0, 5)
    with pytest.raises(UadError, match=r"training.batch 5: is no multiple of 2, the number of processes"):
        Team(0, 2).part(5)
