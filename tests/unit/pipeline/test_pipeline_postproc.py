"""What a model recommends for detection: its chain, and thresholds for its own metric, by sign."""

from dataclasses import replace

import numpy as np
import pytest

from uadtools.models.defaults import ChainConfig
from uadtools.models.model import load_model
from uadtools.pipeline.heal import heal
from uadtools.pipeline.plan import plan
from uadtools.pipeline.postproc import Steps, model_threshold, own_steps, postproc
from uadtools.pipeline.score import score
from uadtools.volume.grid import Grid
from uadtools.volume.io import Image
from uadtools.volume.stream import Study

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


@pytest.mark.parametrize("chain", [{}, {"chain": None}, {"chain": 3}, {"chain": {"largest": True}}])
def test_without_one_it_is_that_of_the_papers(chain):
    assert own_steps(scored(**chain)) == Steps(median=5, erode=3, min_size=7)


def test_what_the_user_says_goes_before_it():
    assert own_steps(scored(chain=CHAIN), erode=1, threshold=0.2) == Steps(1, 1, 0.2, 2)


@pytest.mark.parametrize(
    ("signed", "known", "level"),
    [
        ("both", {"both": 0.3, "dark": 0.2}, 0.3),
        ("dark", {"both": 0.3, "dark": 0.2}, 0.2),
        ("bright", {"both": 0.3, "dark": 0.2}, 0.3),  # a score of one sign is never above that of both
        ("bright", {"dark": 0.2}, None),
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
    own = {"metric": "product", "chain": ChainConfig(**CHAIN), "thresholds": thresholds}
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
    assert (line["metric"], line["chain"]) == ("product", CHAIN)
    assert (line["thresholds"], line["threshold"]) == (noted, noted.get("both"))


def test_from_model_to_detection(model, phantom):
    """Every recommendation arrives."""
    healed = heal(phantom, model)
    for signed, level in (("both", 0.5), ("dark", 0.25), ("bright", 0.5)):
        made = postproc(score(healed, signed=signed)).product.provenance["history"][-1]["arguments"]
        assert (made["threshold"], made["threshold_from"]) == (level, "model")
        assert made.items() >= CHAIN.items()
    told = []
    made = postproc(score(healed, metric="l1"), tell=told.append).product.provenance["history"][-1]["arguments"]
    assert made["threshold_from"] == "otsu"
    assert told[0].startswith("phantom: no threshold is known for this way of scoring")
