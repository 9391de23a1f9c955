"""A folder of DICOM goes in, and a DICOM-SEG comes out."""

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import time

import dcm2niix
import highdicom
import nibabel as nib
import numpy as np
import pytest

from uadtools import __version__
from uadtools.grids.grid import Grid

NAMES = re.compile(rb"DOE\^|JOHN|MRN-77|ACC-5|19500102|20200304|1\.2\.826", re.IGNORECASE)
"""What tells of the patient in DICOM that tests make."""
GRID = ("--brain", "none", "--spacing", "2", "--shape", "24,32,24")


@pytest.fixture
def exam(here, make_series, oblique):
    """A folder of one series: exam/."""
    return make_series(here / "exam", oblique)


@pytest.fixture
def nifti(here, exam):
    """What dcm2niix makes of it, called by a user: own.nii.gz."""
    words = [dcm2niix.bin, "-z", "y", "-f", "own", "-o", str(here), str(exam)]
    subprocess.run(words, capture_output=True, check=True)
    return here / "own.nii.gz"


def detect(uad, source, out, *words):
    """Prepare a scan, take its own intensities for a score, and detect."""
    prepared = uad("preprocess", source, *GRID, "-o", "-")
    assert prepared.status == 0, prepared.err
    healed = uad("heal", "--method", "blur", stdin=prepared.out)
    scored = uad("score", "--metric", "l1", stdin=healed.out)
    assert scored.status == 0, scored.err
    words = ("--threshold", "0.03", "--erode", "0", "--median", "1", "--force-detection", *words)
    return uad("postproc", *words, "-o", out, stdin=scored.out)


def test_a_folder_gives_the_same_detection_as_its_nifti(uad, exam, nifti, here):
    for source, out in ((exam, "a.nii.gz"), (nifti, "b.nii.gz")):
        assert detect(uad, source, out, "--native").status == 0
    of_folder, of_file = (nib.load(here / name) for name in ("a.nii.gz", "b.nii.gz"))
    assert np.asarray(of_folder.dataobj).sum() > 10
    assert np.array_equal(np.asarray(of_folder.dataobj), np.asarray(of_file.dataobj))
    assert np.array_equal(of_folder.affine, of_file.affine)


def test_a_run_on_a_folder_gives_what_one_on_its_nifti_does(uad, exam, nifti, tiny_model, here):
    words = ("--brain", "none", "--model", tiny_model, "-t", 150, "--threshold", 0.1, "--set", "postproc.erode=0")
    found = []
    for source, name in ((exam, "exam"), (nifti, "own")):
        done = uad("run", source, "-o", "out", *words)
        assert done.status == 0, done.err
        found.append(np.asarray(nib.load(here / "out" / f"{name}_detection.nii.gz").dataobj))
    assert found[0].any()
    assert np.array_equal(*found)
    assert not NAMES.search((here / "out" / "exam.html").read_bytes())


RUN = ("--brain", "none", "-t", 150, "--threshold", 0.1, "--set", "postproc.erode=0", "--dicom-seg")


def voxels(path):
    """Count those of a DICOM-SEG that are set, as highdicom reads them."""
    return int(highdicom.seg.segread(path).pixel_array.sum())


def test_a_run_writes_a_dicom_seg_beside_the_detection(uad, shell, exam, tiny_model, here):
    """The same as that of the pipe that is printed; a run that finds it gone makes it again."""
    done = uad("run", "exam", "-o", "out", "--model", tiny_model, *RUN, "--json")
    assert done.status == 0, done.err
    assert done.json[0]["dicom_seg"] == "out/exam_detection.dcm"
    found = int(np.asarray(nib.load(here / "out" / "exam_detection.nii.gz").dataobj).sum())
    assert 0 < found == voxels(here / "out" / "exam_detection.dcm")
    pipe = uad("run", "exam", "-o", "piped", "--model", tiny_model, *RUN, "--dry-run")
    assert shell(pipe.out.decode()).status == 0
    assert voxels(here / "piped" / "exam_detection.dcm") == found
    (here / "out" / "exam_detection.dcm").unlink()
    again, skipped = (uad("run", "exam", "-o", "out", "--model", tiny_model, *RUN, "--json") for _ in range(2))
    assert voxels(here / "out" / "exam_detection.dcm") == found
    assert "skipped" not in again.json[0]
    assert skipped.json[0] == again.json[0] | {"skipped": True}


def test_a_run_writes_dicom_seg_for_dicom_alone(uad, exam, nifti, tiny_model, here):
    """Of several, a NIfTI fails and the folder of DICOM is done."""
    for words in ((), ("--dry-run",)):
        made = uad("run", "own.nii.gz", "-o", "out", "--model", tiny_model, *RUN, *words)
        made.fails("run", 1, "--dicom-seg: own.nii.gz: no DICOM in it (name the folder of the series)")
        assert not (here / "out").exists()
    made = uad("run", "own.nii.gz", "exam", "-o", "out", "--model", tiny_model, *RUN, "--json")
    assert made.status == 1
    assert "no DICOM in it" in made.json[0]["error"]
    assert (here / "out" / "exam_detection.dcm").is_file()


def test_the_whole_pipe_lands(shell, exam, here):
    prepare = f"uad-preprocess exam {' '.join(GRID)} -o -"
    made = shell(f"{prepare} | uad-heal --method blur | uad-score --metric l1 | uad-postproc --native -o out.nii.gz")
    assert made.status == 0, made.err
    assert nib.load(here / "out.nii.gz").shape == (16, 20, 9)


def test_nothing_of_the_patient_is_told_or_kept(uad, exam, here):
    for word in ("out", "-"):
        made = uad("preprocess", exam, *GRID, "-o", word, "-v")
        assert made.status == 0, made.err
        assert not NAMES.search(made.out + made.err.encode())
    assert sorted(path.name for path in (here / "out").iterdir()) == [
        "exam_preprocessed.json",
        "exam_preprocessed.nii.gz",
    ]
    for path in (here / "out").iterdir():
        raw = path.read_bytes()
        assert not NAMES.search(nib.load(path).to_bytes() if path.suffix == ".gz" else raw)


@pytest.mark.parametrize("name", ["preprocess", "simulate", "heal"])
def test_one_of_several_series_is_chosen(name, uad, make_series, oblique, here):
    make_series(here / "exam" / "a", oblique)
    make_series(here / "exam" / "b", oblique, number=5, SeriesDescription="FLAIR")
    words = {"preprocess": GRID, "simulate": ("--kind", "blur"), "heal": ("--method", "blur")}[name]
    line = "exam: 2 series: 3 'T1 axial' (images: 9); 5 'FLAIR' (images: 9) (choose one with --series"
    uad(name, "exam", *words, "-o", "x.nii.gz").fails(name, 1, line)
    uad(name, "exam", *words, "--series", "9", "-o", "x.nii.gz").fails(name, 1, "no series is called 9 (there are: 3 ")
    if name != "heal":  # whose default preparation wants the brain of a larger head
        assert uad(name, "exam", *words, "--series", "flair", "-o", "x.nii.gz").status == 0


def test_the_number_of_a_series_is_kept_and_its_other_names_are_not(uad, make_series, oblique, here):
    make_series(here / "exam", oblique)
    for wanted, kept in (("3", "3"), ("T1 axial", None), ("1.2.826.0.1.3680043.8.498.3.3", None)):
        assert uad("preprocess", "exam", *GRID, "--series", wanted, "-o", "x.nii.gz", "--force").status == 0
        line = json.loads((here / "x.json").read_text())["history"][-1]
        assert line["arguments"].get("series") == kept
        assert wanted == kept or wanted not in (here / "x.json").read_text()


def test_a_series_of_no_dicom_is_refused(uad, scan):
    uad("preprocess", scan, "--series", "3", *GRID).fails("preprocess", 2, "--series: ", "is no folder of DICOM")
    uad("preprocess", "--series", "3", *GRID, stdin=scan.read_bytes()).fails("preprocess", 2, "the input is a stream")


def test_several_folders_are_done_once_and_one_that_fails_does_not_stop_the_others(uad, make_series, oblique, here):
    for name in ("p1", "p2", "p3"):
        make_series(here / "raw" / name, oblique)
    (here / "raw" / "p2" / "IM0008.dcm").write_bytes((here / "raw" / "p2" / "IM0008.dcm").read_bytes()[:-9])
    folders = ("raw/p1", "raw/p2", "raw/p3")
    first = uad("preprocess", *folders, *GRID, "-o", "out", "--jobs", "2")
    assert first.status == 1
    assert "raw/p2/IM0008.dcm: this DICOM is cut short (get the file again)" in first.err
    again = uad("preprocess", *folders, *GRID, "-o", "out")
    assert "0 prepared, 2 done before, 1 failed" in again.err


def test_a_list_names_folders(uad, exam, here):
    (here / "scans.txt").write_text("exam\n")
    assert uad("preprocess", "scans.txt", *GRID, "-o", "out").status == 0
    assert (here / "out" / "exam_preprocessed.nii.gz").is_file()


def test_what_was_made_beside_the_dicom_is_told(uad, exam, here):
    (exam / "out").mkdir()
    assert uad("preprocess", exam, *GRID, "-o", "made.nii.gz").status == 0
    healed = uad("heal", "made.nii.gz", "--method", "blur", "-o", "exam/out/healed.nii.gz")
    assert healed.status == 0, healed.err
    line = ("exam: holds what uad tools made beside its DICOM", "exam/out/healed.nii.gz (move that elsewhere)")
    uad("preprocess", "exam", *GRID, "-o", "again.nii.gz").fails("preprocess", 1, *line)


def test_an_empty_folder_is_told(uad, here):
    (here / "none").mkdir()
    uad("preprocess", "none", *GRID).fails("preprocess", 1, "none: no NIfTI file in this folder")


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_nothing_is_left_where_a_conversion_is_ended(jobs, start, environment, make_series, oblique, here):
    for name in ("p1", "p2"):
        make_series(here / name, oblique)
    (here / "fake").mkdir()
    (here / "rooms").mkdir()
    slow = here / "fake" / "slow"
    slow.write_text(f"#!/bin/sh\necho DOE; touch {here}/begun\nexec sleep 100\n")
    slow.chmod(0o755)
    (here / "fake" / "dcm2niix.py").write_text(f"bin = {str(slow)!r}\n")
    environment |= {"PYTHONPATH": str(here / "fake"), "TMPDIR": str(here / "rooms")}
    running = start("uad-preprocess", "p1", "p2", *GRID, "-o", "out", "--jobs", jobs)
    while not (here / "begun").exists():
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, b"")
    assert err.splitlines() == [b"uad-preprocess: interrupted"]
    assert list((here / "rooms").iterdir()) == []


def test_a_detection_is_written_for_a_pacs(uad, exam, here):
    made = detect(uad, exam, "found.nii.gz", "--dicom-seg", exam, "--json")
    assert made.status == 0, made.err
    assert not [line for line in made.lines if "other voxels" in line]
    assert made.json[0]["dicom_seg"] == "found.dcm"
    assert made.json[0]["concerns"] == []
    detection = nib.load(here / "found.nii.gz")
    assert detection.shape == (16, 20, 9)  # native without being asked
    seg = highdicom.seg.segread(here / "found.dcm")
    volume = seg.get_volume(combine_segments=True)
    there = np.argwhere(volume.array) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    voxels = np.argwhere(np.asarray(detection.dataobj))
    lps = (voxels @ detection.affine[:3, :3].T + detection.affine[:3, 3]) * (-1, -1, 1)
    assert len(lps) > 10
    assert np.abs(np.sort(there.round(2), axis=0) - np.sort(lps.round(2), axis=0)).max() <= 0.011
    label = seg.SegmentSequence[0].SegmentLabel
    assert re.fullmatch(rf"anomaly \(uadtools {__version__}, research only\)", label)
    assert not NAMES.search((here / "found.json").read_bytes())


def test_files_in_the_way_are_replaced_by_force_alone(uad, exam, here):
    (here / "found.dcm").write_text("mine")
    made = detect(uad, exam, "found.nii.gz", "--dicom-seg", exam)
    made.fails("postproc", 1, "found.dcm: exists (--force replaces it)")
    assert not (here / "found.nii.gz").exists()
    assert detect(uad, exam, "found.nii.gz", "--dicom-seg", exam, "--force").status == 0
    assert highdicom.seg.segread(here / "found.dcm").NumberOfFrames == 9


def test_an_empty_detection_is_written_and_one_that_is_withheld_says_so(uad, exam, wary_model, here):
    prepared = uad("preprocess", exam, "--brain", "none", "--model", wary_model, "-o", "-")
    healed = uad("heal", "--model", wary_model, stdin=prepared.out)
    scored = uad("score", "--metric", "l1", stdin=healed.out)
    for words, name in ((("--threshold", "9", "--force-detection"), "empty"), (("--threshold", "0"), "withheld")):
        made = uad("postproc", *words, "--dicom-seg", exam, "-o", f"{name}.nii.gz", stdin=scored.out)
        assert made.status == 0, made.err
    empty, withheld = (highdicom.seg.segread(here / f"{name}.dcm") for name in ("empty", "withheld"))
    assert (empty.NumberOfFrames, empty.pixel_array.any(), withheld.pixel_array.any()) == (9, False, False)
    assert empty.SeriesDescription == "uadtools: anomalies, research only"
    assert withheld.SeriesDescription == "uadtools: no detection, scan is unlike"
    assert empty.SegmentSequence[0].SegmentLabel == f"anomaly (uadtools tiny {__version__}, research only)"


def test_a_series_of_other_geometry_is_refused(uad, exam, make_series, oblique, here):
    moved = oblique.grid.affine.copy()
    moved[2, 3] += 3
    make_series(here / "other", dataclasses.replace(oblique, grid=Grid(oblique.grid.shape, moved)))
    made = detect(uad, exam, "found.nii.gz", "--dicom-seg", "other")
    made.fails("postproc", 1, "other: is not the series that exam came from: 16x20x9 voxels", "up to 3 mm apart")
    assert not list(here.glob("found*"))


def test_a_series_of_other_voxels_in_the_same_place_is_told(uad, exam, make_series, oblique, here):
    make_series(here / "other", dataclasses.replace(oblique, data=oblique.data // 2))
    made = detect(uad, exam, "found.nii.gz", "--dicom-seg", "other", "--strict", "--json")
    assert made.status == 3, made.err
    assert made.json[0]["concerns"][0]["code"] == "series"
    assert "is it the same scan of the same patient?" in made.err
    assert json.loads((here / "found.json").read_text())["concerns"][0]["code"] == "series"


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (("--dicom-seg", "exam", "-o", "-"), 2, "--dicom-seg: is written beside the detection's file"),
        (
            ("--dicom-seg", "exam", "--anonymous", "-o", "a.nii.gz"),
            2,
            "--dicom-seg: names the patient as the series does",
        ),
        (("--series", "3", "-o", "a.nii.gz"), 2, "--series: 3 chooses a series of --dicom-seg"),
        (("--dicom-seg", ".", "--series", "8", "-o", "a.nii.gz"), 1, ".: no series is called 8"),
        (("--dicom-seg", "empty", "-o", "a.nii.gz"), 1, "--dicom-seg: empty: no DICOM in it"),
    ],
)
def test_what_does_not_go_together_is_told_before_any_work(words, status, line, uad, exam, here):
    (here / "empty").mkdir()
    uad("postproc", *words).fails("postproc", status, line)


def test_a_dicom_seg_is_of_one_scan(uad, exam, prepared, here):
    shutil.copy(prepared, here / "q.nii.gz")
    made = uad("postproc", "p.nii.gz", "q.nii.gz", "--dicom-seg", "exam", "-o", "out")
    made.fails("postproc", 2, "--dicom-seg: a series is of one scan, and there are several inputs")
