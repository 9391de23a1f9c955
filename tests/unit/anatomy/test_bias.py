"""N4 on a phantom of three tissues whose brightness drifts by a known, smooth field."""

import sys
from dataclasses import dataclass

import numpy as np
import pytest

from uadtools.anatomy.bias import n4
from uadtools.errors import UadError
from uadtools.grids.grid import Grid

LARGE = ((25, 30, 25), (4, 4, 4))
THICK = ((40, 46, 12), (2, 2, 6))
"""Shrunk for the estimate, but not along the thick slices."""


@dataclass(frozen=True)
class Phantom:
    """data: true brightness times field; white: the voxels of one tissue, all around the head's middle."""

    data: np.ndarray
    field: np.ndarray
    brain: np.ndarray
    white: np.ndarray
    grid: Grid

    def spread(self, data):
        """Brightest over darkest white, by eighths of the head, less 1: 0 when white is as white everywhere."""
        places = np.indices(data.shape) >= np.array(data.shape)[:, None, None, None] / 2
        eighth = places[0] + 2 * places[1] + 4 * places[2]
        means = [data[self.white & (eighth == n)].mean() for n in range(8)]
        return max(means) / min(means) - 1

    def drift(self, data):
        """How much brightness still drifts: deviation of the logarithm of data over truth, inside the brain."""
        return float(np.log(data[self.brain] * self.field[self.brain] / self.data[self.brain]).std())


def phantom(shape, spacing):
    places = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    radius = (places**2).sum(axis=0)
    brain, white = radius < 0.9, (radius < 0.55) & (radius > 0.1)
    noise = np.random.default_rng(0).normal(0, 10, shape)
    true = np.select([white, radius < 0.1, brain], [800, 250, 520], 0) + brain * noise
    field = np.exp(0.3 * places[0] + 0.15 * places[1] ** 2 - 0.25 * places[2])
    data = np.where(brain, true * field, 3).astype(np.float32)
    return Phantom(data, field, brain, white, Grid(shape, np.diag([*spacing, 1.0])))


@pytest.fixture(scope="module")
def large():
    head = phantom(*LARGE)
    return head, n4(head.data, head.brain, head.grid)


@pytest.fixture(scope="module")
def thick():
    head = phantom(*THICK)
    return head, n4(head.data, head.brain, head.grid)


@pytest.mark.parametrize("size", ["large", "thick"])
def test_a_smooth_field_is_taken_out_of_the_brain(size, request):
    head, made = request.getfixturevalue(size)
    assert (made.dtype, made.shape) == (np.float32, head.data.shape)
    assert head.spread(head.data) > 0.35
    assert head.spread(made) < head.spread(head.data) / 25
    assert head.drift(head.data) > 0.16
    assert head.drift(made) < 0.01


def test_tissues_keep_their_contrast(large):
    head, made = large
    grey = head.brain & ~head.white & (head.data > 0) & (head.data / head.field > 400)
    assert made[grey].mean() / made[head.white].mean() == pytest.approx(520 / 800, rel=0.01)


@pytest.mark.parametrize("size", ["large", "thick"])
def test_the_mean_inside_the_brain_stays(size, request):
    head, made = request.getfixturevalue(size)
    assert made[head.brain].mean(dtype=float) == pytest.approx(head.data[head.brain].mean(dtype=float), rel=1e-5)


def test_what_lies_outside_the_brain_stays_finite_and_tells_nothing_about_it(thick):
    head, made = thick
    assert np.isfinite(made).all()
    assert 0 < made[~head.brain].min() < made[~head.brain].max() < 10
    other = np.where(head.brain, head.data, np.random.default_rng(1).normal(0, 5000, head.data.shape))
    again = n4(other.astype(np.float32), head.brain, head.grid)
    assert np.isfinite(again).all()
    np.testing.assert_array_equal(again[head.brain], made[head.brain])


def test_voxels_of_the_brain_that_are_not_above_0_tell_nothing(thick):
    head, _ = thick
    made = []
    for value in (0, -700):
        data = head.data.copy()
        data[18:22, 20:24, 5:7] = value
        made.append(n4(data, head.brain, head.grid))
        assert head.spread(np.where(data > 0, made[-1], made[-1][head.white].mean())) < 0.02
    told = head.brain & (data > 0)
    np.testing.assert_array_equal(made[0][told], made[1][told])
    assert (made[0][18:22, 20:24, 5:7] == 0).all()
    assert (made[1][18:22, 20:24, 5:7] < 0).all()


def test_the_same_scan_gives_the_same_voxels_and_is_left_alone(thick):
    head, made = thick
    before = head.data.copy()
    np.testing.assert_array_equal(n4(head.data, head.brain, head.grid), made)
    np.testing.assert_array_equal(head.data, before)


@pytest.mark.parametrize("factor", [1e-3, 30])
def test_units_do_not_matter(factor, thick):
    head, made = thick
    scaled = n4(head.data * np.float32(factor), head.brain, head.grid)
    np.testing.assert_allclose(scaled / np.float32(factor), made, rtol=1e-3)


def test_whole_numbers_are_as_good(thick):
    head, made = thick
    rounded = n4(np.round(head.data).astype(np.int16), head.brain, head.grid)
    np.testing.assert_allclose(rounded[head.brain], made[head.brain], rtol=0.01)


def test_a_missing_simpleitk_is_told_with_the_extra(thick, monkeypatch):
    head, _ = thick
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(
        UadError, match=r"^--bias-correct needs the package SimpleITK \(pip install 'uadtools\[sitk\]'\)$"
    ):
        n4(head.data, head.brain, head.grid)


@pytest.mark.parametrize("shift", [0, -1e4])
def test_a_brain_without_a_voxel_above_0_is_refused(shift, thick):
    head, _ = thick
    dark = np.full_like(head.data, shift)
    with pytest.raises(UadError, match=r"^no voxel above 0 in the brain, [^\n]*leave out --bias-correct"):
        n4(dark, head.brain, head.grid)


def test_what_n4_cannot_do_is_told_in_one_line(large):
    head, _ = large
    grid = Grid((25, 30, 1), head.grid.affine)
    with pytest.raises(UadError, match=r"^the bias field cannot be estimated \([^\n]*; leave out --bias-correct\)$"):
        n4(head.data[:, :, 12:13], head.brain[:, :, 12:13], grid)
