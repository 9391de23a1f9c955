"""Making one healed scan of several healings: the mean of the scans, or the vote of their detections."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rule = Literal["mean", "vote"]


def combine(scan: Floats, healings: Floats, rule: Rule) -> Floats:
    """Combine K healings of a scan. scan: any shape S; healings: (K, *S). Returns S.

    mean: the mean of the healings (cDDPM's ENS). vote: at each voxel the healing whose residual |scan - healing| is the
    (K // 2 + 1)-th largest. Thresholding the residual of that image is the same as thresholding all K residuals and
    keeping the voxels that more than half of the K detections contain, for every threshold (the single-step paper's
    common regions), so that the vote needs no threshold of its own.
    """
    if rule == "mean":
        return np.asarray(healings.mean(axis=0, dtype=np.float64), dtype=np.float32)
    residuals = np.abs(scan - healings)
    needed = len(healings) // 2 + 1
    chosen = np.argsort(residuals, axis=0, kind="stable")[-needed]
    return np.asarray(np.take_along_axis(healings, chosen[None], axis=0)[0])


def mean_residual(scan: Floats, healings: Floats) -> Floats:
    """Make one healing of those of several models, whose residual is the mean of theirs. Shapes as in combine.

    That is |scan - made| = mean |scan - healing| everywhere, so that the l1 score is the mean of the scores, which the
    mean of the healings does not give where one is brighter than the scan and another darker. On the side of the scan
    where the mean healing is, if that leaves [0, 1] on the other.
    """
    residuals = scan - healings
    size = np.abs(residuals).mean(axis=0, dtype=np.float64)
    darker = np.where(residuals.mean(axis=0) < 0, scan + size > 1, scan - size >= 0)
    return np.asarray(np.where(darker, scan - size, scan + size), dtype=np.float32)
