"""The contrast of a scan is recognised, and what is none of those known is called other."""

import numpy as np
import pytest

from uadtools.anatomy.contrast import OTHER, bundled, learn, recognise, seen
from uadtools.anatomy.likeness import features

TWO = (2.0, 2.0, 2.0)
KINDS = ("T1", "T2", "FLAIR")


@pytest.fixture(scope="module")
def told(anatomy):
    """Features of six heads a contrast."""
    heads = {kind: [anatomy(kind, seed)[0] for seed in range(6)] for kind in KINDS}
    return {kind: [features(head, head > 0, TWO) for head in those] for kind, those in heads.items()}


@pytest.fixture(scope="module")
def table(told):
    return learn({kind: those[:4] for kind, those in told.items()})


@pytest.mark.parametrize("kind", KINDS)
def test_heads_that_were_not_learnt_from_are_recognised(told, table, kind):
    for one in told[kind][4:]:
        found = recognise(one, table)
        assert found.name == kind
        assert found.p[kind] == max(found.p.values()) > 0.9
        assert sum(found.p.values()) == pytest.approx(1)


def test_what_is_far_from_all_is_other(anatomy, table):
    head = anatomy("T1", 9)[0]
    noise = np.where(head > 0, np.random.default_rng(0).uniform(0.01, 1, head.shape), 0)
    found = recognise(features(noise, head > 0, TWO), table)
    assert found.name == OTHER
    assert found.away > table["margin"]


def test_the_bundled_table_knows_four_contrasts():
    assert list(bundled()["means"]) == ["T1", "T2", "FLAIR", "PD"]
    assert recognise(features_of_mean("FLAIR")).name == "FLAIR"


def features_of_mean(kind):
    """The features that the table has in the middle of a contrast."""
    return dict(zip(bundled()["features"], bundled()["means"][kind], strict=True))


def test_nothing_is_said_of_too_little():
    small = np.zeros((20, 20, 20), np.float32)
    small[5:15, 5:15, 5:15] = np.linspace(0.1, 1, 10)
    assert seen(small, small > 0, TWO) is None
