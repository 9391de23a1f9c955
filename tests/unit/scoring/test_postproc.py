"""What a model recommends for detection: its chain, and thresholds for its own metric, by sign."""

import json
from dataclasses import replace

import numpy as np
import pytest

from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.healing.heal import heal
from uadtools.healing.plan import plan
from uadtools.models.defaults import ChainConfig
from uadtools.models.model import load_model
from uadtools.scoring.calibrate import calibrate
from uadtools.scoring.history import model_floor, model_threshold
from uadtools.scoring.postproc import Prepared, Steps, own_steps, postproc
from uadtools.scoring.score import LEAST, score
from uadtools.scoring.threshold_files import read_steps
from uadtools.volume.io import Image
from uadtools.volume.stream import Study, concerns_of

SHAPE = (12, 12, 12)
CHAIN = {"median": 1, "erode": 0, "min_size": 2}


def scored(metric="l1", signed="both", **healing):
    """A score with a box of 2x2x2 at .5 and a single voxel at .9, whose history says these things of its healing."""
    data = np.full(SHAPE, 0.01, np.float32)
    data[4:6, 4:6, 4:6], data[9, 9, 9] = 0.5, 0.9
    history = [
        {"tool": "uad-heal", **healing},
        {"tool": "uad-score", "arguments": {"metric": metric, "signed": signed}},
    ]
    return Study("a", {"score": Image(data, Grid(SHAPE, np.eye(4)), "score", {"history": history})})


def test_the_chain_is_the_models():
    assert own_steps(scored(chain=CHAIN)) == Steps(median=1, erode=0, min_size=2)
    made = postproc(scored(chain=CHAIN, threshold=0.3))
    assert made.product.data.sum() == 8
    assert made.product.provenance["history"][-1]["arguments"].items() >= CHAIN.items()
    assert postproc(scored(chain=CHAIN | {"min_size": 9}, threshold=0.3)).product.data.sum() == 0
    assert postproc(scored(chain=CHAIN | {"min_size": 1}, threshold=0.3)).product.data.sum() == 9
    assert postproc(scored(chain=CHAIN | {"erode": 5}, threshold=0.3)).product.data.sum() == 0
    assert postproc(scored(chain=CHAIN | {"median": 3}, threshold=0.3)).product.data.sum() < 8


DAMAGED = {"median": "x", "erode": -1, "min_size": 10**30, "smooth": -0.5}


@pytest.mark.parametrize(
    "chain",
    [{}, *({"chain": chain} for chain in (None, 3, {"largest": True}, DAMAGED, {"median": 0}, {"median": 4}))],
)
def test_without_one_it_is_that_of_the_papers(chain):
    assert own_steps(scored(**chain)) == Steps(median=5, erode=3, min_size=7)


def test_the_score_is_smoothed_before_the_threshold_as_the_model_recommends():
    alone = scored(chain=CHAIN | {"min_size": 1}, threshold=0.28)
    smoothed = postproc(scored(chain=CHAIN | {"min_size": 1, "smooth": 0.6}, threshold=0.28)).product
    assert smoothed.provenance["history"][-1]["arguments"]["smooth"] == 0.6
    assert (postproc(alone).product.data[9, 9, 9], smoothed.data[9, 9, 9]) == (1, 0)
    assert smoothed.data[4:6, 4:6, 4:6].all()


def test_a_threshold_file_of_before_there_was_smoothing_has_none(tmp_path):
    report = calibrate([scored(chain=CHAIN)] * 1, "percentile")
    del report["chain"]["smooth"]
    (tmp_path / "old.json").write_text(json.dumps(report))
    assert read_steps(tmp_path / "old.json").smooth == 0
    report["chain"]["smooth"] = -1.0
    (tmp_path / "old.json").write_text(json.dumps(report))
    with pytest.raises(UadError, match="damaged, or of another version"):
        read_steps(tmp_path / "old.json")


def test_what_the_user_says_goes_before_it():
    assert own_steps(scored(chain=CHAIN), erode=1, threshold=0.2) == Steps(1, 1, 0.2, 2)


@pytest.mark.parametrize(
    ("signed", "known", "level"),
    [
        ("both", {"both": 0.3, "dark": 0.2}, 0.3),
        ("dark", {"both": 0.3, "dark": 0.2}, 0.2),
        ("bright", {"both": 0.3, "dark": 0.2}, 0.3),  # a score of one sign is never above that of both
        ("bright", {"dark": 0.2}, None),
        ("hyperintense", {"both": 0.3, "bright": 0.2}, None),  # in other units
        ("hyperintense", {"both": 0.3, "hyperintense": 0.1}, 0.1),
        ("both", {"dark": 0.2}, None),
    ],
)
def test_thresholds_are_by_sign_and_that_of_both_holds_for_one(signed, known, level):
    made = scored(signed=signed, thresholds=known, threshold=known.get("both"))
    assert model_threshold(made.need("score")) == level


@pytest.mark.parametrize(
    ("noted", "metric", "level"),
    [
        ("relative", "relative", 0.3),
        ("relative", "product", None),
        ("relative", "l1", None),
        ("product", "product", 0.3),
        ("l1", "l1", 0.3),
        ("l1", "relative", None),
    ],
)
def test_a_threshold_is_for_the_models_own_metric(noted, metric, level):
    made = scored(metric, threshold=0.3, thresholds={"both": 0.3})
    (line, *rest) = made.need("score").provenance["history"]
    history = [{**line, "metric": noted}, *rest]
    assert model_threshold(replace(made.need("score"), provenance={"history": history})) == level


def test_scores_that_were_healed_before_metrics_were_noted_are_l1():
    assert model_threshold(scored("l1", threshold=0.3).need("score")) == 0.3
    assert model_threshold(scored("product", threshold=0.3).need("score")) is None


@pytest.fixture
def model(tiny_guided):
    """A model of restoration that recommends all that it can."""
    made = load_model(tiny_guided["restoration"], device="cpu", precision="fp32")
    thresholds = {"restore 999": 0.5, "restore 999 dark": 0.25, "restore 300 bright": 0.125}
    floors = {"restore 999": 0.02, "restore 999 bright": 0.01}
    own = {"metric": "product", "chain": ChainConfig(**CHAIN), "thresholds": thresholds, "floors": floors}
    defaults = made.config.defaults.model_copy(update=own)
    return replace(made, config=made.config.model_copy(update={"defaults": defaults}))


@pytest.mark.parametrize(
    ("how", "noted"),
    [
        ({}, {"both": 0.5, "dark": 0.25}),
        ({"t": (300,)}, {"bright": 0.125}),
        ({"t": (400,)}, {}),
        ({"flips": True}, {}),
        ({"method": "disyre", "steps": 2}, {}),
    ],
)
def test_healing_notes_what_the_model_recommends_for_that_way(model, phantom, how, noted):
    line = heal(phantom, model, plan(model.config, **how)).product.provenance["history"][-1]
    assert (line["metric"], line["chain"]) == ("product", CHAIN | {"smooth": 0.0})
    assert (line["thresholds"], line["threshold"]) == (noted, noted.get("both"))
    assert line["floors"] == ({"both": 0.02, "bright": 0.01} if not how else {})


def test_from_model_to_detection(model, phantom):
    """Every recommendation arrives."""
    healed = heal(phantom, model)
    for signed, level in (("both", 0.5), ("dark", 0.25), ("bright", 0.5)):
        made = postproc(score(healed, signed=signed)).product.provenance["history"][-1]["arguments"]
        assert (made["threshold"], made["threshold_from"]) == (level, "model")
        assert made.items() >= CHAIN.items()
    told = []
    detected = postproc(score(healed, metric="l1"), tell=told.append).product
    made = detected.provenance["history"][-1]["arguments"]
    assert made["threshold_from"] == "otsu"
    (concern,) = concerns_of(detected)
    assert (concern.code, concern.value) == ("threshold", pytest.approx(made["threshold"], abs=1e-6))
    assert told[0] == f"phantom: {concern}"
    assert ", Otsu's is taken, as the model's is for --metric product, not l1 (" in told[0]
    postproc(score(healed, signed="hyperintense"), tell=told.append)
    assert any(", Otsu's is taken, as the model has none for --signed hyperintense (" in line for line in told)


FLOORS = {"both": 0.01, "dark": 0.002}


def test_the_noise_floor_is_the_median_score_whatever_lesions_there_are():
    """A tenth of the brain may be lesion: the median hardly moves. Of one sign, voxels of the other do not count."""
    values = np.linspace(0.01, 0.03, 1000, dtype=np.float32).reshape(10, 10, 10)
    inside = np.ones(values.shape, bool)
    image = scored().need("score")
    plain = Prepared(image, values, inside, inside).floor
    assert plain == pytest.approx(0.02, rel=1e-3)
    lesion = values.copy()
    lesion[:, 0] = 5
    assert Prepared(image, lesion, inside, inside).floor == pytest.approx(plain, rel=0.1)
    half = np.where(np.indices(values.shape).sum(axis=0) % 2, values, LEAST)
    assert Prepared(image, half, inside, inside).floor == pytest.approx(plain, rel=0.01)
    assert Prepared(image, np.full_like(values, LEAST), inside, inside).floor == LEAST


@pytest.mark.parametrize(("floor", "raised"), [(0.01, 1.0), (0.02, 1.0), (0.004, 2.5)])
def test_the_threshold_rises_with_the_noise_floor_and_never_falls(floor, raised):
    """The background scores .01: 2.5 times .3 is above the box of .5."""
    study = scored(chain=CHAIN, threshold=0.3, thresholds={"both": 0.3}, floors={"both": floor})
    made = postproc(study, adapt=True).product
    done = made.provenance["history"][-1]["arguments"]
    assert done["raised"] == pytest.approx(raised)
    assert done["threshold"] == pytest.approx(0.3 * raised)
    assert made.data.sum() == (8 if raised == 1 else 0)
    assert "raised" not in postproc(study).product.provenance["history"][-1]["arguments"]


def test_floors_are_of_the_models_own_metric_and_by_sign():
    assert model_floor(scored(signed="dark", floors=FLOORS).need("score")) == 0.002
    assert model_floor(scored(signed="bright", floors=FLOORS).need("score")) == 0.01
    assert model_floor(scored("l2", floors=FLOORS).need("score")) is None
    assert model_floor(scored().need("score")) is None


@pytest.mark.parametrize("steps", [None, Steps(1, 0, 0.3, 2), Steps(1, 0, "otsu", 2)])
def test_where_no_noise_floor_is_known_a_threshold_cannot_adapt(steps):
    study = scored(threshold=0.3, **({} if steps is None else {"floors": FLOORS}))
    with pytest.raises(UadError, match="--adapt: no noise floor of healthy scans is known"):
        postproc(study, steps, adapt=True)


@pytest.mark.parametrize("floor", [0.0, -1.0])
def test_a_noise_floor_that_is_none_is_not_divided_by(floor):
    study = scored(threshold=0.3, thresholds={"both": 0.3}, floors={"both": floor})
    with pytest.raises(UadError, match="--adapt: no noise floor of healthy scans is known"):
        postproc(study, adapt=True)


def test_a_calibrated_threshold_knows_the_noise_floor_of_its_scans(tmp_path):
    """19 in 20 of them lie under it, so a new one like them keeps the threshold that was promised."""
    healthy = [scored() for _ in range(20)]
    for number, study in enumerate(healthy):
        study.need("score").data[...] += 0.0001 * number
    report = calibrate(healthy, "percentile", Steps(1, 0, min_size=0))
    assert report["floor"] == pytest.approx(0.01 + 0.0001 * 18.05, rel=1e-3)
    (tmp_path / "t.json").write_text(json.dumps(report))
    steps = read_steps(tmp_path / "t.json")
    assert postproc(healthy[3], steps, adapt=True).product.provenance["history"][-1]["arguments"]["raised"] == 1
    noisy = scored()
    noisy.need("score").data[...] *= 3
    done = postproc(noisy, steps, adapt=True).product.provenance["history"][-1]["arguments"]
    assert done["raised"] == pytest.approx(0.03 / report["floor"], rel=1e-3)
    assert done["threshold"] == pytest.approx(report["threshold"] * done["raised"])


def test_what_the_user_did_not_choose_and_cannot_be_right_is_said():
    """A scan without a history is taken for another program's score: Otsu's threshold finds a third of it."""
    data = np.full(SHAPE, 0.1, np.float32)
    data[:4] = 0.9
    other = Study("x", {"scan": Image(data, Grid(SHAPE, np.eye(4)))})
    told = []
    postproc(other, Steps(1, 0, "model", 0), tell=told.append)
    assert told[1].startswith("x: 33% of the brain is detected: Otsu's threshold does not fit")
    told.clear()
    postproc(other, Steps(1, 0, "otsu", 0), tell=told.append)
    assert told == []
    postproc(other, Steps(1, 9, 0.5, 0), tell=told.append)
    assert told == ["x: no brain is left after 9 erosions, so nothing is found (--erode takes fewer)"]
