"""What healthy residuals are at each place."""

import numpy as np
import pytest

from uadtools.errors import UadError
from uadtools.pipeline.reference import learn_reference, on_grid
from uadtools.volume.grid import Grid
from uadtools.volume.io import Image
from uadtools.volume.stream import Study

SHAPE = (24, 20, 16)
GRID = Grid(SHAPE, np.diag([2.0, 2, 2, 1]))


def studies(count, spread, seed=0):
    """Healthy scans, and healed ones that are off by normal noise of a deviation, a number or a volume."""
    rng = np.random.default_rng(seed)
    brain = np.zeros(SHAPE, bool)
    brain[3:-3, 3:-3, 2:-2] = True
    for k in range(count):
        scan = np.where(brain, 0.5, 0).astype(np.float32)
        healed = np.where(brain, scan + spread * rng.standard_normal(SHAPE), 0).astype(np.float32)
        yield Study(f"s{k}", {"scan": Image(scan, GRID, "scan"), "healed": Image(healed, GRID, "healed")})


def test_the_reference_of_noise_is_flat():
    expected, about = learn_reference(studies(30, 0.05))
    assert expected.shape == (12, 10, 8)
    assert about.scans == 30
    np.testing.assert_allclose(expected, 0.1, rtol=0, atol=0.015)  # deviation, and its median


def test_more_is_expected_where_healthy_residuals_are_larger():
    spread = np.full(SHAPE, 0.02)
    spread[12:] = 0.08
    expected, _ = learn_reference(studies(20, spread))
    assert expected[2:5, 3:7, 3:5].mean() < 0.65 * expected[7:10, 3:7, 3:5].mean()


def test_every_second_voxel_has_what_was_learnt_and_those_between_their_mean():
    values = np.random.default_rng(0).random((12, 10, 8)).astype(np.float32)
    made = on_grid(values, SHAPE)
    np.testing.assert_allclose(made[::2, ::2, ::2], values, rtol=0, atol=1e-6)
    np.testing.assert_allclose(made[1, 2, 2], (values[0, 1, 1] + values[1, 1, 1]) / 2, rtol=1e-5, atol=0)


def test_too_few_scans_and_perfect_ones_are_refused():
    with pytest.raises(UadError, match="7 healthy scans: a reference needs at least 8"):
        learn_reference(studies(7, 0.05))
    with pytest.raises(UadError, match="the healed scans are the scans themselves"):
        learn_reference(studies(8, 0.0))
