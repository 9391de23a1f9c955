"""uad-bids, and uad-run --bids: a BIDS data set in the words of BIDS Apps."""

import csv
import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import pytest

SCANS = (
    "sub-01/anat/sub-01_T1w",
    "sub-02/ses-1/anat/sub-02_ses-1_T1w",
    "sub-03/anat/sub-03_T1w",
    "sub-03/anat/sub-03_FLAIR",
)


@pytest.fixture
def study(here, scan):
    """A data set of three participants."""
    for name in SCANS:
        path = here / "study" / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(scan, path)
    return here / "study"


@pytest.fixture
def how(tiny_model):
    settings = ("heal.t=150", "postproc.median=1", "postproc.erode=0")
    return ["--model", tiny_model, "--threshold", 0.2, *(word for text in settings for word in ("--set", text))]


def made(out):
    return sorted(str(path.relative_to(out)) for path in Path(out).rglob("*") if path.is_file())


def test_participants_then_the_group(uad, study, how):
    done = uad("bids", study, "out", "participant", "--participant-label", "01", "sub-02", *how, "--json")
    assert done.status == 0, done.err
    assert [row["name"] for row in done.json] == ["sub-01_T1w", "sub-02_ses-1_T1w"]
    assert made("out") == [
        "dataset_description.json",
        "sub-01/anat/sub-01_desc-anomaly_T1w.json",
        "sub-01/anat/sub-01_desc-anomaly_T1w.nii.gz",
        "sub-01/anat/sub-01_desc-uad_mask.json",
        "sub-01/anat/sub-01_desc-uad_mask.nii.gz",
        "sub-01_T1w.html",
        "sub-01_T1w_run.json",
        "sub-02/ses-1/anat/sub-02_ses-1_desc-anomaly_T1w.json",
        "sub-02/ses-1/anat/sub-02_ses-1_desc-anomaly_T1w.nii.gz",
        "sub-02/ses-1/anat/sub-02_ses-1_desc-uad_mask.json",
        "sub-02/ses-1/anat/sub-02_ses-1_desc-uad_mask.nii.gz",
        "sub-02_ses-1_T1w.html",
        "sub-02_ses-1_T1w_run.json",
    ]
    assert json.loads(Path("out/dataset_description.json").read_text())["DatasetType"] == "derivative"
    assert "<h1>sub-01_T1w</h1>" in Path("out/sub-01_T1w.html").read_text()
    done = uad("bids", study, "out", "participant", *how, "--json")
    assert ["skipped" in row for row in done.json] == [True, True, False]
    done = uad("bids", study, "out", "group", "--json")
    assert done.status == 0, done.err
    table = list(csv.DictReader(Path("out/results.csv").read_text().splitlines()))
    assert [row["name"] for row in table] == [row["name"] for row in done.json]
    links = re.findall('<a href="([^"]+)">', Path("out/index.html").read_text())
    assert sorted(links) == ["sub-01_T1w.html", "sub-02_ses-1_T1w.html", "sub-03_T1w.html"]


def test_the_group_names_files_as_seen_from_here(uad, study, how, monkeypatch):
    uad("bids", study, "out", "participant", *how)
    monkeypatch.chdir("study")
    rows = uad("bids", study, "../out", "group", "--json").json
    paths = [row[name] for row in rows for name in ("output", "score", "report")]
    assert len(paths) == 3 * 3
    assert all(path.startswith("../out/") and Path(path).is_file() for path in paths)


def test_scans_of_another_suffix_are_named_so(uad, study, how):
    done = uad("bids", study, "out", "participant", "--suffix", "FLAIR", *how)
    assert done.status == 0
    assert "passed over, as there is no *_FLAIR" in done.err
    assert [name for name in made("out") if name.endswith(".nii.gz")] == [
        "sub-03/anat/sub-03_desc-anomaly_FLAIR.nii.gz",
        "sub-03/anat/sub-03_mod-FLAIR_desc-uad_mask.nii.gz",
    ]
    assert uad("report", "out/sub-03/anat/sub-03_mod-FLAIR_desc-uad_mask.nii.gz", "--json").json[0]["layers"] == [
        "score", "detection"
    ]  # fmt: skip


def test_what_there_is_not_is_told(uad, study, how):
    words = ["participant", "--participant-label", "07", *how]
    uad("bids", study, "out", *words).fails("bids", 1, "study", "no T1w scan of sub-07", "--suffix")
    uad("bids", study, "out", "session").fails("bids", 2, "session")
    uad("bids", study, "out", "group").fails("bids", 1, "out: no scan was run into it")
    uad("bids", "none", "out", "participant", *how).fails("bids", 1, "none: no such folder")
    assert not Path("out").exists()


def test_run_takes_a_data_set_too_and_a_dry_run_writes_nothing(uad, study, how):
    dry = uad("run", "--bids", study, "-o", "out", *how, "--dry-run")
    assert dry.status == 0, dry.err
    assert not Path("out").exists()
    assert dry.out.decode().count("uad-preprocess") == 3
    assert "tee out/sub-01/anat/sub-01_desc-uad_mask.nii |" in dry.out.decode()
    assert uad("run", "--bids", study, "-o", "out", *how).status == 0
    assert Path("out/index.html").read_text().count('<a href="') == 3
    uad("run", "--bids", study, *how).fails("run", 2, "--bids", "-o")


def test_what_was_made_of_a_data_set_is_no_scan_of_it(uad, study, how):
    (study / "dataset_description.json").write_text('{"Name": "study", "BIDSVersion": "1.10.0"}')
    assert uad("bids", study, "study/derivatives/uadtools", "participant", *how).status == 0
    scans = {str(study / f"{name}.nii.gz") for name in SCANS}
    dry = uad("run", study, "-o", "out", *how, "--dry-run").out.decode()
    assert set(re.findall(r"uad-preprocess (\S+)", dry)) == scans
    done = uad("preprocess", study, "-o", "prepared", "--json")
    assert len(done.json) == len(SCANS)


def test_what_was_made_of_scans_is_no_scan_under_any_name(uad, here, scan, how):
    raw = here / "raw"
    raw.mkdir()
    shutil.copy(scan, raw / "a.nii.gz")
    assert uad("run", scan, "-o", "out", *how, "--keep").status == 0
    for number, role in enumerate(("brain", "healed", "score", "detection")):
        shutil.copy(f"out/raw_{role}.nii.gz", raw / f"b{number}.nii.gz")
    bare = nib.load("out/raw_detection.nii.gz")
    bare.header.extensions.clear()
    bare.header["intent_name"] = b""
    nib.save(bare, raw / "c.nii.gz")
    shutil.copy("out/raw_detection.json", raw / "c.json")
    assert [row["name"] for row in uad("run", raw, "-o", "again", *how, "--json").json] == ["a"]
    (raw / "a.nii.gz").unlink()
    uad("run", raw, "-o", "again", *how).fails("run", 1, "raw: holds only what uad tools made", "name the folder")
