#!/usr/bin/env python3
"""Time each step of uad-preprocess, and measure its memory: python benchmarks/bench_preprocess.py SCAN [--runs N].

SCAN has its skull. It is brought to voxels of 1 mm first, so that the figures are those of a common raw scan.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import uadtools
from uadtools.grids.grid import resample, spaced_grid

WAYS = {
    "--brain none": ("--brain", "none"),
    "--brain auto": (),
    "--brain auto --bias-correct": ("--bias-correct",),
    "--brain auto --bias-correct --register mni": ("--bias-correct", "--register", "mni"),
}


def measured(scan: Path, out: Path, options: tuple[str, ...]) -> tuple[float, float, dict[str, float]]:
    """Run it; return wall seconds, the largest resident size in MB, and the seconds of each step."""
    command = Path(sys.executable).parent / "uad-preprocess"
    start = time.perf_counter()
    words = [str(command), str(scan), "-o", str(out), "--force", "--json", "-q", *options]
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert process.stdout is not None
    (result,) = json.loads(process.stdout.read())
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(words)}: status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024, result["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        raw, scan, out = uadtools.read(settings.scan), Path(folder, "fine.nii.gz"), Path(folder, "out.nii.gz")
        grid = spaced_grid(raw.grid, (1.0, 1.0, 1.0))
        fine = np.round(resample(raw.data, raw.grid, grid)).astype(np.int16)
        uadtools.save(raw.derive(fine, "scan", grid), scan, provenance=False)
        print(grid)
        for name, options in WAYS.items():
            runs = [measured(scan, out, options) for _ in range(settings.runs + 1)][1:]
            steps = {step: statistics.median(run[2][step] for run in runs) for step in runs[0][2]}
            spent = ", ".join(f"{step} {seconds:.1f}" for step, seconds in steps.items())
            wall, memory = statistics.median(run[0] for run in runs), max(run[1] for run in runs)
            print(f"{name:<44}{wall:6.1f} s{memory:7.0f} MB   ({spent})", flush=True)


if __name__ == "__main__":
    main()
