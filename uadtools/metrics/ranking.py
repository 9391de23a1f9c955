"""Metrics over all thresholds at once: exact, with ties, from one sort of the scores.

A caller sorts once: `ranking = rank(score, truth)`, then asks its methods. Scans that are looked at one by one and then
together are each sorted once, too: `voxels = ordered(score, truth)`, `ranking(voxels)`, and at the end
`ranking(merged(all_voxels))`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import UadError
from uadtools.metrics.overlap import Mask, require_same_shape

Score = NDArray[np.floating[Any]]


class BestDice(NamedTuple):
    """The highest Dice that any threshold reaches, and that threshold: the detection is `score > threshold`."""

    dice: float
    threshold: float


@dataclass(frozen=True, eq=False)
class Ranking:
    """Voxels from the highest score to the lowest, one entry for each of K distinct values.

    value: (K,) descending; tp, fp: (K,) int64, lesion and healthy voxels with a score of at least `value`. The values
    are those of lesion voxels, the next above and below each of them, and the lowest: between these only fp grows, and
    no figure needs the others.
    """

    value: Score
    tp: NDArray[np.int64]
    fp: NDArray[np.int64]

    @property
    def positives(self) -> int:
        return int(self.tp[-1])

    @property
    def negatives(self) -> int:
        return int(self.fp[-1])

    def average_precision(self) -> float:
        """Sum over k of (recall_k - recall_(k-1)) precision_k, the step-wise area under the precision-recall curve.

        NaN without positives. Not the trapezoid rule, which is too kind to precision-recall curves (Davis and
        Goadrich 2006).
        """
        if not self.positives:
            return math.nan
        gained = np.diff(self.tp, prepend=0)
        return float(np.sum(gained * (self.tp / (self.tp + self.fp)))) / self.positives

    def auroc(self) -> float:
        """Probability that a lesion voxel scores above a healthy one, a tie counting half; NaN if either is missing."""
        if not (self.positives and self.negatives):
            return math.nan
        area = np.trapezoid(np.append(0, self.tp), np.append(0, self.fp))
        return float(area) / (self.positives * self.negatives)

    def best_dice(self) -> BestDice:
        """Search every distinct value; among equal Dice the highest threshold wins. NaN, NaN without positives.

        The threshold is the highest score that stays undetected, or, where everything is detected, the next number
        below the lowest score. Chosen on the scans that it is reported for, this Dice is a ceiling, not a performance.
        """
        if not self.positives:
            return BestDice(math.nan, math.nan)
        dice = 2 * self.tp / (self.tp + self.fp + self.positives)
        best = int(np.argmax(dice))
        below = self.value[best + 1] if best + 1 < self.value.size else np.nextafter(self.value[-1], -np.inf)
        return BestDice(float(dice[best]), float(below))

    def fpr_at_tpr(self, tpr: float) -> float:
        """Lowest false-positive rate of a threshold that reaches a true-positive rate of at least `tpr`, in (0, 1].

        No interpolation: the rate is one that a threshold attains. NaN without positives or without negatives.
        """
        if not 0 < tpr <= 1:
            raise UadError(f"true-positive rate {tpr:g} is out of range (give one above 0, up to 1)")
        if not (self.positives and self.negatives):
            return math.nan
        first = np.searchsorted(self.tp / self.positives, tpr)
        return int(self.fp[first]) / self.negatives


class Voxels(NamedTuple):
    """Scores in ascending order, of the healthy voxels and of those in a lesion."""

    healthy: Score
    lesion: Score

    def at_least(self, values: Score) -> NDArray[np.int64]:
        """Count lesion and healthy voxels with a score of at least each of the values (G,): (2, G)."""
        return np.stack([scores.size - np.searchsorted(scores, values) for scores in (self.lesion, self.healthy)])


def rank(score: Score, truth: Mask) -> Ranking:
    """Sort the voxels by descending score and count lesion and healthy ones; see `ordered`."""
    return ranking(ordered(score, truth))


def ordered(score: Score, truth: Mask) -> Voxels:
    """Sort the scores of the healthy voxels, and of those in a lesion.

    Any shape, the same for both; pass `score[brain], truth[brain]` to stay inside the brain. Raises UadError if the
    shapes differ, if there is no voxel, or if a score is NaN or infinite.
    """
    require_same_shape(score=score, truth=truth)
    if not score.size:
        raise UadError("no voxel to rank (is the brain mask empty?)")
    if not np.isfinite(score).all():
        raise UadError("the score has NaN or infinite voxels (a score must be a number everywhere)")
    truth = truth.astype(bool, copy=False)
    return Voxels(np.sort(score[~truth]), np.sort(score[truth]))


def merged(parts: Sequence[Voxels]) -> Voxels:
    """Put the voxels of several scans together."""
    # a stable sort finds the ascending runs and merges them, which is many times faster than sorting anew
    healthy, lesion = (np.sort(np.concatenate(runs), kind="stable") for runs in zip(*parts, strict=True))
    return Voxels(healthy, lesion)


def ranking(voxels: Voxels) -> Ranking:
    """Count lesion and healthy voxels down to each value that matters."""
    healthy, lesion = voxels.healthy, np.unique(voxels.lesion)
    below, above = np.searchsorted(healthy, lesion) - 1, np.searchsorted(healthy, lesion, side="right")
    nearby = healthy[below[below >= 0]], healthy[above[above < healthy.size]]
    value = np.unique(np.concatenate([lesion, *nearby, healthy[:1]]))[::-1]
    return Ranking(value, *voxels.at_least(value))


def average_precision(score: Score, truth: Mask) -> float:
    """`Ranking.average_precision` of these voxels."""
    return rank(score, truth).average_precision()
