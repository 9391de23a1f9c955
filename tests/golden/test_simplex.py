"""Our noise against the package opensimplex and AnoDDPM's sums of its octaves (golden/data/01_opensimplex.npz)."""

from pathlib import Path

import numpy as np
import pytest

from uadtools.noise.simplex import lattice, noise_at, permutations, simplex_fields

EXACT = 1e-12
KERNEL = 1e-4  # in three dimensions every lattice point in range is summed, where the original leaves some out
FIELD = 1e-6  # fields are float32
SEED = np.array([42])


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "data" / "01_opensimplex.npz", allow_pickle=False) as file:
        return dict(file)


def mesh(*axes):
    """Points in the package's order: the last axis given runs slowest in the result."""
    places = np.meshgrid(*reversed(axes), indexing="ij")
    return np.stack([place.ravel() for place in reversed(places)], axis=1)


def test_permutations_are_the_packages(golden):
    expected = np.stack([golden[f"perm_{i}"] for i in range(5)])
    np.testing.assert_array_equal(permutations(golden["seeds"]), expected)


def test_gradients_are_picked_as_in_the_package(golden):
    """The package keeps 3 * (permutation % 24), the place of a gradient in its flat table."""
    expected = np.stack([golden[f"perm_grad3_{i}"] for i in range(5)])
    np.testing.assert_array_equal(permutations(golden["seeds"]) % 24 * 3, expected)


def test_noise_in_two_dimensions(golden):
    made = noise_at(mesh(golden["x"], golden["y"]), golden["seeds"])
    expected = np.stack([golden[f"noise2_{i}"].ravel() for i in range(5)])
    np.testing.assert_allclose(made, expected, rtol=0, atol=EXACT)


def test_noise_in_three_dimensions(golden):
    made = noise_at(mesh(golden["x"], golden["y"], golden["z"]), golden["seeds"])
    expected = np.stack([golden[f"noise3_{i}"].ravel() for i in range(5)])
    np.testing.assert_allclose(made, expected, rtol=0, atol=KERNEL)


def test_most_points_are_exact(golden):
    """The branch-free kernel differs at a few points and not in general."""
    made = noise_at(mesh(golden["x"], golden["y"], golden["z"]), golden["seeds"])
    expected = np.stack([golden[f"noise3_{i}"].ravel() for i in range(5)])
    assert np.mean(np.abs(made - expected) < 1e-12) > 0.9


@pytest.mark.parametrize("shape", [(64, 64), (48, 80)])
def test_octaves_in_two_dimensions(golden, shape):
    made = simplex_fields(shape, SEED)[0]
    expected = golden[f"oct2_seed42_{shape[0]}x{shape[1]}_o6_p08_f64"]
    np.testing.assert_allclose(made, expected, rtol=0, atol=FIELD)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("oct3T_seed42_64x64_o6_p08_f64", {}),
        ("oct3T_seed42_32x32_o3_p06_f16", {"octaves": 3, "persistence": 0.6, "frequency": 1 / 16}),
    ],
)
def test_slices_of_three_dimensional_noise(golden, name, options):
    for t, expected in zip(golden["octT_T"], golden[name], strict=True):
        made = simplex_fields(expected.shape, SEED, z=float(t), **options)[0]
        np.testing.assert_allclose(made, expected, rtol=0, atol=KERNEL)


def test_a_volume_of_noise(golden):
    expected = golden["oct3_seed42_6x32x32_o6_p08_f64"]
    depth, height, width = (np.arange(n, dtype=np.float64) for n in expected.shape)
    octave = np.arange(6)
    points = 2.0 ** (octave - 6)[:, None, None] * mesh(width, height, depth)
    made = lattice(points, 0.8**octave).noise(SEED)[:, 0].reshape(expected.shape)
    np.testing.assert_allclose(made, expected, rtol=0, atol=2 * KERNEL)  # six octaves add up what is left out


@pytest.mark.parametrize(
    ("name", "size", "z"),
    [
        ("stats_256_seeds1to200_T250_mean_std_min_max", 256, 250.0),
        ("stats_96_2d_seeds1to200_mean_std_min_max", 96, None),
    ],
)
def test_published_noise_has_no_unit_variance(golden, name, size, z):
    seeds = np.array([1, 2, 77, 200])
    made = simplex_fields((size, size), seeds, z=z)
    stats = np.stack([f(made, axis=(1, 2)) for f in (np.mean, np.std, np.min, np.max)], axis=1)
    np.testing.assert_allclose(stats, golden[name][seeds - 1], rtol=0, atol=KERNEL)
    assert stats[:, 1].max() < 0.7
