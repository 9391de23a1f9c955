"""What a scan that is unlike a model's healthy inputs leads to, from tool to tool."""

import nibabel as nib
import numpy as np
import pytest

from uadtools.models.checkpoint import read_config
from uadtools.volume.stream import read_image

OTSU = ("--threshold", "otsu", "--erode", 0, "--median", 1)


@pytest.fixture
def healed(uad, wary_model, prepared, here):
    """A scan healed by a model that it is unlike: h.nii.gz."""
    assert uad("heal", prepared, "--model", wary_model, "-o", "h.nii.gz").status == 0
    return here / "h.nii.gz"


@pytest.fixture
def score(uad, prepared, healed, here):
    assert uad("score", prepared, healed, "-o", "s.nii.gz").status == 0
    return here / "s.nii.gz"


def test_healing_warns_in_one_line_and_says_so_in_json(uad, wary_model, prepared, here):
    result = uad("heal", prepared, "--model", wary_model, "-o", "h.nii.gz", "--json")
    assert result.status == 0
    (line,) = result.lines
    assert line.startswith("uad-heal: p: unlike what the model learnt from (the brain has 6 mL, too little")
    (told,) = result.json
    assert told["unlike"]["beyond"] is True
    assert told["unlike"]["unlike"] > told["unlike"]["limit"]
    (concern,) = told["concerns"]
    assert told["unlike"]["reason"] in concern["text"]
    assert (concern["code"], concern["value"]) == ("unlike", pytest.approx(told["unlike"]["unlike"], abs=1e-3))
    assert read_image(here / "h.nii.gz").provenance["concerns"] == [concern]


def test_quiet_says_nothing_and_strict_leaves_with_3_and_all_is_written(uad, wary_model, prepared, here):
    result = uad("heal", prepared, "--model", wary_model, "-o", "h.nii.gz", "--strict", "-q")
    assert (result.status, result.err) == (3, "")
    assert (here / "h.nii.gz").exists()


def test_strict_is_content_with_a_model_that_knows_of_nothing_unlike(uad, tiny_model, prepared):
    result = uad("heal", prepared, "--model", tiny_model, "-o", "h.nii.gz", "--strict", "--json")
    assert (result.status, result.err) == (0, "")
    assert result.json[0]["unlike"] is None
    assert result.json[0]["concerns"] == []


def test_the_same_concerns_are_in_the_json_of_every_tool(uad, wary_model, prepared, healed, score):
    told = [
        uad("heal", prepared, "--model", wary_model, "-o", "again.nii.gz", "--json").json[0],
        uad("score", prepared, healed, "-o", "t.nii.gz", "--json").json[0],
        uad("postproc", score, *OTSU, "-o", "d.nii.gz", "--json").json[0],
    ]
    assert len(told[0]["concerns"]) == 1
    assert all(one["concerns"] == told[0]["concerns"] and one["unlike"] == told[0]["unlike"] for one in told)


def test_nothing_is_detected_and_the_reason_is_told(uad, score, here):
    result = uad("postproc", score, *OTSU, "-o", "d.nii.gz", "--json")
    assert result.status == 0
    (line,) = result.lines
    assert line.startswith("uad-postproc: s: no detection: unlike what the model learnt from (")
    assert line.endswith("--force-detection to detect anyway)")
    assert (result.json[0]["withheld"], result.json[0]["detected_voxels"]) == (True, 0)
    made = read_image(here / "d.nii.gz")
    assert not made.data.any()
    assert made.provenance["unlike"]["beyond"] is True
    assert made.provenance["history"][-1]["arguments"]["withheld"] == made.provenance["unlike"]["reason"]


def test_it_is_detected_all_the_same_where_that_is_asked_for(uad, score, here):
    result = uad("postproc", score, *OTSU, "--force-detection", "-o", "d.nii.gz", "--json")
    (line,) = result.lines
    assert line.startswith("uad-postproc: s: ")
    assert result.status == 0
    assert result.json[0]["withheld"] is False
    assert result.json[0]["detected_voxels"] == read_image(here / "d.nii.gz").data.sum() > 0
    assert len(result.json[0]["concerns"]) == 1


@pytest.mark.parametrize("words", [(), ("--force-detection",)])
def test_strict_tells_the_shell_and_writes(uad, score, here, words):
    assert uad("postproc", score, *OTSU, "--strict", *words, "-o", "d.nii.gz").status == 3
    assert (here / "d.nii.gz").exists()


def test_a_pipe_carries_the_score_on_beside_an_empty_detection(shell, wary_model, prepared):
    line = f"uad-heal {prepared} --model {wary_model} -o - | uad-score | uad-postproc --threshold otsu --erode 0 | "
    done = shell(line + "uad-postproc --threshold otsu --erode 0 --force-detection --json")
    assert done.status == 0, done.err
    assert done.json[0]["detected_voxels"] > 0


def test_a_model_is_told_what_its_healthy_inputs_look_like(uad, tiny_model, wary_model, healthy_table, here):
    (here / "t.json").write_text(healthy_table.model_dump_json())
    result = uad("models", "describe", tiny_model, "--table", "t.json", "-o", "new.safetensors", "--json")
    assert result.status == 0, result.err
    assert result.json == {
        "written": "new.safetensors", "contrasts": ["T1"], "scans": 30, "limit": healthy_table.limit
    }  # fmt: skip
    assert read_config(here / "new.safetensors").likeness == healthy_table


def test_describing_wants_force_to_change_a_model_and_one_source(uad, tiny_model, prepared, here):
    (here / "m.safetensors").write_bytes(tiny_model.read_bytes())
    words = ("models", "describe", "m.safetensors", "--healthy", prepared)
    uad(*words).fails("models", 1, "m.safetensors: exists (--force replaces it)")
    uad(*words, "--force").fails("models", 1, "p.nii.gz", "too little")
    uad("models", "describe", "m.safetensors").fails("models", 2, "--healthy and --table")
    assert (here / "m.safetensors").read_bytes() == tiny_model.read_bytes()


def test_a_brain_of_a_few_ml_is_an_error_where_the_model_is_for_adults(uad, scan, here):
    result = uad("preprocess", scan, "-o", "p.nii.gz")
    result.fails("preprocess", 1, "has 7 mL, which is no brain", "--brain FILE")
    assert not (here / "p.nii.gz").exists()


def test_a_mask_of_a_few_ml_is_the_users_word(uad, scan, raw, here):
    nib.save(nib.Nifti1Image((raw.get_fdata() > 300).astype(np.uint8), raw.affine), "mask.nii.gz")
    result = uad("preprocess", scan, "-o", "p.nii.gz", "--brain", "mask.nii.gz")
    assert result.status == 0, result.err
    assert 0 < (read_image(here / "p.nii.gz").data > 0).sum() * 8e-3 < 7


def test_preprocessing_tells_the_contrast_where_there_is_enough_to_see(uad, scan, here):
    (small,) = uad("preprocess", scan, "-o", "p.nii.gz", "--shape", "16,16,8", "--spacing", 2, "--json").json
    assert small["contrast"] is None
    assert small["concerns"] == read_image(here / "p.nii.gz").provenance.get("concerns", [])


def test_a_foreign_history_of_strange_shape_harms_nobody(uad, prepared, here):
    from dataclasses import replace
    from pathlib import Path

    from uadtools.volume.io import save

    image = read_image(prepared)
    score = image.derive(np.where(image.data > 0, image.data, 0), "score")
    save(replace(score, provenance={"concerns": "odd", "unlike": [1]}), Path("s.nii.gz"))
    (told,) = uad("postproc", "s.nii.gz", "--threshold", 0.1, "-o", "d.nii.gz", "--json").json
    assert (told["concerns"], told["unlike"], told["withheld"]) == ([], None, False)


def test_score_and_postproc_say_the_same_of_what_is_detected(uad, prepared, healed, score, monkeypatch):
    """Where the scan is unlike, nothing is, by the model's threshold, too."""
    monkeypatch.setattr("uadtools.scoring.case_scores.model_threshold", lambda image: 0.0)
    told = uad("score", prepared, healed, "-o", "t.nii.gz", "--json").json[0]
    detected = uad("postproc", score, "--threshold", 0, "-o", "d.nii.gz", "--json").json[0]
    assert told["detected_ml"] == detected["detected_ml"] == 0
