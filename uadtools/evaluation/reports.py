"""What reports consist of, as they are written as JSON; docs/eval.md explains every key and figure.

Volumes are in mL of the person, distances in mm; figures are null where they are undefined, intervals where there are
too few scans.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from uadtools.metrics.intervals import FEWEST

SCHEMA = 2
Kind = Literal["detection", "score", "reconstruction"]
Row = dict[str, Any]
"""Of one scan, lesion or subgroup: its name, and the figures that there are of it."""
Figures = dict[str, float | None]
Interval = list[float]
"""[low, high]"""
Intervals = dict[str, Interval | None]


class SureFigures(TypedDict):
    """The bootstrap intervals of mean and pooled figures, at this level, of so many rounds; why: there are none."""

    level: float
    rounds: int
    why: str | None
    mean: Intervals
    pooled: Intervals


class Summary(TypedDict):
    """Of several scans: their rows, the means of their figures, and the figures of all voxels or lesions together."""

    scans: list[Row]
    mean: Figures
    pooled: Figures
    intervals: SureFigures


class Baseline(Summary):
    name: str
    signed: str | None


class SizeRow(TypedDict):
    """Lesions from one volume to another (null: no end), and the share that is found, with its interval."""

    from_ml: float
    to_ml: float | None
    lesions: int
    lesions_found: int
    lesion_recall: float | None
    interval: Interval | None


class Report(Summary):
    """Predictions judged by the truth; lesions, by_size, boxes and normative where wanted, baseline where
    scans are known.
    """

    schema: int
    kind: Kind
    threshold: float | None
    overlap: float | None
    seed: int
    concerns: list[Row]
    lesions: NotRequired[list[Row]]
    boxes: NotRequired[list[Row]]
    by_size: NotRequired[list[SizeRow]]
    baseline: NotRequired[Baseline]
    normative: NotRequired[Row]


def why_no_intervals(scans: int) -> str | None:
    """Say why there are no intervals, where there are none."""
    return None if scans >= FEWEST else f"an interval needs at least {FEWEST} scans, and there are {scans}"
