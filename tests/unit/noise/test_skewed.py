"""Counts and speckle: mean 0 and deviation 1 whatever the settings, and as skewed as they say."""

import numpy as np
import pytest

from uadtools.noise.skewed import poisson_fields, speckle_fields

SEEDS = np.arange(200)


def skewness(made):
    return (made.astype(np.float64) ** 3).mean()


@pytest.mark.parametrize("photons", [1.0, 4.0, 100.0])
def test_counts(photons):
    made = poisson_fields((1, 32, 32), SEEDS, photons=photons)
    assert made.dtype == np.float32
    assert abs(made.mean()) < 0.01
    assert made.std() == pytest.approx(1, abs=0.01)
    assert skewness(made) == pytest.approx(photons**-0.5, abs=0.05)
    counts = made * photons**0.5 + photons
    np.testing.assert_allclose(counts, counts.round(), rtol=0, atol=1e-4)
    assert counts.min() >= -1e-4


@pytest.mark.parametrize("looks", [1.0, 4.0, 100.0])
def test_speckle(looks):
    made = speckle_fields((1, 32, 32), SEEDS, looks=looks)
    assert made.dtype == np.float32
    assert abs(made.mean()) < 0.01
    assert made.std() == pytest.approx(1, abs=0.01)
    assert skewness(made) == pytest.approx(2 * looks**-0.5, abs=0.1)
    assert made.min() >= -(looks**0.5)  # intensities are not negative


def test_a_negative_seed_is_one_too():
    for made in (poisson_fields((1, 4, 4), np.array([-1])), speckle_fields((1, 4, 4), np.array([-1]))):
        assert np.isfinite(made).all()
