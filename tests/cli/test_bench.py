"""uad-bench, as a user calls it."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from uadtools.volume.io import save
from uadtools.volume.stream import read_image

PLAN = """
name = "small"
[data]
train = ["a.nii.gz"]
val = ["a.nii.gz"]
[postproc]
median = 1
erode = 0
[[set]]
name = "dark blobs"
val = ["a.nii.gz"]
test = ["b.nii.gz", "c.nii.gz"]
simulate = { kind = "blobs", size = [6.0, 12.0] }
[[method]]
name = "threshold"
heal = { method = "threshold" }
[[method]]
name = "AE"
recipe = "ae"
changes = ["grid.shape=[32, 32, 32]", "network.base=8", "network.multipliers=[1, 1]", "training.steps=2"]
"""
ENDINGS = ("csv", "json", "md", "tex")


@pytest.fixture
def plan(here):
    """A plan beside three balls of brain, in a folder of their own."""
    folder = here / "study"
    folder.mkdir()
    away = np.linalg.norm(np.stack(np.meshgrid(*[np.arange(32) - 15.5] * 3, indexing="ij")), axis=0)
    tissue = np.select([away < 4, away < 9, away < 12], [0.2, 0.5, 0.8], 0)
    for seed, name in enumerate("abc"):
        speckle = np.random.default_rng(seed).normal(0, 0.02, tissue.shape)
        data = np.where(tissue > 0, np.clip(tissue + speckle, 0.01, 1), 0).astype(np.float32)
        nib.save(nib.Nifti1Image(data, np.diag([2, 2, 2, 1])), folder / f"{name}.nii.gz")
    (folder / "plan.toml").write_text(PLAN)
    return "study/plan.toml"


def test_a_table_in_four_forms_and_nothing_twice(uad, plan, here):
    first = uad("bench", plan, "-o", "out")
    assert first.status == 0
    assert first.out.decode().startswith("### dark blobs (2 scans)\n")
    assert [line.split(": ")[1] for line in first.lines[:-1]] == ["AE", "threshold", "AE"]
    for ending in ENDINGS:
        assert (here / "out" / f"small.{ending}").stat().st_size
    table = json.loads((here / "out/small.json").read_text())
    assert table["training"]["AE"]["steps"] == 2
    before = {p: p.stat().st_mtime_ns for p in (here / "out").rglob("*") if p.is_file() and p.stem != "small"}
    again = uad("bench", plan, "-o", "out", "--json")
    assert (again.status, again.json) == (0, table)
    assert again.err == ""
    assert before == {p: p.stat().st_mtime_ns for p in (here / "out").rglob("*") if p.is_file() and p.stem != "small"}
    (done,) = (path for path in (here / "out/models").glob("*.json"))
    told = done.read_text()
    done.unlink()  # as a run leaves it that is killed when training has ended
    assert (uad("bench", plan, "-o", "out", "--json").json, done.read_text()) == (table, told)


def test_what_the_history_of_test_scans_says_against_them_is_told_and_strict_leaves_with_3(uad, plan, here):
    concern = {"code": "brain-size", "text": "the brain is large", "value": 2000}
    image = read_image(here / "study/b.nii.gz")
    save(replace(image, provenance={"concerns": [concern]}), here / "study/b.nii.gz", force=True)
    (here / plan).write_text(PLAN[: PLAN.rindex("[[method]]")])
    for _ in range(2):  # the second reads what is done
        result = uad("bench", plan, "-o", "out", "--json", "--strict", "-q")
        assert result.status == 3, result.err
        assert result.json["sets"][0]["concerns"] == [concern | {"text": "b: the brain is large"}]


def test_data_may_lie_elsewhere(uad, plan, here):
    (here / "study/plan.toml").rename(here / "plan.toml")
    uad("bench", "plan.toml", "-o", "out").fails("bench", 1, "b.nii.gz", "--data")
    assert uad("bench", "plan.toml", "--data", "study", "-o", "out", "-q").status == 0


def test_wrong_plans_are_told_in_one_line(uad, plan, here):
    uad("bench", "gone.toml", "-o", "out").fails("bench", 1, "gone.toml", "No such file")
    (here / "bad.toml").write_text("name = ")
    uad("bench", "bad.toml", "-o", "out").fails("bench", 1, "bad.toml", "not a readable comparison")
    (here / "bad.toml").write_text(PLAN.replace('recipe = "ae"', 'recipe = "ea"'))
    uad("bench", "bad.toml", "--data", "study", "-o", "out").fails("bench", 1, "AE", "no recipe 'ea'")
    uad("bench", plan).fails("bench", 2, "--output")
    (here / "bad.toml").write_text(PLAN.replace('name = "small"', 'name = "../small"'))
    uad("bench", "bad.toml", "--data", "study", "-o", "out").fails("bench", 1, "name")
    uad("bench", plan, "-o", plan).fails("bench", 1, "is no folder")
    (here / "bad.toml").write_text(PLAN.replace('test = ["b.nii.gz"', 'test = ["a.nii.gz"'))
    result = uad("bench", "bad.toml", "--data", "study", "-o", "out")
    result.fails("bench", 1, "dark blobs: test and its val share", "a.nii.gz")
    assert not (here / "out").exists()


@pytest.mark.parametrize("name", ["../../../pwned", "/pwned", "a\\u0000b", "a\\u001bb"])
def test_a_recipe_whose_name_leads_elsewhere_trains_nothing(name, uad, plan, here):
    (here / "study/r.toml").write_text(f'name = "{name}"\nsource = "tests"\nkind = "ae"\nnetwork = {{}}\n')
    (here / "plan.toml").write_text(PLAN.replace('recipe = "ae"', f'recipe = "{here}/study/r.toml"'))
    result = uad("bench", "plan.toml", "--data", "study", "-o", "out")
    why = "(it holds a NUL character)" if "u0000" in name else "cannot be that of a file (change it)"
    assert (result.status, result.lines[-1].endswith(why)) == (1, True), result.err
    assert not list(here.rglob("*.safetensors"))


FOLDED = PLAN[: PLAN.rindex("[[method]]")].replace('name = "small"', 'name = "small"\nfolds = 3')
FOLDED = FOLDED.replace('["a.nii.gz"]', '["a.nii.gz", "b.nii.gz", "c.nii.gz"]').replace(
    '["b.nii.gz", "c.nii.gz"]\nsim', '["a.nii.gz", "b.nii.gz", "c.nii.gz"]\nsim'
)


def test_folds_one_by_one_then_all_and_the_report(uad, plan, here):
    (here / plan).write_text(FOLDED)
    assert uad("bench", plan, "-o", "out", "--dry-run").out.decode() == "nothing is trained\n"
    assert uad("bench", plan, "-o", "out", "--dry-run", "--json").json == []
    assert not (here / "out").exists()
    assert uad("bench", plan, "-o", "out", "--fold", "2", "-q").status == 0
    assert json.loads((here / "out/folds/small-2.json").read_text())["folds"] == [2]
    assert not (here / "out/small.json").exists()
    assert uad("bench", plan, "-o", "out", "--fold", "1", "--method", "threshold").out == b""
    assert uad("bench", plan, "-o", "out", "--json").json["folds"] == [1, 2, 3]
    told = uad("bench", "out", "--report", "--against", "out/small.json")
    assert (told.status, told.out.decode().splitlines()[1]) == (0, "made of the same: nothing differs")
    assert (here / "out/report/small.html").exists()
    uad("bench", plan, "-o", "out", "--fold", "4").fails("bench", 2, "the plan has 3 folds")
    uad("bench", plan, "-o", "out", "--against", "out").fails("bench", 2, "--report")
    uad("bench", plan, "-o", "out", "--method", "AE").fails("bench", 1, "no method 'AE' in this plan")


WORKFLOW = Path(__file__).parents[2] / "examples/workflow/bench.smk"


def test_the_workflow_has_a_job_for_each_fold_and_method_and_none_side_by_side_that_share_a_model(plan, here):
    trained = PLAN[PLAN.rindex("[[method]]") :]
    (here / plan).write_text(FOLDED + trained + trained.replace('"AE"', '"AE again"'))
    words = [sys.executable, "-m", "snakemake", "-s", WORKFLOW, "--config", f"plan={plan}", "out=out"]
    planned = subprocess.run([*words, "-n"], capture_output=True, text=True, check=True, cwd=here).stdout
    assert re.search(r"^fold_of_method +9$", planned, re.MULTILINE)
    for first, second in (("1-1", "1-2"), ("1-0", "2-0")):
        assert re.search(rf"input: out/done/{first}\n +output: out/done/{second}\n", planned)
