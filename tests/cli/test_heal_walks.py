"""Walks with the model of plain diffusion from tool to tool: the map that they score by lies beside the healed scan."""

import json

import numpy as np
import pytest

from uadtools.volume.stream import read_image

SHORT = {"autoddpm": ("-t", 12, "--again", 4), "thor": ("-t", 12, "--every", 5)}


@pytest.fixture
def heal(uad, prepared, tiny_model, here):
    """Heal the prepared scan p.nii.gz with the tiny model, and return an image of what that leaves."""

    def run(method, *options, role="healed"):
        words = ("--model", tiny_model, "--method", method, *SHORT.get(method, ()), *options)
        result = uad("heal", prepared, *words, "--force")
        assert result.status == 0, result.err
        return read_image(here / f"p_{role}.nii.gz").data

    return run


@pytest.mark.parametrize("method", SHORT)
def test_the_map_is_the_score_from_files_and_from_a_pipe(uad, prepared, tiny_model, heal, method, here):
    anomaly = heal(method, role="anomaly")
    assert not (here / "p_perceptual.nii.gz").exists()
    brain = read_image(here / "p.nii.gz").data > 0
    assert (anomaly[~brain] == 0).all()
    assert anomaly[brain].max() > 1e-4
    (told,) = uad("score", prepared, "p_healed.nii.gz", "-o", "files.nii.gz", "--json").json
    assert told["metric"] == "anomaly"
    score = read_image(here / "files.nii.gz").data
    np.testing.assert_array_equal(score[brain], np.maximum(anomaly[brain], np.float32(1e-6)))
    words = ("--model", tiny_model, "--method", method, *SHORT[method])
    stream = uad("heal", prepared, *words, "-o", "-").out
    assert uad("score", "-o", "pipe.nii.gz", stdin=stream).status == 0
    np.testing.assert_array_equal(read_image(here / "pipe.nii.gz").data, score)
    made = uad("score", "-o", "perceptual.nii.gz", "--metric", "perceptual", stdin=stream)
    assert made.status == 0, made.err
    assert not np.array_equal(read_image(here / "perceptual.nii.gz").data, score)
    (here / "p_anomaly.nii.gz").unlink()
    uad("score", prepared, "p_healed.nii.gz", "--force").fails("score", 1, "p_anomaly.nii.gz: not there", "--metric l1")
    assert uad("score", prepared, "p_healed.nii.gz", "--metric", "l1", "-o", "l1.nii.gz").status == 0


@pytest.mark.parametrize("words", [(method,) for method in SHORT] + [("sss", "--perceptual")])
def test_the_perceptual_map_is_written_where_maps_are_asked_for(uad, prepared, heal, words, here):
    perceptual = heal(*words, "--maps", role="perceptual")
    brain = read_image(here / "p.nii.gz").data > 0
    assert (perceptual[~brain] == 0).all()
    assert 0 < perceptual.max() < 4
    assert uad("score", prepared, "p_healed.nii.gz", "--metric", "perceptual", "-o", "s.nii.gz").status == 0
    np.testing.assert_allclose(read_image(here / "s.nii.gz").data[brain], np.maximum(perceptual[brain], 1e-6))


def test_a_mask_that_nothing_is_above_leaves_the_scan(heal, here):
    scan = read_image(here / "p.nii.gz").data
    np.testing.assert_allclose(heal("autoddpm", "--mask", 4), scan, rtol=0, atol=1e-6)
    whole = heal("autoddpm", "--mask", 0)
    assert np.abs(whole - scan).max() > 1e-2
    for option in ("--again", "--repeats"):
        assert np.abs(heal("autoddpm", "--mask", 0, option, 2) - whole).max() > 1e-3


def test_options_are_in_the_history(heal, here):
    heal("autoddpm", "--mask", 0.2)
    line = json.loads((here / "p_healed.json").read_text())["history"][-1]
    wanted = {"method": "autoddpm", "t": [12], "mask": 0.2, "again": 4, "repeats": 5}
    assert wanted.items() <= line["arguments"].items()
    assert line["maps"] == ["anomaly", "perceptual"]


def test_every_and_variance_have_an_effect(heal):
    assert np.abs(heal("thor") - heal("thor", "--every", 3)).max() > 1e-3
    small, large = (heal("ddpm", "-t", 12, "--variance", variance) for variance in ("small", "large"))
    assert np.abs(small - large).max() > 1e-3
    np.testing.assert_array_equal(heal("ddpm", "-t", 12), small)


def test_encoding_is_the_same_whatever_the_seed(heal):
    first, again = heal("encode", "-t", 300, "--steps", 5), heal("encode", "-t", 300, "--steps", 5, "--seed", 7)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - heal("encode", "-t", 300, "--steps", 20)).max() > 1e-3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--method", "encode", "--samples", 2), "--samples has no effect with --method encode"),
        (("--method", "sss", "--mask", 0.1), "--mask has no effect with --method sss"),
        (("--method", "autoddpm", "--every", 5), "--every has no effect with --method autoddpm"),
        (("--method", "sss", "--variance", "large"), "--variance has no effect with --method sss"),
        (("--method", "autoddpm", "--again", 1000), "--again 1000: outside 0 to 999"),
    ],
)
def test_what_has_no_effect_is_refused(uad, prepared, tiny_model, words, said):
    uad("heal", prepared, "--model", tiny_model, *words).fails("heal", 1, said)
