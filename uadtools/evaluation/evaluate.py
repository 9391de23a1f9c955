"""uad-eval: how good detections, score maps and reconstructions are, against an expert's truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import cast

from uadtools.concerns import told
from uadtools.errors import UadError
from uadtools.evaluation.cases import Case, case, kind_of, with_scan
from uadtools.evaluation.measures import Measured, Wanted, averaged, by_size, measure, pooled, ranked, ranking_figures
from uadtools.evaluation.reports import (
    SCHEMA,
    Baseline,
    Figures,
    Intervals,
    Kind,
    Report,
    Row,
    Summary,
    SureFigures,
    why_no_intervals,
)
from uadtools.metrics.intervals import LEVEL, ROUNDS
from uadtools.metrics.lesions import OVERLAP
from uadtools.metrics.ranking import Ranking, ranking
from uadtools.volume.io import Image
from uadtools.volume.stream import Study

__all__ = ["Case", "Evaluation", "Wanted", "case", "evaluate", "judge", "kind_of", "with_scan"]

BASELINE = "intensity threshold"


@dataclass(frozen=True)
class Evaluation:
    """The report, and what its plots are drawn from: the rankings of all voxels, and each scan's volumes in mL."""

    report: Report
    ranking: Ranking | None
    baseline: Ranking | None
    volumes_ml: tuple[tuple[float, float], ...]


def evaluate(
    cases: Iterable[Case | tuple[Study, Image]],
    *,
    best: bool = False,
    threshold: float | None = None,
    lesions: bool = False,
    overlap: float = OVERLAP,
    boxes: bool = False,
    seed: int = 0,
) -> Report:
    """Compute all figures per scan, averaged over scans, and pooled over voxels or lesions, with bootstrap intervals.

    cases: a prediction and its truth each, or what `case` made of them; taken one at a time, and of a score map only
    the sorted scores are kept. best: add the best possible Dice of score maps and its threshold, which is a ceiling, as
    the truth chose it. threshold: turn score maps into detections, and add their figures. lesions: add what needs whole
    lesions and millimetres; overlap: the share by which a lesion is found, see metrics.lesions. boxes: add what is said
    of bounding boxes, see metrics.boxes. seed: of the intervals.
    Returns the report of docs/eval.md, ready for JSON; a figure that is undefined (such as Dice where nothing is and
    nothing was found) is null, and means are over the scans where it is defined. Raises UadError without cases, when
    kinds are mixed, and for options that the kind has no use for.
    """
    ready = (pair if isinstance(pair, Case) else case(*pair) for pair in cases)
    return judge(ready, Wanted(best, threshold, lesions, overlap, boxes), seed=seed).report


def judge(cases: Iterable[Case], wanted: Wanted, *, seed: int = 0) -> Evaluation:
    """Do what `evaluate` does, and keep what plots are drawn from."""
    kind: Kind | None = None
    scans = []
    for item in cases:
        kind = kind or item.kind
        _check(kind, item, wanted)
        scans.append(measure(item, wanted))
    if kind is None:
        raise UadError("nothing to evaluate")
    figures, intervals, all_voxels = pooled(scans, wanted, seed)
    summary = _summed([scan.row for scan in scans], figures, intervals, seed)
    head = {"schema": SCHEMA, "kind": kind, "threshold": wanted.threshold}
    head |= {"overlap": wanted.overlap if wanted.lesions else None, "seed": seed}
    concerns = told(*(scan.concerns for scan in scans))
    report = cast(Report, {**head, "concerns": concerns, **summary})
    if lesions := [(scan.row["name"], scan.lesions) for scan in scans if scan.lesions is not None]:
        report["lesions"] = [{"scan": name, **asdict(lesion)} for name, held in lesions for lesion in held.lesions]
        report["by_size"] = by_size([held for _, held in lesions], seed)
    if wanted.boxes:
        report["boxes"] = [box for scan in scans for box in scan.listed]
    baseline, baseline_voxels = _baseline(scans, wanted, seed)
    if baseline:
        report["baseline"] = baseline
    volumes = tuple((scan.load.truth, scan.load.detection) for scan in scans if scan.load is not None)
    return Evaluation(report, all_voxels, baseline_voxels, volumes)


def _check(first: Kind, item: Case, wanted: Wanted) -> None:
    kind = item.kind
    if kind != first:
        if "reconstruction" in (first, kind):
            raise UadError(
                f"{item.name}: reconstructions and other images in one call (evaluate them one kind at a time)"
            )
        raise UadError(f"{item.name}: score maps and detections in one call (evaluate them one kind at a time)")
    if kind != "score" and (wanted.best or wanted.threshold is not None):
        raise UadError(f"{item.name}: a {kind} has no thresholds left to choose (evaluate its score map instead)")
    if wanted.boxes and kind == "reconstruction":
        raise UadError(f"{item.name}: a reconstruction has no bounding boxes (evaluate its score map instead)")
    if wanted.lesions and kind != "detection" and wanted.threshold is None:
        which = "a score map" if kind == "score" else "a reconstruction"
        raise UadError(
            f"{item.name}: {which} has no lesions to count (--threshold-from turns score maps into detections)"
        )


def _summed(rows: list[Row], figures: Figures, intervals: Intervals, seed: int) -> Summary:
    mean, of_means = averaged(rows, seed)
    why = why_no_intervals(len(rows))
    sure: SureFigures = {"level": LEVEL, "rounds": ROUNDS, "why": why, "mean": of_means, "pooled": intervals}
    return {"scans": rows, "mean": mean, "pooled": figures, "intervals": sure}


def _baseline(scans: Sequence[Measured], wanted: Wanted, seed: int) -> tuple[Baseline | None, Ranking | None]:
    """Judge the plain intensity threshold on the same scans, where every study held its scan."""
    voxels = [scan.baseline for scan in scans if scan.baseline is not None]
    if len(voxels) < len(scans):
        return None, None
    rows = [
        {"name": scan.row["name"], **ranking_figures(ranking(held), wanted.best)}
        for scan, held in zip(scans, voxels, strict=True)
    ]
    figures, intervals, all_voxels = ranked(voxels, wanted.best, seed)
    signs = {scan.signed for scan in scans}
    signed = signs.pop() if len(signs) == 1 else None
    return {"name": BASELINE, "signed": signed, **_summed(rows, figures, intervals, seed)}, all_voxels
