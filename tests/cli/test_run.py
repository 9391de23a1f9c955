"""uad-run: the whole pipe in one go, with the voxels of the pipe."""

import csv
import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

STEPS = ("median=1", "erode=0", "min-size=1")
CHAIN = [word for step in STEPS for word in ("--set", f"postproc.{step}")]


@pytest.fixture
def how(tiny_model):
    """Options with which something is found in the raw scan."""
    return ["--model", tiny_model, "-t", 150, "--threshold", 0.2, "--signed", "bright", "--seed", 4, *CHAIN]


def voxels(path):
    return np.asarray(nib.load(path).dataobj)


def files(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def test_a_run_makes_the_voxels_of_the_pipe_that_a_dry_run_prints(uad, shell, raw, here, how):
    affine = raw.affine @ nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1, 0.2, 0.3), [0.1, 0, 0])
    nib.save(nib.Nifti1Image(raw.get_fdata().astype(np.int16), affine), here / "it's a scan.nii.gz")
    done = uad("run", "it's a scan.nii.gz", "-o", "out dir", *how)
    assert done.status == 0, done.err
    assert files("out dir") == [
        "it's a scan.html",
        "it's a scan_detection.json",
        "it's a scan_detection.nii.gz",
        "it's a scan_run.json",
        "it's a scan_score.json",
        "it's a scan_score.nii.gz",
    ]
    dry = uad("run", "it's a scan.nii.gz", "-o", "pipe dir", *how, "--dry-run")
    assert dry.status == 0, dry.err
    assert not Path("pipe dir").exists()
    piped = shell(dry.out.decode())
    assert piped.status == 0, piped.err
    for role in ("score", "detection"):
        ours, theirs = (
            nib.load(f"{folder} dir/it's a scan_{role}.nii{end}") for folder, end in (("out", ".gz"), ("pipe", ""))
        )
        np.testing.assert_array_equal(ours.dataobj, theirs.dataobj)
        np.testing.assert_array_equal(ours.affine, theirs.affine)
        assert ours.get_data_dtype() == theirs.get_data_dtype()
    assert voxels("out dir/it's a scan_detection.nii.gz").any()
    assert nib.load("out dir/it's a scan_detection.nii.gz").shape == raw.shape
    assert Path("pipe dir/it's a scan.html").exists()


def test_json_says_what_was_made(uad, scan, how):
    (row,) = uad("run", scan, "-o", "out", *how, "--json").json
    assert (row["name"], row["output"]) == ("raw", "out/raw_detection.nii.gz")
    assert (row["score"], row["report"]) == ("out/raw_score.nii.gz", "out/raw.html")
    assert row["detected_voxels"] == voxels(row["output"]).sum() > 0
    assert (row["threshold"], row["threshold_from"], row["concerns"]) == (0.2, "user", row["concerns"])
    assert row["model"].startswith("tiny")
    assert all(len(str(row[name])) < 10 for name in ("detected_ml", "largest_ml"))
    assert json.loads(Path("out/raw_run.json").read_text())["result"] == row


def test_a_newcomer_is_told_where_to_look(uad, scan, how, here):
    assert "to look at in a browser: raw.html" in uad("run", scan, *how).lines[-1]
    assert (here / "raw_detection.nii.gz").exists()
    assert uad("run", scan, "-o", "out", "-q", *how).err == ""


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("heal.stepz=1", ["No such option: --stepz", "--steps"]),
        ("postproc.erode=x", ["--erode", "valid integer"]),
        ("postproc.erode=-1", ["--erode", "greater than or equal to 0"]),
        ("score.metric=l3", ["--metric", "'l3' is not one of"]),
        ("postproc.largest=1", ["--largest", "does not take a value"]),
        ("score.contrast=FLAIR", ["score.contrast=FLAIR: the model sees one contrast"]),
        ("preprocess.spacing=0", ["--spacing: 0"]),
        ("postproc.median=2", ["--median: 2", "odd"]),
        ("heal.help", ["expected STEP.OPTION=VALUE"]),
        ("heal", ["expected STEP.OPTION=VALUE"]),
        ("cure.t=3", ["preprocess, heal, score, postproc"]),
        ("heal.output=x", ["has no effect in uad-run"]),
        ("score.native", ["has no effect in uad-run"]),
        ("heal.volume=1", ["has no effect in uad-run"]),
        ("heal.model=x", ["leave one out"]),
        ("preprocess.save-brain=b", ["--set preprocess.save-brain: has no effect"]),
        ("postproc.dicom-seg=exam", ["--set postproc.dicom-seg:", "--dicom-seg writes it for folders of DICOM"]),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_done(uad, scan, tiny_model, setting, words):
    uad("run", scan, "-o", "out", "--model", tiny_model, "--set", setting).fails("run", 2, *words)
    assert not Path("out").exists()


@pytest.mark.parametrize("command", ["run", "heal"])
def test_a_device_that_is_not_there_is_told_before_any_work(uad, scan, tiny_model, command, here, monkeypatch):
    monkeypatch.setattr("uadtools.pipeline.steps.prepare", None)
    monkeypatch.setattr("uadtools.cohort.jobs.prepared", None)
    made = uad(command, scan, "-o", "out/", "--model", tiny_model, "--device", "cuda:99")
    made.fails(command, 1, "--device cuda:99: not available here")
    assert not Path("out").exists()


def test_settings_reach_their_steps(uad, scan, how):
    settings = ["preprocess.brain=none", "score.metric=l2", "heal.t=100", "heal.t=200", "postproc.dilate=1"]
    words = [word for word in how if word not in ("-t", 150)]
    done = uad("run", scan, "-o", "out", *words, *(word for text in settings for word in ("--set", text)))
    assert done.status == 0, done.err
    prepared, healed, scored, detected = json.loads(Path("out/raw_detection.json").read_text())["history"]
    assert prepared["arguments"]["brain"] == "none"
    assert healed["arguments"]["t"] == [100, 200]
    assert (scored["arguments"]["metric"], scored["arguments"]["signed"]) == ("l2", "bright")
    assert (detected["arguments"]["dilate"], detected["arguments"]["native"]) == (1, True)


@pytest.fixture
def several(here, scan):
    """A folder of two scans, and between them a file that is none."""
    (here / "raw").mkdir()
    for name in ("a", "c"):
        shutil.copy(scan, here / "raw" / f"{name}.nii.gz")
    (here / "raw" / "b.nii.gz").write_bytes(b"no scan")
    return here / "raw"


def test_a_scan_that_fails_is_told_and_stops_no_other(uad, several, how, monkeypatch):
    from uadtools.models import model

    loaded = []
    load = model.load_model
    monkeypatch.setattr(model, "load_model", lambda *a, **k: loaded.append(a) or load(*a, **k))
    done = uad("run", several, "-o", "out", *how, "--json")
    assert done.status == 1
    assert ["raw/b.nii.gz: not a NIfTI image" in line for line in done.lines if "error" in line] == [True]
    assert [("error" in row, Path(row["name"]).name) for row in done.json] == [
        (False, "a"), (True, "b.nii.gz"), (False, "c")
    ]  # fmt: skip
    assert len(loaded) == 1
    index = Path("out/index.html").read_text()
    assert re.findall('<a href="([^"]+)">', index) == ["a.html", "c.html"]
    assert "1 more failed: results.csv" in index
    table = list(csv.DictReader(Path("out/results.csv").read_text().splitlines()))
    assert [bool(row["error"]) for row in table] == [False, True, False]
    assert float(table[0]["detected_ml"]) == done.json[0]["detected_ml"]


def test_what_is_done_is_skipped_and_a_mended_scan_is_not(uad, several, how):
    first = uad("run", several, "-o", "out", *how, "--json").json
    before = Path("out/a.html").stat().st_mtime_ns
    shutil.copy(several / "a.nii.gz", several / "b.nii.gz")
    Path("out/c_score.nii.gz").unlink()
    done = uad("run", several, "-o", "out", *how, "--json")
    assert done.status == 0, done.err
    assert ["skipped" in row for row in done.json] == [True, False, False]
    assert done.json[0] == {**first[0], "skipped": True}
    assert Path("out/a.html").stat().st_mtime_ns == before
    assert Path("out/c_score.nii.gz").exists()
    assert re.findall('<a href="([^"]+)">', Path("out/index.html").read_text()) == ["a.html", "b.html", "c.html"]


def test_what_is_done_is_told_as_seen_from_here(uad, several, how, here, monkeypatch):
    uad("run", several, "-o", "out", *how)
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    done = uad("run", several, "-o", "../out/", *how, "--json")
    with Path("../out/results.csv").open() as table:
        rows = [*done.json, *csv.DictReader(table)]
    paths = [row[name] for row in rows for name in ("output", "score", "report") if row.get(name)]
    assert len(paths) == 2 * 2 * 3  # one of the scans fails
    assert all(path.startswith("../out/") and Path(path).is_file() for path in paths)
    alone = uad("run", several / "a.nii.gz", "-o", "../out/", *how)
    assert "to look at in a browser: ../out/a.html" in alone.lines[-1]


def test_what_was_made_otherwise_is_replaced_by_force_alone(uad, scan, raw, how, here):
    assert uad("run", scan, "-o", "out", *how).status == 0
    other = ["run", scan, "-o", "out", *how, "--set", "postproc.dilate=1"]
    uad(*other).fails("run", 1, "out/raw_run.json", "made with another postproc.dilate", "--force")
    assert uad(*other, "--force").status == 0
    nib.save(nib.Nifti1Image(np.asarray(raw.dataobj) // 2, raw.affine), scan)
    uad(*other).fails("run", 1, "out/raw_run.json", "another state", "--force")
    Path("out/raw_run.json").unlink()
    uad(*other).fails("run", 1, "out/raw_detection.nii.gz", "exists", "--force")


@pytest.mark.parametrize(
    "damage", ["[]", "{}", '{"settings": {}, "scan": "0", "result": 3, "row": null}', "{", "row", "thumbnail"]
)
def test_a_damaged_record_is_told(uad, scan, how, damage):
    assert uad("run", scan, "-o", "out", *how).status == 0
    record = Path("out/raw_run.json")
    data = json.loads(record.read_text())
    data["row"] |= {"row": {"peak": "high"}, "thumbnail": {"thumbnail": "?"}}.get(damage, {})
    record.write_text(json.dumps(data) if damage.isalpha() else damage)
    uad("run", scan, "-o", "out", *how).fails("run", 1, "out/raw_run.json")


def test_no_page_takes_the_name_of_the_index(uad, scan, how):
    scan.rename("index.nii.gz")
    uad("run", "index.nii.gz", "-o", "out", *how).fails("run", 1, "index", "rename")


def test_a_killed_run_goes_on(uad, scan, how, monkeypatch):
    from uadtools.pipeline import folder

    def killed(*args, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(folder.Sink, "write", killed)
        assert uad("run", scan, "-o", "out", *how).status == 130
    assert files("out") == ["raw.html", "raw_run.json"]
    assert uad("run", scan, "-o", "out", *how).status == 0
    assert "raw_detection.nii.gz" in files("out")


def test_a_scan_that_fails_alone_leaves_nothing_behind(uad, scan, how, prepared):
    uad("run", scan, "-o", "out", *how, "--set", f"score.spread={prepared}").fails("run", 2, "--spread")
    done = uad("run", scan, "-o", "out", *how, "--set", f"heal.brain={scan}")
    assert (done.status, "different grids" in done.lines[-1]) == (1, True)
    assert not Path("out").exists()
    Path("mine").mkdir()
    assert uad("run", scan, "-o", "mine/a", *how, "--set", f"heal.brain={scan}").status == 1
    assert files("mine") == []
    uad("run", "none.nii.gz", "-o", "out", *how).fails("run", 1, "none.nii.gz: No such file")


def test_a_scan_unlike_the_others_has_nothing_detected(uad, scan, wary_model):
    done = uad("run", scan, "-o", "out", "--model", wary_model, "-t", 5, "--strict", "--json")
    assert done.status == 3, done.err
    (row,) = done.json
    assert row["withheld"]
    assert "unlike" in [concern["code"] for concern in row["concerns"]]
    assert not voxels(row["output"]).any()
    assert "no detection" in done.err


def test_names_are_shown_where_they_are_wanted(uad, scan, how, here):
    scan.rename("Jane_Doe.nii.gz")
    assert uad("run", "Jane_Doe.nii.gz", "-o", "out", *how).status == 0
    assert "Jane" not in Path("out/Jane_Doe.html").read_text()
    assert uad("run", "Jane_Doe.nii.gz", "-o", "named", *how, "--keep-names").status == 0
    assert "<h1>Jane_Doe</h1>" in Path("named/Jane_Doe.html").read_text()


def test_a_stream_is_run_study_by_study(uad, scan, how):
    stream = scan.read_bytes()
    done = uad("run", "-o", "out", *how, stdin=stream)
    assert done.status == 0, done.err
    assert "stdin_detection.nii.gz" in files("out")
    pipe = uad("run", "-", "-o", "pipe", *how, "--dry-run").out.decode()
    assert pipe.splitlines()[1].startswith("uad-preprocess - --model")
    assert pipe.splitlines()[-1].endswith("--native -o pipe/")


def test_what_is_made_on_the_way_is_kept_for_the_other_tools(uad, scan, how):
    assert uad("run", scan, "-o", "out", *how, "--keep", "--set", "heal.samples=2").status == 0
    kept = ["brain", "detection", "healed", "preprocessed", "score", "spread"]
    assert [name for name in files("out") if name.endswith(".gz")] == [f"raw_{role}.nii.gz" for role in kept]
    (row,) = uad("report", "out/raw_detection.nii.gz", "--json").json
    assert {*row["layers"]} == {"scan", "healed", "score", "detection", "spread"}
    assert uad("score", "out/raw_healed.nii.gz", "--metric", "l2", "-o", "l2.nii.gz").status == 0


@pytest.mark.parametrize("output", ["-", "x.nii.gz", "x.png"])
def test_what_is_made_goes_to_a_folder(uad, scan, how, output):
    uad("run", scan, "-o", output, *how).fails("run", 2, "--output")


def test_the_index_of_somebody_else_stays(uad, several, how):
    Path("out").mkdir()
    Path("out/index.html").write_text("mine")
    uad("run", several, "-o", "out", *how).fails("run", 1, "out/index.html", "no index of reports")
    assert files("out") == ["index.html"]


@pytest.mark.parametrize("command", ["run", "preprocess", "heal", "score", "postproc", "report", "simulate"])
def test_a_name_of_nothing_is_no_output(uad, scan, here, command):
    kind = ["--kind", "blobs"] if command == "simulate" else []
    uad(command, scan, *kind, "-o", "").fails(command, 2, "--output: a name is missing")
    assert [path.name for path in here.iterdir()] == ["raw.nii.gz"]


def test_a_run_names_the_model_and_verbose_how_it_heals(uad, scan, how):
    plain, more = (uad("run", scan, "-o", f"out{len(v)}", *how, *v) for v in ((), ("-v",)))
    assert any(line.startswith("uad-run: raw: healed with tiny:") for line in plain.lines), plain.err
    assert any(line.startswith("uad-run: raw: sss, t 150, cpu") for line in more.lines), more.err
    alone = ("--method", "blur", "--set", f"preprocess.model={how[1]}")
    baseline = uad("run", scan, "-o", "blur", *how[4:], *alone)
    assert baseline.status == 0, baseline.err
    assert "healed with" not in baseline.err


def test_a_dry_run_refuses_what_the_run_would(uad, scan, how, tmp_path):
    words = ["run", scan, "-o", "out", *how]
    Path("out").mkdir()
    for name in ("raw_detection.nii.gz", "raw_score.json", "raw.html"):
        Path("out", name).write_text("mine")
        said = [uad(*words, *dry).fails("run", 1, f"out/{name}", "--force").err for dry in ((), ("--dry-run",))]
        assert said[0] == said[1]
        assert uad(*words, "--dry-run", "--force").status == 0
        Path("out", name).unlink()
        assert files("out") == []
    Path("out/raw_healed.nii.gz").write_text("mine")
    assert uad(*words, "--dry-run").status == 0
    uad(*words, "--dry-run", "--keep").fails("run", 1, "out/raw_healed.nii.gz")


def test_a_dry_run_refuses_a_folder_in_a_file(uad, scan, how):
    Path("file").write_text("mine")
    for dry in ((), ("--dry-run",)):
        uad("run", scan, "-o", "file/out", *how, *dry).fails("run", 1, "file")


def test_a_dry_run_knows_what_an_earlier_run_did(uad, scan, how):
    words = ["run", scan, "-o", "out", *how]
    assert uad(*words).status == 0
    assert uad(*words, "--dry-run").out.startswith(b"mkdir")
    uad(*words, "--keep-names", "--dry-run").fails("run", 1, "out/raw_run.json", "another keep_names", "--force")


def test_a_dry_run_reads_headers(uad, scan, raw, how):
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 3), np.int16), raw.affine), "four.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.complex64), raw.affine), "complex.nii.gz")
    Path("short.nii").write_bytes(b"\x5c\x01\0\0" + bytes(50))
    Path("none.png").write_bytes(b"none")
    for file, word in {
        "none.nii.gz": "No such file", "four.nii.gz": "3 volumes", "complex.nii.gz": "complex voxels",
        "short.nii": "cut short", "none.png": "none.png",
    }.items():  # fmt: skip
        for dry in ((), ("--dry-run",)):
            uad("run", file, "-o", "out", *how, *dry).fails("run", 1, file, word)
    assert uad("run", "four.nii.gz", "-o", "out", *how, "--volume", 2, "--dry-run").status == 0
    uad("run", scan, "-o", "out", *how, "--series", 3, "--dry-run").fails("run", 2, "--series")
    assert not Path("out").exists()


def test_a_dry_run_of_several_tells_those_that_would_fail(uad, several, how):
    done = uad("run", several, "-o", "out", *how, "--dry-run")
    assert done.status == 1
    assert ["raw/b.nii.gz: not a NIfTI image" in line for line in done.lines] == [True]
    assert [name for name in "abc" if f"raw/{name}.nii.gz" in done.out.decode()] == ["a", "c"]
    (several / "a.nii.gz").unlink()
    (several / "c.nii.gz").unlink()
    assert uad("run", several, "-o", "out", *how, "--dry-run").out == b""
    Path("out").mkdir()
    Path("out/index.html").write_text("mine")
    uad("run", several, "-o", "out", *how, "--dry-run").fails("run", 1, "out/index.html", "no index of reports")
    assert files("out") == ["index.html"]
