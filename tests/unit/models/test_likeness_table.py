"""How unlike healthy inputs a scan is: one number, with the reason."""

import numpy as np
import pytest

from uadtools.anatomy.contrast import bundled
from uadtools.anatomy.likeness import FEATURES, GROUPS, TOLERANCE
from uadtools.errors import UadError
from uadtools.models.config import parse
from uadtools.models.likeness import LikenessConfig, unlike


@pytest.fixture
def middle(healthy_table):
    """Features in the middle of all groups."""
    groups = healthy_table.contrasts["T1"]
    return {n: v for g, names in GROUPS.items() for n, v in zip(names, groups[g].mean, strict=True)}


def test_the_middle_of_healthy_scans_is_like_them(middle, healthy_table):
    found = unlike(middle, healthy_table)
    assert found.number == pytest.approx(0, abs=1e-5)
    assert found.p == 1
    assert not found.beyond


@pytest.mark.parametrize("group", GROUPS)
def test_the_group_that_adds_most_is_the_reason(middle, healthy_table, group):
    strange = middle | {name: middle[name] + 9 * TOLERANCE[name] for name in GROUPS[group]}
    found = unlike(strange, healthy_table)
    assert found.beyond
    assert found.reason.startswith(f"{group}: not ")
    assert found.reason.endswith("p < 0.04")
    assert found.p == pytest.approx(1 / 31)
    assert found.to_json()["beyond"] is True


def test_farther_is_more_unlike_and_less_probable(middle, healthy_table):
    row = [unlike({n: v + k * TOLERANCE[n] for n, v in middle.items()}, healthy_table) for k in (0, 0.3, 0.6, 3)]
    assert np.diff([one.number for one in row]).min() > 0
    assert np.diff([one.p for one in row]).max() <= 0


def test_a_contrast_that_is_known_and_not_the_models_is_beyond_the_limit_however_near(middle, healthy_table):
    flair = middle | dict(zip(bundled()["features"], bundled()["means"]["FLAIR"], strict=True))
    wide = healthy_table.model_copy(update={"limit": 1000.0})
    assert unlike(flair, wide).beyond
    assert unlike(flair, wide).reason == "contrast: FLAIR, not T1"
    anything = wide.model_copy(update={"contrasts": {"other": wide.contrasts["T1"]}})
    assert not unlike(flair, anything).beyond
    both = wide.model_copy(update={"contrasts": wide.contrasts | {"FLAIR": wide.contrasts["T1"]}})
    assert not unlike(flair, both).beyond


def test_of_several_contrasts_the_nearest_counts(middle, healthy_table):
    moved = {n: v + 4 * TOLERANCE[n] for n, v in middle.items()}
    groups = {
        name: group.model_copy(update={"mean": tuple(moved[n] for n in GROUPS[name])})
        for name, group in healthy_table.contrasts["T1"].items()
    }
    both = healthy_table.model_copy(update={"contrasts": {"T1": healthy_table.contrasts["T1"], "odd": groups}})
    assert unlike(moved, healthy_table).number > 1
    assert unlike(moved, both).number == pytest.approx(0, abs=1e-5)


def test_a_table_of_other_features_is_refused(healthy_table):
    data = healthy_table.model_dump(mode="json")
    assert parse(LikenessConfig, data, "x") == healthy_table
    data["contrasts"]["T1"]["noise"]["mean"] = [0.5]
    with pytest.raises(UadError, match=r"x: .*contrasts\.T1: not the features that this version takes"):
        parse(LikenessConfig, data, "x")


def test_every_feature_counts(middle, healthy_table):
    for name in FEATURES:
        assert unlike(middle | {name: middle[name] + TOLERANCE[name]}, healthy_table).number > 0.1, name
