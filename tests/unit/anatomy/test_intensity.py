import numpy as np
import pytest

from uadtools.anatomy.intensity import FLOOR, inside, percentile
from uadtools.errors import UadError

SHAPE = (10, 10, 10)
BRAIN = np.indices(SHAPE).sum(axis=0) < 15


def scan(dtype="float32", low=0, high=1000):
    return np.random.default_rng(0).uniform(low, high, SHAPE).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_percentiles_inside_the_brain_become_0_and_1(dtype):
    data = scan(dtype, high=250)
    found = percentile(data, BRAIN, 1, 99)
    bottom, top = np.percentile(data[BRAIN], [1, 99])
    assert found.dtype == np.float32
    linear = np.clip((data.astype(float) - bottom) / (top - bottom), FLOOR, 1)
    np.testing.assert_allclose(found[BRAIN], linear[BRAIN], rtol=1e-6)
    assert (found == 1).sum() >= BRAIN.sum() // 100


def test_it_is_0_outside_and_above_0_inside():
    found = percentile(scan(low=-500), BRAIN, 1, 99)
    assert (found[~BRAIN] == 0).all()
    assert found[BRAIN].min() == np.float32(FLOOR)
    assert found.max() == 1


def test_what_lies_outside_the_brain_does_not_matter():
    other = scan()
    other[~BRAIN] = 1e9
    np.testing.assert_array_equal(percentile(scan(), BRAIN, 1, 99), percentile(other, BRAIN, 1, 99))


@pytest.mark.parametrize(("factor", "offset"), [(7, 0), (1, -3e4), (1e-30, 0), (1e30, -1e29)])
def test_scanner_units_do_not_matter(factor, offset):
    data = scan("float64")
    np.testing.assert_allclose(
        percentile(data * factor + offset, BRAIN, 1, 99), percentile(data, BRAIN, 1, 99), atol=1e-6
    )


def test_the_whole_range_is_kept_on_demand():
    found = percentile(scan(), BRAIN, 0, 100)
    assert (found == 1).sum() == 1


@pytest.mark.parametrize("values", [[5.0], [5.0] * 999 + [900.0]])
def test_a_brain_of_one_value_is_refused(values):
    data = np.resize(np.array(values), SHAPE)
    with pytest.raises(UadError, match="the brain is all of one value, 5 "):
        percentile(data, np.ones(SHAPE, dtype=bool), 1, 99)


def test_inside_limits_and_clears():
    data = np.array([[[-1, 0, FLOOR / 2, 0.5, 1, 2, 0.7]]])
    brain = np.array([[[1, 1, 1, 1, 1, 1, 0]]], dtype=bool)
    found = inside(data, brain)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.float32([[[FLOOR, FLOOR, FLOOR, 0.5, 1, 1, 0]]]))
