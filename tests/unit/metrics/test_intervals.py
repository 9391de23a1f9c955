import math

import numpy as np
import pytest

from uadtools.metrics.intervals import MOST_THRESHOLDS, bootstrap, ends, ranking_bootstrap, resampled
from uadtools.metrics.overlap import Overlap
from uadtools.metrics.ranking import Ranking, merged, ordered, rank, ranking


def scans(count, voxels, seed=0):
    """Scores that differ from scan to scan, with a tenth of lesion voxels."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        truth = rng.random(voxels) < 0.1
        yield (rng.normal(rng.normal(), 1, voxels) + truth).astype(np.float32), truth


def test_the_mean_of_many_values_has_the_normal_interval():
    values = np.random.default_rng(1).normal(3, 2, 400)
    error = values.std() / 20
    expected = values.mean() + np.array([-1.96, 1.96]) * error
    np.testing.assert_allclose(bootstrap(values), expected, atol=0.1 * error)
    narrower = values.mean() + np.array([-0.6745, 0.6745]) * error
    np.testing.assert_allclose(bootstrap(values, level=0.5), narrower, atol=0.1 * error)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """Of 200 samples of 30 values; the percentile interval is a little short."""
    rng = np.random.default_rng(2)
    found = [bootstrap(rng.exponential(1, 30), rounds=400, seed=i) for i in range(200)]
    covered = np.mean([low <= 1 <= high for low, high in found])
    assert 0.87 <= covered <= 0.98


def test_scans_are_drawn_with_replacement_and_summed():
    """Of two scans with 0 and two with 1, a draw sums up to 0 to 4: as often as four coins show heads."""
    drawn = resampled([0, 0, 1, 1], lambda total: total, rounds=4000)
    values, counts = np.unique(drawn, return_counts=True)
    np.testing.assert_array_equal(values, [0, 1, 2, 3, 4])
    np.testing.assert_allclose(counts / 4000, np.array([1, 4, 6, 4, 1]) / 16, atol=0.03)


def test_counts_are_pooled_before_the_ratio_is_taken():
    """One large scan decides, as it does in the pooled figure; the mean of the ratios would not care for size."""
    rows = [(1000, 0, 0), *[(0, 1, 1)] * 9]
    (low, high), _ = bootstrap(rows, lambda sums: [Overlap(*sums).dice, 0])
    assert Overlap(*np.sum(rows, axis=0)).dice == pytest.approx(1000 / 1009)
    assert low == 0  # a third of the draws are without the large scan
    assert high > 0.99


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(3).random(20)
    np.testing.assert_array_equal(bootstrap(values, seed=5), bootstrap(values, seed=5))
    assert (bootstrap(values, seed=5) != bootstrap(values, seed=6)).any()


def test_scans_without_the_figure_are_left_out():
    values = np.random.default_rng(4).random(20)
    np.testing.assert_array_equal(bootstrap([*values, math.nan]), bootstrap(values))
    rows = np.stack([values, values], axis=1)
    np.testing.assert_array_equal(bootstrap([*rows, (1, math.nan)]), bootstrap(rows))


@pytest.mark.parametrize("values", [[], [0.5], [0.5, math.nan], [math.nan, math.nan], [1, 2, 3], [1, 2, 3, math.nan]])
def test_fewer_than_four_scans_have_no_interval(values):
    assert bootstrap(values) is None
    assert resampled(values) is None


def test_four_scans_have_one_that_is_more_than_their_range():
    low, high = bootstrap([1, 2, 3, 4])
    assert 1 < low < high < 4


def test_values_that_are_all_the_same_have_an_interval_without_length():
    np.testing.assert_array_equal(bootstrap([0.5, 0.5, 0.5, 0.5]), [0.5, 0.5])


def test_rounds_in_which_the_figure_is_undefined_are_left_out():
    drawn = np.array([[1.0, math.nan, math.nan], [2.0, 4.0, math.nan], [3.0, 4.0, math.nan]])
    np.testing.assert_allclose(ends(drawn, 0.5), [[1.5, 2.5], [4, 4], [math.nan, math.nan]])


def figures(found):
    return [found.average_precision(), found.auroc(), found.best_dice().dice, found.fpr_at_tpr(0.8)]


def test_a_round_of_pooled_voxels_is_that_of_the_voxels_themselves():
    """Every round ranks the very voxels of the scans it draws."""
    parts = list(scans(4, 60))
    seen = []
    voxels = [ordered(*part) for part in parts]
    ranking_bootstrap(voxels, ranking(merged(voxels)), lambda r: seen.append(r) or figures(r), rounds=30)
    drawn = np.random.default_rng(0).integers(4, size=(30, 4))
    for each, chosen in zip(seen, drawn, strict=True):
        score, truth = (np.concatenate([parts[i][k] for i in chosen]) for k in (0, 1))
        np.testing.assert_allclose(figures(each), figures(rank(score, truth)), rtol=0, atol=1e-12)


def test_many_thresholds_are_thinned_without_harm():
    voxels = [ordered(*part) for part in scans(4, 30_000)]
    pooled = ranking(merged(voxels))
    assert pooled.value.size > 4 * MOST_THRESHOLDS
    rows = []
    ranking_bootstrap(voxels, pooled, lambda r: rows.append(r) or figures(r), rounds=300)
    drawn = np.random.default_rng(0).integers(4, size=(300, 4))
    whole = next(i for i, chosen in enumerate(drawn) if set(chosen) == {0, 1, 2, 3})
    assert rows[whole].value.size <= MOST_THRESHOLDS
    np.testing.assert_allclose(figures(rows[whole]), figures(pooled), rtol=0, atol=2e-3)


def test_draws_without_any_lesion_do_not_count():
    """Lesions lie in one of four scans, so that a part of the rounds has none."""
    rng = np.random.default_rng(0)
    voxels = [ordered(rng.random(50), np.arange(50) < count) for count in (10, 0, 0, 0)]
    found = ranking_bootstrap(voxels, ranking(merged(voxels)), figures)
    assert np.isfinite(found).all()
    nothing = [ordered(rng.random(50), np.zeros(50, dtype=bool)) for _ in range(4)]
    assert np.isnan(ranking_bootstrap(nothing, ranking(merged(nothing)), figures)).all()


def test_a_resampled_ranking_is_a_ranking():
    """Its counts are whole numbers, and it has no entry above the highest score that was drawn."""
    seen = []
    voxels = [ordered(np.array([float(i), 0.0]), np.array([True, False])) for i in range(1, 5)]
    ranking_bootstrap(voxels, ranking(merged(voxels)), lambda r: seen.append(r) or [0.0], rounds=50)
    assert {type(r) for r in seen} == {Ranking}
    assert all(r.tp.dtype == np.int64 and r.tp[0] + r.fp[0] > 0 for r in seen)
