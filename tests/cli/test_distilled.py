"""Students of a diffusion model, from training to healing."""

import json
import shutil

import numpy as np
import pytest
import torch

from uadtools.models.checkpoint import amend, file_hash, read_config, read_tensors
from uadtools.models.config import GridConfig
from uadtools.volume.stream import read_image


def settings(*changes):
    return [word for change in changes for word in ("--set", change)]


TINY = ["network={base=8, multipliers=[1, 2], res_blocks=1, attention=[2], heads=2, groups=4, embedding='scale_shift', "
        "resample='conv'}", "noise.scale=raw", "grid.shape=[16, 16, 8]", "training.batch=2", "training.log_every=1",
        "training.validate_every=2", "optimiser.decay=0"]  # fmt: skip
"""Of the tiny model, which teaches."""


@pytest.fixture
def train(uad, prepared, tiny_model, here):
    """Train a student of the tiny model, t.safetensors; returns what the command left."""
    shutil.copy(tiny_model, here / "t.safetensors")

    def run(recipe, *changes, out="m.safetensors", steps=2, options=()):
        changes = settings(*TINY, "teacher=t.safetensors", "walk.top=200", *changes)
        words = ["--recipe", recipe, *changes, "--steps", steps, "--device", "cpu", "--precision", "fp32", *options]
        return uad("train", prepared, *words, "-o", out)

    return run


@pytest.fixture
def heal(uad, prepared, here):
    def run(model, *options):
        made = uad("heal", prepared, "--model", model, "-o", "h.nii.gz", "--force", "--json", *options)
        assert made.status == 0, made.err
        return read_image(here / "h.nii.gz").data, json.loads((here / "h.json").read_text())["history"][-1]["arguments"]

    return run


def test_a_student_begins_as_its_teacher_and_is_the_next_ones(train, heal, here):
    assert train("distil", "walk.steps=8", out="8.safetensors", steps=4).status == 0
    teacher, student = (read_tensors(here / name) for name in ("t.safetensors", "8.safetensors"))
    assert {name: value.shape for name, value in student.items()} == {n: v.shape for n, v in teacher.items()}
    moved = [(student[name].float() - teacher[name].float()).abs().max() for name in teacher]
    assert 0 < max(moved) < 0.01
    told = read_config(here / "8.safetensors")
    assert told.training["started_from"] == f"tiny:{file_hash(here / 't.safetensors')}"
    assert (told.defaults.method, told.defaults.t, told.walk.steps) == ("distilled", (200,), 8)
    assert not hasattr(told, "teacher")
    assert train("distil", "walk.steps=4", "teacher=8.safetensors", out="4.safetensors").status == 0
    assert read_config(here / "4.safetensors").training["started_from"].startswith("distil:")
    for model, given in (("8.safetensors", {}), ("4.safetensors", {"walk": 4})):
        healed, arguments = heal(model)
        assert arguments["method"] == "distilled"
        assert len(arguments["learnt"]) == given.get("walk", 8)
        assert healed.std() > 0


def test_fewer_steps_heal_otherwise_and_ask_less(train, heal, uad, prepared):
    assert train("distil", "walk.steps=4").status == 0
    all_four, one, lower = (heal("m.safetensors", *how)[0] for how in ([], ["--steps", 1], ["-t", 100]))
    assert np.abs(all_four - one).max() > 1e-4
    assert np.abs(all_four - lower).max() > 1e-4
    np.testing.assert_array_equal(all_four, heal("m.safetensors", "--steps", 4, "-t", 200)[0])
    said = uad("heal", prepared, "--model", "m.safetensors", "--steps", 5)
    said.fails("heal", 1, "--steps 5: from -t 200 the model learnt 4, at most")
    said = uad("heal", prepared, "--model", "m.safetensors", "--steps", 3, "-t", 100)
    said.fails("heal", 1, "--steps 3: from -t 100 the model learnt 2, at most")
    said = uad("heal", prepared, "--model", "m.safetensors", "-t", 151)
    said.fails("heal", 1, "-t 151: the model learnt other steps (there are 200, 150, 100, 49)")


def test_a_consistency_model_jumps_once_or_as_often_as_it_is_told(train, heal, here):
    assert train("consistency", "walk.steps=4").status == 0
    assert read_config(here / "m.safetensors").walk.goal == "consistency"
    once, arguments = heal("m.safetensors")
    assert arguments["steps"] == 1
    often, arguments = heal("m.safetensors", "--steps", 4)
    assert arguments["steps"] == 4
    assert np.abs(once - often).max() > 1e-4


@pytest.mark.parametrize("recipe", ["distil", "consistency"])
def test_a_run_that_goes_on_equals_one_that_was_not_stopped(train, recipe, here):
    assert train(recipe, steps=5, out="whole.safetensors").status == 0
    assert train(recipe, steps=2).status == 0
    assert train(recipe, steps=5, options=["--resume"]).status == 0
    for kept in ("safetensors", "last.safetensors", "resume.safetensors"):
        one, other = (read_tensors(here / f"{name}.{kept}") for name in ("whole", "m"))
        assert [name for name in one if not torch.equal(one[name], other[name])] == []


def amended(model, out, **changes):
    """The tiny model, said to be another."""
    return amend(model, out, read_config(model).model_copy(update=changes), force=True)


def test_a_run_goes_on_with_its_own_teacher_alone(train, here, tiny_model):
    assert train("distil").status == 0
    began = read_config(here / "m.safetensors").training["started_from"]
    amended(tiny_model, here / "t.safetensors", name="other")
    said = train("distil", steps=4, options=["--resume"])
    said.fails(
        "train", 1, f"t.safetensors: is other:{file_hash(here / 't.safetensors')}, and the run began with {began}"
    )
    (here / "t.safetensors").unlink()
    train("distil", steps=4, options=["--resume"]).fails("train", 1, "t.safetensors: No such file")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["network.base=16"], "t.safetensors: network.base is 8 there, 16 in the recipe (--set network.base=...)"),
        (["schedule.kind=cosine"], "schedule.kind is linear there, cosine in the recipe"),
        (["noise.kind=gaussian"], "noise.kind is simplex there, gaussian in the recipe"),
        (["target=eps"], "target is x0 there, eps in the recipe (--set target=...)"),
        (["intensity.kind=zscore"], "intensity.kind is percentile there"),
        (["teacher=none.safetensors"], "none.safetensors: No such file"),
    ],
)
def test_a_teacher_of_anything_else_is_refused(train, changes, said):
    train("distil", *changes).fails("train", 1, said)


def test_a_teacher_of_another_grid_is_refused(train, tiny_model, here):
    amended(tiny_model, here / "other.safetensors", grid=GridConfig(shape=(16, 16, 8), spacing=(1.0, 1.0, 1.0)))
    said = "other.safetensors: grid.spacing is [1.0, 1.0, 1.0] there, [2.0, 2.0, 2.0] in the recipe"
    train("distil", "teacher=other.safetensors").fails("train", 1, said)


def test_a_teacher_of_another_kind_is_refused(train, tiny_guided, tiny_models):
    said = "a model of kind 'cddpm', not 'diffusion' or 'distilled', of which a teacher is"
    train("distil", f"teacher={tiny_guided['cddpm']}").fails("train", 1, said)
    train("consistency", f"teacher={tiny_models['ae']}").fails("train", 1, "a model of kind 'ae', not 'diffusion', of")
    said = "a model of kind 'distilled', not 'diffusion', of which a teacher is"
    train("consistency", f"teacher={tiny_guided['distilled']}").fails("train", 1, said)


def test_a_student_that_walks_otherwise_is_no_teacher(train, tiny_guided):
    """The tiny one takes 4 steps from 200."""
    teacher = f"teacher={tiny_guided['distilled']}"
    assert train("distil", teacher, "walk.steps=2").status == 0
    for change in ("walk.steps=4", "walk.steps=1", "walk.top=300"):
        train("distil", teacher, "walk.steps=2", change, out="other.safetensors").fails(
            "train", 1, "its walk is progressive, 4 steps from 200; the teacher of "
        )


def test_a_bundled_model_teaches_by_its_name(train, ship, tiny_model, here):
    ship(tiny=tiny_model)
    assert train("distil", "teacher=tiny").status == 0
    began = read_config(here / "m.safetensors").training["started_from"]
    assert began == f"tiny:{file_hash(tiny_model)}"
    assert train("distil", "teacher=tiny", steps=3, options=["--resume"]).status == 0


def test_a_student_needs_a_teacher(uad, prepared):
    words = ["train", prepared, "--recipe", "distil", "-o", "m.safetensors"]
    uad(*words).fails("train", 1, "recipe distil: teacher is needed: a model of kind diffusion, or")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("walk.top=1000", "defaults.t (1000,) must be below schedule.steps = 1000"),
        ("walk.steps=302", "walk: steps 302: from top = 300 there are 1 to 301"),
        ("walk.goal=speed", "walk.goal"),
        ("defaults.t=[250]", "defaults.t 250: not on the walk (there are 300, 262, "),
        ("training.t_range=[0, 300]", "training.t_range: without a meaning for models of kind 'distilled'"),
    ],
)
def test_a_walk_that_cannot_be_is_refused_before_training(uad, change, said):
    uad("train", "--recipe", "distil", "--set", change, "--dry-run").fails("train", 1, said)


def test_a_walk_from_beyond_the_schedule_is_refused_wherever_healing_begins(uad):
    changes = settings("walk.top=1000", "defaults.t=[875]")
    said = "walk.top 1000 must be below schedule.steps = 1000"
    uad("train", "--recipe", "distil", *changes, "--dry-run").fails("train", 1, said)


def test_healing_begins_at_the_top_where_nothing_else_is_said(uad):
    for change, t in (("walk.top=400", [400]), ("defaults.t=[112]", [112]), ("walk.steps=4", [300])):
        assert uad("train", "--recipe", "distil", "--set", change, "--dry-run").json["defaults"]["t"] == t
