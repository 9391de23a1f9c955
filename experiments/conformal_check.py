#!/usr/bin/env python3
"""Check on real scans that conformal thresholds keep their promise: split, calibrate, count, many times.

    python experiments/conformal_check.py FOLDER [--splits 200] [--seed 0] [--elsewhere OTHER_FOLDER]

FOLDER holds score maps of healthy people that a model all has seen, or all has not. In every split, some of them choose
the threshold, as `uad-calibrate` does, and the others are new to it: seen is the mean over the splits of the share of
these with a false alarm (scanwise), or of their brain above the threshold (voxelwise), with a 95% interval for the
splits being some of all possible ones. The exit status is 1 when a seen rate is above the promised one by more than
that. --elsewhere: take the new ones from another folder, whose scans may not be like these; then nothing is promised.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from uadtools.metrics import conformal
from uadtools.scoring.calibrate import Healthy, peak
from uadtools.scoring.case_scores import summed
from uadtools.scoring.postproc import Steps, prepare
from uadtools.volume.stream import is_image, read_path

LEVELS = (0.05, 0.1, 0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--elsewhere", type=Path)
    settings = parser.parse_args()
    scans = healthy(settings.folder)
    others = healthy(settings.elsewhere) if settings.elsewhere else []
    fewest = conformal.scans_needed(min(LEVELS))
    if len(scans) <= fewest:
        sys.exit(f"{settings.folder}: {len(scans)} scans; more than {fewest} are needed")
    broken = False
    print("| rule | promised | scans that choose | new scans | seen | threshold |")
    print("|---|---|---|---|---|---|")
    for level in LEVELS:
        fewest = conformal.scans_needed(level)
        for count in sorted({fewest, max(fewest, len(scans) // 2)}):
            for rule in ("scanwise", "voxelwise"):
                rng = np.random.default_rng(settings.seed)
                tried = [split(scans, others, rule, level, count, rng) for _ in range(settings.splits)]
                seen, thresholds = np.array(tried).T
                half = 1.96 * seen.std(ddof=1) / np.sqrt(len(seen))
                interval = f"{seen.mean():.2%} ({max(seen.mean() - half, 0):.2%} to {seen.mean() + half:.2%})"
                new = len(others) or len(scans) - count
                print(f"| {rule} | {level:.0%} | {count} | {new} | {interval} | {np.median(thresholds):.3f} |")
                broken |= bool(seen.mean() - half > level)
    sys.exit(int(broken and not others))


def healthy(folder: Path) -> list[Healthy]:
    """Prepare all score maps of a folder."""
    scans = []
    for path in sorted(p for p in folder.iterdir() if is_image(p)):
        ready = prepare(next(read_path(path)), Steps())
        scans.append(Healthy(ready.smooth[ready.eroded], peak(ready, Steps()), ready.floor, summed(ready)))
    return scans


def split(
    scans: list[Healthy], others: list[Healthy], rule: str, level: float, count: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Choose a threshold on `count` scans; returns what is seen in the others, and the threshold."""
    order = [scans[i] for i in rng.permutation(len(scans))]
    chosen, new = order[:count], others or order[count:]
    if rule == "scanwise":
        threshold = conformal.scanwise(np.array([scan.peak for scan in chosen]), level)
        return float(np.mean([scan.peak > threshold for scan in new])), threshold
    threshold = conformal.voxelwise([scan.scores for scan in chosen], level)
    return float(np.mean([np.mean(scan.scores > threshold) for scan in new])), threshold


if __name__ == "__main__":
    main()
