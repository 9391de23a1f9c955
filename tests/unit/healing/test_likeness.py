"""Tables of what healthy scans look like are learnt, kept in model files, and asked."""

from dataclasses import replace

import numpy as np
import pytest

from uadtools.concerns import Concern
from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.healing.likeness import LIMIT, describe, fit_likeness, judged, keep, noted, read_likeness, worst_of
from uadtools.models.checkpoint import read_config, read_tensors
from uadtools.models.config import ModelConfig
from uadtools.volume.io import Image, save
from uadtools.volume.stream import study_of

SHAPE = (54, 62, 50)
GRID = Grid(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))


@pytest.fixture(scope="module")
def heads(anatomy):
    return [Image(anatomy("T1", seed)[0], GRID) for seed in range(9)]


@pytest.fixture(scope="module")
def folder(heads, tmp_path_factory):
    made = tmp_path_factory.mktemp("healthy")
    for number, head in enumerate(heads):
        save(head, made / f"{number}.nii.gz")
    return made


@pytest.fixture(scope="module")
def config(folder):
    """A model of these heads' grid that knows what they look like."""
    plain = ModelConfig.model_validate({"name": "heads", "network": {"multipliers": [1]}, "grid": {"shape": SHAPE}})
    return plain.model_copy(update={"likeness": describe([str(folder)], plain, "T1")})


def test_another_healthy_head_is_like_them_and_its_noise_is_not(config, anatomy):
    head = Image(anatomy("T1", 50)[0], GRID)
    brain = head.data > 0
    assert not judged(head, brain, config).beyond
    noise = head.derive(np.where(brain, np.random.default_rng(0).uniform(0.01, 1, SHAPE), 0).astype(np.float32), "scan")
    found = judged(noise, brain, config)
    assert found.beyond
    (concern,) = noted(study_of(noise), brain, config)["concerns"]
    assert concern["text"] == f"unlike the healthy scans of model heads: {found.reason}"
    assert (concern["code"], concern["value"]) == ("unlike", pytest.approx(found.number, abs=1e-3))
    assert "concerns" not in noted(study_of(head), brain, config)


def test_the_table_says_what_it_is_from(config):
    table = config.likeness
    assert list(table.contrasts) == ["T1"]
    assert table.scans == 27
    assert table.source.startswith("healthy")
    assert table.limit >= LIMIT
    assert list(table.quantiles) == sorted(table.quantiles)


def test_the_same_seed_makes_the_same_table(config, folder):
    plain = config.model_copy(update={"likeness": None})
    assert describe([str(folder)], plain, "T1") == config.likeness
    assert describe([str(folder)], plain, "T1", seed=1) != config.likeness


def test_a_model_without_a_table_says_nothing(config, heads):
    plain = config.model_copy(update={"likeness": None})
    assert judged(heads[0], heads[0].data > 0, plain) is None
    assert noted(study_of(heads[0]), heads[0].data > 0, plain) == {}


def test_too_little_brain_is_unlike(config, heads):
    small = np.zeros(SHAPE, np.float32)
    small[20:30, 20:30, 20:30] = 0.5
    found = judged(heads[0].derive(small, "scan"), small > 0, config)
    assert found.beyond
    assert "too little" in found.reason


def test_concerns_are_added_to_those_before_and_once(config, heads):
    noise = np.where(heads[0].data > 0, np.random.default_rng(0).uniform(0.01, 1, SHAPE), 0).astype(np.float32)
    scan = replace(heads[0], data=noise, provenance={"concerns": ["the brain is odd"]})
    once = noted(study_of(scan), noise > 0, config)
    assert once["concerns"][0] == {"code": "other", "text": "the brain is odd", "value": None}
    assert len(once["concerns"]) == 2
    assert noted(study_of(replace(scan, provenance=once)), noise > 0, config)["concerns"] == once["concerns"]


def test_of_several_models_the_worst_and_all_concerns_count(heads):
    near, far = ({"unlike": n, "limit": 2, "beyond": n > 2, "reason": "r"} for n in (1.0, 3.0))
    a, b, c = (Concern("other", text).to_json() for text in "abc")
    said = [{"concerns": [a, b], "unlike": far}, {"concerns": [b, c], "unlike": near}, {}]
    found = worst_of([replace(heads[0], provenance=one) for one in said])
    assert found == {"concerns": [a, b, c], "unlike": far}
    assert worst_of([heads[0]]) == {}


def test_fewer_than_eight_people_are_no_reference():
    with pytest.raises(UadError, match=r"7 scans of T2: at least 8 are needed"):
        fit_likeness({"T2": [[{}]] * 7})


def test_a_scan_of_another_grid_is_named(config, folder, phantom, tmp_path):
    save(phantom.need("scan"), tmp_path / "small.nii.gz")
    with pytest.raises(UadError, match=r"small\.nii\.gz: not prepared for model heads"):
        describe([str(tmp_path / "small.nii.gz")], config)


def test_a_model_keeps_its_weights_to_the_last_bit(tiny_model, healthy_table, tmp_path):
    made = keep(tiny_model, healthy_table, tmp_path / "m.safetensors")
    before, after = read_tensors(tiny_model), read_tensors(made)
    assert before.keys() == after.keys()
    assert all((before[name] == after[name]).all() and before[name].dtype == after[name].dtype for name in before)
    assert read_config(made).likeness == healthy_table
    assert read_config(made).model_copy(update={"likeness": None}) == read_config(tiny_model)


def test_a_table_is_kept_as_json_and_read_again(tiny_model, healthy_table, tmp_path):
    path = keep(tiny_model, healthy_table, tmp_path / "t.json")
    assert read_likeness(path) == healthy_table
    with pytest.raises(UadError, match=r"t\.json"):
        keep(tiny_model, healthy_table, path)
    with pytest.raises(UadError, match=r"ends in \.safetensors, a table in \.json"):
        keep(tiny_model, healthy_table, tmp_path / "t.txt")
    path.write_text("{")
    with pytest.raises(UadError, match=r"t\.json: no JSON"):
        read_likeness(path)
    with pytest.raises(UadError, match=r"none\.json: No such file"):
        read_likeness(tmp_path / "none.json")
