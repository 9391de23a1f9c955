"""What a comparison tells of a method on a test set, and whether methods differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from uadtools.evaluation.compare import compare
from uadtools.evaluation.image_level import image_level
from uadtools.evaluation.measures import defined
from uadtools.evaluation.reports import Report, Row
from uadtools.scoring.case_scores import BOUNDS

TESTED = {
    "auprc": ("scans", "auprc"),
    "dice": ("scans", "dice"),
    "l1_ratio": ("scans", "l1_ratio"),
    "healthy_l1": ("untouched", "l1"),
    "healthy_kld": ("untouched", "kld"),
}
"""Figures in which methods are tested against the reference: in which rows of a report, and under which key there."""


def figures_of(
    level: float, ranked: Report, detected: Report, healthy: Sequence[Row], sick: Sequence[Row], seed: int
) -> Row:
    """Gather the figures of docs/bench.md from the reports on scores and detections, and what is known of each case."""
    return {
        "auprc": _pair(ranked, "mean", "auprc"),
        "auprc_pooled": _pair(ranked, "pooled", "auprc"),
        "best_dice": _pair(ranked, "mean", "best_dice"),
        "best_dice_pooled": _pair(ranked, "pooled", "best_dice"),
        "threshold": level,
        "dice": _pair(detected, "mean", "dice"),
        "dice_pooled": _pair(detected, "pooled", "dice"),
        "precision_pooled": _pair(detected, "pooled", "precision"),
        "recall_pooled": _pair(detected, "pooled", "recall"),
        "lesion_recall": _pair(detected, "pooled", "lesion_recall"),
        "lesion_precision": _pair(detected, "pooled", "lesion_precision"),
        "untouched_detected": _mean([row["detected"] for row in healthy]),
        "untouched_alarms": _mean([float(row["detected"] > 0) for row in healthy]),
        "healthy_l1": _mean([row["l1"] for row in healthy]),
        "healthy_kld": _mean([row["kld"] for row in healthy]),
        "l1_ratio": _mean([row["l1_ratio"] for row in sick]),
        "kld": _mean([row["kld"] for row in sick]),
        "seconds_per_scan": _median([row["seconds"] for row in sick]),
        **_image_level(healthy, sick, seed),
    }


def _image_level(healthy: Sequence[Row], sick: Sequence[Row], seed: int) -> Row:
    """Tell untouched from lesioned scans by their case scores."""
    names = {"image_auroc": "case_score", "image_auroc_top": "top"}
    rows = [*healthy, *sick]
    names |= {f"image_auroc_{m}": m for m in BOUNDS if all(row.get(m) is not None for row in rows)}
    if not (healthy and sick):
        return dict.fromkeys(names)
    sides = ([{"name": row["name"], **{k: row[k] for k in names.values()}} for row in side] for side in (healthy, sick))
    report = image_level(*sides, seed=seed)
    return {
        name: {"value": report["figures"][key]["auroc"], "interval": report["intervals"][key]["auroc"]}
        for name, key in names.items()
    }


def compared(reports: Mapping[str, Mapping[str, Any]], seed: int) -> dict[str, Row]:
    """Test each method against the first in all that is TESTED, on the scans where a figure is defined for all."""
    tests: dict[str, Row] = {}
    for name, (part, figure) in TESTED.items():
        rows = {
            method: [row for row in report.get(part, []) if row.get(figure) is not None]
            for method, report in reports.items()
        }
        shared = set.intersection(*({row["name"] for row in scans} for scans in rows.values()))
        if len(shared) < 2:
            continue
        kept = {method: {"scans": [row for row in scans if row["name"] in shared]} for method, scans in rows.items()}
        for row in compare(kept, [figure], seed=seed)["rows"]:
            tests.setdefault(row["method"], {})[name] = {k: row[k] for k in ("difference", "interval", "p", "p_holm")}
    return tests


def _pair(report: Report, which: Literal["mean", "pooled"], figure: str) -> Row | None:
    if figure not in report[which]:
        return None
    return {"value": report[which][figure], "interval": report["intervals"][which].get(figure)}


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [v for v in values if v is not None]
    return defined(float(np.mean(numbers))) if numbers else None


def _median(values: Sequence[float]) -> float | None:
    return defined(float(np.median(values))) if values else None
