"""Synthesized contrasts have the tissues in the order that such sequences have them."""

from itertools import pairwise

import numpy as np
import pytest

from uadtools.errors import UadError
from uadtools.simulation.contrasts import CONTRASTS, LEVELS, TISSUES, synthesize, tissues

ORDERS = {
    "T1": ("fluid", "grey", "white"),
    "T2": ("white", "grey", "fluid"),
    "FLAIR": ("fluid", "white", "grey"),
}
NUMBERS = {"fluid": 1, "grey": 2, "white": 4}


@pytest.fixture(scope="module")
def head(anatomy):
    return anatomy("T1", 3)


@pytest.mark.parametrize("kind", ORDERS)
@pytest.mark.parametrize("seed", range(4))
def test_tissues_lie_in_their_order_from_dark_to_bright(head, kind, seed):
    t1, labels = head
    made = synthesize(t1, labels, kind, np.random.default_rng(seed))
    levels = [np.median(made[labels == NUMBERS[name]]) for name in ORDERS[kind]]
    assert np.diff(levels).min() > 0.05


@pytest.mark.parametrize("seed", range(4))
def test_of_proton_density_grey_is_above_white(head, seed):
    t1, labels = head
    made = synthesize(t1, labels, "PD", np.random.default_rng(seed))
    assert np.median(made[labels == 2]) > np.median(made[labels == 4]) + 0.05


def test_the_levels_drawn_from_have_that_order():
    for kind, order in ORDERS.items():
        by_name = dict(zip(TISSUES, LEVELS[kind], strict=True))
        for darker, brighter in pairwise(order):
            assert by_name[darker][1] <= by_name[brighter][0], kind


@pytest.mark.parametrize("kind", CONTRASTS)
def test_what_comes_out_is_a_prepared_scan_and_the_seed_decides(head, kind):
    t1, labels = head
    made, again, other = (synthesize(t1, labels, kind, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert made.dtype == np.float32
    assert made.max() == 1
    assert ((made > 0) == (t1 > 0)).all()
    assert (made == again).all()
    assert not np.allclose(made, other, atol=0.02)


def test_structures_become_tissues():
    labels = np.array([0, 1, 51, 45, 100, 207, 59, 37, 35, 81, 88, 95])
    assert tissues(labels).tolist() == [0, 1, 1, 2, 2, 2, 3, 3, 4, 4, 4, 4]


def test_an_unknown_contrast_is_an_error(head):
    with pytest.raises(UadError, match=r"'SWI' \(there are T1, T2, FLAIR, PD"):
        synthesize(*head, "SWI", np.random.default_rng(0))
