import csv
import fcntl
import json
import re
import struct
import subprocess
import sys
import termios

import nibabel as nib
import numpy as np
import pytest

from uadtools.grids.grid import Grid
from uadtools.report.tables import harmless
from uadtools.volume.io import Image, save, to_bytes
from uadtools.volume.stream import Study


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def boxes(shape, *corners):
    data = np.zeros(shape, np.uint8)
    for corner, size in corners:
        data[tuple(slice(c, c + size) for c in corner)] = 1
    return data


@pytest.fixture
def truth(here, phantom):
    """64 voxels."""
    scan = phantom.need("scan")
    save(Image(boxes(scan.data.shape, ((4, 5, 2), 4)), scan.grid), here / "truth.nii.gz")
    return here / "truth.nii.gz"


@pytest.fixture
def detection(here, phantom):
    """64 voxels, of which 48 are in the truth: Dice .75. The file has no role."""
    scan = phantom.need("scan")
    save(Image(boxes(scan.data.shape, ((5, 5, 2), 4)), scan.grid), here / "d.nii.gz")
    return here / "d.nii.gz"


@pytest.fixture
def scored(phantom):
    """The truth scores .5 but for one voxel, six voxels elsewhere .6, and the rest of the brain little."""
    brain = phantom.need("brain")
    data = np.where(brain.data > 0, 0.01 + 0.1 * phantom.need("scan").data, 0).astype(np.float32)
    data[boxes(data.shape, ((4, 5, 2), 4)) > 0] = 0.5
    data[4, 5, 2] = 0.02
    data[9, 5:11, 4] = 0.6
    return Image(data, brain.grid, "score", {"study": "phantom"})


@pytest.fixture
def score(here, scored):
    save(scored, here / "s_score.nii.gz", provenance=False)
    return here / "s_score.nii.gz"


@pytest.fixture
def stream(phantom, scored):
    return b"".join(map(to_bytes, phantom.adding(scored).images.values()))


def test_a_detection_against_the_truth(uad, detection, truth, here):
    report = uad("eval", detection, "--truth", truth, "--json").json
    assert (report["schema"], report["kind"], report["threshold"]) == (2, "detection", None)
    (row,) = report["scans"]
    assert row == {
        "name": "d", "voxels": 16 * 16 * 8, "lesion_voxels": 64, "lesion_voxels_outside": 0, "detected_voxels": 64,
        "findings": 1, "threshold": None, "truth_ml": 0.512, "detected_ml": 0.512, "volume_error_ml": 0,
        "relative_volume_error": 0,
        "dice": 0.75, "iou": 0.6, "precision": 0.75, "recall": 0.75, "f1": 0.75,
    }  # fmt: skip
    assert names(here) == ["d.nii.gz", "truth.nii.gz"]


def test_a_score_map_against_the_truth(uad, score, truth):
    report = uad("eval", score, "--truth", truth, "--json").json
    (row,) = report["scans"]
    assert report["kind"] == "score"
    assert row["voxels"] == (nib.load(score).get_fdata() > 0).sum()
    assert 0.5 < row["auprc"] < 1
    assert 0.9 < row["auroc"] < 1
    assert not {"dice", "best_dice"} & row.keys()


def test_a_table_is_printed(uad, detection, truth):
    result = uad("eval", detection, "--truth", truth)
    assert (result.status, result.err) == (0, "uad-eval: d: 0.51 mL detected in 1 finding, and 0.51 mL are lesion\n")
    head, row = result.out.decode().splitlines()
    assert head.split() == ["scan", "Dice", "IoU", "Precision", "Recall", "F1", "lesion", "voxels"]
    assert row.split() == ["d", "0.750", "0.600", "0.750", "0.750", "0.750", "64"]


def test_the_table_of_several_scans_has_means(uad, detection, truth, here):
    nib.save(nib.Nifti1Image(nib.load(truth).get_fdata().astype("u1"), nib.load(truth).affine), "e[bold].nii")
    result = uad("eval", detection, "e[bold].nii", "--truth", truth, truth)
    rows = [line.split() for line in result.out.decode().splitlines()]
    assert [row[0] for row in rows] == ["scan", "d", "e[bold]", "mean", "pooled"]
    assert rows[3] == ["mean", "of", "scans", "0.875", "0.800", "0.875", "0.875", "0.875"]
    assert rows[4] == ["pooled", "voxels", "0.875", "0.778", "0.875", "0.875", "0.875", "128"]


def test_undefined_figures_are_a_dash_and_null(uad, detection, truth):
    nothing = nib.Nifti1Image(np.zeros((16, 16, 8), np.uint8), nib.load(truth).affine)
    nib.save(nothing, "none.nii")
    result = uad("eval", "none.nii", "--truth", "none.nii")
    assert result.out.decode().splitlines()[1].split() == ["none", "-", "-", "-", "-", "-", "0"]
    report = uad("eval", "none.nii", detection, "--truth", "none.nii", truth, "--json").json
    assert report["scans"][0]["dice"] is None
    assert report["mean"]["dice"] == 0.75


def test_a_stream_of_studies(uad, stream, truth):
    report = uad("eval", "--truth", truth, "--json", stdin=stream).json
    assert [row["name"] for row in report["scans"]] == ["phantom"]
    report = uad("eval", "-", "--truth", truth, truth, "--json", stdin=stream * 2).json
    assert [row["name"] for row in report["scans"]] == ["phantom"] * 2
    assert uad("eval", "--truth", truth, "-", "--json", stdin=stream).status == 0


def test_a_detection_in_32_bit_floats_is_a_detection(uad, detection, truth):
    """As many programs write it; taken for a score map, its brain would be where it is 1."""
    image = nib.load(detection)
    nib.save(nib.Nifti1Image(image.get_fdata().astype(np.float32), image.affine), "theirs.nii")
    assert uad("eval", "theirs.nii", "--truth", truth, "--json").json["scans"][0]["dice"] == 0.75


def test_numbers_of_files_must_fit(uad, detection, truth, stream):
    uad("eval", detection).fails("eval", 2, "--truth", "one for each prediction")
    uad("eval", detection, detection, "--truth", truth).fails("eval", 2, "--truth", "1 truths for 2 predictions")
    uad("eval", detection, "--truth", truth, truth).fails("eval", 2, "--truth", "2 truths for 1 predictions")
    uad("eval", detection, "--truth", truth, "--brain", truth, truth).fails("eval", 2, "--brain", "2 brain masks for 1")
    uad("eval", "--truth", truth, truth, stdin=stream).fails("eval", 2, "2 truths", "fewer")
    uad("eval", "--truth", truth, stdin=stream * 2).fails("eval", 2, "1 truths", "more")
    uad("eval", "--truth").fails("eval", 2, "--truth", "requires an argument")


def test_truth_is_in_the_order_of_the_predictions(uad, detection, truth):
    report = uad("eval", detection, truth, "--truth", truth, detection, "--json").json
    assert [row["name"] for row in report["scans"]] == ["d", "truth"]
    report = uad("eval", detection, truth, "--truth", truth, "--truth", truth, "--json").json
    assert [row["dice"] for row in report["scans"]] == [0.75, 1]


def test_truth_on_the_grid_of_the_original_scan(uad, scan, tiny_model, here):
    prepared = uad("preprocess", scan, "--model", tiny_model, "-o", "-").out
    scored = uad("score", stdin=uad("heal", "--model", tiny_model, stdin=prepared).out).out
    everything = ("--median", 1, "--erode", 0, "--min-size", 0, "--threshold", 0)
    found = uad("postproc", *everything, stdin=scored).out
    native = nib.load(scan)
    nib.save(nib.Nifti1Image((native.get_fdata() > 0).astype("u1"), native.affine), "native.nii")
    assert uad("eval", "--truth", "native.nii", "--json", stdin=found).json["pooled"]["dice"] > 0.85
    there = uad("postproc", *everything, "--native", stdin=scored).out
    assert uad("eval", "--truth", "native.nii", "--json", stdin=there).json["pooled"]["dice"] > 0.85


def test_grids_that_differ_are_told_both(uad, detection, truth):
    image = nib.load(truth)
    nib.save(nib.Nifti1Image(np.ones((5, 6, 7), np.uint8), image.affine), "small.nii")
    result = uad("eval", detection, "--truth", "small.nii")
    result.fails(
        "eval", 1, "error: small.nii: truth and prediction lie on different", "5x6x7", "and 16x16x8", "--native"
    )
    result = uad("eval", detection, "--truth", truth, "--brain", "small.nii")
    result.fails("eval", 1, "error: small.nii: brain mask and prediction lie on different grids: 5x6x7", "and 16x16x8")


def test_what_is_wrong_with_truth_or_brain_names_that_file(uad, detection, truth, phantom, here):
    image = nib.load(truth)
    nib.save(nib.Nifti1Image(1000 * phantom.need("scan").data, image.affine), "scan.nii")
    nib.save(nib.Nifti1Image(np.zeros(image.shape, "u1"), image.affine), "none.nii")
    for words in (("--truth", "scan.nii"), ("--truth", truth, "--brain", "scan.nii")):
        uad("eval", detection, *words).fails("eval", 1, "error: scan.nii: ", "so it is no mask")
    uad("eval", detection, "--truth", truth, "--brain", "none.nii").fails("eval", 1, "error: none.nii: brain mask: no")


def test_a_brain_of_the_stream_on_another_grid_is_not_used(uad, phantom, scored, truth):
    brain = phantom.need("brain")
    moved = Image(brain.data, Grid(brain.grid.shape, np.diag([3.0, 2, 2, 1])), "brain", scored.provenance)
    stream = b"".join(map(to_bytes, Study("a", {"score": scored, "brain": moved}).images.values()))
    uad("eval", "--truth", truth, stdin=stream).fails("eval", 1, "phantom: score and brain lie on different grids")


def test_brain_limits_what_counts(uad, detection, truth, mask):
    report = uad("eval", detection, "--truth", truth, "--brain", mask, "--json").json
    (row,) = report["scans"]
    assert row["voxels"] == nib.load(mask).get_fdata().sum()
    assert (row["lesion_voxels"], row["lesion_voxels_outside"], row["detected_voxels"]) == (0, 64, 16)
    result = uad("eval", detection, "--truth", truth, "--brain", mask)
    assert "64 lesion voxels lie outside the brain mask" in result.out.decode()


def test_an_empty_brain_is_told(uad, detection, truth):
    nib.save(nib.Nifti1Image(np.zeros((16, 16, 8), np.uint8), nib.load(truth).affine), "none.nii")
    uad("eval", detection, "--truth", truth, "--brain", "none.nii").fails(
        "eval", 1, "none.nii: brain mask: no voxel to count"
    )


def test_best_adds_the_ceiling(uad, score, truth):
    result = uad("eval", score, "--truth", truth, "--best")
    assert "Best Dice is a ceiling" in result.out.decode()
    (row,) = uad("eval", score, "--truth", truth, "--best", "--json").json["scans"]
    assert row["best_dice"] == pytest.approx(2 * 63 / (63 + 6 + 64))
    assert 0.02 < row["best_threshold"] < 0.5


def test_threshold_from_turns_scores_into_detections(uad, score, truth, here):
    (here / "t.json").write_text('{"threshold": 0.55}')
    report = uad("eval", score, "--truth", truth, "--threshold-from", "t.json", "--json").json
    assert report["threshold"] == 0.55
    assert (report["scans"][0]["detected_voxels"], report["scans"][0]["dice"]) == (6, 0)


def test_threshold_from_a_report_on_other_scans(uad, score, truth, here):
    assert uad("eval", score, "--truth", truth, "--best", "-o", "val.json", "-q").out == b""
    report = uad("eval", score, "--truth", truth, "--threshold-from", "val.json", "--json").json
    assert report["scans"][0]["dice"] == pytest.approx(2 * 63 / (63 + 6 + 64))


@pytest.mark.parametrize("option", [("--best",), ("--threshold-from", "t.json")])
def test_options_of_score_maps_are_refused_for_detections(option, uad, detection, truth, here):
    (here / "t.json").write_text('{"threshold": 0.5}')
    uad("eval", detection, "--truth", truth, *option).fails("eval", 1, "a detection has no thresholds left to choose")


def test_score_maps_and_detections_do_not_mix(uad, detection, score, truth):
    uad("eval", detection, score, "--truth", truth, truth).fails("eval", 1, "score maps and detections in one call")


def test_csv_has_a_row_per_scan(uad, detection, truth, here):
    assert uad("eval", detection, truth, "--truth", truth, truth, "--csv", "f.csv", "-q").out == b""
    with (here / "f.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["dice"]) for row in rows] == [("d", "0.75"), ("truth", "1.0")]


def test_output_is_the_report_as_json(uad, detection, truth, here):
    printed = uad("eval", detection, "--truth", truth, "--json", "-o", "report.json").json
    assert json.loads((here / "report.json").read_text()) == printed


@pytest.mark.parametrize("name", ["p.png", "p.pdf", "p.svg"])
def test_picture_draws_the_study(name, uad, stream, truth, here):
    assert uad("eval", "--truth", truth, "--picture", name, "-q", stdin=stream).status == 0
    start = {"p.png": b"\x89PNG", "p.pdf": b"%PDF", "p.svg": b"<?xml"}[name]
    assert (here / name).read_bytes().startswith(start)
    assert names(here) == sorted([name, "truth.nii.gz"])


def test_picture_of_a_detection_alone(uad, detection, truth, here):
    assert uad("eval", detection, "--truth", truth, "--picture", "p.png").status == 0


def test_picture_is_one_of_one_study(uad, detection, truth, here):
    result = uad("eval", detection, detection, "--truth", truth, truth, "--picture", "p.png")
    result.fails("eval", 2, "--picture", "one study")
    uad("eval", detection, "--truth", truth, "--picture", "p.bmp").fails("eval", 1, "p.bmp", ".png, .pdf or .svg")
    assert names(here) == ["d.nii.gz", "truth.nii.gz"]


@pytest.mark.parametrize("option", ["--csv", "--output", "--picture"])
def test_nothing_is_overwritten_without_force(option, uad, detection, truth, here):
    (here / "f.png").write_text("mine")
    uad("eval", detection, "--truth", truth, option, "f.png").fails("eval", 1, "f.png", "exists (--force replaces it)")
    assert (here / "f.png").read_text() == "mine"
    assert uad("eval", detection, "--truth", truth, option, "f.png", "--force").status == 0
    assert (here / "f.png").read_bytes() != b"mine"


def test_volume_chooses_of_4d_predictions(uad, detection, truth):
    data = nib.load(detection).get_fdata().astype("u1")
    nib.save(nib.Nifti1Image(np.stack([data * 0, data], axis=-1), nib.load(detection).affine), "four.nii")
    uad("eval", "four.nii", "--truth", truth).fails("eval", 1, "four.nii", "2 volumes", "--volume N")
    report = uad("eval", "four.nii", "--truth", truth, "--volume", 1, "--json").json
    assert report["scans"][0]["dice"] == 0.75


def test_verbose_tells_each_scan_and_quiet_is_silent(uad, detection, truth):
    lines = uad("eval", detection, "--truth", truth, "-v").lines
    assert lines == ["uad-eval: d: 2,048 voxels", "uad-eval: d: 0.51 mL detected in 1 finding, and 0.51 mL are lesion"]
    result = uad("eval", detection, "--truth", truth, "-v", "-q")
    assert (result.status, result.out, result.err) == (0, b"", "")


def test_version(uad):
    assert uad("eval", "--version").out.startswith(b"uadtools ")


@pytest.fixture
def healed(here, phantom):
    """The phantom's scan, .1 darker where the truth is and .02 elsewhere, without a role, and the scan itself."""
    scan = phantom.need("scan")
    lesion = boxes(scan.data.shape, ((4, 5, 2), 4)) > 0
    made = np.where(scan.data > 0, scan.data - np.where(lesion, 0.1, 0.02), 0).astype(np.float32)
    save(Image(made, scan.grid), here / "p_healed.nii.gz")
    save(Image(scan.data, scan.grid), here / "p.nii.gz")
    return here / "p_healed.nii.gz"


def test_lesions_add_what_needs_whole_lesions_and_millimetres(uad, detection, truth):
    report = uad("eval", detection, "--truth", truth, "--lesions", "--json").json
    (row,) = report["scans"]
    assert (row["lesions"], row["lesions_found"], row["false_lesions"]) == (1, 1, 0)
    assert (row["lesion_recall"], row["lesion_dice"], row["truth_ml"], row["hd95"]) == (1, 0.75, 0.512, 2)
    (lesion,) = report["lesions"]
    assert (lesion["scan"], lesion["ml"], lesion["found"]) == ("d", 0.512, True)
    assert [size["lesions"] for size in report["by_size"]] == [0, 0, 1, 0]


def test_lesions_have_tables_of_their_own(uad, detection, truth):
    text = uad("eval", detection, "--truth", truth, "--lesions").out.decode()
    tables = [[line.split() for line in table.splitlines()] for table in text.split("\n\n")]
    assert tables[0][1][:2] == ["d", "0.750"]
    assert tables[1][0] == ["lesions", "Recall", "Precision", "F1", "Dice", "HD95", "mm", "Lesions", "found", "false"]
    assert tables[1][1] == ["d", "1.000", "1.000", "1.000", "0.750", "2.000", "1", "1", "0"]
    assert tables[2][0][:5] == ["volumes", "true", "mL", "detected", "mL"]
    assert tables[2][1] == ["d", "0.512", "0.512", "0.000", "0.000", "2.000"]
    assert tables[3][3] == ["0.5", "to", "4", "mL", "1", "1", "1.000"]


def test_lesions_of_score_maps_need_a_threshold(uad, score, truth, here):
    (here / "t.json").write_text('{"threshold": 0.3}')
    uad("eval", score, "--truth", truth, "--lesions").fails("eval", 1, "a score map has no lesions", "--threshold-from")
    report = uad("eval", score, "--truth", truth, "--lesions", "--threshold-from", "t.json", "--json").json
    assert {"lesion_recall", "auprc", "fpr"} <= report["pooled"].keys()


def test_intervals_need_four_scans_and_follow_the_seed(uad, detection, truth, here):
    save(Image(np.roll(nib.load(detection).get_fdata(), 1, 1).astype("u1"), Grid((16, 16, 8), np.diag([2.0, 2, 2, 1]))),
         here / "e.nii")  # fmt: skip
    words = ("eval", detection, "e.nii", "d.nii.gz", "e.nii", "--truth", *[truth] * 4, "--json")
    first, again, other = (uad(*words, "--seed", seed).json for seed in (1, 1, 2))
    assert first == again
    assert (first["seed"], other["seed"]) == (1, 2)
    low, high = first["intervals"]["mean"]["dice"]
    assert low < first["mean"]["dice"] < high
    assert uad("eval", detection, "--truth", truth, "--json").json["intervals"]["mean"]["dice"] is None


def test_score_maps_have_false_positive_rates(uad, score, truth):
    (row,) = uad("eval", score, "--truth", truth, "--json").json["scans"]
    assert 0 < row["fpr_at_80_tpr"] <= row["fpr_at_95_tpr"] < 1
    head = uad("eval", score, "--truth", truth).out.decode().splitlines()[0]
    assert head.split() == ["scan", "AUPRC", "AUROC", "FPR95", "FPR80", "lesion", "voxels"]


def test_the_truth_of_a_stream_is_used(uad, phantom, scored, truth):
    label = Image(nib.load(truth).get_fdata().astype("u1"), scored.grid, "truth", scored.provenance)
    stream = b"".join(map(to_bytes, phantom.adding(scored, *phantom.images.values(), label).images.values()))
    report = uad("eval", "--json", stdin=stream * 2).json
    given = uad("eval", "--truth", truth, truth, "--json", stdin=stream * 2).json
    assert report == given
    assert report["pooled"]["lesion_voxels"] == 128
    assert uad("eval", "--picture", "p.png", "-q", stdin=stream).status == 0
    uad("eval", "--picture", "q.png", stdin=stream * 2).fails("eval", 2, "--picture", "one study")
    uad("eval", "--brain", truth, truth, stdin=stream).fails("eval", 2, "--brain", "2 brains", "fewer scans")


def test_a_stream_without_truth_is_told(uad, stream):
    uad("eval", stdin=stream).fails("eval", 2, "--truth", "one for each prediction")


def test_the_intensity_threshold_is_judged_beside_a_score(uad, stream, score, truth, prepared):
    report = uad("eval", "--truth", truth, "--json", stdin=stream).json
    assert report["baseline"]["name"] == "intensity threshold"
    assert 0 < report["baseline"]["pooled"]["auprc"] < report["pooled"]["auprc"]
    lines = uad("eval", "--truth", truth, stdin=stream).out.decode().splitlines()
    assert [line.split()[0] for line in lines] == ["scan", "phantom", "intensity"]
    beside = uad("eval", score, "--truth", truth, "--scan", prepared, "--json").json
    assert beside["baseline"]["pooled"] == report["baseline"]["pooled"]
    several = uad("eval", "--truth", truth, truth, stdin=stream * 2).out.decode()
    assert "intensity threshold, mean" in several
    assert "intensity threshold, pooled" in several


def test_healed_scans_are_compared_with_their_scans(uad, healed, truth):
    report = uad("eval", healed, "--scan", "p.nii.gz", "--json").json
    (row,) = report["scans"]
    assert (report["kind"], row["name"], row["l1_ratio"]) == ("reconstruction", "p", None)
    assert 0 < row["ssim"] < 1
    (row,) = uad("eval", healed, "--scan", "p.nii.gz", "--truth", truth, "--json").json["scans"]
    assert row["l1_lesion"] == pytest.approx(0.1, abs=1e-6)
    assert row["l1_healthy"] == pytest.approx(0.02, abs=1e-6)
    text = uad("eval", healed, healed, "--scan", "p.nii.gz", "p.nii.gz").out.decode()
    assert [line.split()[0] for line in text.splitlines()] == ["healed", "p", "p", "mean"]


def test_healed_scans_of_a_stream(uad, phantom, truth):
    scan = phantom.need("scan")
    study = phantom.adding(scan.derive(scan.data * np.float32(0.9), "healed"))
    stream = b"".join(map(to_bytes, study.images.values()))
    (row,) = uad("eval", "--json", stdin=stream).json["scans"]
    assert row["l1"] == pytest.approx(0.1 * scan.data[scan.data > 0].mean(dtype=float), rel=1e-5)


def test_a_healed_scan_without_its_scan_is_told(uad, phantom):
    scan = phantom.need("scan")
    stream = to_bytes(scan.derive(scan.data, "healed"))
    uad("eval", stdin=stream).fails("eval", 1, "phantom: no scan to hold the healed one against (give it with --scan)")


def test_numbers_of_scans_must_fit(uad, healed, detection, truth, stream):
    uad("eval", healed, healed, "--scan", "p.nii.gz").fails("eval", 2, "--scan", "1 scans for 2 predictions")
    uad("eval", "--truth", truth, "--scan", "p.nii.gz", "p.nii.gz", stdin=stream).fails(
        "eval", 2, "2 scans for 1 truths"
    )


def test_scans_on_another_grid_are_told(uad, healed, truth):
    nib.save(nib.Nifti1Image(np.ones((5, 6, 7), np.float32), np.diag([2.0, 2, 2, 1])), "small.nii")
    result = uad("eval", healed, "--scan", "small.nii", "--brain", truth)
    result.fails("eval", 1, "p: scan and healed lie on different grids: 5x6x7", "and 16x16x8")


PEOPLE = "id,sex,age\nd,F,30\ne,M,40\n"


def test_subgroups_by_a_table_of_participants(uad, detection, truth, here):
    (here / "e_T1w.nii.gz").write_bytes(detection.read_bytes())
    (here / "people.csv").write_text(PEOPLE)
    words = (
        "eval",
        detection,
        "e_T1w.nii.gz",
        "--truth",
        truth,
        truth,
        "--by",
        "sex,age",
        "--participants",
        "people.csv",
    )
    groups = uad(*words, "--json").json["groups"]
    assert {column: [(g["group"], g["scans"]) for g in found] for column, found in groups.items()} == {
        "sex": [("F", 1), ("M", 1)], "age": [("30", 1), ("40", 1)],
    }  # fmt: skip
    lines = uad(*words).out.decode().splitlines()
    assert "by sex: means of scans" in lines
    assert ["F", "1", "0.750", "0.600", "0.750", "0.750", "0.750"] in [line.split() for line in lines]


def test_what_is_wrong_with_participants_is_told(uad, detection, truth, here):
    (here / "people.csv").write_text(PEOPLE)
    run = ("eval", detection, "--truth", truth)
    table = ("--participants", "people.csv")
    uad(*run, "--by", "site", *table).fails("eval", 1, "no column 'site'", "it has: id, sex, age")
    (here / "people.csv").write_text("id,sex\nx,F\n")
    uad(*run, "--by", "sex", *table).fails("eval", 1, "d: no participant whose id this name begins with")
    uad(*run, "--by", "sex").fails("eval", 2, "--by and --participants")
    uad(*run, *table).fails("eval", 2, "--by and --participants")
    uad(*run, "--by", "sex", "--participants", "none.csv").fails("eval", 1, "none.csv: No such file")


def test_bounding_boxes_of_masks_and_of_a_table(uad, detection, truth, here):
    found = uad("eval", detection, "--truth", truth, "--boxes", "--json")
    assert (found.status, "mL detected" in found.err) == (0, True)
    (row,), listed = found.json["scans"], found.json["boxes"]
    assert 0 < row["box_iou"] < 1
    assert [box["of"] for box in listed] == ["truth"] * row["boxes"] + ["detection"] * row["boxes_detected"]
    ends = ("x0", "y0", "z0", "x1", "y1", "z1")
    lines = [",".join(map(str, [box["scan"], *(box[end] for end in ends)])) for box in listed if box["of"] == "truth"]
    (here / "boxes.csv").write_text("\n".join([",".join(["name", *ends]), *lines]))
    same = uad("eval", detection, "--truth-boxes", "boxes.csv", "--json").json
    assert same["boxes"] == listed
    assert same["scans"][0]["box_iou"] == row["box_iou"]
    shown = uad("eval", detection, "--truth", truth, "--boxes").out.decode()
    head = next(line for line in shown.splitlines() if line.startswith("boxes "))
    assert head.split() == ["boxes", "IoU", "R10", "P10", "R30", "P30", "R50", "P50", "Boxes", "detected"]
    assert "boxes" not in uad("eval", detection, "--truth", truth, "--json").json
    said = "--truth-boxes: is in the place of --truth (give one of them)"
    uad("eval", detection, "--truth", truth, "--truth-boxes", "boxes.csv").fails("eval", 2, said)
    (here / "boxes.csv").write_text((here / "boxes.csv").read_text() + "\nnobody,0,0,0,1,1,1\n")
    said = "--truth-boxes: nobody is none of the predictions"
    uad("eval", detection, "--truth-boxes", "boxes.csv").fails("eval", 2, said)
    uad("eval", detection, "--truth-boxes", "none.csv").fails("eval", 1, "none.csv: No such file")


def test_the_numbers_of_lesions_and_of_boxes_are_told_apart(uad, detection, here):
    """Two voxels with one between them: one lesion where it is large enough, and two boxes."""
    image = nib.load(detection)
    mask = np.zeros(image.shape, np.uint8)
    mask[6:9, 6:8, 3], mask[10:13, 6:8, 3] = 1, 1
    nib.save(nib.Nifti1Image(mask, image.affine), here / "two.nii.gz")
    words = ("eval", "two.nii.gz", "--truth", "two.nii.gz")
    (row,) = uad(*words, "--lesions", "--boxes", "--json").json["scans"]
    assert (row["lesions"], row["boxes"]) == (1, 2)
    note = "Lesions are those above 50 mm3, and one where they touch when grown by 3 voxels; boxes are those of"
    assert note in uad(*words, "--lesions", "--boxes").out.decode().splitlines()
    for one in ("--lesions", "--boxes"):
        assert "50 mm3" not in uad(*words, one).out.decode()


def case_scores(path, *values):
    path.write_text(
        json.dumps([{"name": f"{path.stem}{i}", "case_score": v, "top": 2 * v} for i, v in enumerate(values)])
    )


def test_case_scores_of_healthy_and_sick(uad, here):
    case_scores(here / "a.json", 0.1, 0.2)
    case_scores(here / "b.json", 0.15)
    case_scores(here / "c.json", 0.3, 0.4, 0.12)
    result = uad("eval", "--healthy", "a.json", "b.json", "--sick", "c.json", "--json", "--csv", "t.csv")
    report = result.json
    assert (report["kind"], report["healthy"], report["sick"]) == ("cases", 3, 3)
    assert report["figures"]["case_score"]["auroc"] == pytest.approx(7 / 9)
    assert report["figures"]["top"] == report["figures"]["case_score"]
    assert (here / "t.csv").read_text().splitlines()[:2] == ["name,sick,case_score,top", "a0,False,0.1,0.2"]
    lines = uad("eval", "--healthy", "a.json", "b.json", "--sick", "c.json").out.decode().splitlines()
    assert lines[0].split() == ["3", "sick,", "3", "healthy", "AUPRC", "AUROC", "FPR95", "FPR80"]
    assert lines[1].split()[::2][:2] == ["case_score", "0.778"]


def test_people_are_taken_for_sick_at_a_threshold_that_others_chose(uad, here):
    case_scores(here / "vh.json", 0.1, 0.2)
    case_scores(here / "vs.json", 0.25, 0.3)
    case_scores(here / "h.json", 0.1, 0.22, 0.15)
    case_scores(here / "s.json", 0.3, 0.4, 0.12)
    chosen = uad("eval", "--healthy", "vh.json", "--sick", "vs.json", "--best", "-o", "val.json", "--json").json
    assert (chosen["figures"]["top"]["best_f1"], chosen["figures"]["top"]["best_threshold"]) == (1, 0.4)
    assert chosen["thresholds"] is None
    run = ("eval", "--healthy", "h.json", "--sick", "s.json", "--threshold-from", "val.json")
    result = uad(*run, "--json")
    assert (result.status, result.err) == (0, "")
    assert result.json["thresholds"] == {"case_score": 0.2, "top": 0.4}
    figures = result.json["figures"]["case_score"]
    told = [figures[key] for key in ("f1", "precision", "recall", "fpr")]
    assert told == [pytest.approx(2 / 3)] * 3 + [pytest.approx(1 / 3)]
    lines = uad(*run).out.decode().splitlines()
    assert lines[0].split()[-4:] == ["F1", "Precision", "Recall", "FPR"]
    assert lines[1].split()[-4:] == ["0.667", "0.667", "0.667", "0.333"]
    same = uad("eval", "--healthy", "vh.json", "--sick", "s.json", "--threshold-from", "val.json")
    assert "val.json was chosen on vh0, too: these figures are ceilings, not performance" in same.err
    (here / "score.json").write_text('{"threshold": 0.3}')
    uad(*run[:-1], "score.json").fails("eval", 1, "score.json: no thresholds of case scores in it")


def test_what_is_wrong_with_case_scores_is_told(uad, detection, truth, here):
    case_scores(here / "a.json", 0.1)
    (here / "bad.json").write_text("{}")
    uad("eval", "--healthy", "a.json").fails("eval", 1, "healthy and sick people are needed, both")
    uad("eval", "--healthy", "a.json", "--sick", "bad.json").fails("eval", 1, "bad.json: no case scores")
    uad("eval", "--healthy", "a.json", "--sick", "none.json").fails("eval", 1, "none.json: No such file")
    both = ("--healthy", "a.json", "--sick", "a.json")
    uad("eval", detection, *both).fails("eval", 2, "PRED: is of no use")
    for option in (
        ("--truth", truth),
        ("--lesions",),
        ("--volume", 0),
        ("--plot", "pr=p.png"),
        ("--compare", "a.json"),
    ):
        uad("eval", *both, *option).fails("eval", 2, f"{option[0]}: is of no use")
    uad("eval", "--compare", "a.json", "a.json", "--best").fails("eval", 2, "--best: is of no use")


@pytest.fixture
def reports(uad, detection, truth, here):
    """Of two methods on the same three scans: a.json, and b.json, which finds everything."""
    grid = Grid((16, 16, 8), np.diag([2.0, 2, 2, 1]))
    data = nib.load(detection).get_fdata()
    truths = [truth] * 3
    for method, moves in (("a", (0, 1, 2)), ("b", (None, None, None))):
        (here / method).mkdir()
        for i, move in enumerate(moves):
            made = nib.load(truth).get_fdata() if move is None else np.roll(data, move, 1)
            save(Image(made.astype("u1"), grid), here / method / f"s{i}.nii")
        files = sorted((here / method).iterdir())
        assert uad("eval", *files, "--truth", *truths, "-o", f"{method}.json", "-q").status == 0
    return "a.json", "b.json"


def test_two_methods_are_compared(uad, reports):
    report = uad("eval", "--compare", *reports, "--json").json
    assert (report["schema"], report["kind"]) == (2, "comparison")
    (row,) = report["comparison"]["rows"]
    assert (row["figure"], row["method"], row["paired"], row["scans"]) == ("dice", "b.json", True, [3, 3])
    assert row["mean"] == 1
    assert row["difference"] == pytest.approx(1 - row["mean_against"])
    assert 0.2 < row["p"] == row["p_holm"] < 0.3  # of the eight ways to swap three pairs two are as extreme


def test_the_table_of_a_comparison(uad, reports, here):
    (here / "c.json").write_text((here / "a.json").read_text())
    lines = uad("eval", "--compare", *reports, "c.json", "--csv", "t.csv").out.decode().splitlines()
    assert lines[0].startswith("compared with ")
    assert [line.split()[:2] for line in lines[2:]] == [["Dice", "b.json"], ["Dice", "c.json"]]
    assert lines[3].split()[-3:] == ["+0.000", "1.0000", "1.0000"]  # three pairs have no interval
    with (here / "t.csv").open(newline="") as file:
        assert [row["method"] for row in csv.DictReader(file)] == ["b.json", "c.json"]


def test_this_run_is_compared_with_a_report(uad, reports, truth):
    files = [f"b/s{i}.nii" for i in range(3)]
    report = uad("eval", *files, "--truth", truth, truth, truth, "--compare", reports[0], "--json").json
    assert report["kind"] == "detection"
    assert report["comparison"]["against"] == "this run"
    assert report["comparison"]["rows"][0]["difference"] < 0


def test_figures_to_compare_are_chosen(uad, reports):
    rows = uad("eval", "--compare", *reports, "--figure", "iou,recall", "--json").json["comparison"]["rows"]
    assert [row["figure"] for row in rows] == ["iou", "recall"]
    uad("eval", "--compare", *reports, "--figure", "auprc").fails("eval", 1, "no figure 'auprc'", "all have: dice, iou")
    uad("eval", reports[0], "--figure", "dice").fails("eval", 2, "--figure")


def test_what_is_wrong_with_reports_is_told(uad, reports, here, stream):
    first, second = reports
    report = json.loads((here / second).read_text())
    report["scans"][1]["dice"] = None
    (here / "null.json").write_text(json.dumps(report))
    said = ("null.json: dice of scan 's1' is undefined", "leave this scan out")
    uad("eval", "--compare", first, "null.json").fails("eval", 1, *said)
    report["scans"][1]["dice"] = float("nan")
    (here / "null.json").write_text(json.dumps(report))
    uad("eval", "--compare", "null.json", first).fails("eval", 1, "null.json: no report of uad-eval")  # JSON has no NaN
    report["scans"][1]["dice"] = None
    report["scans"].pop()
    (here / "fewer.json").write_text(json.dumps(report))
    uad("eval", "--compare", first, "fewer.json").fails("eval", 1, "fewer.json: has no scan 's2'")
    for name, text in (("foreign.json", '{"dice": 1}'), ("text.json", "Dice: 1")):
        (here / name).write_text(text)
        uad("eval", "--compare", first, name).fails("eval", 1, f"{name}: no report of uad-eval")
    uad("eval", "--compare", first, "none.json").fails("eval", 1, "none.json: No such file")
    uad("eval", "--compare", first).fails("eval", 1, "one report alone")
    uad("eval", "--compare", first, second, "--best").fails("eval", 2, "--best: is of no use")


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plots_are_drawn(suffix, uad, score, truth, here):
    (here / "t.json").write_text('{"threshold": 0.3}')
    plots = [word for kind in ("pr", "dice", "bland-altman") for word in ("--plot", f"{kind}={kind}.{suffix}")]
    words = ("eval", score, score, "--truth", truth, truth, "--threshold-from", "t.json", "-q")
    assert uad(*words, *plots).status == 0
    start = {"png": b"\x89PNG", "svg": b"<?xml"}[suffix]
    assert all((here / f"{kind}.{suffix}").read_bytes().startswith(start) for kind in ("pr", "dice", "bland-altman"))


def test_plots_that_cannot_be_drawn_are_told(uad, detection, truth, here):
    run = ("eval", detection, "--truth", truth, "--plot")
    uad(*run, "roc=p.png").fails("eval", 1, "--plot roc=p.png: there are pr, dice, bland-altman")
    uad(*run, "p.png").fails("eval", 2, "--plot: p.png: which one?", "there are pr, dice, bland-altman")
    uad(*run, "pr=p.bmp").fails("eval", 1, "p.bmp: pictures are written as")
    uad(*run, "pr=p.png").fails("eval", 1, "there is no curve to plot")
    uad(*run, "bland-altman=p.png").fails("eval", 1, "two or more scans")
    (here / "p.png").write_text("mine")
    uad(*run, "pr=p.png").fails("eval", 1, "p.png: exists")
    assert (here / "p.png").read_text() == "mine"


def test_on_a_terminal_the_table_has_intervals(start, detection, truth, terminal):
    follower, read = terminal
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
    words = ("uad-eval", *[detection] * 4, "--truth", *[truth] * 4)
    process = start(*words, stdout=follower, stderr=subprocess.PIPE)
    assert process.wait(60) == 0
    text = read()
    assert "─" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["95%", "from", *["0.750", "0.600", "0.750", "0.750", "0.750"]] in rows
    assert ["to", *["0.750", "0.600", "0.750", "0.750", "0.750"]] in rows
    assert "mean of scans" in text


def test_on_a_terminal_it_is_said_why_there_are_no_intervals(uad, detection, truth, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    why = b"No intervals: an interval needs at least 4 scans, and there are "
    for count in (1, 2, 3, 4):
        out = uad("eval", *[detection] * count, "--truth", *[truth] * count).out
        assert ((why + b"%d." % count) in out) == (count in (2, 3))  # of one scan nobody expects any


def test_a_scan_is_no_truth(uad, score, phantom, here):
    scan = phantom.need("scan")
    made = Image(scan.data, scan.grid, "scan", {"history": [{"tool": "uad-preprocess"}]})
    save(made, here / "scan.nii.gz")
    uad("eval", score, "--truth", "scan.nii.gz").fails("eval", 1, "is a scan, not a mask")


def test_a_score_map_of_nothing_stays_a_score_map(uad, scored, phantom, truth, here):
    save(scored.derive(np.zeros_like(scored.data), "score"), here / "z.nii.gz")
    save(phantom.need("brain"), here / "b.nii.gz")
    report = uad("eval", "z.nii.gz", "--truth", truth, "--brain", "b.nii.gz", "--json").json
    assert (report["kind"], report["scans"][0]["auroc"]) == ("score", 0.5)


def test_a_threshold_from_the_same_scans_is_told_to_be_a_ceiling(uad, score, truth):
    uad("eval", score, "--truth", truth, "--best", "-o", "best.json")
    result = uad("eval", score, "--truth", truth, "--threshold-from", "best.json")
    told = "best.json was chosen on s, too: these figures are ceilings, not performance"
    assert (result.status, result.lines[0]) == (0, f"uad-eval: {told}")
    assert uad("eval", score, "--truth", truth, "--threshold-from", "best.json", "-q").err == ""


def test_report_is_the_page_with_figures_and_plots(uad, stream, truth, here):
    done = uad("eval", "--truth", truth, "--best", "--report", "r.html", "-q", stdin=stream)
    assert done.status == 0, done.err
    page = (here / "r.html").read_text()
    titles = ("Figures", "Precision against recall", "Dice against the threshold", "Components of the truth")
    assert [title for title in titles if f"<h2>{title}" not in page] == []
    assert "phantom" not in page
    failing = uad("eval", "--truth", truth, "--report", "r.html", stdin=stream)
    failing.fails("eval", 1, "r.html: exists (--force replaces it)")
    uad("eval", "--truth", truth, "--report", "r.png", stdin=stream).fails("eval", 1, "r.png", ".html")


def test_report_of_a_file_shows_what_lies_beside_it(uad, scan, truth, here):
    """As uad-report does, so that there is anatomy under the overlap."""
    assert (
        uad("run", scan, "-o", "out", "--keep", "--method", "blur", "--threshold", 0.1, "--brain", "none").status == 0
    )
    detection = next((here / "out").glob("*_detection.nii.gz"))
    done = uad("eval", detection, "--truth", detection, "--report", "r.html", "-q")
    assert done.status == 0, done.err
    shown = set(re.findall(r'"role": "(\w+)"', (here / "r.html").read_text()))
    assert shown >= {"scan", "healed", "score", "detection", "hit", "truth"}


def test_report_of_a_file_without_a_role(uad, detection, truth, here):
    assert uad("eval", detection, "--truth", truth, "--report", "r.html", "-q").status == 0
    assert '"role": "hit"' in (here / "r.html").read_text()
    result = uad("eval", detection, detection, "--truth", truth, truth, "--report", "s.html")
    result.fails("eval", 2, "--report", "one study")


def saved(here, name, data, affine=None, dtype=None):
    """A file of another program; dtype: of the numbers on disk, which get a scl_slope."""
    image = nib.Nifti1Image(data, np.diag([2.0, 2, 2, 1]) if affine is None else affine)
    if dtype:
        image.header.set_data_dtype(dtype)
    nib.save(image, here / name)
    return here / name


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2"])
def test_a_detection_with_a_slope_is_a_detection(dtype, uad, detection, truth, here):
    """What is stored as 255 with a slope is read as 1.00000006."""
    scaled = saved(here, "d2.nii.gz", nib.load(detection).get_fdata(), dtype=dtype)
    report = uad("eval", scaled, "--truth", truth, "--json").json
    assert (report["kind"], report["scans"][0]["dice"]) == ("detection", 0.75)


def test_255_in_signed_bytes_is_not_empty(uad, detection, truth, here):
    data = nib.load(truth).get_fdata()
    minus = saved(here, "m.nii.gz", (-data).astype("i1"))
    result = uad("eval", minus, "--truth", minus, "--json")
    assert (result.json["scans"][0]["dice"], result.json["scans"][0]["lesion_voxels"]) == (1, 64)
    assert [concern["value"] for concern in result.json["concerns"]] == ["-1", "-1"]
    assert "m.nii.gz: truth: a mask of the value -1, all of which counts" in result.err


def test_labels_of_the_truth_count_as_chosen(uad, detection, truth, here):
    data = nib.load(truth).get_fdata().astype("u1")
    data[12:14, 12:14, 4:6] = 2
    wmh = saved(here, "wmh.nii.gz", data)
    made = uad("eval", detection, "--truth", wmh, "--json")
    (row,) = made.json["scans"]
    assert (row["lesion_voxels"], row["voxels"], row["dice"]) == (64, 2048 - 8, 0.75)
    assert "1 counts as lesion, 2 neither way" in made.err
    made = uad("eval", detection, "--truth", wmh, "--json", "--label", 1, 2)
    assert (made.json["scans"][0]["lesion_voxels"], made.json["concerns"]) == (72, [])
    made = uad("eval", detection, "--truth", wmh, "--json", "--label", 2, "--ignore", 1)
    assert (made.json["scans"][0]["lesion_voxels"], made.json["scans"][0]["voxels"]) == (8, 2048 - 64)
    data[0, 0, 0] = 4
    tumour = saved(here, "tumour.nii.gz", data)
    uad("eval", detection, detection, "--truth", wmh, tumour, "-q").fails("eval", 2, "--label: some truths hold")


def test_pairs_are_told_and_matched(uad, detection, truth, here):
    data = nib.load(detection).get_fdata().astype("u1")
    for name, shift in (("sub-1_d", 0), ("sub-2_d", 3)):
        saved(here, f"{name}.nii", np.roll(data, shift, 1))
        saved(here, f"{name[:-1]}t.nii", np.roll(data, shift, 1))
    crossed = ("eval", "sub-1_d.nii", "sub-2_d.nii", "--truth", "sub-2_t.nii", "sub-1_t.nii", "--json")
    wrong, right = uad(*crossed), uad(*crossed, "--match")
    assert [concern["code"] for concern in wrong.json["concerns"]] == ["pairs"]
    assert "2 of 2 pairs, such as sub-1_d and sub-2_t.nii" in wrong.err
    assert (right.json["mean"]["dice"], right.json["concerns"]) == (1, [])
    uad("eval", "sub-1_d.nii", "--truth", "sub-2_t.nii", "--match").fails("eval", 1, "sub-1_d", "no file fits")
    assert "voxel for voxel" in uad("eval", *["sub-1_d.nii"] * 2, "--truth", *["sub-1_t.nii"] * 2).err


def test_a_prepared_scan_is_no_prediction_and_no_brain(uad, detection, truth, phantom, here):
    scan = phantom.need("scan")
    save(Image(scan.data, scan.grid, "scan", {"history": [{"tool": "uad-preprocess"}]}), here / "s.nii.gz")
    uad("eval", "s.nii.gz", "--truth", truth).fails("eval", 1, "s: is a scan, not a prediction")
    uad("eval", detection, "--truth", truth, "--brain", "s.nii.gz").fails(
        "eval", 1, "is a scan, not a mask of the brain"
    )


def test_half_a_brain_finds_no_lesions(uad, truth, here):
    everything = saved(here, "all.nii.gz", np.ones((16, 16, 8), "u1"))
    result = uad("eval", everything, "--truth", truth, "--lesions", "--json")
    (row,) = result.json["scans"]
    assert (row["lesion_f1"], row["lesions_found"], row["false_lesions"]) == (0, 0, 1)
    assert [concern["code"] for concern in result.json["concerns"]] == ["volume-far-off"]
    touching = uad("eval", everything, "--truth", truth, "--lesions", "--overlap", 0, "--json").json
    assert (touching["scans"][0]["lesion_f1"], touching["overlap"]) == (1, 0)
    uad("eval", everything, "--truth", truth, "--overlap", 0).fails("eval", 2, "--overlap: has an effect only with")


@pytest.mark.parametrize("signed", ["bright", "dark"])
def test_the_baseline_is_signed_as_the_score(signed, uad, phantom, scored, truth):
    """A lesion darker than all is found by the intensity alone where dark is looked for, and nowhere else."""
    scan, lesion = phantom.need("scan"), boxes(scored.data.shape, ((4, 5, 2), 4)) > 0
    data = np.where(lesion & (scan.data > 0), 0.01, scan.data).astype(np.float32)
    history = {"study": "phantom", "history": [{"tool": "uad-score", "arguments": {"metric": "l1", "signed": signed}}]}
    study = phantom.adding(Image(scored.data, scored.grid, "score", history), scan.derive(data, "scan"))
    stream = b"".join(map(to_bytes, study.images.values()))
    baseline = uad("eval", "--truth", truth, "--json", stdin=stream).json["baseline"]
    assert baseline["signed"] == signed
    assert (baseline["pooled"]["auprc"] > 0.99) == (signed == "dark")


def test_volumes_after_registration_are_the_persons(uad, detection, truth, here):
    """The template is twice as long along each axis."""
    grid = Grid((16, 16, 8), np.diag([2.0, 2, 2, 1]))
    own = Grid((20, 20, 20), np.eye(4))
    steps = [{"step": "input", "grid": own.to_json()},
             {"step": "register", "grid": grid.to_json(), "matrix": np.diag([2.0, 2, 2, 1]).tolist()}]  # fmt: skip
    data = nib.load(detection).get_fdata().astype("u1")
    save(Image(data, grid, "detection", {"chain": steps, "history": [{"tool": "uad-postproc"}]}), here / "r.nii.gz")
    report = uad("eval", "r.nii.gz", "--truth", truth, "--lesions", "--json").json
    assert (report["scans"][0]["detected_ml"], report["scans"][0]["truth_ml"]) == (0.064, 0.064)
    assert report["lesions"][0]["ml"] == 0.064


def test_csv_has_volumes_and_no_formulas(uad, truth, here):
    data = nib.load(truth).get_fdata().astype("u1")
    evil = saved(here, "=cmd.nii.gz", data)
    uad("eval", evil, "--truth", truth, "--csv", "f.csv", "-q")
    with (here / "f.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["name"], row["detected_ml"], row["threshold"]) == ("'=cmd", "0.512", "")


def test_csv_has_the_threshold_whoever_chose_it(uad, score, detection, truth, here):
    (here / "t.json").write_text('{"threshold": 0.25}')
    history = {"history": [{"tool": "uad-postproc", "arguments": {"threshold": 0.4}}]}
    data = nib.load(detection).get_fdata().astype("u1")
    save(Image(data, Grid(data.shape, np.diag([2.0, 2, 2, 1])), "detection", history), here / "d4.nii.gz")
    for words, level in (((score, "--threshold-from", "t.json"), "0.25"), (("d4.nii.gz",), "0.4")):
        assert uad("eval", *words, "--truth", truth, "--csv", "f.csv", "--force", "-q").status == 0
        with (here / "f.csv").open(newline="") as file:
            assert [row["threshold"] for row in csv.DictReader(file)] == [level]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(start):
    assert harmless(f"{start}1+1") == f"'{start}1+1"
    assert [harmless(cell) for cell in ("a=1", -1.5, None)] == ["a=1", -1.5, None]


def test_folders_and_lists_are_cohorts(uad, detection, truth, here):
    for folder, file in (("found", detection), ("experts", truth)):
        (here / folder).mkdir()
        for name in ("s1", "s2"):
            (here / folder / f"{name}.nii.gz").write_bytes(file.read_bytes())
    (here / "l.txt").write_text("found/s1.nii.gz\nfound/s2.nii.gz\n")
    for predictions in ("found", "l.txt"):
        report = uad("eval", predictions, "--truth", "experts", "--json").json
        assert [(row["name"], row["dice"]) for row in report["scans"]] == [("s1", 0.75), ("s2", 0.75)]


def test_the_scores_of_mood(uad, here):
    for name, mask, score in (("a", [1, 0], [0.9, 0.1]), ("b", [0, 0], [0.2, 0.1])):
        for path, values in ((f"toy_label/pixel/{name}.nii.gz", mask), (f"scores/{name}_score.nii.gz", score)):
            (here / path).parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(np.array(values, np.float32).reshape(2, 1, 1), np.eye(4)), here / path)
        text = here / f"toy_label/sample/{name}.nii.gz.txt"
        text.parent.mkdir(exist_ok=True)
        text.write_text(str(mask[0]))
    told = uad("eval", "scores", "--mood", "toy_label", "-o", "report.json")
    assert (told.status, told.out) == (0, b"1.0 pixel AP\n1.0 sample AP\n")
    written = json.loads((here / "report.json").read_text())
    assert uad("eval", "scores", "--mood", "toy_label", "--json").json == written
    uad("eval", "--mood", "toy_label").fails("eval", 1, "no scan is named")
    uad("eval", "scores", "--mood", "toy_label", "--lesions").fails("eval", 2, "--lesions", "of no use beside --mood")
