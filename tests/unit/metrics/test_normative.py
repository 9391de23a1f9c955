"""Values by hand, and the distance of Gaussians whose covariances commute."""

import math

import numpy as np
import pytest

from uadtools.errors import UadError
from uadtools.metrics.normative import anomaly_to_healthy, conservation_correction, frechet, restoration_quality


@pytest.mark.parametrize(
    ("figures", "quality"),
    [((1, 0, 0), 1), ((0.5, 0.2, 0.25), 0.3), ((-0.1, 0, 0), 0), ((1, 0, 1.5), 0)],
)
def test_restoration_quality_is_a_product_from_0_to_1(figures, quality):
    assert restoration_quality(*figures) == pytest.approx(quality)


@pytest.mark.parametrize(
    ("healthy", "lesion", "both"),
    [(1, 0, 1), (0.9, 0.4, 0.72), (1, 1, 0), (0, 0.3, 0), (0, 1, 0), (1, -0.5, 1), (0.5, -0.5, 2 / 3)],
)
def test_what_is_kept_and_what_is_corrected_count_alike(healthy, lesion, both):
    assert conservation_correction(healthy, lesion) == pytest.approx(both)


@pytest.mark.parametrize("figures", [(math.nan, 0.5), (0.5, math.nan)])
def test_without_a_lesion_nothing_is_said_of_its_correction(figures):
    assert math.isnan(conservation_correction(*figures))


def test_healing_is_nearer_by_what_is_left_of_the_distance():
    assert anomaly_to_healthy(8, 2) == 0.75
    assert anomaly_to_healthy(8, 8) == 0
    assert anomaly_to_healthy(2, 3) == -0.5
    assert math.isnan(anomaly_to_healthy(0, 3))


def test_frechet_is_that_of_two_gaussians_by_hand():
    a = np.array([[-1.0, 0], [1, 0], [0, -2], [0, 2]])  # covariance diag(2, 8) / 3
    b = np.array([[3.0, -1], [3, 1], [1, 0], [5, 0]])  # mean (3, 0), covariance diag(8, 2) / 3
    apart = 9 + 20 / 3 - 2 * 2 * math.sqrt(16 / 9)
    assert frechet(a, b) == pytest.approx(apart) == pytest.approx(frechet(b, a))
    assert frechet(np.array([[0.0], [2]]), np.array([[1.0], [5]])) == pytest.approx(4 + 2 + 8 - 2 * 4)


def test_frechet_of_correlated_features_is_that_of_any_rotation_of_them():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 3)), rng.normal(1, 2, (30, 3)) @ rng.normal(size=(3, 3))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    assert frechet(a, b) > 1
    assert frechet(a @ turn, b @ turn) == pytest.approx(frechet(a, b))
    assert frechet(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet(a[:2], b[:2]) >= 0  # fewer images than features


def test_one_image_is_no_set():
    with pytest.raises(UadError, match="sets of 1 and 4 images have no covariance"):
        frechet(np.zeros((1, 2)), np.zeros((4, 2)))
