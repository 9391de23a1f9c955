"""What a comparison tells of a method on a test set, and whether methods differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from uadtools.evaluation.cases import Case
from uadtools.evaluation.compare import compare
from uadtools.evaluation.image_level import image_level
from uadtools.evaluation.measures import defined
from uadtools.evaluation.reports import Report, Row
from uadtools.metrics.intervals import bootstrap
from uadtools.metrics.ranking import Ranking
from uadtools.scoring.case_scores import BOUNDS

CASE_SCORES = {"": "case_score", "_top": "top", **{f"_{name}": name for name in BOUNDS}}
"""By the ends of the names of figures."""
BINS, WIDEST = 64, 4.0
"""Of the histograms of scores: their number, and where the last ends, in multiples of the threshold."""
CURVE_POINTS = 40
"""Thresholds at which a curve is kept, by recall, by false alarms, and around the one that is used."""

TESTED = {
    "auprc": ("scans", "auprc"),
    "dice": ("scans", "dice"),
    "l1_ratio": ("scans", "l1_ratio"),
    "healthy_l1": ("untouched", "l1"),
    "healthy_kld": ("untouched", "kld"),
}
"""Figures in which methods are tested against the reference: in which rows of a report, and under which key there."""


def figures_of(
    level: float,
    ranked: Report,
    detected: Report,
    healthy: Sequence[Row],
    sick: Sequence[Row],
    *,
    known: Mapping[str, float],
    seed: int,
) -> Row:
    """Gather the figures of docs/bench.md from the reports on scores and detections, and what is known of each case.

    known: thresholds of case scores, from other scans.
    """
    return {
        "auprc": _pair(ranked, "mean", "auprc"),
        "auprc_pooled": _pair(ranked, "pooled", "auprc"),
        "best_dice": _pair(ranked, "mean", "best_dice"),
        "best_dice_pooled": _pair(ranked, "pooled", "best_dice"),
        "threshold": level,
        "dice": _pair(detected, "mean", "dice"),
        "dice_pooled": _pair(detected, "pooled", "dice"),
        "precision": _pair(detected, "mean", "precision"),
        "recall": _pair(detected, "mean", "recall"),
        "precision_pooled": _pair(detected, "pooled", "precision"),
        "recall_pooled": _pair(detected, "pooled", "recall"),
        "lesion_recall": _pair(detected, "pooled", "lesion_recall"),
        "lesion_precision": _pair(detected, "pooled", "lesion_precision"),
        "untouched_detected": _mean([row["detected"] for row in healthy]),
        "untouched_alarms": _mean([float(row["detected"] > 0) for row in healthy]),
        "healthy_l1": _mean([row["l1"] for row in healthy]),
        "healthy_ssim": _mean([row.get("ssim") for row in healthy]),
        "healthy_psnr": _mean([row.get("psnr") for row in healthy]),
        "healthy_kld": _mean([row["kld"] for row in healthy]),
        "l1_ratio": _mean([row["l1_ratio"] for row in sick]),
        "kld": _mean([row["kld"] for row in sick]),
        "seconds_per_scan": _median([row["seconds"] for row in sick]),
        **_image_level(healthy, sick, known, seed),
    }


def image_thresholds(healthy: Sequence[Row], sick: Sequence[Row]) -> dict[str, float]:
    """Return the thresholds of the case scores with the best F1, lesioned scans being positive; none without both."""
    if not (healthy and sick):
        return {}
    keys = [key for key in CASE_SCORES.values() if all(row.get(key) is not None for row in (*healthy, *sick))]
    report = image_level(*(_only(rows, keys) for rows in (healthy, sick)), best=True)
    return {key: report["figures"][key]["best_threshold"] for key in keys}


def _image_level(healthy: Sequence[Row], sick: Sequence[Row], known: Mapping[str, float], seed: int) -> Row:
    """Tell untouched from lesioned scans by their case scores: over all thresholds, and at those that are known."""
    rows = [*healthy, *sick]
    names = {
        end: key
        for end, key in CASE_SCORES.items()
        if key not in BOUNDS or all(row.get(key) is not None for row in rows)
    }
    if not (healthy and sick):
        return dict.fromkeys(f"image_{figure}{end}" for figure in ("auroc", "f1") for end in names)
    keys = [key for key in names.values() if key in known]
    sides = [_only(rows, [*names.values()]) for rows in (healthy, sick)]
    reports = {"auroc": (image_level(*sides, seed=seed), [*names.values()])}
    if keys:
        decided = image_level(*(_only(side, keys) for side in sides), thresholds=known, seed=seed)
        reports["f1"] = (decided, keys)
    return {
        f"image_{figure}{end}": {"value": report["figures"][key][figure], "interval": report["intervals"][key][figure]}
        for figure, (report, told) in reports.items()
        for end, key in names.items()
        if key in told
    }


def _only(rows: Sequence[Row], keys: Sequence[str]) -> list[Row]:
    return [{"name": row["name"], **{key: row[key] for key in keys}} for row in rows]


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


def united_folds(reports: Sequence[Mapping[str, Any]], seed: int) -> Row:
    """Make one report of those of a method in all folds; the report of a comparison without folds stays as it is.

    A figure is its mean over the folds, and `deviation` the standard deviation of it there (n - 1); `folds` are its
    values. The interval is the bootstrap over the scans of all folds, where the figure is a mean of scans. A scan that
    is judged in several folds has its mean figures.
    """
    if len(reports) == 1:
        return dict(reports[0])
    rows = {
        part: _by_name([row for report in reports for row in report.get(part, ())]) for part in ("scans", "untouched")
    }
    figures = {}
    for name in reports[0]["figures"]:
        cells = [report["figures"].get(name) for report in reports]
        values = [cell["value"] if isinstance(cell, dict) else cell for cell in cells]
        numbers = [value for value in values if value is not None]
        part, key = TESTED.get(name, ("", ""))
        known = [row[key] for row in rows.get(part, ()) if row.get(key) is not None]
        interval = bootstrap(known, seed=seed) if known else None
        figures[name] = {
            "value": _mean(numbers),
            "deviation": defined(float(np.std(numbers, ddof=1))) if len(numbers) > 1 else None,
            "interval": None if interval is None else interval.tolist(),
            "folds": values,
        }
    concerns = [concern for report in reports for concern in report.get("concerns", ())]
    return {**reports[0], **rows, "figures": figures, "concerns": concerns}


def _by_name(rows: Sequence[Row]) -> list[Row]:
    """Make one row of those of the same scan: means where both are numbers."""
    alike: dict[str, list[Row]] = {}
    for row in rows:
        alike.setdefault(row["name"], []).append(row)
    return [_mean_row(found) if len(found) > 1 else found[0] for found in alike.values()]


def _mean_row(rows: Sequence[Row]) -> Row:
    figures = {figure for _, figure in TESTED.values()}
    return rows[0] | {key: _mean([row[key] for row in rows]) for key in rows[0] if key in figures}


def averaged(trainings: Sequence[Mapping[str, Row]]) -> dict[str, Row]:
    """Return what is said of the training of each method, in the mean over the folds."""
    if len(trainings) == 1:
        return dict(trainings[0])
    return {
        name: {key: _mean([one[name][key] for one in trainings]) for key in trainings[0][name]} for name in trainings[0]
    }


def cases_of(report: Mapping[str, Any]) -> list[Row]:
    """Return of each scan what it is called, and what boxes are drawn from."""
    return [{key: row.get(key) for key in ("name", "auprc", "dice")} for row in report["scans"]]


def curve_of(ranking: Ranking | None, level: float) -> Row | None:
    """Return points of the curves over all thresholds, from the highest: by the voxels of all scans together.

    threshold: as a multiple of the one that validation found, by which methods can lie beside one another.
    """
    if ranking is None or not (ranking.positives and ranking.negatives):
        return None
    shares = np.linspace(0, 1, CURVE_POINTS)
    kept = [np.searchsorted(counts / counts[-1], shares) for counts in (ranking.tp, ranking.fp)]
    near = np.searchsorted(-ranking.value, -level * np.geomspace(8, 1 / 8, CURVE_POINTS))
    at = np.unique(np.minimum(np.concatenate([*kept, near]), ranking.value.size - 1))
    tp, fp = ranking.tp[at], ranking.fp[at]
    return {
        "threshold": _rounded(ranking.value[at] / level) if level > 0 else None,
        "recall": _rounded(tp / ranking.positives),
        "precision": _rounded(tp / (tp + fp)),
        "fpr": _rounded(fp / ranking.negatives),
        "dice": _rounded(2 * tp / (tp + fp + ranking.positives)),
    }


def histogram_of(cases: Iterable[Case], level: float) -> Row | None:
    """Count the voxels of all scans by their score, in lesions and in healthy brain; None where the threshold is 0.

    BINS even bins from 0 to WIDEST times the threshold; the last holds all that is higher, too.
    """
    if level <= 0:
        return None
    counts = {"lesion": np.zeros(BINS, np.int64), "healthy": np.zeros(BINS, np.int64)}
    for case in cases:
        bins = np.clip(case.prediction * (BINS / WIDEST / level), 0, BINS - 1).astype(np.int64)
        lesion = np.zeros_like(case.within) if case.truth is None else case.truth
        counts["lesion"] += np.bincount(bins[case.within & lesion], minlength=BINS)
        counts["healthy"] += np.bincount(bins[case.within & ~lesion], minlength=BINS)
    return {name: found.tolist() for name, found in counts.items()}


def _rounded(values: Any) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _pair(report: Report, which: Literal["mean", "pooled"], figure: str) -> Row | None:
    if figure not in report[which]:
        return None
    return {"value": report[which][figure], "interval": report["intervals"][which].get(figure)}


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [v for v in values if v is not None]
    return defined(float(np.mean(numbers))) if numbers else None


def _median(values: Sequence[float]) -> float | None:
    return defined(float(np.median(values))) if values else None
