from dataclasses import replace

import pytest

from uadtools.files import read_json
from uadtools.models.checkpoint import default_path
from uadtools.scoring.healthy import healthy_level
from uadtools.volume.stream import record

SHIPPED = read_json(default_path().with_suffix(".scanwise.json"))


@pytest.fixture
def score(phantom):
    """A score whose history says that it was made in the way that the shipped threshold was found for."""

    def made(**changes):
        way = {key.removeprefix("uad-heal "): value for key, value in SHIPPED["way"].items() if "uad-heal" in key}
        model = way.pop("model")
        scan = phantom.need("scan")
        healed = replace(scan, provenance=record(scan, "uad-heal", way | changes, model=model))
        metric = {"metric": "relative", "signed": "both"}
        return replace(healed, role="score", provenance=record(healed, "uad-score", metric))

    return made


def test_the_level_of_the_model_that_made_the_score(score):
    level = healthy_level(score())
    assert (level.threshold, level.scans, level.alarms, level.median) == (SHIPPED["threshold"], 100, 4, 3)


def test_what_holds_for_both_signs_holds_for_one(score):
    one = score()
    lines = [
        *one.provenance["history"][:1],
        {"tool": "uad-score", "arguments": {"metric": "relative", "signed": "dark"}},
    ]
    assert healthy_level(replace(one, provenance={"history": lines})).threshold == SHIPPED["threshold"]


def test_nothing_is_known_of_another_way_or_of_none(score, phantom):
    assert healthy_level(score(t=[5])) is None
    assert healthy_level(replace(score(), provenance={})) is None
    assert healthy_level(phantom.need("scan")) is None
