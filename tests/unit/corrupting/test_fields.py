"""Fields on slabs: against SciPy's filters and places that can be told by hand."""

import numpy as np
import pytest
from scipy import ndimage

from uadtools.corrupting.fields import nearest, sample, smooth

SLAB = np.random.default_rng(0).random((7, 20, 24), dtype=np.float32)
ROWS, COLUMNS = np.mgrid[:20, :24].astype(np.float32)


@pytest.mark.parametrize("widths", [(0.6, 1, 1), (0, 2.3, 0.5), (0.4, 6, 6), (0, 12, 0)])
def test_smoothing_is_a_gaussian_cut_off_at_three_with_the_borders_repeated(widths):
    expected = SLAB
    for axis, width in enumerate(widths):
        if width:
            expected = ndimage.gaussian_filter1d(expected, width, axis=axis, mode="nearest", truncate=3.0)
    np.testing.assert_allclose(smooth(SLAB, widths), expected, rtol=0, atol=1e-6)


def test_masks_and_single_slices_are_smoothed_too():
    mask = SLAB[0] > 0.5
    np.testing.assert_allclose(
        smooth(mask, (1.5, 1.5)),
        ndimage.gaussian_filter(mask.astype(np.float32), 1.5, mode="nearest", truncate=3.0),
        rtol=0,
        atol=1e-6,
    )


def test_pixels_sampled_where_they_are_stay_as_they_are():
    np.testing.assert_array_equal(sample(SLAB, ROWS, COLUMNS), SLAB)


def test_between_pixels_it_is_linear():
    made = sample(SLAB, ROWS + np.float32(0.25), COLUMNS + np.float32(0.5))
    expected = ndimage.shift(SLAB, (0, -0.25, -0.5), order=1)
    np.testing.assert_allclose(made[:, :-1, :-1], expected[:, :-1, :-1], rtol=0, atol=1e-6)


def test_beyond_the_border_it_is_0_and_fades_to_it():
    ones = np.ones((1, 4, 4), np.float32)
    rows = np.array([[-3, -1, -0.5, 0, 3, 3.5, 4, 900]], np.float32)
    made = sample(ones, rows, np.zeros_like(rows))[0, 0]
    np.testing.assert_array_equal(made, [0, 0, 0.5, 1, 1, 0.5, 0, 0])


def test_labels_are_taken_from_the_nearest_pixel():
    labels = np.arange(1, 7, dtype=np.uint8).reshape(1, 2, 3)
    rows, columns = np.array([[-0.4, 0.4, 1.4, 1.6]], np.float32), np.array([[0, 1.6, 0.4, 0]], np.float32)
    made = nearest(labels, rows, columns)
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, [[[1, 3, 4, 0]]])
