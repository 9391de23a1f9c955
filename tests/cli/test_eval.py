import csv
import json

import nibabel as nib
import numpy as np
import pytest

from uadtools.volume.grid import Grid
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
    assert (report["schema"], report["kind"], report["threshold"]) == (1, "detection", None)
    (row,) = report["scans"]
    assert row == {
        "name": "d", "voxels": 16 * 16 * 8, "lesion_voxels": 64, "lesion_voxels_outside": 0, "detected_voxels": 64,
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
    assert (result.status, result.err) == (0, "")
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
    result.fails("eval", 1, "d: truth and prediction lie on different grids: 5x6x7", "and 16x16x8", "--native")
    result = uad("eval", detection, "--truth", truth, "--brain", "small.nii")
    result.fails("eval", 1, "d: brain mask and prediction lie on different grids: 5x6x7", "and 16x16x8")


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
    uad("eval", detection, "--truth", truth, "--brain", "none.nii").fails("eval", 1, "d: no voxel to count")


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
    assert uad("eval", detection, "--truth", truth, "-v").err == "uad-eval: d: 2,048 voxels\n"
    result = uad("eval", detection, "--truth", truth, "-v", "-q")
    assert (result.status, result.out, result.err) == (0, b"", "")


def test_version(uad):
    assert uad("eval", "--version").out.startswith(b"uadtools ")
