"""How well one number for each scan tells sick from healthy people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uadtools.errors import UadError
from uadtools.evaluation.measures import ranked
from uadtools.evaluation.reports import SCHEMA, Row, why_no_intervals
from uadtools.files import read_json
from uadtools.metrics.intervals import LEVEL, ROUNDS
from uadtools.metrics.ranking import ordered


def read_case_scores(path: Path) -> list[Row]:
    """Read what `uad-score --json` wrote: a list with one object for each scan. Raises UadError."""
    wrong = "no case scores in it (write them with uad-score --json)"
    rows = read_json(path, wrong)
    if not (isinstance(rows, list) and rows and all(isinstance(row, dict) and "case_score" in row for row in rows)):
        raise UadError(f"{path}: {wrong}")
    return [dict(row) for row in rows]


def image_level(healthy: Sequence[Row], sick: Sequence[Row], *, seed: int = 0) -> dict[str, Any]:
    """Return AUROC, AUPRC (sick is positive) and false-positive rates of each case score, with bootstrap intervals.

    healthy, sick: as from `read_case_scores`. Every number that all scans have is a case score, `case_score` first.
    Returns the report of docs/eval.md. Raises UadError when either side is missing, or a case score is no number.
    """
    if not (healthy and sick):
        raise UadError("healthy and sick people are needed, both (there is nobody to tell apart)")
    rows = [*healthy, *sick]
    for row in rows:
        if not _is_number(row["case_score"]):
            raise UadError(f"{row.get('name', 'a scan')}: its case score is no number (leave this scan out)")
    for option in ("metric", "signed"):
        if len(ways := {str(row.get(option)) for row in rows}) > 1:
            raise UadError(
                f"scored in several ways, {option} {' and '.join(sorted(ways))} (compare scores of one kind)"
            )
    truth = np.arange(len(rows)) >= len(healthy)
    keys = [key for key in rows[0] if all(_is_number(row.get(key)) for row in rows)]
    figures, intervals = {}, {}
    for key in sorted(keys, key=lambda key: key != "case_score"):
        values = np.array([row[key] for row in rows], dtype=np.float64)
        scans = [ordered(values[i : i + 1], truth[i : i + 1]) for i in range(len(rows))]
        figures[key], intervals[key], _ = ranked(scans, False, seed)
    return {
        "schema": SCHEMA,
        "kind": "cases",
        "seed": seed,
        "healthy": len(healthy),
        "sick": len(sick),
        "scans": [
            {"name": row.get("name"), "sick": bool(is_sick), **{key: row[key] for key in figures}}
            for row, is_sick in zip(rows, truth, strict=True)
        ],
        "figures": figures,
        "intervals": {"level": LEVEL, "rounds": ROUNDS, "why": why_no_intervals(len(rows)), **intervals},
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
