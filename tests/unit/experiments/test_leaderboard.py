import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from loading import load

import uadtools
from uadtools.grids.grid import Grid
from uadtools.metrics.ranking import average_precision
from uadtools.volume.io import Image
from uadtools.volume.stream import Study

load("healers"), load("real_patients"), load("survey_table")
pages, board = load("leaderboard_page"), load("leaderboard")
NAMES = [scan.name for scan in pages.SCANS]


@pytest.fixture
def lesioned(layered):
    """A brain with a bright lesion, and its truth."""
    truth = np.zeros(layered.data.shape, np.uint8)
    truth[22:27, 27:33, 22:27] = 1
    data = np.where(truth > 0, 1, layered.data).astype(np.float32)
    return layered.derive(data, "scan"), layered.derive(truth, "truth")


def test_a_case_has_its_figures_with_and_without_the_sign(lesioned):
    scan, truth = lesioned
    dark = np.where((scan.data > 0) & (truth.data == 0) & (np.indices(scan.data.shape)[2] == 28), 0.01, scan.data)
    scan = scan.derive(dark.astype(np.float32), "scan")
    one = board.Case("M2307, T2", "M2307, T2", "bright", Study("a", {"scan": scan}), truth)
    found = board.figures(one, board.METHODS[board.BASELINE])
    brain = scan.data > 0
    away = np.maximum(np.abs(scan.data - np.median(scan.data[brain])), 1e-6) * brain
    smooth = board.clean.smooth(away.astype(np.float32), board.WIDTH)
    assert found["both"]["auprc"] == pytest.approx(average_precision(smooth[brain], truth.data[brain] > 0), abs=1e-6)
    assert found["told"]["auprc"] > found["both"]["auprc"]
    assert found["memory_mb"] > 10
    assert "own" not in found  # no model is any scan's own


def test_slices_of_a_stack_are_judged_alone(lesioned):
    """What one slice holds has no part in the median that another heals to."""
    data = [image.data[:, :, 20:29] for image in lesioned]
    scan, truth = (Image(part, Grid(part.shape, np.eye(4))) for part in data)
    case = board.Case(board.HEADCT, board.HEADCT, "", Study("a", {"scan": scan}), truth, stack=True)
    found = board.figures(case, board.METHODS[board.BASELINE])
    assert "told" not in found
    assert 0 < found["both"]["auprc_pooled"] <= 1
    single = board.singles(Study("a", {"scan": scan}))[4]
    alone = uadtools.heal(single, None, board.plan(None, method="threshold")).need("healed").data
    assert alone.max() == np.median(single.product.data[single.product.data > 0])


@pytest.fixture
def folder(tmp_path, lesioned, monkeypatch):
    """Two healthy heads, one kind of lesion, one patient."""
    scan, truth = lesioned
    uadtools.save(scan, tmp_path / "p.nii.gz")
    uadtools.save(truth, tmp_path / "t.nii.gz")
    for name in ("a_1", "b_1"):
        uadtools.save(scan, tmp_path / f"{name}.nii.gz")
    (tmp_path / "test.txt").write_text("a_1.nii.gz\nb_1.nii.gz\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "experiments/data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(board, "SCANS", [board.SCANS[0]._replace(file="p.nii.gz", truth="t.nii.gz")])
    monkeypatch.setattr(board.uadtools, "preprocess", lambda image, name: Study(name, {"scan": image}))
    monkeypatch.setattr(board, "ProcessPoolExecutor", ThreadPoolExecutor)
    tests = (NAMES[0], "dark blobs")
    methods = {name: board.Method({"method": name}, tests=tests) for name in ("threshold", "blur")}
    gone = {"gone": board.Method({"method": "restore"}, "gone", tests=tests)}
    monkeypatch.setattr(board, "METHODS", {board.BASELINE: methods["threshold"], "blur": methods["blur"]} | gone)
    return tmp_path


@pytest.mark.parametrize("tone", ["dark", "bright"])
def test_gliomas_are_tests_of_the_board_and_not_of_the_survey(tone, folder, monkeypatch):
    name = f"glioma-like, {tone}"
    monkeypatch.setitem(pages.LESIONS, name, (tone, {"kind": "glioma", "tone": tone, "size": (24, 24)}))
    one, two = board.Tests(folder, folder, folder / "none.npz", 2).cases(name)
    assert [one.name, two.name] == ["a", "b"]
    line = one.truth.provenance["history"][-1]
    assert (one.told, line["arguments"]["kind"], line["arguments"]["tone"]) == (tone, "glioma", tone)
    assert one.truth.data.sum() > 500
    assert name in board.OPEN
    assert name not in pages.survey_table.LESIONS


def test_only_what_is_missing_is_measured(folder, monkeypatch):
    def measure(heads):
        board.measure(folder, folder, folder / "none.npz", heads=heads)
        return json.loads(board.FIGURES.read_text())

    first = measure(1)
    assert list(first) == [board.BASELINE, "blur"]  # no model called gone ships
    assert list(first["blur"]["tests"]["dark blobs"]) == ["a"]
    calls, real = [], board.figures
    monkeypatch.setattr(board, "figures", lambda one, method: calls.append(one.name) or real(one, method))
    second = measure(2)
    assert calls == ["b", "b"]
    assert second["blur"]["tests"]["dark blobs"]["a"] == first["blur"]["tests"]["dark blobs"]["a"]
    changed = board.Method({"method": "blur", "sigma": 3.0}, tests=("dark blobs",))
    monkeypatch.setitem(board.METHODS, "blur", changed)
    third = measure(1)
    assert calls == ["b", "b", "a"]
    assert third["blur"]["about"]["sigma"] == 3.0
    assert list(third["blur"]["tests"]) == ["dark blobs"]


def row(value, **more):
    return {"both": {"auprc": value, "best_dice": value}, "seconds": 2.0, "memory_mb": 300, **more}


def test_the_page_ranks_methods_and_says_what_was_not_measured(tmp_path, monkeypatch):
    about = {"about": {"model": ""}, "parameters": 0, "evaluations": 0, "date": "2026-12-01", "machine": "a CPU"}
    told = {"told": {"auprc": 0.9, "best_dice": 0.8}}
    whole = {name: {name: row(0.1, **told)} for name in NAMES}
    heads = {kind: {str(n): row(0.2 + 0.1 * n) for n in range(4)} for kind in pages.LESIONS}
    both = {"auprc": 0.3, "interval": [0.2, 0.4], "auprc_pooled": 0.5, "best_dice_pooled": 0.6}
    stack = {"both": both, "seconds": 0.1}
    small = about | {"about": {"model": "any-small"}, "parameters": 5_800_000, "evaluations": 1}
    mine = {name: {name: row(0.4, own=name != NAMES[0])} for name in NAMES}
    found = {
        pages.BASELINE: about | {"tests": whole | heads | {pages.HEADCT: {pages.HEADCT: stack}}},
        "slow": small | {"tests": {NAMES[0]: {NAMES[0]: row(0.7)}}},
        "restore, any-small": small | {"tests": mine},
    }
    monkeypatch.setattr(pages, "PAGE", tmp_path / "page.md")
    pages.page(found, [*found, "slower"])
    text = (tmp_path / "page.md").read_text()
    order = [line.split(" | ")[0].strip("| ") for line in text.splitlines() if line.startswith("| ")]
    assert order[:6] == ["method", "---", pages.BASELINE, "restore, any-small", pages.CHOICE, "slow"]
    lines = {line.split(" | ")[0].strip("| "): line for line in reversed(text.splitlines()) if line.startswith("| ")}
    assert "| 0.100 / 0.900 |" in lines[pages.BASELINE]
    assert lines["slow"].startswith("| slow | **0.700** | – | –")
    assert lines[pages.CHOICE].startswith(f"| {pages.CHOICE} | – | **0.400**")
    assert "**0.350** [0." in text
    assert "| slow | any-small | 10 | 5.8 M | 1 | 2.0 | 300 |" in text
    assert "\nNot measured yet on any test: slower.\n" in text
    assert f"\nNot measured there: {pages.CHOICE}; slow; restore, any-small.\n" in text
    assert "| 0.300 [0.200, 0.400] | 0.500 | 0.600 | 0.10 |" in text


def test_the_page_that_ships_is_of_the_figures_that_ship(tmp_path, monkeypatch):
    root = Path(__file__).parents[3]
    monkeypatch.setattr(pages, "PAGE", tmp_path / "page.md")
    pages.page(json.loads((root / pages.FIGURES).read_text()), list(board.METHODS))
    assert (tmp_path / "page.md").read_text() == (root / "docs/leaderboard.md").read_text()
