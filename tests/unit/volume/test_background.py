import warnings

import numpy as np
import pytest

from uadtools.volume.background import DARK, background, background_value, surrounding_nan_filled

SHAPE = (14, 15, 13)
PLACES = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))
BRAIN = (PLACES**2).sum(axis=0) < 1
CONTENTS = 500 + 100 * PLACES[0] + 30 * PLACES[1] * PLACES[2]


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("value", [0, -1, -0.357, 1024, -3024, 1e-3])
@pytest.mark.parametrize("cut", [slice(None), slice(5, 9)])
def test_the_background_is_what_fills_the_edges(value, cut):
    """Also in a slab, whose faces are nearly all brain."""
    data = np.where(BRAIN, CONTENTS, value)[..., cut]
    assert background_value(data) == value
    np.testing.assert_array_equal(background(data), ~BRAIN[..., cut])


def test_a_background_that_was_resampled_is_the_same_within_rounding():
    noise = np.random.default_rng(0).integers(-2, 3, SHAPE)
    data = np.where(BRAIN, CONTENTS, -1.5 * (1 + noise * 1e-7)).astype(np.float32)
    np.testing.assert_array_equal(background(data), ~BRAIN)


@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_where_edges_hold_many_values_the_background_is_0(kind):
    data = np.where(BRAIN, CONTENTS, np.random.default_rng(0).integers(0, 9, SHAPE)).astype(kind)
    assert background_value(data) == 0
    np.testing.assert_array_equal(background(data), data == 0)


@pytest.mark.parametrize("value", [0, -1, None])
def test_nan_around_a_scan_become_background(value):
    """NaN outside of the bounding box, and specks in what is constant inside of it."""
    data = np.where(BRAIN, CONTENTS, np.nan if value is None else value)
    data[:2], data[3, 2, 2], data[-1] = np.nan, np.nan, np.nan
    filled = surrounding_nan_filled(data)
    outside = ~BRAIN | (np.arange(SHAPE[0]) < 2)[:, None, None] | (np.arange(SHAPE[0]) > 12)[:, None, None]
    np.testing.assert_array_equal(filled[outside], value or 0)
    np.testing.assert_array_equal(filled[~outside], CONTENTS[~outside])


def test_nan_around_values_below_0_become_the_lowest():
    data = np.where(BRAIN, CONTENTS - 1000, np.nan)
    data[7, 7, 6] = 0
    assert (surrounding_nan_filled(data)[~BRAIN] == np.percentile(CONTENTS[BRAIN], DARK) - 1000).all()


def test_nan_inside_stay():
    data = np.where(BRAIN, CONTENTS, np.nan)
    data[7, 7, 6] = np.nan
    assert np.argwhere(np.isnan(surrounding_nan_filled(data))).tolist() == [[7, 7, 6]]
    assert np.isnan(surrounding_nan_filled(np.full(SHAPE, np.nan))).all()
