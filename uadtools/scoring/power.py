"""What a threshold leaves of lesions: which are found, by size, and what else is detected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

import numpy as np

from uadtools.grids.grid import Grid
from uadtools.metrics.lesions import Lesionwise, lesionwise, recall_by_size
from uadtools.scoring.postproc import Steps, detect
from uadtools.volume.clean import Mask, Score

SIZES = (0.0, 0.5, 4.0, math.inf)
"""Edges in mL of the classes of lesions: about balls of 10 and of 20 mm."""


@dataclass(frozen=True)
class Lesioned:
    """A scan with lesions: the (N,) smooth scores of the eroded brain, this and the truth (X, Y, Z), their grid, and
    the mL of a voxel.
    """

    scores: Score
    eroded: Mask
    truth: Mask
    grid: Grid
    voxel_ml: float

    @property
    def smooth(self) -> Score:
        """The scores, (X, Y, Z), 0 outside the eroded brain. Made anew, since many scans are kept."""
        scores = np.zeros(self.eroded.shape, self.scores.dtype)
        scores[self.eroded] = self.scores
        return scores


class Power(TypedDict):
    """Which lesions the threshold leaves, as `uad-eval` counts them, and the mean volumes of a scan in mL."""

    scans: int
    lesions: int
    found: int
    recall: float | None
    false_positives: int
    lesion_ml: float
    detected_ml: float
    by_size: list[dict[str, Any]]


def power(lesioned: Sequence[Lesioned], steps: Steps, threshold: float) -> Power:
    """Count which lesions a threshold finds, and what else it detects."""
    pooled, ml, detected_ml = Lesionwise(), 0.0, 0.0
    for scan in lesioned:
        detection = detect(scan.smooth, scan.eroded, steps, threshold)
        pooled += lesionwise(detection, scan.truth, scan.grid.spacing, voxel_ml=scan.voxel_ml)
        ml += scan.truth.sum() * scan.voxel_ml
        detected_ml += detection.sum() * scan.voxel_ml
    sizes = [asdict(size) for size in recall_by_size(pooled.lesions, SIZES)]
    return {
        "scans": len(lesioned),
        "lesions": pooled.count,
        "found": pooled.found,
        "recall": _defined(pooled.recall),
        "false_positives": pooled.false_positives,
        "lesion_ml": float(ml / len(lesioned)),
        "detected_ml": float(detected_ml / len(lesioned)),
        "by_size": [{key: _defined(value) for key, value in size.items()} for size in sizes],
    }


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None
