"""uad-eval: how good detections, score maps and reconstructions are, against an expert's truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from uadtools.errors import UadError
from uadtools.evaluation.cases import Case, Kind, case, kind_of, with_scan
from uadtools.evaluation.measures import (
    Measured,
    Row,
    Wanted,
    averaged,
    by_size,
    measure,
    pooled,
    ranked,
    ranking_figures,
)
from uadtools.metrics.intervals import LEVEL, ROUNDS
from uadtools.metrics.ranking import Ranking, ranking
from uadtools.volume.io import Image
from uadtools.volume.stream import Study

__all__ = ["Case", "Evaluation", "Wanted", "case", "evaluate", "judge", "kind_of", "with_scan"]

SCHEMA = 1
BASELINE = "intensity threshold"


@dataclass(frozen=True)
class Evaluation:
    """The report, and what its plots are drawn from: the rankings of all voxels, and each scan's volumes in mL."""

    report: Row
    ranking: Ranking | None
    baseline: Ranking | None
    volumes_ml: tuple[tuple[float, float], ...]


def evaluate(
    cases: Iterable[Case | tuple[Study, Image]],
    *,
    best: bool = False,
    threshold: float | None = None,
    lesions: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute all figures per scan, averaged over scans, and pooled over voxels or lesions, with bootstrap intervals.

    cases: a prediction and its truth each, or what `case` made of them; taken one at a time, and of a score map only
    the sorted scores are kept. best: add the best possible Dice of score maps and its threshold, which is a ceiling, as
    the truth chose it. threshold: turn score maps into detections, and add their figures. lesions: add what needs whole
    lesions and millimetres. seed: of the intervals. Returns the report of docs/eval.md, ready for JSON; a figure that
    is undefined (such as Dice where nothing is and nothing was found) is null, and means are over the scans where it is
    defined. Raises UadError without cases, when kinds are mixed, and for options that the kind has no use for.
    """
    made = (one if isinstance(one, Case) else case(*one) for one in cases)
    return judge(made, Wanted(best, threshold, lesions), seed=seed).report


def judge(cases: Iterable[Case], wanted: Wanted, *, seed: int = 0) -> Evaluation:
    """Do what `evaluate` does, and keep what plots are drawn from."""
    kind: Kind | None = None
    found = []
    for each in cases:
        kind = kind or each.kind
        _check(kind, each, wanted)
        found.append(measure(each, wanted))
    if kind is None:
        raise UadError("nothing to evaluate")
    sums, intervals, of_all = pooled(found, wanted, seed)
    report = _summed([m.row for m in found], sums, intervals, seed)
    if lesions := [m.lesions for m in found if m.lesions is not None]:
        report["lesions"] = [
            {"scan": m.row["name"], "ml": lesion.ml, "dice": lesion.dice, "hd95": lesion.hd95, "found": lesion.found}
            for m in found
            if m.lesions is not None
            for lesion in m.lesions.lesions
        ]
        report["by_size"] = by_size(lesions, seed)
    baseline, of_baseline = _baseline(found, wanted, seed)
    head = {"schema": SCHEMA, "kind": kind, "threshold": wanted.threshold, "seed": seed}
    volumes = tuple((m.load.truth, m.load.detection) for m in found if m.load is not None)
    return Evaluation(head | report | baseline, of_all, of_baseline, volumes)


def _check(kind: Kind, each: Case, wanted: Wanted) -> None:
    if each.kind != kind:
        if "reconstruction" in (kind, each.kind):
            raise UadError("reconstructions and other images in one call (evaluate them one kind at a time)")
        raise UadError("score maps and detections in one call (evaluate them one kind at a time)")
    if kind != "score" and (wanted.best or wanted.threshold is not None):
        raise UadError(f"a {kind} has no thresholds left to choose (evaluate its score map instead)")
    if wanted.lesions and kind != "detection" and wanted.threshold is None:
        which = "a score map" if kind == "score" else "a reconstruction"
        raise UadError(f"{which} has no lesions to count (--threshold-from turns score maps into detections)")


def _summed(rows: Sequence[Row], sums: Row, intervals: Row, seed: int) -> Row:
    mean, of_means = averaged(rows, seed)
    told = {"level": LEVEL, "rounds": ROUNDS, "mean": of_means, "pooled": intervals}
    return {"scans": list(rows), "mean": mean, "pooled": sums, "intervals": told}


def _baseline(found: Sequence[Measured], wanted: Wanted, seed: int) -> tuple[Row, Ranking | None]:
    """Judge the plain intensity threshold on the same scans, where every study held its scan."""
    scans = [m.baseline for m in found if m.baseline is not None]
    if len(scans) < len(found):
        return {}, None
    rows = [
        {"name": m.row["name"], **ranking_figures(ranking(voxels), wanted.best)}
        for m, voxels in zip(found, scans, strict=True)
    ]
    sums, intervals, of_all = ranked(scans, wanted.best, seed)
    return {"baseline": {"name": BASELINE, **_summed(rows, sums, intervals, seed)}}, of_all
