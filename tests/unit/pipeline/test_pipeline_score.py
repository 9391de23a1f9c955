import math

import numpy as np
import pytest

from uadtools.errors import UadError
from uadtools.pipeline.score import LEAST, brain_of, case_score, score
from uadtools.volume.grid import Grid
from uadtools.volume.io import Image
from uadtools.volume.stream import Study

SHAPE = (4, 5, 6)
GRID = Grid(SHAPE, np.diag([2.0, 2, 2, 1]))
BRAIN = np.indices(SHAPE).sum(axis=0) < 9


def drawn(seed):
    return np.where(BRAIN, np.random.default_rng(seed).uniform(0.1, 1, SHAPE), 0).astype(np.float32)


def study(*roles, grid=GRID, scan=None, healed=None):
    healing = {"study": "a", "history": [{"tool": "uad-heal"}]}
    data = {
        "scan": drawn(0) if scan is None else scan,
        "healed": drawn(1) if healed is None else healed,
        "brain": BRAIN.astype(np.uint8),
    }
    return Study(
        "a", {r: Image(data[r], grid if r == "healed" else GRID, r, healing if r == "healed" else {}) for r in roles}
    )


WHOLE = ("healed", "scan", "brain")


@pytest.mark.parametrize(
    ("options", "formula"),
    [
        ({}, abs),
        ({"metric": "l1"}, abs),
        ({"metric": "l2"}, lambda d: d**2),
        ({"signed": "bright"}, lambda d: np.maximum(d, 0)),
        ({"signed": "dark"}, lambda d: np.maximum(-d, 0)),
        ({"metric": "l2", "signed": "bright"}, lambda d: np.maximum(d, 0) ** 2),
        ({"metric": "l2", "signed": "dark"}, lambda d: np.minimum(d, 0) ** 2),
    ],
)
def test_the_score_is_the_formula_inside_the_brain(options, formula):
    found = score(study(*WHOLE), **options).need("score")
    expected = np.maximum(formula(drawn(0).astype(float) - drawn(1)), LEAST)
    np.testing.assert_allclose(found.data[BRAIN], expected[BRAIN], rtol=1e-5)
    assert (found.data[~BRAIN] == 0).all()
    assert found.data.dtype == np.float32


@pytest.mark.parametrize("signed", ["both", "bright", "dark"])
@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_it_is_above_0_exactly_inside_the_brain(metric, signed):
    same = study(*WHOLE, healed=drawn(0))
    found = score(same, metric=metric, signed=signed).product
    np.testing.assert_array_equal(found.data > 0, BRAIN)
    assert found.data.max() == np.float32(LEAST)


def test_integers_do_not_wrap_around():
    low, high = (np.where(BRAIN, v, 0).astype(np.uint8) for v in (10, 200))
    found = score(study(*WHOLE, scan=low, healed=high), signed="dark").product
    assert (found.data[BRAIN] == 190).all()


def test_the_score_comes_first_and_the_rest_stays():
    before = study(*WHOLE)
    made = score(before, metric="l2", signed="dark")
    assert list(made.images) == ["score", *WHOLE]
    assert all(made.images[r] is before.images[r] for r in WHOLE)
    history = made.product.provenance["history"]
    assert [line["tool"] for line in history] == ["uad-heal", "uad-score"]
    assert history[-1]["arguments"] == {"metric": "l2", "signed": "dark"}
    assert before.need("healed").provenance["history"] == [{"tool": "uad-heal"}]


def test_without_a_mask_the_scan_says_where_the_brain_is():
    np.testing.assert_array_equal(score(study("healed", "scan")).product.data > 0, BRAIN)


@pytest.mark.parametrize("role", ["scan", "healed", "brain"])
def test_any_image_says_where_the_brain_is(role):
    np.testing.assert_array_equal(brain_of(study(role)), BRAIN)


def test_the_mask_goes_before_the_scan():
    np.testing.assert_array_equal(brain_of(study("scan", "brain", scan=np.ones(SHAPE))), BRAIN)


def test_grids_that_differ_are_told_both():
    other = Grid(SHAPE, np.diag([2.0, 2, 3, 1]))
    with pytest.raises(UadError) as caught:
        score(study(*WHOLE, grid=other))
    message = str(caught.value)
    assert message.startswith("a: scan and healed lie on different grids: ")
    assert str(GRID) in message
    assert str(other) in message


def test_a_mask_on_another_grid_is_told_too():
    small = Image(np.ones((2, 2, 2)), Grid((2, 2, 2), GRID.affine), "brain")
    with pytest.raises(UadError, match=r"scan and brain lie on different grids: 4x5x6 .* and 2x2x2 "):
        score(study("healed", "scan").adding(small))


@pytest.mark.parametrize("missing", ["scan", "healed"])
def test_a_missing_image_is_told(missing):
    with pytest.raises(UadError, match=f"^a: no image of role '{missing}'"):
        score(study(*(r for r in WHOLE if r != missing)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metric": "l3"}, "--metric l3: there are l1, l2"),
        ({"signed": "up"}, "--signed up: there are both, bright, dark"),
    ],
)
def test_unknown_options_are_told_with_those_there_are(options, said):
    with pytest.raises(UadError, match=f"^{said}$"):
        score(study(*WHOLE), **options)


def test_the_case_score_is_the_mean_inside_the_brain():
    made = score(study(*WHOLE))
    assert case_score(made) == pytest.approx(abs(drawn(0) - drawn(1))[BRAIN].mean(), rel=1e-5)


def test_the_case_score_of_no_brain_is_not_a_number():
    empty = study(*WHOLE, scan=np.zeros(SHAPE)).adding(Image(np.zeros(SHAPE), GRID, "brain"))
    assert math.isnan(case_score(score(empty)))
