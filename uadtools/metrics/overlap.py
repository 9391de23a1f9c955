"""Voxel counts of a detection against the truth, and the ratios made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import UadError

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Overlap:
    """Voxel counts; a ratio is NaN where its denominator is 0, so that "undefined" never reads as "bad".

    Counts add up: `sum(scans, Overlap())` pools over scans, and its `dice` is the pooled one, which differs from the
    mean of the scans' own.
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def __add__(self, other: Overlap) -> Overlap:
        return Overlap(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def dice(self) -> float:
        """2 tp / (2 tp + fp + fn); NaN if both masks are empty."""
        return ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall: over voxels, the Dice coefficient under its other name."""
        return self.dice

    @property
    def iou(self) -> float:
        """Jaccard index, tp / (tp + fp + fn); NaN if both masks are empty."""
        return ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def precision(self) -> float:
        """Share of the detection that is lesion, tp / (tp + fp); NaN if nothing was detected."""
        return ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Share of the lesions that is detected, tp / (tp + fn); NaN if there is no lesion."""
        return ratio(self.tp, self.tp + self.fn)

    @property
    def fpr(self) -> float:
        """Share of the healthy voxels that is detected, fp / (fp + tn); NaN if there is no healthy voxel."""
        return ratio(self.fp, self.fp + self.tn)


def overlap(detection: Mask, truth: Mask, within: Mask | None = None) -> Overlap:
    """Count true and false positives and negatives, in all voxels or only in those `within`.

    All masks are of one shape, of any number of axes. Raises UadError if the shapes differ or if these are no masks.
    """
    if within is not None:
        require_masks(detection=detection, truth=truth, within=within)
        detection, truth = detection[within], truth[within]
    require_masks(detection=detection, truth=truth)
    tp = int(np.count_nonzero(detection & truth))
    fp = int(np.count_nonzero(detection)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    return Overlap(tp, fp, fn, detection.size - tp - fp - fn)


@dataclass(frozen=True)
class Load:
    """Lesion volume in mL, true and detected."""

    truth: float
    detection: float

    @property
    def volume_error(self) -> float:
        """Detected minus true volume, in mL."""
        return self.detection - self.truth

    @property
    def relative_volume_error(self) -> float:
        """Volume error as a share of the true volume; NaN if there is no lesion."""
        return ratio(self.volume_error, self.truth)


def load(counts: Overlap, voxel_ml: float) -> Load:
    """Return the lesion volumes of one scan, whose voxels have `voxel_ml` mL."""
    return Load(voxel_ml * (counts.tp + counts.fn), voxel_ml * (counts.tp + counts.fp))


def require_masks(**masks: Mask) -> None:
    """Raise UadError, telling the culprit by its name, unless all are boolean and of one shape."""
    for name, mask in masks.items():
        if mask.dtype != np.bool_:
            raise UadError(f"{name} has {mask.dtype} voxels, so it is no mask (threshold it first)")
    require_same_shape(**masks)


def require_same_shape(**arrays: NDArray[Any]) -> None:
    """Raise UadError, telling every shape by its name, unless all arrays have the same one."""
    if len({array.shape for array in arrays.values()}) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise UadError(f"shapes differ: {shapes} (put them on the same grid first)")


def ratio(part: float, whole: float) -> float:
    """Divide; NaN if the whole is 0."""
    return part / whole if whole else math.nan
