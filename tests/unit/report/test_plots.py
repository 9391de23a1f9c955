from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from uadtools.errors import UadError
from uadtools.evaluation.cases import Case
from uadtools.evaluation.evaluate import Wanted, judge
from uadtools.metrics.overlap import overlap
from uadtools.metrics.ranking import rank
from uadtools.report.plots import DRAWN, MOST_POINTS, check_plots, plot

SHAPE = (20, 10, 10)


def scan(seed, kind="score", voxels=SHAPE):
    rng = np.random.default_rng(seed)
    truth = rng.random(voxels) < 0.1
    score = rng.normal(size=voxels) + 1.5 * truth
    baseline = score + rng.normal(0, 3, voxels) if kind == "score" else None
    prediction = score > 1 if kind == "detection" else score
    return Case(
        f"s{seed}", kind, prediction, truth, np.ones(voxels, dtype=bool), True, (10.0, 10.0, 10.0), 1.0, baseline
    )


def drawn(name, found):
    axis = Figure().subplots()
    DRAWN[name](axis, found)
    return axis


def labels(axis):
    return axis.get_legend_handles_labels()[1]


@pytest.fixture
def scores():
    return judge((scan(seed) for seed in range(3)), Wanted(threshold=1.25))


@pytest.fixture
def detections():
    return judge((scan(seed, "detection") for seed in range(5)), Wanted())


def test_precision_against_recall_with_baseline_prevalence_and_threshold(scores):
    axis = drawn("pr", scores)
    ours, theirs, chance, used = axis.lines
    pooled = scores.report["pooled"]
    recall, precision = ours.get_data()
    gained = np.diff(recall)
    assert np.sum(gained * precision[1:]) == pytest.approx(pooled["auprc"], abs=2e-3)
    assert f"score, AUPRC {pooled['auprc']:.3f}" in labels(axis)
    assert f"intensity threshold, AUPRC {scores.report['baseline']['pooled']['auprc']:.3f}" in labels(axis)
    assert theirs.get_ydata()[-1] == precision[-1] == pytest.approx(pooled["lesion_voxels"] / 6000)
    assert set(chance.get_ydata()) == {pooled["lesion_voxels"] / 6000}
    assert (used.get_xdata(), used.get_ydata()) == ([pooled["recall"]], [pooled["precision"]])
    assert "recall" in axis.get_xlabel()
    assert "precision" in axis.get_ylabel()


def test_dice_against_threshold_with_the_best_and_the_used_one(scores):
    axis = drawn("dice", scores)
    curve, best, used = axis.lines
    truth = np.stack([scan(seed).truth for seed in range(3)])
    score = np.stack([scan(seed).prediction for seed in range(3)])
    for threshold, dice in list(zip(*curve.get_data(), strict=True))[:: MOST_POINTS // 20]:
        assert dice == pytest.approx(overlap(score >= threshold, truth).dice, abs=1e-12)
    found = rank(score, truth).best_dice()
    assert (best.get_xdata(), best.get_ydata()) == ([found.threshold], [found.dice])
    assert max(curve.get_ydata()) == found.dice
    assert set(used.get_xdata()) == {1.25}
    assert any("chosen with the truth" in label for label in labels(axis))


def test_dice_where_everything_is_lesion_but_the_lowest_score_cannot_be_passed():
    voxels = np.array([0.1, 0.2, 0.3, 0.4]).reshape(4, 1, 1)
    everything = np.ones(voxels.shape, dtype=bool)
    found = judge([Case("a", "score", voxels, everything, everything, True, (1.0, 1.0, 1.0), 0.001)], Wanted())
    assert drawn("dice", found).lines[1].get_ydata() == [1]


def test_volumes_with_bias_and_limits_of_agreement(detections):
    axis = drawn("bland-altman", detections)
    truth, found = np.array(detections.volumes_ml).T
    difference = found - truth
    points, _, *lines = axis.lines
    np.testing.assert_allclose(points.get_xdata(), (truth + found) / 2)
    np.testing.assert_allclose(points.get_ydata(), difference)
    bias, spread = difference.mean(), 1.96 * np.std(difference, ddof=1)
    assert [line.get_ydata()[0] for line in lines] == pytest.approx([bias + spread, bias, bias - spread])
    assert [text.get_text() for text in axis.texts][1] == f"mean {bias:+.3g} mL"
    assert "mL" in axis.get_xlabel()


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
@pytest.mark.parametrize("name", ["pr", "dice"])
def test_files_are_written(name, suffix, scores, tmp_path):
    path = tmp_path / f"p.{suffix}"
    plot(scores, name, path)
    assert path.read_bytes().startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix])
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with pytest.raises(UadError, match="exists"):
        plot(scores, name, path)


def test_a_curve_of_many_voxels_is_drawn_with_few_points():
    found = judge([scan(0, voxels=(60, 50, 40))], Wanted())
    assert found.ranking.value.size > 10 * MOST_POINTS
    assert all(len(line.get_xdata()) <= MOST_POINTS + 2 for line in drawn("pr", found).lines)


def test_what_an_evaluation_does_not_hold_is_not_drawn(scores, detections):
    for name in ("pr", "dice"):
        with pytest.raises(UadError, match="there is no curve to plot"):
            drawn(name, detections)
    with pytest.raises(UadError, match="two or more scans are needed"):
        drawn("bland-altman", judge([scan(0, "detection")], Wanted()))
    with pytest.raises(UadError, match="two or more scans are needed"):
        drawn("bland-altman", judge([scan(0), scan(1)], Wanted()))
    assert len(drawn("bland-altman", scores).lines) == 5


def test_a_truth_that_is_empty_everywhere_has_no_curve():
    nothing = np.zeros(SHAPE, dtype=bool)
    empty = Case("a", "score", scan(0).prediction, nothing, ~nothing, True, (1.0, 1.0, 1.0), 0.001)
    with pytest.raises(UadError, match="a truth that is not empty everywhere"):
        drawn("pr", judge([empty], Wanted()))


def test_plots_that_cannot_be_are_refused_before_any_work(tmp_path):
    with pytest.raises(UadError, match=r"--plot roc=r\.png: there are pr, dice, bland-altman"):
        check_plots({"roc": Path("r.png")}, force=False)
    with pytest.raises(UadError, match=r"p\.bmp: pictures are written as"):
        check_plots({"pr": tmp_path / "p.bmp"}, force=False)
    check_plots({"pr": tmp_path / "p.svg"}, force=False)
