from functools import partial

import numpy as np
import pytest

from uadtools.anatomy.intensity import FLOOR, LIMIT, WINDOWS, ct_window, matched, percentile, zscore
from uadtools.errors import UadError

SHAPE = (12, 11, 10)
BRAIN = np.indices(SHAPE).sum(axis=0) < 16


def scan(dtype="float32"):
    """Values around 500, of which some lie beyond three standard deviations."""
    data = np.random.default_rng(0).normal(500, 80, SHAPE)
    data[2, 2, 2:4] = 5, 995
    return data.astype(dtype)


def prepared(seed=0):
    """A scan as the model sees it: [FLOOR, 1] in the brain, 0 outside, and some values at both ends."""
    return percentile(np.random.default_rng(seed).gamma(3, 1, SHAPE), BRAIN, 5, 95)


WAYS = [zscore, partial(ct_window, center=500, width=300), partial(percentile, low=1, high=99)]


@pytest.mark.parametrize("way", WAYS)
def test_it_is_0_outside_and_above_0_inside(way):
    found = way(scan(), BRAIN)
    assert found.dtype == np.float32
    assert (found[~BRAIN] == 0).all()
    assert found[BRAIN].min() == np.float32(FLOOR)
    assert found.max() == 1


@pytest.mark.parametrize("way", WAYS)
def test_what_lies_outside_the_brain_does_not_matter(way):
    other = scan()
    other[~BRAIN] = 1e9
    np.testing.assert_array_equal(way(other, BRAIN), way(scan(), BRAIN))


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", "float32", "float64", ">i2"])
def test_a_value_is_its_z_score_up_to_a_scale(dtype):
    data = scan(dtype)
    found = zscore(data, BRAIN)
    values = data[BRAIN].astype(float)
    scores = (data - values.mean()) / values.std()
    between = BRAIN & (abs(scores) < LIMIT * (1 - 2 * FLOOR))
    assert 0 < (BRAIN & ~between).sum() < 20
    np.testing.assert_allclose(LIMIT * (2 * found[between] - 1), scores[between], atol=1e-5)
    assert (found[BRAIN & (scores > LIMIT)] == 1).all()
    assert (found[BRAIN & (scores < -LIMIT)] == np.float32(FLOOR)).all()


def test_the_mean_is_a_half_and_three_deviations_are_the_ends():
    data = np.array([[[0.0, 2.0] * 50]])
    data[0, 0, :2] = -5, 7  # mean 1
    brain = np.ones(data.shape, dtype=bool)
    found = zscore(data, brain).ravel()
    deviation = np.sqrt((98 + 72) / 100)
    np.testing.assert_allclose(found[2:4], [0.5 - 1 / (6 * deviation), 0.5 + 1 / (6 * deviation)], rtol=1e-6)
    np.testing.assert_array_equal(found[:2], np.float32([FLOOR, 1]))


@pytest.mark.parametrize(("factor", "offset"), [(7, 0), (1, -3e4), (1e-30, 0), (1e30, -1e29)])
def test_scanner_units_do_not_matter_to_z_scores(factor, offset):
    data = scan("float64")
    np.testing.assert_allclose(zscore(data * factor + offset, BRAIN), zscore(data, BRAIN), atol=1e-6)


@pytest.mark.parametrize("value", [5, -3, 0.5, 0.1, 123.456])
def test_a_brain_of_one_value_has_no_z_score(value):
    with pytest.raises(UadError, match=f"the brain is all of one value, {value}"):
        zscore(np.full((10, 10, 10), value), np.ones((10, 10, 10), dtype=bool))


@pytest.mark.parametrize("window", WINDOWS)
def test_a_window_runs_from_0_to_1(window):
    centre, width = WINDOWS[window]
    steps = np.array([-0.5, -0.25, 0, 0.25, 0.5])
    data = np.array([[[-1024, *(centre + width * steps), 3071]]])
    found = ct_window(data, np.ones(data.shape, dtype=bool), centre, width)
    np.testing.assert_allclose(found.ravel(), [FLOOR, FLOOR, 0.25, 0.5, 0.75, 1, 1], atol=1e-6)


def test_windows_are_those_that_radiologists_use():
    """Centre and width; 0 to 80 HU is what shows blood in a brain."""
    assert WINDOWS["brain"] == (40, 80)
    assert list(WINDOWS) == ["brain", "subdural", "bone"]


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
def test_a_window_does_not_depend_on_the_scan(dtype):
    data = np.full((3, 3, 3), 60, dtype=dtype)
    found = ct_window(data, np.ones(data.shape, dtype=bool), 40, 80)
    np.testing.assert_array_equal(found, np.full(data.shape, 0.75, dtype=np.float32))


def test_integers_do_not_overflow_in_a_window():
    data = np.array([[[-32768, 0, 32767]]], dtype=np.int16)
    found = ct_window(data, np.ones(data.shape, dtype=bool), 0, 65536)
    np.testing.assert_allclose(found.ravel(), [FLOOR, 0.5, 1], atol=1e-4)


def training_quantiles(count=101):
    """Of values that crowd at the low end."""
    return tuple(np.linspace(0.01, 1, count) ** 2)


@pytest.mark.parametrize("count", [2, 11, 101, 1001])
def test_the_values_get_the_distribution_of_the_training_data(count):
    data = prepared()
    found = matched(data, BRAIN, training_quantiles(count))
    assert (found.dtype, found.shape) == (np.float32, SHAPE)
    assert (found[~BRAIN] == 0).all()
    levels = np.linspace(0, 1, count)[1:-1]
    levels = levels[(levels > 0.06) & (levels < 0.94)]  # beyond, many values were one before
    expected = np.interp(levels, np.linspace(0, 1, count), training_quantiles(count))
    np.testing.assert_allclose(np.quantile(found[BRAIN], levels), expected, atol=5e-3)
    assert found.max() == 1


def test_matching_keeps_the_order():
    data = prepared()
    found = matched(data, BRAIN, training_quantiles())
    order = np.argsort(data[BRAIN], kind="stable")
    assert (np.diff(found[BRAIN][order]) >= 0).all()
    assert len(np.unique(found)) > 0.8 * len(np.unique(data))


def test_matching_its_own_distribution_changes_nothing():
    data = prepared()
    own = tuple(np.quantile(data[BRAIN], np.linspace(0, 1, 101)))
    np.testing.assert_allclose(matched(data, BRAIN, own), data, atol=1e-5)


def test_a_scan_that_another_contrast_bent_is_bent_back():
    data = np.random.default_rng(0).uniform(0.05, 1, SHAPE).astype(np.float32)
    data[~BRAIN] = 0
    own = tuple(np.quantile(data[BRAIN], np.linspace(0, 1, 1001)))
    bent = np.where(BRAIN, data**2.5, 0).astype(np.float32)
    assert abs(bent - data).max() > 0.3
    np.testing.assert_allclose(matched(bent, BRAIN, own), data, atol=0.01)


def test_what_lies_outside_the_brain_does_not_change_the_match():
    other = prepared()
    other[~BRAIN] = 0.7
    np.testing.assert_array_equal(
        matched(other, BRAIN, training_quantiles()), matched(prepared(), BRAIN, training_quantiles())
    )


def test_matched_values_stay_within_bounds():
    found = matched(prepared(), BRAIN, (-0.5, 0.0, 0.0, 0.5, 2.0))
    assert found[BRAIN].min() == np.float32(FLOOR)
    assert found.max() == 1
    assert (found > 0).sum() == BRAIN.sum()


def test_matching_leaves_the_scan_alone():
    data = prepared()
    before = data.copy()
    matched(data, BRAIN, training_quantiles())
    np.testing.assert_array_equal(data, before)
