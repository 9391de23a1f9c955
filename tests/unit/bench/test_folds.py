"""Folds: who is judged, tuned on and learnt from, how a fold is trained and resumed, and what is told of all."""

import json
from pathlib import Path

import numpy as np
import pytest

from uadtools.bench.course import Course
from uadtools.bench.data import Scans
from uadtools.bench.dry import planned, told_of
from uadtools.bench.folds import parted
from uadtools.bench.plan import load_bench
from uadtools.bench.run import Bench
from uadtools.bench.summary import BINS, curve_of, histogram_of, united_folds
from uadtools.bench.table import markdown, surviving, write_table
from uadtools.errors import UadError
from uadtools.evaluation.cases import Case
from uadtools.grids.grid import Grid
from uadtools.metrics.ranking import rank
from uadtools.scoring.postproc import Steps
from uadtools.volume.io import Image, save

PEOPLE = {f"p{i}": {"id": f"p{i}", "site": "north" if i < 5 else "south", "age": str(20 + i)} for i in range(10)}
FILES = [f"{folder}/p{i}_preprocessed.nii.gz" for folder in ("plain", "tight") for i in range(10)]
PLAN = """
name = "folded"
folds = 3
[data]
train = ["scans"]
val = ["scans"]
[postproc]
median = 1
erode = 0
min_size = 1
[[set]]
name = "dark"
val = ["scans"]
test = ["scans"]
simulate = { kind = "blobs", size = [6.0, 12.0] }
[[method]]
name = "threshold"
heal = { method = "threshold" }
"""
BLUR = '[[method]]\nname = "blur"\nheal = { method = "blur", sigma = 6.0 }\n'
SMALL = '"grid.shape=[32, 32, 32]", "network.base=8", "network.multipliers=[1, 1]"'
AE = f'[[method]]\nname = "AE"\nrecipe = "ae"\nchanges = [{SMALL}, "training.steps=2"]\n'
MINUTES = f'[[method]]\nname = "AE"\nrecipe = "ae"\nminutes = 2\nrates = {{ big = 60.0 }}\nchanges = [{SMALL}]\n'


@pytest.fixture
def planned_folds(tmp_path):
    """Six people, in a folder beside the plan."""
    (tmp_path / "scans").mkdir()
    away = np.linalg.norm(np.stack(np.meshgrid(*[np.arange(32) - 15.5] * 3, indexing="ij")), axis=0)
    tissue = np.select([away < 4, away < 9, away < 12], [0.2, 0.5, 0.8], 0)
    for seed in range(6):
        speckle = np.random.default_rng(seed).normal(0, 0.02, tissue.shape)
        data = np.where(tissue > 0, np.clip(tissue + speckle, 0.01, 1), 0).astype(np.float32)
        save(Image(data, Grid((32, 32, 32), np.diag([2.0, 2.0, 2.0, 1.0]))), tmp_path / f"scans/p{seed}_T1w.nii.gz")

    def write(text):
        (tmp_path / "plan.toml").write_text(text)
        return load_bench(tmp_path / "plan.toml")

    return write


def bench(config, folder, **more):
    return Bench(config, folder, folder / "out", **more)


def test_each_fold_has_as_many_people_of_each_site_and_all_scans_of_them():
    folds = parted(FILES, 5, PEOPLE, ["site"], 0)
    for fold in range(5):
        judged = [file for file in FILES if folds.parts(file, fold) == ("judge",)]
        names = sorted({Path(file).name[:2] for file in judged})
        assert len(judged) == 4
        assert [PEOPLE[name]["site"] for name in names] == ["north", "south"]
        counts = [sum(folds.parts(file, fold) == (part,) for file in FILES) for part in ("judge", "tune", "learn")]
        assert counts == [4, 4, 12]
    assert all(sum(folds.parts(file, fold) == ("judge",) for fold in range(5)) == 1 for file in FILES)


def test_who_is_where_follows_from_the_ids_and_the_seed_alone():
    one = parted(FILES, 5, PEOPLE, ["site", "age"], 0)
    assert parted(FILES[::-1], 5, PEOPLE, ["site", "age"], 0).of == one.of
    assert parted(FILES, 5, PEOPLE, ["site", "age"], 1).of != one.of
    assert parted(FILES, 5, None, (), 0).of.keys() == one.of.keys()


def test_who_is_in_no_fold_is_judged_in_all():
    folds = parted(FILES, 5, PEOPLE, (), 0)
    assert {folds.parts("other/patient1.nii.gz", fold) for fold in range(5)} == {("tune", "judge")}


def test_people_who_are_missing_or_too_few_are_told():
    with pytest.raises(UadError, match=r"plain/q1\.nii\.gz: its name begins with no id of data\.participants"):
        parted(["plain/q1.nii.gz"], 3, PEOPLE, (), 0)
    with pytest.raises(UadError, match=r"folds = 5: data\.train has scans of 1 by their names"):
        parted(["BraTS_1.nii.gz", "BraTS_2.nii.gz"], 5, None, (), 0)
    with pytest.raises(UadError, match=r"no column 'hospital'.*it has: id, site, age"):
        parted(FILES, 5, PEOPLE, ["hospital"], 0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("folds = 3", "folds = 2"), "folds = 2: at least 3"),
        (('train = ["scans"]', ""), "there are none"),
        (("folds = 3", ""), None),
        (("[data]", '[data]\nstratify = ["age"]'), "data.participants, which is missing"),
        (("folds = 3\n[data]", '[data]\nparticipants = "p.csv"'), "are for folds"),
        (("heal =", "minutes = 3\nheal ="), "no recipe is named"),
        (("heal =", "postproc = { median = 0 }\nheal ="), "median"),
    ],
)
def test_folds_that_make_no_sense_are_refused(change, told, planned_folds):
    assert change[0] in PLAN
    if told is None:
        assert planned_folds(PLAN.replace(*change)).folds == 0
        return
    with pytest.raises(UadError, match=told):
        planned_folds(PLAN.replace(*change))


def test_nobody_is_learnt_from_tuned_on_and_judged_in_one_fold(planned_folds, tmp_path):
    config = planned_folds(PLAN)
    judged = []
    for fold in range(3):
        scans = Scans(config, tmp_path, fold)
        scans.check(config.sets[0])
        test, val = ([item.file for item in scans.items(config.sets[0], split)] for split in ("test", "val"))
        assert sorted([*scans.learnt, *scans.tuned, *test]) == Scans(config, tmp_path).files(["scans"])
        assert val == scans.tuned
        judged += test
    assert len(set(judged)) == len(judged) == 6


def test_a_fold_after_the_other_gives_what_all_at_once_give(planned_folds, tmp_path, monkeypatch):
    config = planned_folds(PLAN + BLUR)
    singles = [bench(config, tmp_path, fold=fold).run() for fold in (2, 0, 1)]
    assert [table["folds"] for table in singles] == [[3], [1], [2]]
    monkeypatch.setattr("uadtools.bench.runner.heal", None)
    table = bench(config, tmp_path).run()
    assert table["folds"] == [1, 2, 3]
    (found,) = table["sets"]
    assert found["scans"] == 6
    for row in found["rows"]:
        of_folds = {single["folds"][0]: single for single in singles}
        rows = [next(r for r in of_folds[k]["sets"][0]["rows"] if r["method"] == row["method"]) for k in (1, 2, 3)]
        values = [one["auprc"]["value"] for one in rows]
        assert row["auprc"]["folds"] == values
        assert row["auprc"]["value"] == pytest.approx(np.mean(values))
        assert row["auprc"]["deviation"] == pytest.approx(np.std(values, ddof=1))
        low, high = row["auprc"]["interval"]
        assert low <= np.mean([case["auprc"] for case in found["cases"][row["method"]]]) <= high
        assert row["threshold"]["folds"] == [one["threshold"] for one in rows]
        assert len(found["curves"][row["method"]]) == 3
        assert all(sum(fold["lesion"]) > 0 for fold in found["histograms"][row["method"]])
    assert {"auprc", "dice"} <= found["rows"][1]["tests"].keys()
    assert " ± " in markdown(table)
    assert "over the scans of all folds" in markdown(table)
    assert write_table(singles[0], tmp_path / "out")[0] == tmp_path / "out/folds/folded-3.json"


def test_a_killed_comparison_goes_on_in_its_fold_and_gives_the_same(planned_folds, tmp_path, monkeypatch):
    config = planned_folds(PLAN + AE)
    real, folders = __import__("uadtools.training.train", fromlist=["train"]).train, []

    def killed(*args, **options):
        folders.append(sorted(Path(file).name for file in args[0]))
        if len(folders) == 2:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr("uadtools.bench.course.train", killed)
    with pytest.raises(KeyboardInterrupt):
        bench(config, tmp_path).run()
    table = bench(config, tmp_path).run()
    assert len(folders) == 4  # the first fold is not trained again
    assert folders[1] == folders[2]
    assert len({*map(tuple, folders)}) == 3
    assert all(len(folder) == 2 for folder in folders)
    assert table["training"]["AE"]["steps"] == 2
    assert len({*table["manifest"]["models"]["AE"]}) == 3
    rows = planned(bench(config, tmp_path))
    assert [(row["fold"], row["taken"], row["hours"]) for row in rows] == [(1, 2, 0), (2, 2, 0), (3, 2, 0)]
    monkeypatch.setattr("uadtools.bench.course.train", None)
    assert bench(config, tmp_path).run() == table


def test_minutes_are_steps_by_one_measurement_for_all_folds(planned_folds, tmp_path, monkeypatch):
    (method,) = (m for m in planned_folds(PLAN + MINUTES).methods if m.recipe)
    config = planned_folds(PLAN + MINUTES)
    paces = iter([0.5, 0.1])
    monkeypatch.setattr(Course, "measured", lambda course: next(paces))
    courses = [Course(method, Scans(config, tmp_path, fold), tmp_path / "out", "cpu", "fp32") for fold in (0, 1)]
    recipes = [course.recipe for course in courses]
    assert [recipe.training.steps for recipe in recipes] == [240, 240]
    assert (recipes[0].optimiser.warmup, recipes[0].optimiser.decay) == (24, 80)
    assert courses[0].path != courses[1].path


def test_a_dry_run_tells_steps_and_hours_here_and_by_the_plans_rates_and_keeps_nothing(
    planned_folds, tmp_path, monkeypatch
):
    monkeypatch.setattr(Course, "measured", lambda course: 0.5)
    rows = planned(bench(planned_folds(PLAN + MINUTES), tmp_path))
    assert [(row["fold"], row["steps"], row["taken"], row["scans"]) for row in rows] == [
        (k, 240, 0, 2) for k in (1, 2, 3)
    ]
    assert rows[0]["hours"] == pytest.approx(2 / 60)
    assert rows[0]["elsewhere"] == {"big": pytest.approx(240 / 60 / 3600)}
    lines = told_of(rows).splitlines()
    assert lines[0] == "fold 1: AE: ae, 240 steps of 0.5 s, 2 scans: 2.0 min here, 4.0 s on big"
    assert lines[-1] == "in all: 6.0 min here, 12.0 s on big"
    assert not (tmp_path / "out").exists()
    assert told_of(planned(bench(planned_folds(PLAN), tmp_path))) == "nothing is trained"


@pytest.mark.parametrize(
    "method",
    [
        '[[method]]\nname = "b"\nsweep.heal.sigmma = [1.0]\nheal = { method = "blur" }\n',
        AE + "heal = { sigma = 6.0 }\n",
    ],
)
def test_a_dry_run_refuses_options_that_the_run_would(planned_folds, tmp_path, method, monkeypatch):
    monkeypatch.setattr(Course, "measured", lambda course: 0.5)
    with pytest.raises(UadError, match=r"^method '(b, sigmma = 1.0|AE)': --sigm+a has no effect with --method"):
        planned(bench(planned_folds(PLAN + method), tmp_path))


def test_a_few_steps_are_measured_and_nothing_of_them_is_left(planned_folds, tmp_path, monkeypatch):
    monkeypatch.setattr("uadtools.bench.course.MEASURED", 3)
    config = planned_folds(PLAN + MINUTES)
    course = Course(config.methods[1], Scans(config, tmp_path, 0), tmp_path / "out", "cpu", "fp32")
    before = sorted(tmp_path.rglob("*"))
    assert course.measured() > 0
    assert sorted(tmp_path.rglob("*")) == before


def test_figures_over_folds_by_hand():
    def report(auprc, dice, names, values):
        return {
            "figures": {"auprc": {"value": auprc, "interval": [0, 1]}, "dice": dice, "threshold": 0.1},
            "scans": [
                {"name": n, "auprc": v, "dice": None, "seconds": 1.0} for n, v in zip(names, values, strict=True)
            ],
            "untouched": [],
            "concerns": [],
        }

    once = report(0.2, 0.5, ["a", "b"], [0.1, 0.3])
    assert united_folds([once], 0) == once
    both = united_folds([once, report(0.4, None, ["b", "c", "d"], [0.5, 0.4, 0.3])], 0)
    assert both["figures"]["auprc"]["value"] == pytest.approx(0.3)
    assert both["figures"]["auprc"]["deviation"] == pytest.approx(0.1 * np.sqrt(2))
    assert both["figures"]["dice"] == {"value": 0.5, "deviation": None, "interval": None, "folds": [0.5, None]}
    assert {row["name"]: row["auprc"] for row in both["scans"]} == pytest.approx(
        {"a": 0.1, "b": 0.4, "c": 0.4, "d": 0.3}
    )


def test_counts_of_a_histogram_by_hand():
    score = np.array([[0, 0.4, 0.41, 9, 0.1, 9]]).reshape(6, 1, 1)
    truth = np.array([0, 1, 1, 1, 0, 1], bool).reshape(6, 1, 1)
    within = np.array([1, 1, 1, 1, 1, 0], bool).reshape(6, 1, 1)
    case = Case("a", "score", score, truth, within, True, (1.0, 1.0, 1.0), 0.001)
    found = histogram_of([case, case], 0.4)
    assert len(found["lesion"]) == len(found["healthy"]) == BINS
    assert {i: n for i, n in enumerate(found["lesion"]) if n} == {16: 4, 63: 2}  # the threshold is a quarter of the way
    assert {i: n for i, n in enumerate(found["healthy"]) if n} == {0: 2, 4: 2}
    assert histogram_of([case], 0) is None


def test_points_of_a_curve_by_hand():
    curve = curve_of(rank(np.array([0.8, 0.6, 0.4, 0.2]), np.array([1, 0, 1, 0], bool)), 0.4)
    assert curve["threshold"] == [2.0, 1.5, 1.0, 0.5]
    assert curve["recall"] == [0.5, 0.5, 1.0, 1.0]
    assert curve["precision"] == [1.0, 0.5, 0.6667, 0.5]
    assert curve["fpr"] == [0.0, 0.5, 0.5, 1.0]
    assert curve["dice"] == [0.6667, 0.5, 0.8, 0.6667]
    assert curve_of(rank(np.array([0.8, 0.6]), np.array([0, 0], bool)), 0.4) is None


def test_differences_that_survive_are_said():
    tests = {"auprc": {"difference": 0.1, "p_holm": 0.01}, "dice": {"difference": 0.1, "p_holm": 0.2}}
    found = {"against": "a", "rows": [{"method": "a", "tests": {}}, {"method": "b", "tests": tests}]}
    assert surviving(found) == "Differences from a that survive Holm's correction: AUPRC of b (+0.1, p = 0.01)."
    assert surviving(found | {"rows": found["rows"][:1]}).endswith("correction: none.")


def test_a_method_may_have_a_chain_of_its_own_and_be_done_alone(planned_folds, tmp_path):
    config = planned_folds(PLAN + BLUR + "postproc = { min_size = 3000 }\n")
    assert config.chain_of(config.methods[1]).steps == Steps(median=1, erode=0, min_size=3000)
    alone = bench(config, tmp_path, fold=0).only("blur")
    (found,) = alone.found()
    (report,) = found.reports["dark"].values()
    assert report["figures"]["recall_pooled"]["value"] == 0  # nothing is so large
    with pytest.raises(UadError, match="no method 'blurr' in this plan, did you mean blur"):
        alone.only("blurr")
    assert not json.loads(json.dumps(report))["figures"]["dice"]["value"]
