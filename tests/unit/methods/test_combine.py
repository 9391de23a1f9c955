import numpy as np
import pytest

from uadtools.healing.combine import combine

SHAPE = (6, 1, 5, 4)


@pytest.fixture(params=range(1, 6))
def healings(request):
    """Up to five healings in coarse steps, so that residuals tie."""
    rng = np.random.default_rng(request.param)
    return rng.integers(0, 8, (request.param, *SHAPE)).astype(np.float32) / 8


@pytest.fixture
def scan():
    return np.random.default_rng(9).integers(0, 8, SHAPE).astype(np.float32) / 8


def test_vote_is_the_majority_of_the_detections_at_every_threshold(scan, healings):
    residual = np.abs(scan - combine(scan, healings, "vote"))
    residuals = np.abs(scan - healings)
    thresholds = np.unique(np.concatenate([residuals.ravel(), residuals.ravel() + 1 / 16, [0.0, -1.0]]))
    assert len(thresholds) > 10
    for threshold in thresholds:
        votes = (residuals > threshold).sum(axis=0)
        np.testing.assert_array_equal(residual > threshold, votes > len(healings) / 2)


def test_vote_takes_its_values_from_the_healings(scan, healings):
    made = combine(scan, healings, "vote")
    assert (made == healings).any(axis=0).all()
    assert made.dtype == np.float32
    assert made.shape == scan.shape


def test_mean_is_the_mean(scan, healings):
    made = combine(scan, healings, "mean")
    np.testing.assert_allclose(made, healings.mean(axis=0), rtol=0, atol=1e-6)
    assert made.dtype == np.float32
    assert made.shape == scan.shape


@pytest.mark.parametrize("rule", ["mean", "vote"])
def test_one_healing_is_itself(scan, rule):
    one = np.random.default_rng(0).random((1, *SHAPE), dtype=np.float32)
    np.testing.assert_array_equal(combine(scan, one, rule), one[0])


@pytest.mark.parametrize("rule", ["mean", "vote"])
def test_the_order_of_the_healings_does_not_matter(scan, healings, rule):
    made, other = (np.abs(scan - combine(scan, h, rule)) for h in (healings, healings[::-1]))
    np.testing.assert_allclose(made, other, rtol=0, atol=1e-6)
