"""Pyramid noise: Gaussian, of deviation 1 over all pixels, and alike over long distances."""

import numpy as np
import pytest

from uadtools.noise import pyramid
from uadtools.noise.pyramid import pyramid_fields

SEEDS = np.arange(1500)


def test_the_deviation_is_1_and_known_before():
    """In the mean over pixels and fields; a field keeps its offset, so that none is brought to it by itself."""
    made = pyramid_fields((1, 24, 32), SEEDS)
    assert made.dtype == np.float32
    assert abs(made.mean()) < 0.04
    assert (made**2).mean() == pytest.approx(1, abs=0.03)
    offsets = made.mean(axis=(1, 2, 3))
    assert offsets.std() > 0.3
    assert (made**2).mean(axis=(1, 2, 3)).std() > 0.2
    kurtosis = ((made[:, 0, 12, 16] / made[:, 0, 12, 16].std()) ** 4).mean()
    assert kurtosis == pytest.approx(3, abs=0.5)


def test_one_level_is_white_noise():
    made = pyramid_fields((1, 16, 16), SEEDS[:300], levels=1)
    assert made.std() == pytest.approx(1, abs=0.02)
    assert abs((made[..., 1:] * made[..., :-1]).mean()) < 0.02


def test_two_levels_by_hand(monkeypatch):
    """Ratio 2 on a 2x2 image: a second level of one value, which lies everywhere, so pixels share c^2 / (1 + c^2)."""
    monkeypatch.setattr(pyramid, "RATIOS", (2.0, 2.0))
    made = pyramid_fields((1, 2, 2), np.arange(20_000), discount=0.5).reshape(-1, 4)
    shared = 0.25 / 1.25
    expected = np.full((4, 4), shared) + np.diag(np.full(4, 1 - shared))
    np.testing.assert_allclose(np.cov(made.T), expected, rtol=0, atol=0.03)


def test_upsampling_is_bilinear_between_the_middles_of_the_values():
    np.testing.assert_allclose(
        pyramid._bilinear(4, 2), [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]], rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(pyramid._bilinear(5, 1), np.ones((5, 1)), rtol=0, atol=1e-12)
    for size, values in ((7, 3), (96, 41), (3, 3)):
        np.testing.assert_allclose(pyramid._bilinear(size, values).sum(axis=1), 1, rtol=0, atol=1e-12)


def test_far_pixels_are_alike_and_less_so_with_a_small_discount():
    def likeness(discount):
        made = pyramid_fields((1, 32, 32), SEEDS[:400], discount=discount)
        return (made[..., :-8] * made[..., 8:]).mean()

    assert likeness(0.8) > 0.2
    assert 0 < likeness(0.3) < likeness(0.8) / 2


def test_ratios_are_drawn_for_each_field(monkeypatch):
    sizes = []
    monkeypatch.setattr(pyramid, "_bilinear", lambda size, values: sizes.append(values) or np.ones((size, values)))
    pyramid_fields((1, 96, 96), SEEDS[:50], levels=2)
    assert min(sizes) >= 24
    assert max(sizes) <= 48
    assert len(set(sizes)) > 10
