import math

import numpy as np
import pytest
from scipy import ndimage

from uadtools.errors import UadError
from uadtools.volume import clean


def block(shape, *slices):
    mask = np.zeros(shape, dtype=bool)
    mask[slices] = True
    return mask


def blobs():
    """Components of 6, 7, 8 and 12 voxels, the last held together by a corner alone."""
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[0, 0, 0:6] = True
    mask[4, 0, 0:7] = True
    mask[8, 0, 0:8] = True
    mask[12, 0, 0:6] = True
    mask[13, 1, 6:12] = True
    return mask


@pytest.mark.parametrize("size", [3, 5])
def test_median_is_that_of_the_cube_with_a_mirrored_border(size):
    score = np.random.default_rng(0).random((7, 6, 5)).astype(np.float32)
    mirrored = np.pad(score, size // 2, mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(mirrored, (size, size, size))
    np.testing.assert_array_equal(clean.median(score, size), np.median(windows, axis=(3, 4, 5)))
    assert clean.median(score, size).dtype == score.dtype


def test_median_1_changes_nothing_and_is_a_copy():
    score = np.random.default_rng(0).random((3, 3, 3))
    same = clean.median(score, 1)
    np.testing.assert_array_equal(same, score)
    assert same is not score


@pytest.mark.parametrize("size", [-1, 0, 2, 4])
def test_median_of_an_impossible_size_is_refused(size):
    with pytest.raises(UadError, match="give an odd size"):
        clean.median(np.zeros((3, 3, 3)), size)


def test_erode_peels_six_connected_layers():
    brain = block((9, 9, 9), slice(1, 8), slice(1, 8), slice(1, 8))
    np.testing.assert_array_equal(clean.erode(brain, 2), block((9, 9, 9), slice(3, 6), slice(3, 6), slice(3, 6)))
    notched = brain.copy()
    notched[4, 4, 4] = False
    lost = brain & ~notched | clean.erode(brain, 1) & ~clean.erode(notched, 1)
    assert np.count_nonzero(lost) == 7


def test_erode_per_slice_leaves_top_and_bottom():
    brain = block((9, 9, 9), slice(1, 8), slice(1, 8), slice(1, 8))
    brain[4, 4, 4] = False
    peeled = clean.erode(brain, 1, per_slice=True)
    expected = block((9, 9, 9), slice(2, 7), slice(2, 7), slice(1, 8))
    expected[[4, 3, 5, 4, 4], [4, 4, 4, 3, 5], 4] = False
    np.testing.assert_array_equal(peeled, expected)


@pytest.mark.parametrize("per_slice", [False, True])
def test_erode_counts_the_border_as_background(per_slice):
    peeled = clean.erode(np.ones((5, 5, 5), dtype=bool), 1, per_slice)
    z = slice(0, 5) if per_slice else slice(1, 4)
    np.testing.assert_array_equal(peeled, block((5, 5, 5), slice(1, 4), slice(1, 4), z))


def test_dilate_grows_six_connected_layers():
    grown = clean.dilate(block((9, 9, 9), 4, 4, 4), 2)
    x, y, z = np.indices(grown.shape)
    np.testing.assert_array_equal(grown, abs(x - 4) + abs(y - 4) + abs(z - 4) <= 2)


def test_dilate_stops_at_the_border():
    assert np.count_nonzero(clean.dilate(block((3, 3, 3), 0, 0, 0), 1)) == 4


def test_smoothing_is_a_gaussian_that_keeps_type_and_sum_inside():
    score = np.zeros((21, 21, 21), np.float32)
    score[10, 10, 10] = 1
    smooth = clean.smooth(score, 0.7)
    assert smooth.dtype == np.float32
    assert smooth.sum() == pytest.approx(1, abs=1e-5)
    assert np.log(smooth[10, 10, 10] / smooth[10, 11, 10]) == pytest.approx(0.5 / 0.7**2, rel=1e-4)
    assert smooth[10, 10, 14] == 0  # beyond four deviations, rounded


def test_no_smoothing_is_a_copy():
    score = np.random.default_rng(0).random((4, 5, 6))
    same = clean.smooth(score, 0)
    np.testing.assert_array_equal(same, score)
    assert same is not score


@pytest.mark.parametrize("deviation", [-0.1, 101, np.nan, np.inf])
def test_smoothing_that_cannot_be_is_refused(deviation):
    with pytest.raises(UadError, match="from 0, for none, to 100"):
        clean.smooth(np.zeros((3, 3, 3)), deviation)


@pytest.mark.parametrize("step", [clean.erode, clean.dilate])
def test_no_iteration_changes_nothing_and_is_a_copy(step):
    mask = block((5, 5, 5), slice(1, 4), slice(1, 4), slice(1, 4))
    same = step(mask, 0)
    np.testing.assert_array_equal(same, mask)
    assert same is not mask


@pytest.mark.parametrize("step", [clean.erode, clean.dilate, clean.drop_small])
def test_a_negative_number_is_refused(step):
    with pytest.raises(UadError, match="of -1 voxels"):
        step(np.ones((3, 3, 3), dtype=bool), -1)


def test_threshold_is_strict_in_the_precision_of_the_score():
    score = np.array([0.1, 0.1000001, 0.09, 0.2], dtype=np.float32)
    for t in (0.1, np.float64(0.1), np.float32(0.1)):
        np.testing.assert_array_equal(clean.threshold(score, t), [False, True, False, True])


def test_a_threshold_that_is_not_a_number_is_refused():
    with pytest.raises(UadError, match="not a number"):
        clean.threshold(np.zeros((2, 2, 2)), math.nan)


@pytest.mark.parametrize(("min_size", "kept"), [(0, 33), (1, 33), (6, 33), (7, 27), (8, 20), (9, 12), (13, 0)])
def test_drop_small_keeps_components_of_at_least_min_size(min_size, kept):
    filtered = clean.drop_small(blobs(), min_size)
    assert filtered.dtype == bool
    assert np.count_nonzero(filtered) == kept
    assert not (filtered & ~blobs()).any()


def test_drop_small_counts_voxels_not_holes():
    shell = block((5, 5, 5), slice(1, 4), slice(1, 4), slice(1, 4))
    shell[2, 2, 2] = False
    assert clean.drop_small(shell, 26).any()
    assert not clean.drop_small(shell, 27).any()


def test_keep_largest_keeps_the_one_held_together_by_a_corner():
    expected = blobs()
    expected[:12] = False
    np.testing.assert_array_equal(clean.keep_largest(blobs()), expected)


def test_keep_largest_among_equals_keeps_the_first():
    two = block((7, 3, 3), slice(0, 2)) | block((7, 3, 3), slice(4, 6))
    np.testing.assert_array_equal(clean.keep_largest(two), block((7, 3, 3), slice(0, 2)))


def test_nothing_detected_stays_nothing():
    nothing = np.zeros((4, 4, 4), dtype=bool)
    for cleaned in (clean.keep_largest(nothing), clean.drop_small(nothing, 7), clean.dilate(nothing, 2)):
        np.testing.assert_array_equal(cleaned, nothing)


def test_the_input_is_left_alone():
    mask, score = blobs(), np.random.default_rng(0).random((5, 5, 5))
    before = score.copy()
    for step in (clean.erode, clean.dilate, clean.drop_small):
        step(mask, 2)
    clean.keep_largest(mask)
    clean.median(score, 3)
    clean.smooth(score, 0.5)
    np.testing.assert_array_equal(mask, blobs())
    np.testing.assert_array_equal(score, before)


@pytest.mark.parametrize("shape", [(9, 8, 7), (20, 21, 22), (5, 5, 1), (3, 30, 2)])
@pytest.mark.parametrize("share", [0, 0.01, 0.3, 1])
def test_median_leaves_out_only_what_is_0_anyway(shape, share):
    rng = np.random.default_rng(0)
    score = (rng.random(shape) * (rng.random(shape) < share)).astype(np.float32)
    score[: shape[0] // 3] = 0
    np.testing.assert_array_equal(clean.median(score, 5), ndimage.median_filter(score, size=5, mode="reflect"))
