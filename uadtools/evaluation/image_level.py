"""How well one number for each scan tells sick from healthy people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import UadError
from uadtools.evaluation.measures import counted, ranked
from uadtools.evaluation.reports import SCHEMA, Figures, Intervals, Row, why_no_intervals
from uadtools.files import read_json
from uadtools.metrics.intervals import LEVEL, ROUNDS
from uadtools.metrics.overlap import Mask, overlap
from uadtools.metrics.ranking import ordered

DECIDED = ("f1", "precision", "recall", "fpr")
"""Figures of who is taken for sick, at a threshold."""
BEST = "best_f1"
"""Of people F1 is told, which over voxels is called Dice."""


def read_case_scores(path: Path) -> list[Row]:
    """Read what `uad-score --json` wrote: a list with one object for each scan. Raises UadError."""
    wrong = "no case scores in it (write them with uad-score --json)"
    rows = read_json(path, wrong)
    if not (isinstance(rows, list) and rows and all(isinstance(row, dict) and "case_score" in row for row in rows)):
        raise UadError(f"{path}: {wrong}")
    return [dict(row) for row in rows]


def read_case_thresholds(path: Path) -> tuple[dict[str, float], set[str]]:
    """Read the best threshold of each case score, and on whom it was chosen, from a report with `best`.

    Raises UadError for anything else.
    """
    wrong = "no thresholds of case scores in it (write them with uad-eval --healthy --sick --best -o, of other people)"
    report = read_json(path, wrong)
    figures = report.get("figures") if isinstance(report, dict) and report.get("kind") == "cases" else None
    rows = figures.items() if isinstance(figures, dict) else ()
    found: dict[str, Any] = {key: row.get("best_threshold") for key, row in rows if isinstance(row, dict)}
    thresholds = {key: float(value) for key, value in found.items() if _is_number(value)}
    people = report.get("scans") if thresholds else None
    if not isinstance(people, list) or thresholds.keys() != found.keys():
        raise UadError(f"{path}: {wrong}")
    return thresholds, {str(row.get("name")) for row in people if isinstance(row, dict)}


def image_level(
    healthy: Sequence[Row],
    sick: Sequence[Row],
    *,
    best: bool = False,
    thresholds: Mapping[str, float] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return AUROC, AUPRC (sick is positive) and false-positive rates of each case score, with bootstrap intervals.

    healthy, sick: as from `read_case_scores`. Every number that all scans have is a case score, `case_score` first.
    best: add the best possible F1 and its threshold, a ceiling; thresholds: of case scores, above which somebody is
    taken for sick, chosen on other people: add F1, precision, recall and false-positive rate, of these case scores.
    Returns the report of docs/eval.md. Raises UadError when either side is missing, a case score is no number, or there
    is none that a threshold is known for.
    """
    if not (healthy and sick):
        raise UadError("healthy and sick people are needed, both (there is nobody to tell apart)")
    rows = [*healthy, *sick]
    _check(rows)
    truth = np.arange(len(rows)) >= len(healthy)
    keys = [key for key in rows[0] if all(_is_number(row.get(key)) for row in rows)]
    if thresholds is not None and not (keys := [key for key in keys if key in thresholds]):
        raise UadError(f"no threshold is known for these case scores, only for {', '.join(thresholds)}")
    figures, intervals = dict[str, Figures](), dict[str, Intervals]()
    for key in sorted(keys, key=lambda key: key != "case_score"):
        values = np.array([row[key] for row in rows], dtype=np.float64)
        figures[key], intervals[key] = _told(values, truth, best, seed)
        if thresholds is not None:
            counts = [overlap(values[i : i + 1] > thresholds[key], truth[i : i + 1]) for i in range(len(rows))]
            decided, ends = counted(counts, DECIDED, seed)
            figures[key], intervals[key] = figures[key] | decided, intervals[key] | ends
    return {
        "schema": SCHEMA,
        "kind": "cases",
        "seed": seed,
        "healthy": len(healthy),
        "sick": len(sick),
        "thresholds": None if thresholds is None else {key: thresholds[key] for key in figures},
        "scans": [
            {"name": row.get("name"), "sick": bool(is_sick), **{key: row[key] for key in figures}}
            for row, is_sick in zip(rows, truth, strict=True)
        ],
        "figures": figures,
        "intervals": {"level": LEVEL, "rounds": ROUNDS, "why": why_no_intervals(len(rows)), **intervals},
    }


def _check(rows: Sequence[Row]) -> None:
    """Raise UadError where a case score is no number, or was made in another way than the others."""
    for row in rows:
        if not _is_number(row["case_score"]):
            raise UadError(f"{row.get('name', 'a scan')}: its case score is no number (leave this scan out)")
    for option in ("metric", "signed"):
        if len(ways := {str(row.get(option)) for row in rows}) > 1:
            raise UadError(
                f"scored in several ways, {option} {' and '.join(sorted(ways))} (compare scores of one kind)"
            )


def _told(values: NDArray[np.float64], truth: Mask, best: bool, seed: int) -> tuple[Figures, Intervals]:
    """Return the figures over all thresholds of a case score, and their intervals."""
    people = [ordered(values[i : i + 1], truth[i : i + 1]) for i in range(len(values))]
    figures, intervals, _ = ranked(people, best, seed)
    names = {"best_dice": BEST}
    return (
        {names.get(key, key): value for key, value in figures.items()},
        {names.get(key, key): ends for key, ends in intervals.items()},
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
