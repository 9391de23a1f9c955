"""What is published of a finished comparison: pages, plots, prose, hashes, and in what two differ."""

import json
from copy import deepcopy

import numpy as np
import pytest

from uadtools.bench.manifest import differences
from uadtools.errors import UadError
from uadtools.publishing.plots import figures
from uadtools.publishing.prose import methods_text
from uadtools.publishing.publish import publish

CURVE = {
    "threshold": [4.0, 1.0, 0.2],
    "recall": [0.1, 0.5, 1.0],
    "precision": [1.0, 0.6, 0.1],
    "fpr": [0.0, 0.1, 1.0],
    "dice": [0.2, 0.5, 0.2],
}
HISTOGRAM = {"lesion": [0, 1, 5, 2], "healthy": [900, 40, 3, 0]}


def method(name, **more):
    blank = {"model": None, "recipe": None, "changes": [], "heal": {}, "postproc": {}, "family": "", "swept": {}}
    return {"name": name, **blank, **more}


def row(name, auprc):
    cell = {"value": auprc, "deviation": 0.01, "interval": [auprc - 0.1, auprc + 0.1], "folds": [auprc] * 3}
    return {"method": name, "auprc": cell, "seconds_per_scan": 2.0, "tests": {}}


NAMES = ("<b>", "AE", "blur, sigma = 2.0", "blur, sigma = 4.0")
TABLE = {
    "schema": 1,
    "name": "small",
    "version": "0.1.0",
    "folds": [1, 2, 3],
    "config": {
        "seed": 0,
        "folds": 3,
        "data": {"stratify": ["age"]},
        "postproc": {"median": 5, "erode": 3, "min_size": 7},
        "set": [{"name": "dark", "simulate": {"kind": "blobs", "tone": "dark", "masks": []}, "contrast": 1.0}],
        "method": [
            method(NAMES[0], heal={"method": "threshold"}),
            method("AE", recipe="ae", changes=["training.steps=2"]),
            *(method(n, family="blur", swept={"sigma": s}) for n, s in zip(NAMES[2:], (2.0, 4.0), strict=True)),
        ],
    },
    "training": {"AE": {"steps": 2, "minutes": 0.5, "slices": 1200, "parameters": 3400}},
    "methods": {
        NAMES[0]: {"heals_by": "threshold", "kind": None, "source": None},
        "AE": {"heals_by": "ae", "kind": "ae", "source": "Baur et al. 2021: A title"},
        NAMES[2]: {"heals_by": "blur", "kind": None, "source": None},
        NAMES[3]: {"heals_by": "blur", "kind": None, "source": None},
    },
    "manifest": {"plan": "1", "code": "2", "data": {"a": "3", "b": "4"}, "versions": {"torch": "5"}},
    "sets": [
        {
            "set": "dark",
            "scans": 3,
            "against": NAMES[0],
            "rows": [row(name, 0.2 + 0.1 * i) for i, name in enumerate(NAMES)],
            "cases": {name: [{"name": "a", "auprc": 0.2, "dice": None}] for name in NAMES},
            "curves": {name: [CURVE, None, CURVE | {"precision": [1.0, 0.8, 0.3]}] for name in NAMES},
            "histograms": {NAMES[0]: [None, HISTOGRAM, HISTOGRAM], NAMES[1]: [HISTOGRAM, None, None]},
            "concerns": [],
        }
    ],
}


@pytest.fixture
def done(tmp_path):
    (tmp_path / "small.json").write_text(json.dumps(TABLE))
    (tmp_path / "hashes.json").write_text("{}")
    return tmp_path


def test_pages_plots_and_hashes_are_written_and_differences_told(done):
    other = deepcopy(TABLE)
    other["manifest"]["data"]["b"] = "9"
    (done / "theirs.json").write_text(json.dumps(other))
    lines = list(publish(done / "small.json", against=done / "theirs.json"))
    out = done / "report"
    assert lines[1:] == ["data: b (4 here, 9 there)"]
    assert json.loads((out / "manifest.json").read_text()) == TABLE["manifest"]
    page = (out / "small.html").read_text()
    assert '<th scope="row">&lt;b&gt;</th><td>0.200 ± 0.010 [0.100, 0.300]</td>' in page
    for name in ("auprc-1", "roc-1", "pr-1", "dice-threshold-1", "histogram-1", "time-1", "sweep-sigma-1"):
        assert "<svg" in (out / f"{name}.svg").read_text()
        assert f'src="{name}.svg"' in page
    assert not (out / "dice-1.svg").exists()  # no scan has a Dice
    assert r"0.200 $\pm$ 0.010" in (out / "small.tex").read_text()
    assert "Source: Baur et al. 2021" in (out / "small.md").read_text()


def test_what_is_no_finished_comparison_is_told(done):
    with pytest.raises(UadError, match=r"^.*nothing: there is no such folder or table \(name what uad-bench -o wrote "):
        list(publish(done / "nothing"))
    (done / "old.json").write_text("{}")
    with pytest.raises(UadError, match=r"old\.json: no table of uad-bench with a manifest"):
        list(publish(done / "old.json"))
    (done / "second.json").write_text(json.dumps(TABLE))
    with pytest.raises(UadError, match="several tables"):
        list(publish(done))
    (done / "second.json").unlink()
    assert "small.html" in next(publish(done, done / "elsewhere"))
    (done / "small.json").unlink()
    with pytest.raises(UadError, match="no table of uad-bench"):
        list(publish(done))


def test_curves_are_means_over_folds_and_sweeps_are_lines():
    drawn = figures(TABLE)
    (axis,) = drawn["pr-1.svg"][1].axes
    x, y = axis.lines[0].get_data()
    assert dict(zip(x.round(2), y, strict=True))[0.5] == pytest.approx(0.7)
    (axis,) = drawn["sweep-sigma-1.svg"][1].axes
    assert [tuple(axis.lines[0].get_data()[i]) for i in (0, 1)] == [(2.0, 4.0), (0.4, 0.5)]


def test_histograms_are_sums_over_folds_with_a_panel_for_each_method():
    axes = figures(TABLE)["histogram-1.svg"][1].axes
    assert [axis.get_title() for axis in axes] == list(NAMES[:2])
    assert {axis.get_yscale() for axis in axes} == {"log"}
    for axis, folds in zip(axes, (2, 1), strict=True):
        healthy, lesion = (patch.get_data() for patch in axis.patches)
        np.testing.assert_array_equal(healthy.values, folds * np.array(HISTOGRAM["healthy"]))
        np.testing.assert_array_equal(lesion.values, folds * np.array(HISTOGRAM["lesion"]))
        np.testing.assert_array_equal(healthy.edges, [0, 1, 2, 3, 4])


def test_a_table_without_histograms_has_the_other_plots():
    old = deepcopy(TABLE)
    del old["sets"][0]["histograms"]
    assert figures(TABLE).keys() - figures(old).keys() == {"histogram-1.svg"}


def test_the_prose_says_folds_lesions_training_and_sources():
    text = methods_text(TABLE)
    assert "parted into 3 folds, alike in age" in text
    assert "dark: kind blobs, tone dark drawn into healthy scans." in text
    assert "Trained by the recipe ae, with training.steps=2: 2 steps, 0.5 min, 1,200 slices, 3,400 parameters." in text
    assert "Source: Baur et al. 2021 (dense, spatial); Baur et al. 2021: A title." in text
    assert "**<b>**: The intensity threshold: every voxel heals to the median of the brain." in text
    assert "Meissen et al. 2022" in text


def test_in_what_two_manifests_differ():
    ours = {"plan": "a", "data": {str(i): i for i in range(9)}, "code": "x"}
    assert differences(ours, ours) == []
    assert differences(ours, ours | {"plan": "b", "data": {}}) == [
        "plan: a here, b there",
        "data: 0 (0 here, none there), 1 (1 here, none there), 2 (2 here, none there), and 6 more",
    ]
