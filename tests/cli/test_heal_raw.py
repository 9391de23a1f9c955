"""uad-heal of a scan that was not prepared: the same as uad-preprocess and then uad-heal, and it says so."""

import sys

import nibabel as nib
import numpy as np
import pytest

from uadtools.errors import UadError
from uadtools.models import checkpoint
from uadtools.volume.stream import read_image, read_path

SAID = "uad-heal: raw: was not prepared; prepared as uad-preprocess would (--prepared refuses instead)"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def brain(here, raw):
    """The back half of the raw head, as a mask on its grid: brain.nii."""
    data = (np.asarray(raw.dataobj) > 0).astype(np.uint8)
    data[:, 7:] = 0
    nib.save(nib.Nifti1Image(data, raw.affine), here / "brain.nii")
    return here / "brain.nii"


@pytest.fixture
def skull(here, raw):
    """A raw head in noise, so that its brain is still to be found: skull.nii."""
    noise = np.random.default_rng(0).integers(1, 9, raw.shape, np.int16)
    nib.save(nib.Nifti1Image(np.asarray(raw.dataobj) + noise, raw.affine), here / "skull.nii")
    return here / "skull.nii"


@pytest.fixture
def shipped(ship, tiny_model, tiny_models):
    """Two bundled models, of which the default is no diffusion model: first (dae) and another (diffusion)."""
    return ship(first=tiny_models["dae"], another=tiny_model)


def test_it_makes_the_files_that_two_commands_make(uad, scan, tiny_model, here):
    words = ("--model", tiny_model, "-t", 50)
    one = uad("heal", scan, *words, "-o", "one")
    before = uad("preprocess", scan, "--model", tiny_model, "-o", "two")
    assert uad("heal", here / "two" / "raw_preprocessed.nii.gz", *words, "-o", "two").err == ""
    assert contents(here / "one") == contents(here / "two")
    assert sorted(contents(here / "one")) == [
        "raw_healed.json", "raw_healed.nii.gz", "raw_preprocessed.json", "raw_preprocessed.nii.gz"
    ]  # fmt: skip
    assert one.lines[0] == f"{SAID}, into one/raw_preprocessed.nii.gz"
    assert [line.replace("uad-heal", "uad-preprocess") for line in one.lines[1:]] == before.lines


def test_by_a_pipe_it_lands_on_the_raw_grid(uad, scan, tiny_model, here):
    healed = uad("heal", scan, "--model", tiny_model, "-o", "-")
    assert healed.lines[0] == SAID
    assert [path.name for path in here.iterdir()] == ["raw.nii.gz"]
    (here / "s.nii").write_bytes(healed.out)
    (study,) = read_path(here / "s.nii")
    assert list(study.images) == ["healed", "scan", "brain"]
    found = uad(
        "postproc", "--threshold", 0.01, "--native", "-o", "found.nii", stdin=uad("score", stdin=healed.out).out
    )
    assert found.status == 0, found.err
    made, expected = read_image(here / "found.nii"), read_image(scan)
    assert made.grid.same(expected.grid)
    assert 0 < made.data.sum() < (expected.data > 0).sum()


def test_the_files_can_be_scored(uad, scan, tiny_model, here):
    assert uad("heal", scan, "--model", tiny_model).status == 0
    assert uad("score", "raw_preprocessed.nii.gz", "raw_healed.nii.gz").status == 0
    stream = uad("heal", scan, "--model", tiny_model, "-o", "-").out
    assert uad("score", "-o", "piped.nii", stdin=stream).status == 0
    np.testing.assert_array_equal(read_image(here / "raw_score.nii.gz").data, read_image(here / "piped.nii").data)


def test_a_raw_scan_in_a_stream(uad, scan, brain, tiny_model, here):
    """Its brain mask, too, if one follows it."""
    words = ("--model", tiny_model)
    file = uad("heal", scan, *words, "-o", "file.nii")
    piped = uad("heal", *words, "-o", "piped.nii", stdin=scan.read_bytes())
    assert (file.status, piped.status) == (0, 0)
    np.testing.assert_array_equal(read_image(here / "file.nii").data, read_image(here / "piped.nii").data)
    mask = nib.load(brain)
    mask.header["intent_name"] = b"brain"
    both = nib.load(scan).to_bytes() + nib.Nifti1Image(mask.dataobj, mask.affine, mask.header).to_bytes()
    assert uad("heal", *words, "-o", "masked.nii", stdin=both).status == 0
    assert uad("heal", scan, *words, "--brain", brain, "-o", "option.nii").status == 0
    np.testing.assert_array_equal(read_image(here / "masked.nii").data, read_image(here / "option.nii").data)
    assert 0 < (read_image(here / "masked.nii").data > 0).sum() < 0.6 * (read_image(here / "file.nii").data > 0).sum()


def test_brain_is_a_mask_on_the_raw_grid(uad, scan, brain, mask, tiny_model, here):
    assert uad("heal", scan, "--model", tiny_model, "--brain", brain).status == 0
    assert uad("preprocess", scan, "--model", tiny_model, "--brain", brain, "-o", "expected.nii").status == 0
    made, expected = read_image(here / "raw_preprocessed.nii.gz"), read_image(here / "expected.nii")
    np.testing.assert_array_equal(made.data, expected.data)
    np.testing.assert_array_equal(read_image(here / "raw_healed.nii.gz").data > 0, made.data > 0)
    before = contents(here)
    uad("heal", scan, "--model", tiny_model, "--brain", mask, "-o", "o.nii").fails(
        "heal", 1, "raw: ", "different grids"
    )
    assert contents(here) == before


def test_prepared_refuses_it(uad, scan, tiny_model, here):
    for words in (("--model", tiny_model), ("--method", "blur")):
        uad("heal", scan, *words, "--prepared").fails("heal", 1, "raw: not prepared", "uad-preprocess SCAN")
    assert [path.name for path in here.iterdir()] == ["raw.nii.gz"]


def test_prepared_takes_what_is_prepared(uad, prepared, tiny_model):
    result = uad("heal", prepared, "--model", tiny_model, "--prepared")
    assert (result.status, result.err) == (0, "")


def test_quiet_and_json(uad, scan, tiny_model):
    result = uad("heal", scan, "--model", tiny_model, "-q", "--json")
    assert (result.status, result.err) == (0, "")
    (told,) = result.json
    assert (told["output"], told["preprocessed"]) == ("raw_healed.nii.gz", "raw_preprocessed.nii.gz")


def test_several_scans_of_which_some_are_raw(uad, scan, prepared, tiny_model, here):
    (here / "b.nii.gz").write_bytes(scan.read_bytes())
    result = uad("heal", scan, prepared, "b.nii.gz", "--model", tiny_model, "-o", "out", "--json")
    assert [told.get("preprocessed") for told in result.json] == [
        "out/raw_preprocessed.nii.gz", None, "out/b_preprocessed.nii.gz"
    ]  # fmt: skip
    images = sorted(path.name for path in (here / "out").glob("*.nii.gz"))
    assert images == [
        "b_healed.nii.gz", "b_preprocessed.nii.gz", "p_healed.nii.gz", "raw_healed.nii.gz", "raw_preprocessed.nii.gz"
    ]  # fmt: skip
    np.testing.assert_array_equal(*(read_image(here / "out" / f"{name}_healed.nii.gz").data for name in ("raw", "b")))


def test_the_prepared_scan_overwrites_nothing(uad, scan, tiny_model, here):
    (here / "raw_preprocessed.nii.gz").write_text("mine")
    before = contents(here)
    result = uad("heal", scan, "--model", tiny_model)
    result.fails("heal", 1, "raw_preprocessed.nii.gz: exists (--force replaces it)")
    result = uad("heal", scan, "--model", tiny_model, "--force", "-o", "x_preprocessed.nii.gz")
    result.fails("heal", 1, "x_preprocessed.nii.gz", "the prepared scan gets this name")
    assert contents(here) == before
    assert uad("heal", scan, "--model", tiny_model, "--force").status == 0
    assert read_image(here / "raw_preprocessed.nii.gz").grid.shape == (16, 16, 8)


def test_where_healing_fails_there_is_no_prepared_scan(uad, scan, tiny_model, here, monkeypatch):
    def fail(*_, **__):
        raise UadError("no memory")

    monkeypatch.setattr("uadtools.cohort.heal.heal_with", fail)
    uad("heal", scan, "--model", tiny_model, "-q").fails("heal", 1, "no memory")
    assert [path.name for path in here.iterdir()] == ["raw.nii.gz"]


def test_a_scan_prepared_for_another_grid_is_not_prepared_again(uad, scan, tiny_model, here):
    assert uad("preprocess", scan, "--shape", "12,12,6", "--spacing", "3", "-o", "other.nii", "-q").status == 0
    before = contents(here)
    for words in (("--model", tiny_model), ("--model", tiny_model, "--prepared")):
        uad("heal", "other.nii", *words).fails("heal", 1, "other: not prepared for model tiny", "12x12x6")
    assert contents(here) == before


def test_which_volume_is_noted(uad, raw, tiny_model, here):
    data = np.asarray(raw.dataobj)
    nib.save(nib.Nifti1Image(np.stack([data[::-1], data], axis=3), raw.affine), "four.nii")
    nib.save(raw, "one.nii")
    assert uad("heal", "four.nii", "--model", tiny_model, "--volume", 1).status == 0
    assert uad("heal", "one.nii", "--model", tiny_model).status == 0
    four, one = (read_image(here / f"{name}_preprocessed.nii.gz") for name in ("four", "one"))
    assert [image.provenance["history"][0]["arguments"]["volume"] for image in (four, one)] == [1, None]
    np.testing.assert_array_equal(four.data, one.data)


def test_a_brain_that_cannot_be_found_says_what_to_do(uad, skull, tiny_model, here, monkeypatch):
    monkeypatch.setitem(sys.modules, "deepbet.bet", None)
    uad("heal", skull, "--model", tiny_model).fails(
        "heal",
        1,
        "skull: is not prepared, and uad-preprocess cannot do it by default: ",
        "uadtools[deepbet]",
        "--brain",
    )
    assert [path.name for path in here.iterdir()] == ["skull.nii"]


def test_a_baseline_prepares_for_the_default_model(uad, scan, shipped, here):
    for method in ("blur", "threshold"):
        assert uad("heal", scan, "--method", method, "-o", method).lines[0].startswith(SAID)
        made = read_image(here / method / "raw_healed.nii.gz")
        np.testing.assert_array_equal(made.data > 0, read_image(here / method / "raw_preprocessed.nii.gz").data > 0)
        assert made.grid.shape == (16, 16, 8)


def test_models_that_disagree_are_refused_before_a_scan_is_prepared(
    uad, scan, tiny_model, tiny_config, monkeypatch, here
):
    grid = tiny_config.grid.model_copy(update={"spacing": (1.0, 1.0, 1.0)})
    other, weights = here / "other.safetensors", checkpoint.read_tensors(tiny_model)
    checkpoint.save_model(other, tiny_config.model_copy(update={"grid": grid}), weights)
    monkeypatch.setattr("uadtools.preparing.raw.preprocess", None)
    uad("heal", scan, "--model", tiny_model, "--model", other).fails("heal", 1, "different grids or intensities")


def test_several_models_prepare_a_scan_once(uad, scan, tiny_model, here):
    result = uad("heal", scan, "--model", tiny_model, "--model", tiny_model, "-o", "-")
    assert sum(line.startswith(SAID) for line in result.lines) == 1
    (here / "s.nii").write_bytes(result.out)
    (study,) = read_path(here / "s.nii")
    assert list(study.images) == ["healed", "scan", "brain"]


def model_of(path):
    return read_image(path).provenance["history"][-1]["model"].partition(":")[0]


def test_a_method_finds_the_bundled_model_that_can_do_it(uad, prepared, shipped, here):
    for name, words in {"none": (), "dae": ("--method", "dae"), "sss": ("--method", "sss", "-t", 50)}.items():
        assert uad("heal", prepared, *words, "-o", f"{name}.nii").status == 0
    assert [model_of(here / f"{name}.nii") for name in ("none", "dae", "sss")] == ["tiny-dae", "tiny-dae", "tiny"]


def test_a_method_that_no_bundled_model_can_do(uad, scan, shipped):
    result = uad("heal", scan, "--method", "pddpm")
    result.fails("heal", 1, "--method pddpm needs a model of kind 'pddpm', and none is bundled", "--recipe pddpm ")


def test_a_bundled_model_goes_by_its_name(uad, scan, prepared, shipped, here):
    """Unless there is a file of that name."""
    assert uad("heal", prepared, "--model", "another", "-o", "a.nii").status == 0
    assert model_of(here / "a.nii") == "tiny"
    assert uad("preprocess", scan, "--model", "another", "-o", "b.nii").status == 0
    assert uad("models", "info", "another").out.startswith(b"name         tiny\n")
    assert uad("models", "check", "another").status == 0
    (here / "another").write_bytes(shipped["first"].read_bytes())
    assert uad("heal", prepared, "--model", "another", "-o", "c.nii").status == 0
    assert model_of(here / "c.nii") == "tiny-dae"
    uad("heal", prepared, "--model", "nobody").fails("heal", 1, "nobody: No such file", "bundled: first, another")
