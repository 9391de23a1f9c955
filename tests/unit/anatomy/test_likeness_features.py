"""What a scan looks like is told in numbers that mean the same on any grid, and do not mind what should not matter."""

import numpy as np
import pytest

from uadtools.anatomy.likeness import FEATURES, GROUPS, TOLERANCE, distance, features, spread_of
from uadtools.errors import UadError

TWO = (2.0, 2.0, 2.0)


@pytest.fixture(scope="module")
def t1(anatomy):
    return anatomy("T1", 0)[0]


@pytest.fixture(scope="module")
def told(t1):
    return features(t1, t1 > 0, TWO)


def off(told, other, names):
    """In tolerances, the largest difference."""
    return max(abs(told[name] - other[name]) / TOLERANCE[name] for name in names)


def test_every_feature_is_in_a_group_and_has_a_tolerance(told):
    assert list(told) == list(FEATURES)
    assert TOLERANCE.keys() == told.keys()
    assert all(np.isfinite(list(told.values())))


def test_gamma_changes_the_histogram_and_nothing_of_contrast_and_noise(t1, told):
    darker = features(np.where(t1 > 0, t1, 1) ** 1.6 * (t1 > 0), t1 > 0, TWO)
    assert off(told, darker, GROUPS["histogram"]) > 1
    assert off(told, darker, GROUPS["contrast"] + GROUPS["noise"]) < 0.2
    assert off(told, darker, GROUPS["brain size"]) == 0


def test_finer_voxels_of_the_same_head_tell_the_same(t1, told):
    fine = t1.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    finer = features(fine, fine > 0, (1.0, 1.0, 1.0))
    assert off(told, finer, GROUPS["brain size"] + tuple(f"shell{n}" for n in range(5))) < 0.5


def test_where_the_head_lies_in_its_grid_does_not_matter(t1, told):
    moved = np.pad(t1, ((7, 0), (0, 9), (3, 3)))
    assert features(moved, moved > 0, TWO) == pytest.approx(told, abs=1e-6)


def test_inverted_intensities_have_another_contrast(t1, told):
    inverted = features(np.where(t1 > 0, 1.01 - t1, 0), t1 > 0, TWO)
    assert off(told, inverted, ("shell0",)) > 3
    assert off(told, inverted, GROUPS["brain size"]) == 0


def test_blur_and_noise_are_told_apart(t1, told):
    rng = np.random.default_rng(0)
    noisy = np.clip(t1 + 0.1 * rng.standard_normal(t1.shape), 1e-3, 1) * (t1 > 0)
    assert features(noisy, t1 > 0, TWO)["noise"] > told["noise"] + 0.5
    assert features(noisy, t1 > 0, TWO)["along_x"] < told["along_x"] - 0.2


def test_a_lopsided_head_is_less_symmetric(t1, told):
    left = t1.copy()
    left[:27] = left[:27] ** 3 * (left[:27] > 0)
    left[20:26, 30:40, 15:35] = 0.95
    assert features(left, t1 > 0, TWO)["symmetry"] < told["symmetry"] - 0.02


@pytest.mark.parametrize(("side", "value", "fault"), [(20, None, "64 mL"), (40, 0.5, "one value")])
def test_too_little_or_nothing_in_it_is_an_error(side, value, fault):
    data = np.zeros((48, 48, 48), np.float32)
    data[2 : 2 + side, 2 : 2 + side, 2 : 2 + side] = value or np.linspace(0.1, 1, side)
    with pytest.raises(UadError, match=fault):
        features(data, data > 0, TWO)


def test_distance_is_in_deviations_with_their_tolerance():
    names = ("q50", "entropy")
    rows = np.random.default_rng(0).normal([0.5, 3], [0.1, 0.4], (4000, 2))
    mean, inverse = spread_of(rows, names)
    widths = [np.hypot(0.1, TOLERANCE["q50"]), np.hypot(0.4, TOLERANCE["entropy"])]
    assert distance(mean, mean, inverse) == 0
    assert distance(mean + widths, mean, inverse) == pytest.approx(1, rel=0.05)


def test_features_that_never_varied_make_no_singular_table():
    mean, inverse = spread_of(np.full((5, 2), 0.3), ("q50", "q75"))
    assert distance(mean + TOLERANCE["q50"], mean, inverse) == pytest.approx(1)


def test_a_single_slice_has_no_depth_and_is_looked_at_all_the_same():
    y, x = np.mgrid[-40:40, -40:40]
    head = np.where(np.hypot(y, x) < 36, 0.4 + 0.2 * np.sin(x / 3), 0)[:, :, None].astype(np.float32)
    assert np.isfinite([*features(head, head > 0, (3.0, 3.0, 5.0)).values()]).all()
