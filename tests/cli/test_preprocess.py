import json

import nibabel as nib
import numpy as np
import pytest

from uadtools.volume.chain import native_grid
from uadtools.volume.stream import read_image, read_path

GRID = ("--shape", "16,16,8", "--spacing", "2")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def whole_brain(here, raw):
    """A mask on the scan's grid that is larger than its brain: whole.nii.gz."""
    nib.save(nib.Nifti1Image(np.ones(raw.shape, np.uint8), raw.affine), here / "whole.nii.gz")
    return here / "whole.nii.gz"


def test_a_file_becomes_a_file_named_after_it_in_the_current_folder(uad, scan, here):
    (here / "in").mkdir()
    scan = scan.rename(here / "in" / "raw.nii.gz")
    result = uad("preprocess", scan, *GRID)
    assert (result.status, result.out) == (0, b"")
    assert names(here) == ["in", "raw_preprocessed.json", "raw_preprocessed.nii.gz"]
    made = read_image(here / "raw_preprocessed.nii.gz")
    assert made.role == "scan"
    assert made.grid.shape == (16, 16, 8)
    np.testing.assert_allclose(made.grid.spacing, 2)
    assert made.grid.orientation == "RAS"
    assert 0.5 < made.data.max() <= 1


def test_the_json_beside_it_says_how_it_was_made(uad, scan, here):
    uad("preprocess", scan, *GRID, "--brain", "none")
    kept = json.loads((here / "raw_preprocessed.json").read_text())
    assert kept == read_image(here / "raw_preprocessed.nii.gz").provenance
    assert kept["study"] == "raw"
    assert [line["tool"] for line in kept["history"]] == ["uad-preprocess"]
    assert kept["history"][0]["arguments"]["brain"] == "none"
    assert [link["step"] for link in kept["chain"]] == ["input", "reorient", "resample", "crop_pad"]
    assert native_grid(kept["chain"]).same(read_image(scan).grid)


def test_without_provenance_there_is_none(uad, scan, here):
    assert uad("preprocess", scan, *GRID, "--no-provenance").status == 0
    assert names(here) == ["raw.nii.gz", "raw_preprocessed.nii.gz"]
    assert read_image(here / "raw_preprocessed.nii.gz").provenance == {}
    streamed = uad("preprocess", scan, *GRID, "--no-provenance", "-o", "-")
    assert b"uad-preprocess" not in streamed.out


def test_output_to_a_file(uad, scan, here):
    assert uad("preprocess", scan, *GRID, "-o", "mine.nii").status == 0
    assert names(here) == ["mine.json", "mine.nii", "raw.nii.gz"]


@pytest.mark.parametrize("folder", ["new/deep", "there", "there/"])
def test_output_to_a_folder(folder, uad, scan, raw, here):
    (here / "there").mkdir()
    nib.save(raw, "b.nii")
    assert uad("preprocess", scan, "b.nii", *GRID, "-o", folder).status == 0
    assert {"raw_preprocessed.nii.gz", "b_preprocessed.nii.gz"} < set(names(here / folder))


def test_output_to_a_stream_holds_scan_and_brain(uad, scan, here):
    result = uad("preprocess", scan, *GRID, "-o", "-")
    assert result.status == 0
    assert names(here) == ["raw.nii.gz"]
    (here / "s.nii").write_bytes(result.out)
    (study,) = read_path(here / "s.nii")
    assert list(study.images) == ["scan", "brain"]
    uad("preprocess", scan, *GRID)
    np.testing.assert_array_equal(study.product.data, read_image(here / "raw_preprocessed.nii.gz").data)


def test_standard_input_goes_to_standard_output(uad, scan):
    result = uad("preprocess", *GRID, stdin=scan.read_bytes())
    assert result.out[:4] == (348).to_bytes(4, "little")
    assert uad("preprocess", "-", *GRID, stdin=scan.read_bytes()).out == result.out


def test_a_stream_without_a_name_in_a_folder(uad, scan, here):
    assert uad("preprocess", "-", *GRID, "-o", "out/", stdin=scan.read_bytes()).status == 0
    assert names(here / "out") == ["stdin_preprocessed.json", "stdin_preprocessed.nii.gz"]


def test_several_inputs_in_one_file_are_refused(uad, scan, raw, here):
    nib.save(raw, "b.nii")
    uad("preprocess", scan, "b.nii", *GRID, "-o", "one.nii").fails("preprocess", 2, "one.nii", "2 inputs", "folder")
    assert names(here) == ["b.nii", "raw.nii.gz"]


def test_two_inputs_of_one_name_are_refused_before_any_work(uad, scan, raw, here):
    (here / "other").mkdir()
    nib.save(raw, "other/raw.nii")
    uad("preprocess", scan, "other/raw.nii", *GRID).fails("preprocess", 1, "raw_preprocessed.nii.gz", "two inputs")
    assert names(here) == ["other", "raw.nii.gz"]


def test_two_studies_for_one_file_are_refused(uad, raw):
    both = raw.to_bytes() * 2
    uad("preprocess", "-", *GRID, "-o", "one.nii", stdin=both).fails("preprocess", 1, "one.nii", "name a folder")
    uad("preprocess", "-", *GRID, "-o", "out", stdin=both).fails(
        "preprocess", 1, "stdin_preprocessed.nii.gz", "two studies"
    )


@pytest.mark.parametrize("taken", ["raw_preprocessed.nii.gz", "raw_preprocessed.json"])
def test_nothing_is_overwritten_without_force(taken, uad, scan, raw, here):
    (here / taken).write_text("mine")
    uad("preprocess", scan, *GRID).fails("preprocess", 1, taken, "exists (--force replaces it)")
    assert (here / taken).read_text() == "mine"
    assert names(here) == sorted(["raw.nii.gz", taken])
    assert uad("preprocess", scan, *GRID, "--force").status == 0
    assert (here / taken).read_bytes() != b"mine"


@pytest.mark.parametrize("name", ["a.hdr", "a.img", "a.NII", "a.img.gz"])
def test_other_image_files_are_not_written(name, uad, scan, here):
    uad("preprocess", scan, *GRID, "-o", name).fails("preprocess", 1, name, ".nii or .nii.gz")
    assert names(here) == ["raw.nii.gz"]


def test_a_file_is_no_folder(uad, scan, here):
    (here / "out").write_text("mine")
    uad("preprocess", scan, *GRID, "-o", "out").fails("preprocess", 1, "out: is no folder")
    assert (here / "out").read_text() == "mine"


def test_the_folder_of_a_file_must_exist(uad, scan):
    uad("preprocess", scan, *GRID, "-o", "no/a.nii").fails("preprocess", 1, "no/a.nii", "make it first")


def test_model_gives_grid_and_window(uad, scan, here, tiny_model):
    assert uad("preprocess", scan, "--model", tiny_model, "-o", "a.nii").status == 0
    assert uad("preprocess", scan, *GRID, "-o", "b.nii").status == 0
    np.testing.assert_array_equal(read_image(here / "a.nii").data, read_image(here / "b.nii").data)


def test_model_gives_the_window_also_where_its_grid_is_replaced(uad, scan, here, tiny_config):
    from uadtools.models.checkpoint import save_model

    told = tiny_config.model_copy(update={"intensity": tiny_config.intensity.model_copy(update={"kind": "none"})})
    save_model(here / "raw.safetensors", told, {})
    result = uad("preprocess", scan, "--model", "raw.safetensors", *GRID)
    result.fails("preprocess", 1, "raw: intensities run from", "--intensity percentile")
    assert uad("preprocess", scan, "--model", "raw.safetensors", *GRID, "--intensity", "percentile").status == 0


def test_the_bundled_model_is_the_default(uad, scan, here):
    assert uad("preprocess", scan, "--brain", "none").status == 0
    assert read_image(here / "raw_preprocessed.nii.gz").grid.shape == (96, 96, 96)


@pytest.mark.parametrize("spacing", ["4", "4,4,4", "4x4x4"])
def test_spacing_and_shape_replace_the_models(spacing, uad, scan, here, tiny_model):
    uad("preprocess", scan, "--model", tiny_model, "--spacing", spacing, "--shape", "10,9,8", "-o", "a.nii")
    grid = read_image(here / "a.nii").grid
    assert grid.shape == (10, 9, 8)
    np.testing.assert_allclose(grid.spacing, 4)


@pytest.mark.parametrize("option", ["--spacing", "--shape"])
@pytest.mark.parametrize("value", ["0", "-1", "a", "2,2", "1,2,3,4", "nan", "inf", "", "99999"])
def test_numbers_that_make_no_grid_are_refused(option, value, uad, scan):
    uad("preprocess", scan, option, value or ",").fails("preprocess", 2, option, "one positive number or three")


def test_brain_none_takes_all_that_is_not_background(uad, here, raw):
    """Nothing surrounds this scan, so that auto would look for a brain under its skull."""
    full = nib.Nifti1Image(raw.get_fdata() + np.random.default_rng(0).uniform(1, 100, raw.shape), raw.affine)
    nib.save(full, "full.nii")
    assert uad("preprocess", "full.nii", *GRID, "--brain", "none", "--json").json[0]["brain_ml"] == pytest.approx(
        25.6, 0.01
    )


def test_brain_file_is_the_brain(uad, scan, whole_brain):
    results = [uad("preprocess", scan, *GRID, "--brain", b, "--json", "--force") for b in ("auto", whole_brain)]
    small, large = (result.json[0]["brain_ml"] for result in results)
    assert large > 1.5 * small


def test_brain_deepbet_asks_deepbet(uad, scan, monkeypatch):
    from uadtools.preparing import preprocess as room

    monkeypatch.setattr(room.brains, "deepbet", lambda data, grid: data > 600)
    results = [uad("preprocess", scan, *GRID, "--brain", b, "--json", "--force") for b in ("auto", "deepbet")]
    assert results[1].json[0]["brain_ml"] < 0.7 * results[0].json[0]["brain_ml"]


def test_intensity_none_keeps_what_is_in_0_to_1(uad, raw, here):
    nib.save(nib.Nifti1Image((raw.get_fdata() / 2000).astype(np.float32), raw.affine), "low.nii")
    assert uad("preprocess", "low.nii", *GRID, "-o", "a.nii").status == 0
    assert uad("preprocess", "low.nii", *GRID, "--intensity", "none", "-o", "b.nii").status == 0
    assert read_image(here / "a.nii").data.max() == 1
    assert read_image(here / "b.nii").data.max() < 0.5


def test_intensity_none_refuses_what_is_not(uad, scan):
    uad("preprocess", scan, *GRID, "--intensity", "none").fails("preprocess", 1, "raw", "--intensity percentile")


def test_unknown_choices_are_refused(uad, scan):
    uad("preprocess", scan, "--intensity", "range").fails("preprocess", 2, "--intensity", "percentile")
    uad("preprocess", scan, *GRID, "--brain", "bet").fails("preprocess", 1, "bet")
    uad("preprocess", scan, "--nonsense").fails("preprocess", 2, "--nonsense")


def test_save_brain(uad, scan, here):
    assert uad("preprocess", scan, *GRID, "--save-brain", "brain.nii.gz").status == 0
    brain, made = read_image(here / "brain.nii.gz"), read_image(here / "raw_preprocessed.nii.gz")
    assert brain.role == "brain"
    np.testing.assert_array_equal(brain.data > 0, made.data > 0)


@pytest.mark.parametrize("taken", ["brain.nii.gz", "brain.json"])
def test_save_brain_overwrites_nothing(taken, uad, scan, here):
    (here / taken).write_text("mine")
    uad("preprocess", scan, *GRID, "--save-brain", "brain.nii.gz").fails("preprocess", 1, taken, "exists")
    assert names(here) == sorted(["raw.nii.gz", taken])


def test_save_brain_is_one_file(uad, scan, raw, here):
    nib.save(raw, "b.nii")
    uad("preprocess", scan, "b.nii", *GRID, "--save-brain", "m.nii").fails("preprocess", 2, "--save-brain", "several")
    assert names(here) == ["b.nii", "raw.nii.gz"]
    uad("preprocess", scan, *GRID, "--save-brain", "m.txt").fails("preprocess", 1, "m.txt", ".nii")


def test_volume_chooses_of_a_4d_image(uad, raw, here):
    pair = np.stack([np.zeros(raw.shape), raw.get_fdata()], axis=-1).astype(np.int16)
    nib.save(nib.Nifti1Image(pair, raw.affine), "four.nii.gz")
    uad("preprocess", "four.nii.gz", *GRID).fails("preprocess", 1, "four.nii.gz", "2 volumes", "--volume N")
    uad("preprocess", "four.nii.gz", *GRID, "--volume", 0).fails("preprocess", 1, "four", "one value")
    assert uad("preprocess", "four.nii.gz", *GRID, "--volume", 1).status == 0
    uad("preprocess", "four.nii.gz", *GRID, "--volume", 2, "-o", "b.nii").fails("preprocess", 1, "no volume 2")


def test_json_tells_what_was_made(uad, scan):
    (told,) = uad("preprocess", scan, *GRID, "--json").json
    assert told["name"] == "raw"
    assert told["output"] == "raw_preprocessed.nii.gz"
    assert 5 < told["brain_ml"] < 15


def test_json_of_a_stream_writes_no_file(uad, scan, here):
    (told,) = uad("preprocess", "-", *GRID, "--json", stdin=scan.read_bytes()).json
    assert told["output"] is None
    assert names(here) == ["raw.nii.gz"]


def test_json_and_a_stream_do_not_share_standard_output(uad, scan):
    uad("preprocess", scan, *GRID, "--json", "-o", "-").fails("preprocess", 2, "--json", "-o FILE")


def test_what_is_cut_off_is_told_unless_quiet(uad, scan):
    small = ("--spacing", "2", "--shape", "8", "--force")
    loud, quiet = uad("preprocess", scan, *small), uad("preprocess", scan, *small, "-q")
    assert loud.err.startswith("uad-preprocess: ")
    assert "of the brain lies outside the grid of 8x8x8" in loud.err
    assert (quiet.status, quiet.err) == (0, "")


def test_verbose_tells_grids_and_brain(uad, scan):
    told = uad("preprocess", scan, *GRID, "-v").err
    assert "13x14x9 voxels of 2.5 x 2.5 x 2.5 mm, LAS -> 16x16x8 voxels of 2 x 2 x 2 mm, RAS" in told
    assert uad("preprocess", scan, *GRID, "-v", "-q", "--force").err == ""


def test_version(uad):
    assert uad("preprocess", "--version").out.startswith(b"uadtools ")
