from dataclasses import replace

import pytest

from uadtools.files import read_json
from uadtools.models.checkpoint import bundled, default_path
from uadtools.scoring.healthy import HealthyScores, healthy_scores
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


def test_the_case_scores_of_the_model_that_made_the_score(score):
    known = healthy_scores(score())
    assert known.case_scores == SHIPPED["healthy"]["case_scores"]
    assert (known.filters, known.both) == ((1, 0.6), False)
    assert [len(scores) for scores in known.case_scores.values()] == [100, 100, 100]


def signed(score, sign):
    lines = [
        *score.provenance["history"][:1],
        {"tool": "uad-score", "arguments": {"metric": "relative", "signed": sign}},
    ]
    return replace(score, provenance={"history": lines})


def test_those_of_both_signs_say_nothing_of_what_is_weighed_by_its_brightness(score):
    assert healthy_scores(signed(score(), "hyperintense")) is None


def test_those_of_both_signs_bound_those_of_one(score):
    known = healthy_scores(signed(score(), "dark"))
    assert known.case_scores == SHIPPED["healthy"]["case_scores"]
    assert known.both


def test_nothing_is_known_of_another_way_or_of_none(score, phantom):
    assert healthy_scores(score(t=[5])) is None
    assert healthy_scores(replace(score(), provenance={})) is None
    assert healthy_scores(phantom.need("scan")) is None


@pytest.mark.parametrize(("value", "count"), [(0, 3), (1, 3), (1.5, 2), (2, 2), (3, 0)])
def test_how_many_are_as_high(value, count):
    assert HealthyScores({"peak": [1, 2, 2]}, 3, both=False).as_high("peak", value) == count


@pytest.mark.parametrize("path", bundled(), ids=lambda path: path.stem)
def test_a_bundled_model_knows_all_its_healthy_scans(path):
    healthy = read_json(path.with_suffix(".scanwise.json"))["healthy"]
    assert healthy["case_scores"].keys() == {"case_score", "top", "peak"}
    for scores in healthy["case_scores"].values():
        assert len(scores) == healthy["scans"]
        assert scores == sorted(scores)
