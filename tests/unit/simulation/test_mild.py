"""Mild changes do what they say, and leave a prepared scan."""

import numpy as np
import pytest

from uadtools.simulation.mild import CHANGES, changed

TWO = (2.0, 2.0, 2.0)


@pytest.fixture(scope="module")
def head(anatomy):
    return anatomy("T1", 5)[0]


def rough(data):
    """How much neighbours differ, along each axis."""
    inside = data > 0
    return [
        float(np.abs(np.diff(data, axis=a))[np.minimum(*(np.delete(inside, e, axis=a) for e in (0, -1)))].mean())
        for a in range(3)
    ]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_changes_the_scan_and_it_is_still_one(head, change):
    made, again = (changed(head, change, np.random.default_rng(0), TWO) for _ in range(2))
    assert made.dtype == np.float32
    assert made.shape == head.shape
    assert made.min() == 0
    assert made.max() == 1
    assert (made == again).all()
    assert np.abs(made - head).max() > 0.02
    assert np.corrcoef(made[head > 0], head[head > 0])[0, 1] > 0.5


def test_blur_and_thick_slices_are_smooth_and_noise_is_rough(head):
    rng = np.random.default_rng(0)
    assert max(rough(changed(head, "blurred", rng, TWO))) < min(rough(head))
    assert min(rough(changed(head, "noisy", rng, TWO))) > min(rough(head))
    thick, plain = rough(changed(head, "thick", np.random.default_rng(1), TWO)), rough(head)
    assert sum(t < 0.8 * p for t, p in zip(thick, plain, strict=True)) == 1


def test_gamma_goes_the_way_it_says(head):
    rng, inside = np.random.default_rng(0), head > 0
    darker, brighter = (changed(head, name, rng, TWO)[inside].mean() for name in ("darker", "brighter"))
    assert darker < head[inside].mean() - 0.03
    assert brighter > head[inside].mean() + 0.03


def test_only_a_tight_mask_takes_brain_away(head):
    tight = changed(head, "tight", np.random.default_rng(0), TWO)
    assert 0.7 < (tight > 0).sum() / (head > 0).sum() < 0.95
    assert ((changed(head, "lesioned", np.random.default_rng(0), TWO) > 0) == (head > 0)).all()
