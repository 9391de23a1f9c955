import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from uadtools.errors import UadError
from uadtools.metrics.overlap import overlap
from uadtools.metrics.ranking import Ranking, average_precision, merged, ordered, rank, ranking


def scans(*, dtype=np.float32, levels=40, size=(7, 8, 9)):
    """Twenty random volumes with about a tenth of lesion voxels, scored higher on average, and with many ties."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        truth = rng.random(size) < 0.1
        score = np.round((rng.normal(size=size) + 1.5 * truth) * levels / 6) / levels
        yield score.astype(dtype), truth


def dice_at(score, truth, threshold):
    return overlap(score > threshold, truth).dice


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("levels", [3, 40, 1_000_000])
def test_areas_are_those_of_scikit_learn(dtype, levels):
    for score, truth in scans(dtype=dtype, levels=levels):
        flat = truth.ravel(), score.ravel()
        assert average_precision(score, truth) == pytest.approx(average_precision_score(*flat), abs=1e-12)
        assert rank(score, truth).auroc() == pytest.approx(roc_auc_score(*flat), abs=1e-12)


@pytest.mark.parametrize(
    ("score", "truth"),
    [
        ([0.5, 0.5, 0.5, 0.5], [1, 0, 0, 1]),
        ([0.0, -0.0, 0.0, 1.0], [1, 0, 0, 0]),
        ([-2.0, -1.0, 0.0, 3.0], [1, 1, 0, 0]),
        ([1.0, 0.0], [1, 0]),
        ([0.0, 1.0], [1, 0]),
        ([1.0, 1.0 + 2**-23, 1.0 + 2**-22], [0, 1, 0]),
        ([1e-45, 0.0, 3e38, -3e38], [1, 0, 0, 1]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_areas_of_few_voxels_are_those_of_scikit_learn(score, truth, dtype):
    score, truth = np.array(score, dtype=dtype), np.array(truth, dtype=bool)
    assert average_precision(score, truth) == pytest.approx(average_precision_score(truth, score), abs=1e-12)
    assert rank(score, truth).auroc() == pytest.approx(roc_auc_score(truth, score), abs=1e-12)


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_areas_of_many_voxels_are_those_of_scikit_learn(share):
    rng = np.random.default_rng(0)
    truth = rng.random(100_000) < share
    score = (rng.random(truth.size) + 0.3 * truth).astype(np.float32)
    assert average_precision(score, truth) == pytest.approx(average_precision_score(truth, score), abs=1e-12)
    assert rank(score, truth).auroc() == pytest.approx(roc_auc_score(truth, score), abs=1e-12)


def test_without_healthy_voxels_precision_is_one_as_in_scikit_learn():
    score, truth = np.array([0.1, 0.2, 0.2]), np.ones(3, dtype=bool)
    assert average_precision(score, truth) == average_precision_score(truth, score) == 1


@pytest.mark.parametrize("levels", [3, 40, 1_000_000])
def test_best_dice_is_that_of_trying_every_threshold(levels):
    for score, truth in scans(levels=levels):
        tried = [-np.inf, *np.unique(score)]
        dice, threshold = rank(score, truth).best_dice()
        assert dice == max(dice_at(score, truth, t) for t in tried)
        assert dice_at(score, truth, threshold) == dice


@pytest.mark.parametrize("tpr", [0.01, 0.5, 0.8, 0.95, 1.0])
def test_fpr_at_tpr_is_that_of_the_full_roc_curve(tpr):
    for score, truth in scans():
        fprs, tprs, _ = roc_curve(truth.ravel(), score.ravel(), drop_intermediate=False)
        assert rank(score, truth).fpr_at_tpr(tpr) == pytest.approx(fprs[tprs >= tpr].min(), abs=1e-15)


def test_a_case_done_by_hand():
    score = np.array([0.9, 0.8, 0.8, 0.8, 0.5, 0.1])
    truth = np.array([1, 0, 1, 0, 1, 0], dtype=bool)
    ranking = rank(score, truth)
    np.testing.assert_array_equal(ranking.value, [0.9, 0.8, 0.5, 0.1])
    np.testing.assert_array_equal(ranking.tp, [1, 2, 3, 3])
    np.testing.assert_array_equal(ranking.fp, [0, 2, 2, 3])
    assert (ranking.positives, ranking.negatives) == (3, 3)
    assert ranking.average_precision() == pytest.approx((1 + 2 / 4 + 3 / 5) / 3, abs=1e-15)
    assert ranking.auroc() == pytest.approx((3 + 2 + 1) / 9, abs=1e-15)
    assert ranking.best_dice() == (0.75, 0.1)
    assert ranking.fpr_at_tpr(0.5) == pytest.approx(2 / 3, abs=1e-15)


def test_among_equal_dice_the_highest_threshold_wins():
    score = np.array([4.0, 3.0, 2.0, 1.0])
    truth = np.array([1, 0, 0, 1], dtype=bool)
    assert dice_at(score, truth, 3.0) == dice_at(score, truth, 0.0) == rank(score, truth).best_dice().dice
    assert rank(score, truth).best_dice().threshold == 3.0


def test_a_rate_that_floating_point_rounds_up_is_still_reached():
    score = np.arange(200, 0, -1, dtype=float)
    truth = np.arange(200) < 101
    truth[55] = False
    assert 0.55 * np.count_nonzero(truth) > 55
    assert rank(score, truth).fpr_at_tpr(0.55) == 0
    assert rank(score, truth).fpr_at_tpr(0.56) == 1 / 100


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_everything_is_lesion_the_threshold_lies_below_the_lowest_score(dtype):
    score = np.array([0.0, 0.25, 0.5], dtype=dtype)
    truth = np.ones(3, dtype=bool)
    dice, threshold = rank(score, truth).best_dice()
    assert dice == 1
    assert (score > threshold).all()
    assert average_precision(score, truth) == 1
    assert math.isnan(rank(score, truth).auroc())
    assert math.isnan(rank(score, truth).fpr_at_tpr(0.5))


def test_without_lesion_all_four_are_nan():
    score, truth = np.array([0.0, 0.5, 0.5]), np.zeros(3, dtype=bool)
    values = [average_precision(score, truth), rank(score, truth).auroc(), *rank(score, truth).best_dice()]
    assert np.isnan([*values, rank(score, truth).fpr_at_tpr(0.95)]).all()


def test_a_score_that_is_the_same_everywhere_knows_nothing():
    score, truth = np.full(10, 0.3), np.arange(10) < 2
    assert average_precision(score, truth) == pytest.approx(0.2, abs=1e-15)
    assert rank(score, truth).auroc() == 0.5
    assert rank(score, truth).best_dice().dice == pytest.approx(4 / 12, abs=1e-15)
    assert rank(score, truth).fpr_at_tpr(0.8) == 1


def test_auroc_of_a_detection_is_half_of_recall_plus_specificity():
    rng = np.random.default_rng(0)
    truth = rng.random(200_000) < 0.5
    detection = truth ^ (rng.random(truth.size) < 0.2)
    found = overlap(detection, truth)
    expected = (found.recall + 1 - found.fpr) / 2
    assert rank(detection.astype(np.float32), truth).auroc() == pytest.approx(expected, abs=1e-12)


def test_the_input_is_left_alone():
    score, truth = next(scans())
    before = score.copy(), truth.copy()
    rank(score, truth)
    np.testing.assert_array_equal(score, before[0])
    np.testing.assert_array_equal(truth, before[1])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_numbers_are_refused(bad):
    with pytest.raises(UadError, match="NaN or infinite"):
        rank(np.array([0.1, bad]), np.array([True, False]))


def test_shapes_that_differ_are_told():
    with pytest.raises(UadError, match=r"score \(2, 3\), truth \(3, 2\)"):
        rank(np.zeros((2, 3)), np.zeros((3, 2), dtype=bool))


def test_an_empty_brain_is_told():
    with pytest.raises(UadError, match="no voxel"):
        rank(np.zeros(0), np.zeros(0, dtype=bool))


@pytest.mark.parametrize("tpr", [0, -0.1, 1.01, math.nan])
def test_a_rate_out_of_range_is_refused(tpr):
    with pytest.raises(UadError, match="out of range"):
        rank(np.array([0.1, 0.2]), np.array([True, False])).fpr_at_tpr(tpr)


def all_values(score, truth):
    """A ranking with an entry for every distinct value."""
    value = np.unique(score)[::-1]
    tp, fp = (np.array([np.count_nonzero(score[part] >= v) for v in value]) for part in (truth, ~truth))
    return Ranking(value, tp, fp)


@pytest.mark.parametrize("levels", [3, 40, 1_000_000])
def test_no_figure_needs_the_values_that_are_left_out(levels):
    for score, truth in scans(levels=levels):
        short, whole = rank(score, truth), all_values(score, truth)
        assert levels < 1000 or short.value.size < whole.value.size / 2
        for tpr in (0.05, 0.8, 0.95, 1):
            assert short.fpr_at_tpr(tpr) == whole.fpr_at_tpr(tpr)
        assert short.best_dice() == whole.best_dice()
        assert short.average_precision() == pytest.approx(whole.average_precision(), abs=1e-14)
        assert short.auroc() == pytest.approx(whole.auroc(), abs=1e-14)
        assert (short.positives, short.negatives) == (whole.positives, whole.negatives)


def test_scans_sorted_one_by_one_are_merged():
    scores, truths = zip(*scans(), strict=True)
    found = ranking(merged([ordered(*scan) for scan in zip(scores, truths, strict=True)]))
    expected = rank(np.stack(scores), np.stack(truths))
    for field in ("value", "tp", "fp"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))


def test_counts_at_given_values():
    voxels = ordered(np.array([0.9, 0.8, 0.8, 0.8, 0.5, 0.1]), np.array([1, 0, 1, 0, 1, 0], dtype=bool))
    np.testing.assert_array_equal(voxels.at_least(np.array([1.0, 0.8, 0.6, 0.0])), [[0, 2, 2, 3], [0, 2, 2, 3]])
