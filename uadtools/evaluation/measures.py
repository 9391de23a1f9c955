"""The figures of one scan, of all scans pooled, and how sure they are. Undefined ones are null (None).

What each is, and when it is undefined, stands in docs/eval.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.concerns import Concern
from uadtools.evaluation.boxes import ENDS
from uadtools.evaluation.cases import LIKENESS, Case
from uadtools.evaluation.reports import Figures, Interval, Intervals, Row, SizeRow
from uadtools.metrics.boxes import LEVELS, Boxes, Boxwise, boxes_of, boxwise, ious, response
from uadtools.metrics.intervals import Floats, bootstrap, ranking_bootstrap
from uadtools.metrics.lesions import OVERLAP, UNMATCHED, Lesionwise, lesionwise, recall_by_size
from uadtools.metrics.overlap import Load, Overlap, load, overlap, ratio
from uadtools.metrics.ranking import Ranking, Voxels, merged, ordered, ranking
from uadtools.metrics.surface import hd95
from uadtools.volume.clean import components
from uadtools.volume.clean import threshold as exceed

OVERLAPS = ("dice", "iou", "precision", "recall", "f1")
RANKINGS = ("auprc", "auroc", "fpr_at_95_tpr", "fpr_at_80_tpr")
BEST = ("best_dice", "best_threshold")
LESIONS = ("lesion_recall", "lesion_precision", "lesion_f1", "lesion_dice", "lesion_hd95")
COUNTS = ("lesions", "lesions_found", "false_lesions")
VOLUMES = ("truth_ml", "detected_ml", "volume_error_ml", "relative_volume_error", "hd95")
BOXES = ("box_iou", *(f"box_{what}_at_{100 * level:.0f}_iou" for level in LEVELS for what in ("recall", "precision")))
BOX_COUNTS = ("boxes", "boxes_detected")
RESPONSES = ("response_inside", "response_outside", "response_ratio")
FIGURES = (
    *OVERLAPS, "fpr", *RANKINGS, "best_dice", *LESIONS, *COUNTS, *VOLUMES, *BOXES, *BOX_COUNTS, *RESPONSES, *LIKENESS,
)  # fmt: skip
"""Those that have a mean over scans."""
SIZES_ML = (0.0, 0.1, 0.5, 4.0, math.inf)
"""Lesion sizes between which recall is told: about balls of 6, 10 and 20 mm across."""
FAR, MANY = 10, 4
"""Times the true volume, and lesions in one component, from which on a detection is hardly one of these lesions."""


@dataclass(frozen=True)
class Wanted:
    """best: of score maps, the best possible Dice; threshold: turns them into detections; lesions: figures of each, and
    overlap, the share by which one is found; boxes: figures of bounding boxes.
    """

    best: bool = False
    threshold: float | None = None
    lesions: bool = False
    overlap: float = OVERLAP
    boxes: bool = False


@dataclass(frozen=True)
class Measured:
    """A scan's figures, and what it adds to those of all scans together; listed: its boxes, as the report has them."""

    row: Row
    counts: Overlap | None = None
    load: Load | None = None
    lesions: Lesionwise | None = None
    voxels: Voxels | None = None
    baseline: Voxels | None = None
    signed: str | None = None
    concerns: tuple[Concern, ...] = ()
    boxes: Boxwise | None = None
    listed: tuple[Row, ...] = ()


def measure(case: Case, wanted: Wanted) -> Measured:
    """Compute the figures of one scan."""
    within, truth = case.within, case.truth
    row: Row = {"name": case.name, "voxels": int(within.sum())}
    if case.contrast is not None:
        row["contrast"] = case.contrast
    counts = lesions = voxels = baseline = volumes = boxes = None
    listed: tuple[Row, ...] = ()
    if truth is not None:
        inside = truth & within
        count = int(inside.sum())
        row |= {"lesion_voxels": count, "lesion_voxels_outside": int(truth.sum()) - count}
        detection = _detection(case, wanted.threshold)
        if detection is not None:
            counts = overlap(detection, truth, within)
            volumes = load(counts, case.voxel_ml)
            row |= {"detected_voxels": counts.tp + counts.fp, "findings": components(detection)}
            row["threshold"] = case.threshold if wanted.threshold is None else wanted.threshold
            row |= _volume_figures(volumes) | overlap_figures(counts, case.in_brain)
            if wanted.lesions:
                lesions = lesionwise(detection, inside, case.spacing, overlap=wanted.overlap, voxel_ml=case.voxel_ml)
                row |= lesion_figures(lesions) | {"hd95": defined(hd95(detection, inside, case.spacing))}
        if wanted.boxes:
            true = boxes_of(inside) if case.boxes is None else case.boxes
            boxes, listed = _boxes(case.name, true, detection)
            row |= box_figures(boxes) if boxes else {"boxes": len(true)}
            row |= _responses(case, true) if case.kind == "score" else {}
        if case.kind == "score":
            voxels = ordered(case.prediction[within], truth[within])
            row |= ranking_figures(ranking(voxels), wanted.best)
        if case.baseline is not None:
            baseline = ordered(case.baseline[within], truth[within])
    row |= {key: defined(value) for key, value in case.likeness.items()}
    concerns = (*case.concerns, *_implausible(case.name, volumes, lesions))
    return Measured(row, counts, volumes, lesions, voxels, baseline, case.signed, concerns, boxes, listed)


def _boxes(name: str, true: Boxes, detection: NDArray[np.bool_] | None) -> tuple[Boxwise | None, tuple[Row, ...]]:
    """Hold the boxes of a detection against the true ones, and list both; the true ones alone where there is none."""
    detected = boxes_of(detection) if detection is not None else np.empty((0, 2, 3), dtype=np.intp)
    overlaps = ious(true, detected)
    sides = (("truth", true, overlaps.max(axis=1, initial=0)), ("detection", detected, overlaps.max(axis=0, initial=0)))
    listed = tuple(
        {"scan": name, "of": side, **dict(zip(ENDS, (*low.tolist(), *(high - 1).tolist()), strict=True)), "iou": iou}
        for side, boxes, best in sides
        for (low, high), iou in zip(boxes, best.tolist(), strict=True)
    )
    return (None if detection is None else boxwise(overlaps)), listed


def box_figures(boxes: Boxwise) -> Figures:
    """Name the figures of bounding boxes, then their numbers."""
    pairs = (figure for both in zip(boxes.recalls, boxes.precisions, strict=True) for figure in both)
    figures = dict(zip(BOXES, map(defined, (boxes.iou, *pairs)), strict=True))
    return figures | dict(zip(BOX_COUNTS, (boxes.true, boxes.detected), strict=True))


def _responses(case: Case, true: Boxes) -> Figures:
    inside, outside = response(case.prediction, true, case.within)
    return dict(zip(RESPONSES, map(defined, (inside, outside, ratio(inside, outside))), strict=True))


def _implausible(name: str, volumes: Load | None, lesions: Lesionwise | None) -> Iterator[Concern]:
    """Tell of a detection that is not of the lesions, whatever its figures say."""
    if volumes and volumes.truth and volumes.detection > FAR * volumes.truth:
        times = volumes.detection / volumes.truth
        told = f"{volumes.detection:.4g} mL are detected, {times:.0f} times the {volumes.truth:.4g} mL of lesion"
        yield Concern("volume-far-off", f"{name}: {told}", times)
    if lesions and lesions.most >= MANY:
        told = f"one detected component reaches {lesions.most} lesions, so that figures per lesion say little"
        yield Concern("lesions-in-one", f"{name}: {told}", float(lesions.most))


def _detection(case: Case, threshold: float | None) -> NDArray[np.bool_] | None:
    """Return what is detected of the voxels that count."""
    if case.kind == "detection":
        return np.asarray(case.prediction & case.within)
    if case.kind == "score" and threshold is not None:
        return exceed(case.prediction, threshold) & case.within
    return None


def overlap_figures(counts: Overlap, in_brain: bool) -> Figures:
    """Name the ratios of voxel counts; the false-positive rate means something only where healthy voxels are brain."""
    return {key: defined(getattr(counts, key)) for key in ((*OVERLAPS, "fpr") if in_brain else OVERLAPS)}


def lesion_figures(lesions: Lesionwise) -> Figures:
    """Name the figures per lesion, then the counts."""
    figures = (lesions.recall, lesions.precision, lesions.f1, lesions.dice, lesions.hd95)
    counts = (lesions.count, lesions.found, lesions.false_positives)
    return dict(zip(LESIONS, map(defined, figures), strict=True)) | dict(zip(COUNTS, counts, strict=True))


def ranking_figures(ranking: Ranking, best: bool) -> Figures:
    """Name the figures over all thresholds."""
    figures = (ranking.average_precision(), ranking.auroc(), ranking.fpr_at_tpr(0.95), ranking.fpr_at_tpr(0.8))
    row = dict(zip(RANKINGS, map(defined, figures), strict=True))
    return row | (dict(zip(BEST, map(defined, ranking.best_dice()), strict=True)) if best else {})


def _volume_figures(volumes: Load) -> Figures:
    figures = (volumes.truth, volumes.detection, volumes.volume_error, volumes.relative_volume_error)
    return dict(zip(VOLUMES[:-1], map(defined, figures), strict=True))


def averaged(rows: Sequence[Mapping[str, Any]], seed: int) -> tuple[Figures, Intervals]:
    """Return the means over the scans where a figure is defined, and their intervals."""
    values = {key: [row.get(key) for row in rows] for key in FIGURES if any(key in row for row in rows)}
    numbers = {key: [v for v in column if v is not None] for key, column in values.items()}
    means = {key: sum(column) / len(column) if column else None for key, column in numbers.items()}
    return means, {key: _interval(bootstrap(column, seed=seed)) for key, column in numbers.items()}


def pooled(scans: Sequence[Measured], wanted: Wanted, seed: int) -> tuple[Figures, Intervals, Ranking | None]:
    """Return the figures of all voxels, or all lesions, taken together, their intervals, and the pooled ranking."""
    sums = ("voxels", "lesion_voxels", "lesion_voxels_outside", "detected_voxels")
    row: Figures = {key: sum(m.row.get(key, 0) for m in scans) for key in sums if any(key in m.row for m in scans)}
    intervals: Intervals = {}
    all_voxels = None
    if counts := [m.counts for m in scans if m.counts is not None]:
        in_brain = all("fpr" in m.row for m in scans if m.counts is not None)
        figures, ends = counted(counts, (*OVERLAPS, "fpr") if in_brain else OVERLAPS, seed)
        row, intervals = row | figures, intervals | ends
    if voxels := [m.voxels for m in scans if m.voxels is not None]:
        figures, ends, all_voxels = ranked(voxels, wanted.best, seed)
        row, intervals = row | figures, intervals | ends
    if lesions := [m.lesions for m in scans if m.lesions is not None]:
        row |= lesion_figures(sum(lesions, Lesionwise()))
        intervals |= _intervals(LESIONS, [_lesion_sums(scan) for scan in lesions], _of_lesion_sums, seed)
    if boxes := [m.boxes for m in scans if m.boxes is not None]:
        row |= box_figures(sum(boxes, Boxwise()))
        of_scans = [[scan.true, scan.detected, *scan.found, scan.best] for scan in boxes]
        intervals |= _intervals(
            BOXES, of_scans, lambda s: box_figures(Boxwise(s[0], s[1], tuple(s[2:-1]), s[-1])), seed
        )
    return row, intervals, all_voxels


def counted(counts: Sequence[Overlap], keys: Sequence[str], seed: int) -> tuple[Figures, Intervals]:
    """Return ratios of the counts of all scans together, by their names, and their intervals."""

    def figures(sums: Overlap) -> Figures:
        return {key: defined(getattr(sums, key)) for key in keys}

    rows = [astuple(overlaps) for overlaps in counts]
    ends = _intervals(keys, rows, lambda sums: figures(Overlap(*sums)), seed)
    return figures(sum(counts, Overlap())), ends


def ranked(scans: Sequence[Voxels], best: bool, seed: int) -> tuple[Figures, Intervals, Ranking]:
    """Return the ranking figures of the voxels of all scans, their intervals, and the ranking."""
    all_voxels = ranking(merged(scans))
    figures = ranking_figures(all_voxels, best)
    keys = [key for key in figures if key != "best_threshold"]
    ends = ranking_bootstrap(scans, all_voxels, lambda r: _numbers(ranking_figures(r, best), keys), seed=seed)
    return figures, _named(keys, ends), all_voxels


def by_size(scans: Sequence[Lesionwise], seed: int) -> list[SizeRow]:
    """Return how many lesions of each size there are, how many are found, their share, and its interval."""
    bins = recall_by_size([lesion for scan in scans for lesion in scan.lesions], SIZES_ML)
    counts = [[(b.found, b.count) for b in recall_by_size(scan.lesions, SIZES_ML)] for scan in scans]
    ends = bootstrap(counts, lambda sums: [ratio(found, count) for found, count in sums], seed=seed)
    return [
        {
            "from_ml": b.low,
            "to_ml": defined(b.high),
            "lesions": b.count,
            "lesions_found": b.found,
            "lesion_recall": defined(b.recall),
            "interval": None if ends is None else _interval(ends[i]),
        }
        for i, b in enumerate(bins)
    ]


def _lesion_sums(scan: Lesionwise) -> list[float]:
    """Return what adds up over scans: lesions, found ones, false ones, and their Dice and HD95."""
    totals = [sum(lesion.dice for lesion in scan.lesions), sum(lesion.hd95 for lesion in scan.lesions)]
    return [scan.count, scan.found, scan.false_positives, *totals]


def _of_lesion_sums(sums: Floats) -> Figures:
    """Return the figures of `Lesionwise` from the sums of `_lesion_sums`."""
    count, found, false, dice, distance = sums
    figures = (
        ratio(found, count),
        ratio(found, found + false),
        ratio(2 * found, found + count + false),
        ratio(dice, count + false),
        ratio(distance + UNMATCHED * false, count + false),
    )
    return dict(zip(LESIONS, figures, strict=True))


def _intervals(keys: Iterable[str], rows: Sequence[Any], figures: Callable[[Floats], Figures], seed: int) -> Intervals:
    """Return the intervals of figures that are made of the sums of rows."""
    keys = list(keys)
    return _named(keys, bootstrap(rows, lambda sums: _numbers(figures(sums), keys), seed=seed))


def _named(keys: Sequence[str], ends: Floats | None) -> Intervals:
    return {key: None if ends is None else _interval(ends[i]) for i, key in enumerate(keys)}


def _interval(ends: Floats | None) -> Interval | None:
    return None if ends is None or not np.isfinite(ends).all() else ends.tolist()


def _numbers(figures: Figures, keys: Sequence[str]) -> list[float]:
    return [math.nan if (value := figures[key]) is None else value for key in keys]


def defined(value: float) -> float | None:
    """Return null for what is not a finite number."""
    return float(value) if math.isfinite(value) else None
