import numpy as np
import pytest

from uadtools.errors import UadError
from uadtools.scoring.otsu import otsu
from uadtools.volume import clean


def between_class_variance(values, t):
    """w0 w1 (mu0 - mu1)^2, literally."""
    lower, upper = values[values <= t], values[values > t]
    return lower.size * upper.size / values.size**2 * (lower.mean() - upper.mean()) ** 2


@pytest.mark.parametrize("levels", [2, 3, 20, 100_000])
def test_otsu_is_that_of_trying_every_split(levels):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        values = np.ceil(np.concatenate([rng.random(200), 2 + rng.random(60)]) * levels) / levels
        tried = [between_class_variance(values, t) for t in np.unique(values)[:-1]]
        found = otsu(values.astype(np.float64))
        assert found in values
        assert between_class_variance(values, found) == pytest.approx(max(tried), abs=1e-12)


def test_otsu_separates_two_groups_and_ignores_the_background():
    values = np.array([0, 0, 0, 0, 0, 0, -1, 0.1, 0.2, 0.3, 0.8, 0.9], dtype=np.float32)
    t = otsu(values.reshape(3, 2, 2))
    assert t == float(np.float32(0.3))
    np.testing.assert_array_equal(clean.threshold(values, t), [False] * 10 + [True, True])


def test_otsu_holds_its_precision_far_from_zero():
    values = 1e6 + np.array([0.0, 0.1, 0.2, 5.0, 5.1])
    assert otsu(values) == values[2]


def test_otsu_sums_many_small_numbers_exactly():
    values = np.random.default_rng(0).random(300_000, dtype=np.float32)
    assert otsu(values) == otsu(values.astype(np.float64))


@pytest.mark.parametrize("values", [[], [0, 0], [-1, 0, 0.5], [0.5, 0.5], [0.5, np.inf]])
def test_otsu_without_two_classes_is_refused(values):
    with pytest.raises(UadError, match="at least two different"):
        otsu(np.array(values, dtype=np.float32))
