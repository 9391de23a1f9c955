#!/usr/bin/env python3
"""A cohort on one machine, in one process and in two: python benchmarks/bench_scaling.py [--scans N] [--json OUT].

The scans are copies of examples/data/patient19_T1w.nii.gz, from raw to detections on their own grids. Each way is timed
once, on all cores together, and told in seconds a scan; so is training, whose speed is read from its log:

    stream       uad-preprocess | uad-heal | uad-score | uad-postproc, all scans in one pipe
    two streams  the same, each half of the scans, with half of the cores
    workflow     examples/workflow/Snakefile, if Snakemake is installed
    heal         uad-heal alone, of prepared scans, in one process
    two heals    the same in two processes, each half of the scans, with half of the cores
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench import BIN, EXAMPLES, at_least, report, writable

CORES = os.cpu_count() or 1
STEPS = 30


def seconds(commands: Sequence[str], processes: int) -> float:
    """Run shell commands side by side, each with its share of the cores; return the time until the last is done."""
    surroundings = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": str(CORES // processes)}
    start = time.perf_counter()
    running = [subprocess.Popen(command, shell=True, env=surroundings) for command in commands]
    failed = [one.args for one in running if one.wait()]
    if failed:
        sys.exit(f"{failed[0]}: failed")
    return time.perf_counter() - start


def stream(scans: Sequence[Path], out: str) -> str:
    names = " ".join(map(str, scans))
    chain = f"uad-preprocess {names} -o - --quiet | uad-heal --quiet | uad-score | uad-postproc --native --quiet"
    return f"{chain} -o {out}/"


def heal(scans: Sequence[Path], out: str) -> str:
    return f"uad-heal {' '.join(map(str, scans))} --quiet -o {out}/"


def cohort(folder: Path, count: int) -> dict[str, float]:
    """Time every way through a cohort."""
    raw = [folder / "raw" / f"scan{i}.nii.gz" for i in range(count)]
    (folder / "raw").mkdir()
    for path in raw:
        shutil.copyfile(EXAMPLES / "data" / "patient19_T1w.nii.gz", path)
    found = {
        "stream": seconds([stream(raw, f"{folder}/one")], 1),
        "two streams": seconds([stream(raw[::2], f"{folder}/half"), stream(raw[1::2], f"{folder}/half")], 2),
    }
    seconds([f"uad-preprocess {folder}/raw -o {folder}/prepared/ --quiet"], 1)
    prepared = sorted((folder / "prepared").glob("*.nii.gz"))
    found["heal"] = seconds([heal(prepared, f"{folder}/healed")], 1)
    halves = [heal(prepared[i::2], f"{folder}/healed{i}") for i in range(2)]
    found["two heals"] = seconds(halves, 2)
    if shutil.which("snakemake", path=str(BIN)):
        flow = f"snakemake -s {EXAMPLES}/workflow/Snakefile --cores {CORES} --quiet all -d {folder}"
        found["workflow"] = seconds([f"{flow} --config scans={folder}/raw out={folder}/flow"], 1)
    found |= {name: whole / count for name, whole in found.items()}
    found["megabytes raw"] = raw[0].stat().st_size / 1e6
    for part in ("prepared", "healed", "one"):
        found[f"megabytes {part}"] = next((folder / part).glob("*.nii.gz")).stat().st_size / 1e6
    return found


def training(folder: Path) -> dict[str, float]:
    """Return the slices a second of t1-ddpm's training: one process on one core and on all, and two processes."""
    words = f"uad-train {folder}/prepared --recipe t1-ddpm --steps {STEPS} --set training.log_every=5 --quiet"
    ways = {
        "one process, one core": (words, CORES),
        "one process": (words, 1),
        "two processes": (f"torchrun --nproc-per-node 2 --no-python {words}", 2),
    }
    found = {}
    for name, (command, processes) in ways.items():
        model = folder / f"{name.replace(' ', '-').replace(',', '')}.safetensors"
        seconds([f"{command} -o {model}"], processes)
        rows = list(csv.DictReader(model.with_suffix(".csv").open()))
        steps = sorted(float(row["seconds_per_step"]) for row in rows[1:])
        found[name] = 8 / steps[len(steps) // 2]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=at_least(2), default=16)
    parser.add_argument("--json", type=writable)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {"cores": CORES, "scans": options.scans, "seconds a scan": cohort(Path(folder), options.scans)}
        found["slices a second in training"] = training(Path(folder))
    report(found, options.json)


if __name__ == "__main__":
    main()
