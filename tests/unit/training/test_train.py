"""Training as a whole: what is written, and that a run that was killed goes on as if nothing had happened."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from uadtools.errors import UadError
from uadtools.healing.catalogue import merged
from uadtools.interface.recipe import Recipe
from uadtools.models.checkpoint import read_config, read_metadata, read_tensors, write_tensors
from uadtools.models.model import build, load_model
from uadtools.training import loop, reading
from uadtools.training import train as room
from uadtools.training.loop import Trainer, learning_rate
from uadtools.training.train import train

CPU = {"device": "cpu", "precision": "fp32"}
FILES = ("m.safetensors", "m.last.safetensors", "m.resume.safetensors", "m.csv")

RUN = """
import json, sys, time
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from uadtools.training.train import train
from uadtools.interface.recipe import Recipe
folder = Path(sys.argv[1])
recipe = Recipe.model_validate(json.loads((folder / "recipe.json").read_text()))
data = str(folder / "data.npz")
train([data + ":train"], folder / "m.safetensors", recipe, validation=[data + ":validation"], seed=3,
      device="cpu", precision="fp32", watch=lambda progress: (print(progress.step, flush=True), time.sleep(0.02)))
"""


class Killed(BaseException):
    """Ends a run as abruptly as can be done in process: nothing after it is executed."""


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16]
    centres = rng.uniform(5, 11, (30, 2, 1, 1))
    blobs = np.exp(-((y - centres[:, 0]) ** 2 + (x - centres[:, 1]) ** 2) / 8)
    np.savez(tmp_path / "data.npz", train=blobs[:24], validation=blobs[24:], other=blobs[1:25])
    return tmp_path / "data.npz"


def longer(recipe, **training):
    return Recipe.model_validate({**recipe.model_dump(), "training": recipe.training.model_dump() | training})


def falling(recipe):
    return Recipe.model_validate({**recipe.model_dump(), "optimiser": recipe.optimiser.model_dump() | {"decay": 6}})


def go(data, folder, recipe, **options):
    folder.mkdir(exist_ok=True)
    options = {"validation": [f"{data}:validation"], "seed": 3, **CPU, **options}
    return train([f"{data}:train"], folder / "m.safetensors", recipe, **options)


def at(step, then):
    """A watcher that does something when a step is reported."""

    def watch(progress):
        if progress.step == step:
            then()

    return watch


def kill():
    raise Killed


def log(folder):
    """The log without its last column, the time."""
    with (folder / "m.csv").open(newline="") as file:
        return [row[:-1] for row in csv.reader(file)]


def assert_same_runs(one, other):
    for name in FILES[:3]:
        first, second = (read_tensors(folder / name) for folder in (one, other))
        assert first.keys() == second.keys()
        differing = [key for key in first if not torch.equal(first[key], second[key])]
        assert not differing, f"{name}: {differing}"
        assert read_metadata(one / name) == read_metadata(other / name)
    assert log(one) == log(other)


def test_without_validation_the_model_holds_the_last_weights_however_often_it_was_stopped(
    data, tiny_recipe, tmp_path, monkeypatch
):
    recipe, before = longer(tiny_recipe, validate_every=100), 0
    monkeypatch.setattr("uadtools.training.clock.time", SimpleNamespace(monotonic=count().__next__))  # a tick a look
    for resume in (False, True):
        steps = go(data, tmp_path, recipe, validation=(), resume=resume, seconds=12)["steps"]
        assert before < steps < 12
        last, best = (read_tensors(tmp_path / name) for name in ("m.last.safetensors", "m.safetensors"))
        assert all(torch.equal(last[key], best[key]) for key in last)
        assert read_config(tmp_path / "m.safetensors").training["steps"] == steps
        before = steps


def test_a_run_writes_its_files(data, tiny_recipe, tmp_path):
    seen = []
    made = go(data, tmp_path / "run", tiny_recipe, watch=seen.append)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(FILES)
    assert [progress.step for progress in seen] == list(range(1, 13))
    rows = log(tmp_path / "run")
    assert rows[0] == ["step", "loss", "validation"]
    assert [int(row[0]) for row in rows[1:]] == list(range(1, 13))
    assert [row[0] for row in rows[1:] if row[2]] == ["3", "6", "9", "12"]
    assert made["steps"] == 12
    assert made["slices"] == 24
    assert made["loss"] == pytest.approx(seen[-1].loss)
    assert made["best_validation"] == min(p.validation for p in seen if p.validation is not None)
    config = read_config(tmp_path / "run" / "m.last.safetensors")
    assert config.name == "tiny"
    assert config.training["steps"] == 12
    assert config.training["recipe"] == "tiny"
    assert config.training["precision"] == "float32"
    assert made["parameters"] == sum(weight.numel() for weight in build(config).parameters())
    assert json.dumps(made)


def test_the_best_weights_are_kept_and_the_last_beside_them(data, tiny_recipe, tmp_path, monkeypatch):
    measured = iter([0.5, 0.2, 0.3, 0.4])
    monkeypatch.setattr("uadtools.training.loop.validate", lambda *_: next(measured))
    made = go(data, tmp_path / "run", tiny_recipe)
    assert made["best_validation"] == 0.2
    assert (made["kept_steps"], made["steps"], made["planned_steps"]) == (6, 12, 12)
    assert read_config(tmp_path / "run" / "m.safetensors").training["steps"] == 6
    assert read_config(tmp_path / "run" / "m.last.safetensors").training["steps"] == 12


def test_what_heals_is_the_average_in_half_precision(data, tiny_recipe, tmp_path):
    go(data, tmp_path / "run", tiny_recipe, validation=[])
    kept = read_tensors(tmp_path / "run" / "m.resume.safetensors")
    best = read_tensors(tmp_path / "run" / "m.safetensors")
    assert all(torch.equal(best[name], kept[f"average.{name}"].half()) for name in best)
    assert any(not torch.equal(best[name], kept[f"net.{name}"].half()) for name in best)


def test_a_run_stopped_at_several_steps_equals_the_uninterrupted_run(data, tiny_recipe, tmp_path):
    recipe = falling(tiny_recipe)
    go(data, tmp_path / "whole", recipe)
    for seed in range(3):
        folder = tmp_path / f"stopped{seed}"
        for step in sorted(np.random.default_rng(seed).choice(11, 3, replace=False) + 1):
            with pytest.raises(Killed):
                go(data, folder, recipe, watch=at(step, kill), resume=(folder / FILES[2]).exists(), force=True)
        go(data, folder, recipe, resume=(folder / FILES[2]).exists(), force=True)
        assert_same_runs(tmp_path / "whole", folder)


@pytest.mark.parametrize("kind", ["ae", "dae", "vae", "cevae", "svae", "mae", "fanogan", "restoration"])
def test_a_run_of_every_kind_goes_on_as_if_it_had_not_been_stopped(data, tiny_recipes, guided_recipes, tmp_path, kind):
    """f-AnoGAN is stopped while its critic, its generator and its encoder learn."""
    recipe = (tiny_recipes | guided_recipes)[kind]
    go(data, tmp_path / "whole", recipe)
    for step in (2, 5, 9):
        folder = tmp_path / "stopped"
        with pytest.raises(Killed):
            go(data, folder, recipe, watch=at(step, kill), resume=(folder / FILES[2]).exists(), force=True)
    go(data, folder, recipe, resume=(folder / FILES[2]).exists(), force=True)
    assert_same_runs(tmp_path / "whole", folder)
    assert load_model(folder / "m.safetensors", device="cpu").config.kind == kind


def test_a_run_of_an_f_anogan_cannot_be_made_longer(data, tiny_recipes, tmp_path):
    """It is settled from the start when its encoder's turn comes."""
    go(data, tmp_path, tiny_recipes["fanogan"])
    with pytest.raises(UadError, match="belongs to a run with another recipe"):
        go(data, tmp_path, longer(tiny_recipes["fanogan"], steps=18), resume=True)


def test_a_run_stopped_by_its_time_equals_the_uninterrupted_run(data, tiny_recipe, tmp_path, monkeypatch):
    go(data, tmp_path / "whole", tiny_recipe)
    clock = iter([0.0, 0.0, *range(1000)])
    with monkeypatch.context() as patch:
        patch.setattr("uadtools.training.clock.time.monotonic", lambda: float(next(clock)))
        made = go(data, tmp_path / "timed", tiny_recipe, seconds=20)
    assert 0 < made["steps"] < 12
    go(data, tmp_path / "timed", tiny_recipe, resume=True)
    assert_same_runs(tmp_path / "whole", tmp_path / "timed")


@pytest.mark.parametrize("file", ["best", "last", "log", "state"])
def test_a_run_stopped_between_two_files_equals_the_uninterrupted_run(data, tiny_recipe, tmp_path, monkeypatch, file):
    """The files of a step are written one after the other; a kill may fall in between."""
    go(data, tmp_path / "whole", tiny_recipe)
    calls = {"best": "_save_model", "last": "_save_model", "log": "write_log", "state": "save_state"}
    original, count = getattr(room, calls[file]), iter(range(100))
    nth = {"best": 4, "last": 5, "log": 2, "state": 2}[file]  # of the third time that files are written

    def deadly(*arguments):
        if next(count) == nth:
            raise Killed
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(room, calls[file], deadly)
        with pytest.raises(Killed):
            go(data, tmp_path / "killed", tiny_recipe)
    made = go(data, tmp_path / "killed", tiny_recipe, resume=True)
    assert made["steps"] == 12
    assert_same_runs(tmp_path / "whole", tmp_path / "killed")


def test_a_killed_process_goes_on_as_if_nothing_had_happened(data, tiny_recipe, tmp_path):
    recipe = longer(tiny_recipe, steps=36)
    go(data, tmp_path / "whole", recipe)
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    step = int(np.random.default_rng(time.time_ns()).integers(4, 16))
    with subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if int(line) >= step:
                os.kill(process.pid, signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL, f"was to be killed at step {step}"
    saved = json.loads(read_metadata(tmp_path / "m.resume.safetensors")["uadtools-training"])["step"]
    steps = []
    go(data, tmp_path, recipe, resume=True, watch=lambda progress: steps.append(progress.step))
    assert steps == list(range(saved + 1, 37))
    assert_same_runs(tmp_path / "whole", tmp_path)


def test_a_finished_run_can_be_made_longer(data, tiny_recipe, tmp_path):
    go(data, tmp_path / "short", tiny_recipe)
    go(data, tmp_path / "short", longer(tiny_recipe, steps=18), resume=True)
    go(data, tmp_path / "whole", longer(tiny_recipe, steps=18))
    assert_same_runs(tmp_path / "whole", tmp_path / "short")


@pytest.mark.parametrize("stopped", [3, 6])
def test_a_run_may_be_made_longer_before_its_learning_rate_falls(data, tiny_recipe, tmp_path, stopped):
    """It falls over the last six steps."""
    told, recipe = [], falling(tiny_recipe)
    with pytest.raises(Killed):
        go(data, tmp_path / "short", recipe, watch=at(stopped + 1, kill))
    assert kept_step(tmp_path / "short") == stopped
    go(data, tmp_path / "short", longer(recipe, steps=18), resume=True, tell=told.append)
    go(data, tmp_path / "whole", longer(recipe, steps=18))
    assert_same_runs(tmp_path / "whole", tmp_path / "short")
    assert told == []


def kept_step(folder):
    return json.loads(read_metadata(folder / FILES[2])["uadtools-training"])["step"]


def test_a_finished_run_whose_learning_rate_fell_goes_on_with_that_of_a_longer_one(data, tiny_recipe, tmp_path):
    """That is told, as an uninterrupted run would not have had the steps in which it had fallen."""
    recipe, told, rates = falling(tiny_recipe), [], []
    go(data, tmp_path, recipe)
    longer_recipe = longer(recipe, steps=18)
    made = go(data, tmp_path, longer_recipe, resume=True, tell=told.append, watch=lambda p: rates.append(p.step))
    assert (made["steps"], made["planned_steps"], rates) == (18, 18, list(range(13, 19)))
    assert told == [
        "the learning rate had begun to fall towards step 12; it rises again, to fall towards 18; the weights will "
        "differ from those of an uninterrupted run"
    ]
    assert learning_rate(longer_recipe, 12) == recipe.optimiser.learning_rate
    assert read_config(tmp_path / FILES[1]).training["planned"] == 18


def test_a_finished_run_without_more_steps_is_told_to_be_done(data, tiny_recipe, tmp_path):
    told = []
    go(data, tmp_path, tiny_recipe)
    go(data, tmp_path, tiny_recipe, resume=True, tell=told.append)
    assert told == ["12 steps were taken already, so there is nothing left to do (more --steps go on)"]


def test_a_state_of_versions_before_goes_on(data, tiny_recipe, tmp_path):
    """They noted the number of steps where the rate fell, and not what it was planned to be."""
    recipe, told = falling(tiny_recipe), []
    go(data, tmp_path, recipe)
    state = tmp_path / FILES[2]
    note = json.loads(read_metadata(state)["uadtools-training"])
    note["recipe"]["training"]["steps"] = note.pop("planned")
    write_tensors(state, read_tensors(state), {"uadtools-training": json.dumps(note)})
    assert go(data, tmp_path, longer(recipe, steps=14), resume=True, tell=told.append)["steps"] == 14
    assert [line.split(";")[0] for line in told] == ["the learning rate had begun to fall towards step 12"]


def test_what_is_learnt_at_the_end_may_change_when_a_run_goes_on(data, guided_recipes, tiny_guided, tmp_path):
    """Limits of the bound over another number of steps."""
    started = {"autoencoder": {"pretrained": str(tiny_guided["vqvae"])}}
    recipe = Recipe.model_validate(merged(guided_recipes["ldm"].model_dump(), started))
    go(data, tmp_path, recipe)
    before = read_tensors(tmp_path / FILES[0])
    go(
        data,
        tmp_path,
        Recipe.model_validate(merged(recipe.model_dump(), {"region": {"bounds": [50, 80]}})),
        resume=True,
    )
    after = read_tensors(tmp_path / FILES[0])
    assert torch.equal(after["limits"][0], before["limits"][0])
    assert after["limits"].shape == (2, 4, 4)
    assert read_config(tmp_path / FILES[0]).region.bounds == (50, 80)


@pytest.mark.parametrize(("seconds", "slow"), [(60, 1.0), (60, 7.0), (120, 20.0)])
def test_a_run_with_little_time_ends_within_it_last_validation_and_saving_included(
    data, tiny_recipe, tmp_path, monkeypatch, seconds, slow
):
    """By a clock that moves with what is done: the two batches of a validation take nearly as long as two steps."""
    clock, told = Moved(), []
    recipe = longer(tiny_recipe, steps=1000, log_every=50, validate_every=400, validation_slices=8)
    monkeypatch.setattr("uadtools.training.clock.time", clock)
    for what, name, takes in (
        (Trainer, "_step", slow), (loop, "validate", 1.8 * slow), (room, "validate", 1.8 * slow),
        (room, "save_state", 2), (reading, "load_slices", 5),
    ):  # fmt: skip
        monkeypatch.setattr(what, name, clock.moved_by(takes, getattr(what, name)))
    made = go(data, tmp_path, recipe, seconds=seconds, tell=told.append)
    assert seconds - 6 * slow < clock.now <= seconds
    assert made["best_validation"] > 0
    assert read_config(tmp_path / FILES[0]).training["best_validation"] == made["best_validation"]
    (line,) = told
    assert line.startswith("validated once, after the last step: ")
    assert line.endswith(f"within {made['steps']} steps (training.validate_every is 400)")
    assert kept_step(tmp_path) == made["steps"] == made["kept_steps"]


class Moved:
    now = 0.0

    def monotonic(self):
        return self.now

    def moved_by(self, seconds, work):
        def timed(*arguments, **options):
            self.now += seconds
            return work(*arguments, **options)

        return timed


def test_a_last_validation_chooses_nothing_for_a_run_that_goes_on(data, tiny_recipe, tmp_path):
    recipe = longer(tiny_recipe, validate_every=5)
    go(data, tmp_path / "whole", recipe)
    steps = iter(range(100))
    folder = tmp_path / "timed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("uadtools.training.clock.Clock.over", lambda clock, batches: next(steps) >= 3)
        assert go(data, folder, recipe)["best_validation"] > 0
    assert kept_step(folder) == 3
    go(data, folder, recipe, resume=True)
    assert_same_runs(tmp_path / "whole", folder)


def test_a_validation_that_was_asked_for_and_not_made_is_told(data, tiny_recipe, tiny_recipes, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr("uadtools.training.clock.Clock.over", lambda clock, batches: next(steps) >= 3)
    monkeypatch.setattr("uadtools.training.clock.Clock.affords", lambda clock, batches: False)
    steps = iter(range(100))
    made = go(data, tmp_path / "short", longer(tiny_recipe, validate_every=5), tell=told.append)
    assert made["best_validation"] is None
    steps = iter(range(100))
    go(data, tmp_path / "gan", tiny_recipes["fanogan"], tell=told.append)
    assert told == [
        "--val had no effect: no validation was due within 3 steps (training.validate_every is 5), and the time was "
        "too short for one",
        "--val had no effect: the weights can heal nothing before step 7",
    ]


def test_resuming_a_finished_run_changes_nothing(data, tiny_recipe, tmp_path):
    go(data, tmp_path / "run", tiny_recipe)
    before = {name: (tmp_path / "run" / name).read_bytes() for name in FILES}
    made = go(data, tmp_path / "run", tiny_recipe, resume=True)
    assert made["steps"] == 12
    assert made["loss"] is None
    assert {name: (tmp_path / "run" / name).read_bytes() for name in FILES} == before


@pytest.mark.parametrize("changed", ["recipe", "data", "seed"])
def test_a_run_is_not_resumed_with_another_recipe_data_or_seed(data, tiny_recipe, tmp_path, changed):
    go(data, tmp_path / "run", tiny_recipe)
    before = {name: (tmp_path / "run" / name).read_bytes() for name in FILES}
    recipe = longer(tiny_recipe, batch=5) if changed == "recipe" else tiny_recipe
    with pytest.raises(UadError, match=rf"m\.resume\.safetensors: belongs to a run with another {changed} \("):
        train(
            [f"{data}:other" if changed == "data" else f"{data}:train"],
            tmp_path / "run" / "m.safetensors",
            recipe,
            seed=4 if changed == "seed" else 3,
            resume=True,
            **CPU,
        )
    assert {name: (tmp_path / "run" / name).read_bytes() for name in FILES} == before


def test_there_must_be_something_to_resume(data, tiny_recipe, tmp_path):
    with pytest.raises(UadError, match=r"m\.resume\.safetensors: no such file, so there is nothing to resume"):
        go(data, tmp_path, tiny_recipe, resume=True)


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_overwritten_without_force(data, tiny_recipe, tmp_path, name):
    (tmp_path / name).write_text("precious")
    with pytest.raises(UadError, match=r"exists \(--force replaces it\)"):
        go(data, tmp_path, tiny_recipe)
    assert (tmp_path / name).read_text() == "precious"
    go(data, tmp_path, tiny_recipe, force=True)
    assert (tmp_path / name).read_bytes() != b"precious"


def test_a_run_stopped_early_leaves_no_model_of_an_earlier_run(data, tiny_recipe, tmp_path):
    """Stopped before its first validation, the best weights are the last, and not those of a run that it replaced."""
    go(data, tmp_path, longer(tiny_recipe, steps=6))
    made = go(data, tmp_path, longer(tiny_recipe, log_every=1, validate_every=10), seed=8, seconds=0, force=True)
    assert made["steps"] == 0
    assert read_config(tmp_path / "m.safetensors").training["steps"] == 0


def test_the_model_is_named_as_a_model(data, tiny_recipe, tmp_path):
    with pytest.raises(UadError, match=r"m\.pt: a model file ends in \.safetensors \(change -o\)"):
        train([f"{data}:train"], tmp_path / "m.pt", tiny_recipe, **CPU)


def test_a_folder_that_is_not_there_is_refused_before_the_work(data, tiny_recipe, tmp_path):
    with pytest.raises(UadError, match="does not exist"):
        train([f"{data}:train"], tmp_path / "none" / "m.safetensors", tiny_recipe, **CPU)


def test_the_log_goes_into_a_folder_if_one_is_named(data, tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "board_of", lambda folder, step: lambda progress: None)
    made = go(data, tmp_path, longer(tiny_recipe, steps=3), log=tmp_path / "logs" / "first")
    assert made["log"] == str(tmp_path / "logs" / "first" / "log.csv")
    assert (tmp_path / "logs" / "first" / "log.csv").exists()
    assert not (tmp_path / "m.csv").exists()


def test_changes_are_to_a_recipe_that_is_named(data, tiny_recipe, tmp_path):
    with pytest.raises(UadError, match="changes are to a recipe that is named"):
        train(f"{data}:train", tmp_path / "m.safetensors", tiny_recipe, changes=["training.steps=1"])


def test_what_a_run_starts_from_and_its_masks_are_looked_at_before_its_data(tmp_path):
    for change, said in (
        (f"start={json.dumps(str(tmp_path / 'gone.safetensors'))}", "gone.safetensors: No such file"),
        (f'corruption.masks=["{tmp_path / "no-masks"}"]', "no-masks"),
    ):
        with pytest.raises(UadError, match=said):
            train([str(tmp_path / "no-data")], tmp_path / "m.safetensors", "any-small", changes=[change], **CPU)
