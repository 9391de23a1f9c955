"""A cohort through the engine, and without one: real scans in, detections out, killed and run again."""

import gzip
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCAN = ROOT / "examples" / "data" / "patient19_T1w.nii.gz"
SNAKEMAKE = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "examples" / "workflow" / "Snakefile"), "--cores", "1"]
CONFIG = ["--config", "scans=raw", "out=out", "batch=1"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("raw").mkdir()
    for name in ("a", "b"):
        shutil.copy(SCAN, f"raw/{name}.nii.gz")
    return tmp_path


def run(words, status=0):
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == status, done.stderr
    return done.stderr


def test_a_cohort_killed_half_way_does_what_is_missing(here):
    pytest.importorskip("snakemake")
    first = subprocess.Popen(
        [*SNAKEMAKE, *CONFIG], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    healed = here / "out" / "healed"
    while not (list(healed.glob("*/*.nii.gz")) or first.poll() is not None):
        time.sleep(0.1)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    done = {path: path.stat().st_mtime_ns for path in (here / "out" / "prepared").glob("*.nii.gz")}
    assert done
    assert not list((here / "out").glob("detections/*.nii.gz"))
    run([*SNAKEMAKE, *CONFIG, "--unlock"])
    run([*SNAKEMAKE, *CONFIG, "--rerun-incomplete"])
    assert sorted(path.name for path in (here / "out" / "detections").glob("*.nii.gz")) == ["a.nii.gz", "b.nii.gz"]
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert "Nothing to be done" in run([*SNAKEMAKE, *CONFIG])


def test_without_scans_there_is_a_line_about_it(here):
    pytest.importorskip("snakemake")
    assert "name the scans: --config scans=FOLDER_OR_LIST" in run(SNAKEMAKE, 1)
    (here / "none").mkdir()
    assert "none: no scans" in run([*SNAKEMAKE, "--config", "scans=none"], 1)


def test_an_array_of_jobs_does_its_share_and_what_is_missing(here):
    Path("scans.txt").write_text("raw/a.nii.gz\n\nraw/b.nii.gz\n")
    script = ["bash", str(ROOT / "examples" / "slurm" / "heal_array.sh"), "scans.txt", "out"]
    share = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "2"}
    run(["env", *(f"{key}={value}" for key, value in share.items()), *script])
    found = here / "out" / "detections"
    assert [path.name for path in found.glob("*.nii.gz")] == ["b_detection.nii.gz"]
    before = (found / "b_detection.nii.gz").stat().st_mtime_ns
    run(script)
    assert sorted(path.name for path in found.glob("*.nii.gz")) == ["a_detection.nii.gz", "b_detection.nii.gz"]
    assert (found / "b_detection.nii.gz").stat().st_mtime_ns == before
    run(script)
    assert [path.name for path in (here / "out").iterdir()] == ["detections"]


def test_a_scan_that_cannot_be_prepared_stops_no_other_of_the_array(here):
    (here / "raw" / "b.nii.gz").write_bytes(b"no scan")
    plain = gzip.decompress(SCAN.read_bytes())
    (here / "raw" / "c.nii").write_bytes(plain)
    Path("scans.txt").write_text("raw/b.nii.gz\nraw/a.nii.gz\nraw/c.nii\n")
    said = run(["bash", str(ROOT / "examples" / "slurm" / "heal_array.sh"), "scans.txt", "out"], 1)
    assert "b.nii.gz" in said
    found = sorted(path.name for path in (here / "out" / "detections").glob("*.nii.gz"))
    assert found == ["a_detection.nii.gz", "c_detection.nii.gz"]
