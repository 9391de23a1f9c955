"""Whether methods differ: the reports of several, on the same scans or on others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import UadError
from uadtools.evaluation.measures import COUNTS, FIGURES, LESIONS
from uadtools.evaluation.reports import SCHEMA, Interval, Kind, Row
from uadtools.files import read_json
from uadtools.metrics.intervals import LEVEL, bootstrap, ends, resampled
from uadtools.metrics.significance import ROUNDS, holm, permutation

MAIN = ("dice", "auprc", "ssim", "l1")
"""Compared unless others are named."""
Scans = Mapping[str, Any]
"""A report, or as much of one as its `scans`."""
Values = NDArray[np.float64]


def read_report(path: Path) -> dict[str, Any]:
    """Read a report that uad-eval wrote. Raises UadError for anything else."""
    wrong = "no report of uad-eval on scans (write one with uad-eval ... -o FILE.json)"
    report = read_json(path, wrong)
    if (
        not isinstance(report, dict)
        or report.get("schema") not in (1, SCHEMA)
        or report.get("kind") not in get_args(Kind)
    ):
        raise UadError(f"{path}: {wrong}")
    rows = report.get("scans")
    named = isinstance(rows, list) and all(isinstance(row, dict) and isinstance(row.get("name"), str) for row in rows)
    if not rows or not named or not isinstance(report.get("overlap"), int | float | None):
        raise UadError(f"{path}: a report without scans (write it anew with uad-eval)")
    return report


def compare(reports: Mapping[str, Scans], figures: Sequence[str] = (), *, seed: int = 0) -> dict[str, Any]:
    """Compare the means of each report's scans with those of the first: difference, interval, p, and p after Holm.

    reports: two or more, by the name of their method. Two are paired where their scans have the same names; these must
    all be the same or all be different. figures: by default those of MAIN that all reports have. Holm's correction is
    over the methods, for each figure by itself. Returns the `comparison` of docs/eval.md. Raises UadError for fewer
    than two reports, scans that are the same only in part, and a figure that is missing or undefined anywhere.
    """
    if len(reports) < 2:
        raise UadError("one report alone has nothing to be compared with (name two different ones)")
    first, *others = reports
    rows = []
    for figure in _chosen(reports, figures):
        _check_overlap(figure, reports)
        tests = [_row(figure, (first, reports[first]), (name, reports[name]), seed) for name in others]
        adjusted = holm([test["p"] for test in tests])
        rows += [test | {"p_holm": float(p)} for test, p in zip(tests, adjusted, strict=True)]
    return {"against": first, "rounds": ROUNDS, "level": LEVEL, "seed": seed, "rows": rows}


def _check_overlap(figure: str, reports: Mapping[str, Scans]) -> None:
    """Refuse lesions that were found by different overlaps; before schema 2, touching was enough."""
    overlaps = {name: report.get("overlap", 0.0) for name, report in reports.items()}
    first, by = next(iter(overlaps.items()))
    if figure in (*LESIONS, *COUNTS) and (other := next((n for n, o in overlaps.items() if o != by), None)):
        ways = f"lesions were found by an overlap of {overlaps[other]:g}, those of {first} by {by:g}"
        raise UadError(f"{other}: {ways} (evaluate both with one --overlap)")


def _row(figure: str, first: tuple[str, Scans], other: tuple[str, Scans], seed: int) -> Row:
    paired = _are_paired(first, other)
    reference, values = (_values(*named, figure, paired) for named in (first, other))
    return {
        "figure": figure,
        "method": other[0],
        "paired": paired,
        "scans": [len(reference), len(values)],
        "mean_against": float(reference.mean()),
        "mean": float(values.mean()),
        "difference": float(values.mean() - reference.mean()),
        "interval": _interval(reference, values, paired, seed),
        "p": permutation(reference, values, paired=paired, seed=seed),
    }


def _interval(reference: Values, values: Values, paired: bool, seed: int) -> Interval | None:
    """Return the bootstrap interval of the difference of means."""
    if paired:
        interval = bootstrap(values - reference, seed=seed)
    else:
        one, other = resampled(reference, seed=seed), resampled(values, seed=seed + 1)
        interval = None if one is None or other is None else ends(other - one)
    return None if interval is None else interval.tolist()


def _are_paired(first: tuple[str, Scans], other: tuple[str, Scans]) -> bool:
    """Tell whether two reports are on the same scans. Raises UadError when they are so only in part."""
    ours, theirs = (Counter(row["name"] for row in report["scans"]) for _, report in (first, other))
    if ours == theirs:
        if twice := [name for name, count in ours.items() if count > 1]:
            raise UadError(f"{first[0]}: has two scans called '{twice[0]}', which cannot be paired (rename one)")
        return True
    if ours.keys() & theirs.keys():
        name, where = next((name, i) for i, lost in enumerate((theirs - ours, ours - theirs)) for name in lost)
        lacks, has = ((first[0], other[0]), (other[0], first[0]))[where]
        raise UadError(f"{lacks}: has no scan '{name}', as {has} has (evaluate both on the same scans)")
    return False


def _chosen(reports: Mapping[str, Scans], figures: Sequence[str]) -> list[str]:
    """Return the figures to compare. Raises UadError for one that a report does not have."""
    have = {name: {key for row in report["scans"] for key in row} & set(FIGURES) for name, report in reports.items()}
    common = set.intersection(*have.values())
    for figure in figures:
        for name, keys in have.items():
            if figure not in keys:
                shared = ", ".join(key for key in FIGURES if key in common) or "none in common"
                raise UadError(f"{name}: no figure '{figure}' in this report (all have: {shared})")
    chosen = list(figures) or [figure for figure in MAIN if figure in common]
    if not chosen:
        raise UadError(f"the reports have none of {', '.join(MAIN)} in common (choose a --figure that all have)")
    return chosen


def _values(method: str, report: Scans, figure: str, paired: bool) -> Values:
    """Return a figure of all scans, in the order of their names if they are paired. Raises UadError if one has none."""
    rows = sorted(report["scans"], key=lambda row: row["name"]) if paired else report["scans"]
    for row in rows:
        value = row.get(figure)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UadError(
                f"{method}: {figure} of scan '{row['name']}' is undefined (leave this scan out of all reports, or "
                "compare another --figure)"
            )
    return np.array([row[figure] for row in rows], dtype=np.float64)
