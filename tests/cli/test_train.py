import csv
import json
import os
import sys
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from uadtools.models.checkpoint import read_config, read_tensors
from uadtools.volume.io import save

TINY = """
name = "tiny"
source = "tests"
target = "x0"
network = { base = 8, multipliers = [1, 2], res_blocks = 1, attention = [2], heads = 2, groups = 4, resample = "conv" }
grid = { shape = [16, 16, 8] }
training = { steps = 4, batch = 2, t_range = [0, 300], log_every = 1, validate_every = 2, validation_slices = 4 }
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def recipe(here):
    (here / "tiny.toml").write_text(TINY)
    return here / "tiny.toml"


@pytest.fixture
def train(uad, prepared, recipe):
    """Train on the phantom with these options."""
    return lambda *options: uad("train", prepared, "-o", "m.safetensors", "--recipe", recipe, *options)


def weights(path):
    return {name: tensor.float().numpy() for name, tensor in read_tensors(path).items()}


def distance(one, other):
    one, other = weights(one), weights(other)
    return max(np.abs(one[name] - other[name]).max() for name in one)


def test_a_model_its_last_weights_state_and_log_are_written(train, here):
    result = train()
    assert (result.status, result.out) == (0, b"")
    assert result.lines[-1] == "uad-train: m.safetensors: 4 steps, 6 slices, log in m.csv"
    written = ["m.csv", "m.last.safetensors", "m.resume.safetensors", "m.safetensors"]
    assert names(here) == [*written, "p.nii.gz", "tiny.toml"]
    assert read_config(here / "m.safetensors").training["steps"] == 4


def test_an_anonymous_model_names_no_data(train, here):
    train("--anonymous")
    assert read_config(here / "m.safetensors").training["data"] == []
    for path in here.glob("m.*"):
        assert b"p.nii" not in path.read_bytes()


def test_the_model_heals(train, uad, prepared, here):
    train()
    assert uad("heal", prepared, "--model", "m.safetensors").status == 0


def test_output_must_be_named_and_a_safetensors_file(uad, prepared, recipe, here):
    uad("train", prepared, "--recipe", recipe).fails("train", 2, "-o MODEL")
    uad("train", "-o", "m.safetensors", "--recipe", recipe).fails("train", 2, "DATA")
    uad("train", prepared, "--recipe", recipe, "-o", "m.pt").fails("train", 1, "m.pt", ".safetensors")
    assert names(here) == ["p.nii.gz", "tiny.toml"]


@pytest.mark.parametrize("taken", ["m.safetensors", "m.last.safetensors", "m.resume.safetensors", "m.csv"])
def test_nothing_is_overwritten_without_force(taken, train, here):
    (here / taken).write_text("mine")
    train().fails("train", 1, taken, "exists (--force replaces it)")
    assert (here / taken).read_text() == "mine"
    assert names(here) == sorted(["p.nii.gz", "tiny.toml", taken])
    assert train("--force").status == 0


def test_dry_run_prints_the_resolved_recipe_and_writes_nothing(uad, here):
    told = uad(
        "train", "--dry-run", "--recipe", "anoddpm", "--set", "training.loss=l1", "--steps", 7, "--batch", 3
    ).json
    assert told["name"] == "anoddpm"
    assert (told["training"]["loss"], told["training"]["steps"], told["training"]["batch"]) == ("l1", 7, 3)
    assert names(here) == []


@pytest.mark.parametrize("recipe", ["any-small", "cddpm", "ldm"])
def test_what_dry_run_printed_is_a_recipe(uad, here, recipe):
    printed = uad("train", "--dry-run", "--recipe", recipe, "--steps", 7)
    (here / "mine.json").write_bytes(printed.out)
    assert uad("train", "--dry-run", "--recipe", "mine.json").out == printed.out


@pytest.mark.parametrize(
    ("text", "said"),
    [("[1]", "not a recipe"), ("{", "not a readable recipe"), ('{"name": "x", "stepz": 1}', "stepz: unknown key")],
)
def test_a_json_file_that_is_no_recipe_is_told(uad, here, text, said):
    (here / "bad.json").write_text(text)
    uad("train", "--dry-run", "--recipe", "bad.json").fails("train", 1, "bad.json", said)


def test_recipe_has_an_effect_and_any_small_is_the_default(uad):
    made = {uad("train", "--dry-run", *options).json["name"] for options in ((), ("--recipe", "sss"))}
    assert made == {"any-small", "sss"}
    uad("train", "--dry-run", "--recipe", "magic").fails(
        "train", 1, "no recipe 'magic'", "ae, andi, anoddpm, any-small, bernoulli, "
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("training.stepz=3", "training.stepz: unknown key"),
        ("training.steps=many", "training.steps"),
        ("training.steps", "expected KEY=VALUE"),
        ("name.of.it=3", "no table"),
    ],
)
def test_set_refuses_what_is_no_setting(change, said, uad):
    uad("train", "--dry-run", "--set", change).fails("train", 1, said)


def test_set_is_repeatable_and_reaches_the_model(train, here):
    assert train("--set", "network.base=12", "--set", "name='other'").status == 0
    config = read_config(here / "m.safetensors")
    assert (config.name, config.network.base) == ("other", 12)


def test_steps_and_batch_have_an_effect(train, here):
    assert train("--steps", 2, "--batch", 1, "--json").json["steps"] == 2
    said = read_config(here / "m.safetensors").training
    assert (said["steps"], said["batch"]) == (2, 1)


def test_time_stops_and_resume_goes_on_as_if_it_had_not(train, here):
    assert train("--json").json["steps"] == 4
    (here / "m.safetensors").rename(here / "whole.safetensors")
    assert train("--force", "--time", "0s", "--json").json["steps"] == 0
    assert train("--resume", "--json").json["steps"] == 4
    assert distance(here / "m.safetensors", here / "whole.safetensors") == 0
    with (here / "m.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1", "2", "3", "4"]


def stopped_after(steps, monkeypatch):
    looks = iter(range(100))
    monkeypatch.setattr("uadtools.training.clock.Clock.over", lambda clock, batches: next(looks) >= steps)


@pytest.mark.parametrize(
    ("stop", "lowest", "said"),
    [
        (3, None, "3 of 12,000 steps, 6 slices"),
        (5, 2, "2 of 12,000 steps (the best of 5 on --val), 6 slices"),
        (5, 4, "4 of 12,000 steps (the best of 5 on --val), 6 slices"),
    ],
)
def test_the_last_line_and_the_card_say_what_the_weights_have_seen_of_what_was_planned(
    stop, lowest, said, train, uad, monkeypatch
):
    stopped_after(stop, monkeypatch)
    losses = iter([abs(step - (lowest or 0)) for step in (2, 4)])
    monkeypatch.setattr("uadtools.training.loop.validate", lambda *_: next(losses))
    result = train("--steps", 12000, *(["--val", "p.nii.gz"] if lowest else []))
    assert result.lines[-1] == f"uad-train: m.safetensors: {said}, log in m.csv"
    card = " ".join(uad("models", "info", "m.safetensors").out.decode().split())
    assert f"steps {lowest or stop} of 12,000, batch 2" in card


def test_a_finished_run_goes_on_with_more_steps_and_is_done_with_as_many(train):
    train()
    done = train("--resume")
    assert done.status == 0
    assert done.lines == [
        "uad-train: 4 steps were taken already, so there is nothing left to do (more --steps go on)",
        "uad-train: m.safetensors: 4 steps, 6 slices, log in m.csv",
    ]
    assert train("--resume", "--steps", 6).lines[-1] == "uad-train: m.safetensors: 6 steps, 6 slices, log in m.csv"


def test_val_that_was_never_due_is_made_once_and_told(train, prepared, monkeypatch):
    stopped_after(3, monkeypatch)
    result = train("--val", prepared, "--steps", 50, "--set", "training.validate_every=20")
    assert result.lines[-2].startswith("uad-train: validated once, after the last step: 0.")
    assert "no validation was due within 3 steps (training.validate_every is 20)" in result.lines[-2]


def test_val_that_is_learnt_from_too_is_told(train, prepared, here):
    (here / "q.nii.gz").write_bytes(prepared.read_bytes())
    told = "uad-train: --val: 1 of these scans are learnt from, too, voxel for voxel (the loss on them flatters)"
    assert told in train("--val", "q.nii.gz").lines
    other = nib.load(prepared)
    nib.save(nib.Nifti1Image(other.get_fdata(dtype=np.float32) ** 2, other.affine), here / "q.nii.gz")
    assert "--val:" not in train("--val", "q.nii.gz", "--force").err


def test_the_time_of_the_command_is_that_of_the_clock(train, monkeypatch):
    """Reading recipes and loading torch count, too."""
    given = []
    monkeypatch.setattr("uadtools.training.clock.Clock.__init__", lambda clock, seconds: given.append(seconds) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train("--time", "3m")
    assert 100 < given[0] < 180


def test_resume_without_a_state_is_told(train, here):
    train("--resume").fails("train", 1, "m.resume.safetensors", "nothing to resume")


@pytest.mark.parametrize("text", ["x", "1d", "-1s", "m", ""])
def test_times_that_are_none_are_refused(text, train):
    train("--time", text).fails("train", 2, "--time", "30m")


def test_val_chooses_the_model_kept(train, prepared):
    assert train("--json").json["best_validation"] is None
    result = train("--val", prepared, "--force", "--json")
    assert result.json["best_validation"] > 0
    assert "validation 0." in result.err


def test_seed_has_an_effect(train, here):
    made = []
    for number, seed in enumerate((0, 0, 1)):
        train("--seed", seed, "--force")
        made.append((here / "m.safetensors").rename(here / f"{number}.safetensors"))
    assert distance(made[0], made[1]) == 0
    assert distance(made[0], made[2]) > 1e-3


def test_precision_has_an_effect(train, here):
    for precision in ("fp32", "bf16"):
        assert train("--precision", precision, "--device", "cpu", "--force").status == 0
        said = read_config(here / "m.safetensors").training
        assert said["precision"] == {"fp32": "float32", "bf16": "bfloat16"}[precision]


def test_device_has_an_effect(train):
    train("--device", "cuda:99").fails("train", 1, "--device cuda:99: not available")


def test_workers_sets_the_threads(train, monkeypatch):
    import torch

    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    assert train().status == 0
    assert asked == []
    assert train("--workers", 2, "--force").status == 0
    assert asked == [2]


def test_log_names_the_folder_of_the_log(train, here):
    told = train("--log", "logs", "--json").json
    assert told["log"] == "logs/log.csv"
    assert (here / "logs" / "log.csv").read_text().startswith("step,loss,validation,seconds_per_step")
    assert not (here / "m.csv").exists()
    drawn = [json.loads(line) for line in (here / "logs" / "drawn.jsonl").read_text().splitlines()]
    assert [line["step"] for line in drawn] == [1, 2, 3, 4]
    assert all(len(line["slices"]) == 2 for line in drawn)


def test_what_was_drawn_replaces_nothing_without_force(train, here):
    (here / "logs").mkdir()
    (here / "logs" / "drawn.jsonl").write_text("mine")
    train("--log", "logs").fails("train", 1, "logs/drawn.jsonl", "--force")
    assert (here / "logs" / "drawn.jsonl").read_text() == "mine"


def test_what_was_drawn_goes_on_where_the_run_does(train, here):
    changes = ("--log", "logs", "--set", "augment.ghosting=0.5")
    train(*changes)
    whole = (here / "logs" / "drawn.jsonl").read_text()
    train(*changes, "--force", "--time", "0s")
    with (here / "logs" / "drawn.jsonl").open("a") as file:
        file.write('{"step": 3, "sli')  # killed while it wrote
    train(*changes, "--resume")
    assert (here / "logs" / "drawn.jsonl").read_text() == whole


def test_json_tells_the_summary(train):
    result = train("--json")
    told = result.json
    assert told.pop("loss") > 0
    assert told.pop("parameters") > 1000
    assert told == {
        "model": "m.safetensors", "steps": 4, "kept_steps": 4, "planned_steps": 4, "best_validation": None,
        "last": "m.last.safetensors", "log": "m.csv", "slices": 6, "concerns": [],
    }  # fmt: skip


def test_verbose_tells_every_report_and_quiet_is_silent(train):
    assert sum(line.startswith("step ") for line in train("-v").lines) == 4
    result = train("--force", "-v", "-q")
    assert (result.status, result.out, result.err) == (0, b"", "")


def test_a_bar_with_loss_and_time_left_is_shown_on_a_terminal(train, terminal, monkeypatch):
    follower, read = terminal
    with os.fdopen(os.dup(follower), "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        assert train("--json").status == 0
    shown = read()
    assert "step 4/4  loss 0." in shown
    assert "100%" in shown


@pytest.mark.parametrize(
    "value", [("--steps", 0), ("--batch", -1), ("--seed", -1), ("--workers", -1), ("--device", "x")]
)
def test_values_out_of_range_are_wrong_usage(value, train):
    train(*value).fails("train", 2, value[0])


SMALL = {"ae": ["network.latent=4"], "vae": ["network.latent=4"], "svae": ["network.latent=4", "network.reach=1"],
         "dae": ["network.patch=1", "coarse.resolution=4"], "fanogan": ["network.latent=4", "gan.critic=1"],
         "headct": ["network.attention=[]"]}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_a_shipped_recipe_trains_stops_goes_on_and_heals(name, uad, prepared, here):
    """Made tiny: three steps, of which f-AnoGAN takes one for each of its parts."""
    changes = ["grid={shape=[16, 16, 8], spacing=[2, 2, 2]}", "network.base=8", "network.multipliers=[1, 2]",
               "network.groups=4", "training.steps=3", "training.batch=2", "training.log_every=1",
               "training.validate_every=1", "intensity.kind=percentile", *SMALL[name]]  # fmt: skip
    words = ["train", prepared, "--val", prepared, "--recipe", name, *(w for c in changes for w in ("--set", c))]
    told = uad(*words, "-o", "whole.safetensors", "--json").json
    assert told["steps"] == 3
    assert told["best_validation"] > 0
    assert uad(*words, "-o", "m.safetensors", "--time", "0s").status == 0
    assert uad(*words, "-o", "m.safetensors", "--resume", "--json").json["best_validation"] == told["best_validation"]
    assert distance(here / "m.safetensors", here / "whole.safetensors") == 0
    assert read_config(here / "m.safetensors").name == name
    assert uad("heal", prepared, "--model", "m.safetensors").status == 0


def test_data_may_be_folders_lists_and_arrays(uad, prepared, recipe, here, phantom):
    (here / "folder").mkdir()
    prepared.rename(here / "folder" / "p.nii.gz")
    (here / "a.txt").write_text("folder/p.nii.gz\n")
    (here / "a.csv").write_text("path\nfolder/p.nii.gz\n")
    (here / "a.jsonl").write_text(json.dumps({"path": "folder/p.nii.gz"}))
    np.savez(here / "a.npz", x=np.full((8, 16, 16), 100, np.uint8))
    sources = ("folder", "a.txt", "a.csv", "a.jsonl", "a.npz")
    told = uad("train", *sources, "-o", "m.safetensors", "--recipe", recipe, "--steps", 1, "--json").json
    assert told["slices"] == 4 * 6 + 8


def test_scans_that_do_not_fit_are_told_with_the_command_that_helps(uad, scan, recipe, here):
    result = uad("train", scan, "-o", "m.safetensors", "--recipe", recipe)
    result.fails("train", 1, "raw.nii.gz", "not prepared", "uad-preprocess", "--shape 16,16,8 --spacing 2,2,2")
    assert names(here) == ["raw.nii.gz", "tiny.toml"]


def test_version(uad):
    assert uad("train", "--version").out.startswith(b"uadtools ")


def test_what_the_history_of_scans_says_against_them_is_told_and_strict_leaves_with_3(train, prepared, phantom):
    concern = {"code": "brain-size", "text": "the brain is large", "value": 2000}
    scan = phantom.need("scan")
    save(replace(scan, provenance={"concerns": [concern]}), prepared, force=True)
    result = train("--json", "--strict")
    assert result.status == 3, result.err
    assert result.json["concerns"] == [concern | {"text": "p.nii.gz: the brain is large"}]
    assert train("--force", "--val", prepared).status == 0
