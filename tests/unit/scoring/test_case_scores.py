import numpy as np
import pytest

from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.scoring.case_scores import case_scores
from uadtools.scoring.postproc import postproc
from uadtools.scoring.score import LEAST
from uadtools.volume.io import Image
from uadtools.volume.stream import Study

SHAPE = (30, 30, 20)
GRID = Grid(SHAPE, np.diag([2.0, 2, 2, 1]))
BRAIN = np.zeros(SHAPE, dtype=bool)
BRAIN[2:28, 2:28, 2:18] = True
LESION = (slice(10, 16), slice(10, 16), slice(6, 12))
HISTORY = [
    {"tool": "uad-heal", "arguments": {}, "threshold": 0.3},
    {"tool": "uad-score", "arguments": {"metric": "l1", "signed": "both"}},
]


def study(data=None, *, history=HISTORY, **maps):
    if data is None:
        data = np.where(BRAIN, 0.1, 0)
        data[LESION] = 0.5
    images = {"score": data.astype(np.float32), **maps}
    return Study("a", {r: Image(d, GRID, r, {"history": history}) for r, d in images.items()})


def test_mean_top_and_peak():
    found = case_scores(study())
    share = 6**3 / BRAIN.sum()
    assert found.case_score == pytest.approx(0.1 + 0.4 * share, rel=1e-5)
    assert found.top == pytest.approx(0.5)
    assert found.peak == pytest.approx(0.5)


def test_top_is_the_mean_of_the_highest_hundredth():
    values = np.random.default_rng(0).uniform(LEAST, 1, SHAPE).astype(np.float32)
    ranked = np.sort(values[BRAIN])[::-1]
    count = int(np.ceil(BRAIN.sum() / 100))
    assert case_scores(study(np.where(BRAIN, values, 0))).top == pytest.approx(ranked[:count].mean(), rel=1e-5)


def test_the_peak_knows_neither_single_voxels_nor_the_brains_edge():
    data = np.where(BRAIN, 0.1, 0)
    data[15, 15, 10] = 9
    data[2:4] = np.where(BRAIN[2:4], 9, 0)
    found = case_scores(study(data))
    assert found.peak == pytest.approx(0.1)
    assert found.top == pytest.approx(9)


def test_the_detected_volume_is_that_of_uad_postproc():
    made = postproc(study()).product
    assert 0 < made.data.sum() < 6**3
    assert case_scores(study()).detected_ml == pytest.approx(made.data.sum() * 0.008)


def test_the_detected_volume_after_registration_is_the_persons(registered):
    count = postproc(study()).product.data.sum()
    assert case_scores(registered(study())).detected_ml == pytest.approx(count * 0.001)


@pytest.mark.parametrize("history", [[], HISTORY[:1], [HISTORY[0] | {"threshold": None}, HISTORY[1]]])
def test_without_a_known_threshold_nothing_is_said_to_be_detected(history):
    assert case_scores(study(history=history)).detected_ml is None


def test_the_bound_is_the_mean_of_its_map_inside_the_brain():
    bound = np.where(BRAIN, np.arange(20), 99).astype(np.float32)
    assert case_scores(study(bound=bound)).bound == pytest.approx(np.arange(2, 18).mean())
    assert case_scores(study()).bound is None


def test_of_a_brain_thinner_than_what_is_eroded_there_is_no_peak():
    data = np.zeros(SHAPE)
    data[15, 15] = 0.2
    found = case_scores(study(data))
    assert (found.case_score, found.top) == pytest.approx((0.2, 0.2))
    assert (found.peak, found.detected_ml) == (None, 0)


def test_no_brain_is_told():
    with pytest.raises(UadError, match=r"^a: no voxel above background, "):
        case_scores(study(np.zeros(SHAPE)))
