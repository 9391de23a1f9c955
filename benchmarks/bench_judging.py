#!/usr/bin/env python3
"""Time what judging costs, and measure its memory: python benchmarks/bench_judging.py [--scans N].

Best Dice, average precision and AUROC of five million voxels at once; and uad-eval, as a whole process, on scans of
96x96x80 voxels with a handful of lesions each. The data are drawn, as their content matters little for the time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np

import uadtools
from uadtools.grids.grid import Grid
from uadtools.metrics.ranking import rank
from uadtools.volume.io import Image

VOXELS, SHAPE = 5_000_000, (96, 96, 80)


def ranked() -> tuple[float, float]:
    """Return the seconds that the three figures take, and the MB beyond the data, in a second run."""
    rng = np.random.default_rng(0)
    truth = rng.random(VOXELS) < 0.01
    score = (rng.gamma(2, 0.05, VOXELS) + 0.1 * truth).astype(np.float32)
    start = time.perf_counter()
    figures(score, truth)
    seconds = time.perf_counter() - start
    tracemalloc.start()
    figures(score, truth)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, peak / 2**20


def figures(score: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    found = rank(score, truth)
    return found.best_dice().dice, found.average_precision(), found.auroc()


def scans(folder: Path, count: int) -> None:
    """Write score maps, detections and truths of heads with a few balls for lesions."""
    places = np.stack(np.meshgrid(*[np.arange(n) - n / 2 for n in SHAPE], indexing="ij"))
    brain = np.linalg.norm(places / np.array([38, 42, 34])[:, None, None, None], axis=0) < 1
    grid = Grid(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))
    for i in range(count):
        rng = np.random.default_rng(i)
        middles = rng.uniform(-20, 20, (4, 3, 1, 1, 1))
        truth = brain & (np.linalg.norm(places - middles, axis=1) < rng.uniform(1, 5, (4, 1, 1, 1))).any(axis=0)
        score = np.where(brain, rng.gamma(2, 0.02, SHAPE) + 0.1 * truth, 0).astype(np.float32)
        made = {"score": score, "detection": (score > 0.15).astype(np.uint8), "truth": truth.astype(np.uint8)}
        for role, data in made.items():
            uadtools.save(Image(data, grid, role), folder / f"{i:03d}_{role}.nii.gz", provenance=False)


def evaluated(folder: Path, kind: str, *options: str) -> tuple[float, float]:
    """Return the wall seconds and the MB of uad-eval on all scans of a folder."""
    predictions, truths = ([str(p) for p in sorted(folder.glob(f"*_{role}.nii.gz"))] for role in (kind, "truth"))
    command = Path(sys.executable).parent / "uad-eval"
    start = time.perf_counter()
    process = subprocess.Popen([command, *predictions, "--truth", *truths, "-q", *options])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"uad-eval: status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=40)
    count = parser.parse_args().scans
    print(f"{VOXELS:,} voxels: {'{:.2f} s, {:.0f} MB'.format(*ranked())}")
    with tempfile.TemporaryDirectory() as folder:
        scans(Path(folder), count)
        for kind, options in (("score", ("--best",)), ("detection", ()), ("detection", ("--lesions",))):
            seconds, megabytes = evaluated(Path(folder), kind, *options)
            what = f"{count} {kind}s {' '.join(options)}"
            print(
                f"{what:<28}{seconds:6.1f} s{megabytes:7.0f} MB{count / seconds * 60:8.0f} scans a minute", flush=True
            )


if __name__ == "__main__":
    main()
