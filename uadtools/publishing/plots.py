"""Plots of a comparison: boxes over scans, curves, histograms, and figures against time and against what was swept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from uadtools.bench.summary import WIDEST
from uadtools.bench.table import SetTable, Table, value_of
from uadtools.evaluation.reports import Row

GRID = np.linspace(0, 1, 101)
MULTIPLES = np.geomspace(1 / 8, 8, 101)
BOXES = {"auprc": "AUPRC", "dice": "Dice"}


def figures(table: Table) -> dict[str, tuple[str, Any]]:
    """Draw all plots that a comparison has the numbers for: by the name of their file, what is seen, and the figure."""
    drawn = {}
    for i, part in enumerate(table["sets"], 1):
        about = f"{part['set']}: "
        for figure, title in BOXES.items():
            if any(row.get(figure) is not None for rows in part["cases"].values() for row in rows):
                drawn[f"{figure}-{i}.svg"] = f"{about}{title} of each scan", _boxes(part, figure, title)
        for name, (told, draw) in CURVES.items():
            if any(curve for curves in part["curves"].values() for curve in curves):
                drawn[f"{name}-{i}.svg"] = about + told, draw(part)
        if known := _counts(part):
            drawn[f"histogram-{i}.svg"] = about + "voxels by score, in lesions and in healthy brain", _histograms(known)
        drawn[f"time-{i}.svg"] = f"{about}AUPRC against seconds for each scan", _time(part)
        for option in _swept(table["config"]["method"]):
            drawn[f"sweep-{option}-{i}.svg"] = f"{about}AUPRC against {option}", _sweep(table, part, option)
    return drawn


def _axis(xlabel: str, ylabel: str, size: tuple[float, float] = (6, 4.5)) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axis = figure.subplots()
    axis.spines[["top", "right"]].set_visible(False)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    return figure, axis


def _boxes(part: SetTable, key: str, title: str) -> Any:
    """Draw a box for each method: median, quartiles, and whiskers to 1.5 times their distance."""
    values = {name: [row[key] for row in rows if row.get(key) is not None] for name, rows in part["cases"].items()}
    figure, axis = _axis(title, "", (6, 0.4 * len(values) + 1))
    axis.boxplot(list(values.values()), orientation="horizontal", tick_labels=list(values), medianprops={"color": "C1"})
    axis.invert_yaxis()
    return figure


def _roc(part: SetTable) -> Any:
    figure, axis = _axis("healthy voxels detected", "lesion voxels detected")
    _lines(axis, part, "fpr", "recall", GRID)
    return figure


def _precision_recall(part: SetTable) -> Any:
    figure, axis = _axis("recall", "precision")
    _lines(axis, part, "recall", "precision", GRID)
    return figure


def _dice(part: SetTable) -> Any:
    figure, axis = _axis("threshold, in multiples of the one from validation", "Dice over the voxels of all scans")
    _lines(axis, part, "threshold", "dice", MULTIPLES)
    axis.set_xscale("log", base=2)
    axis.axvline(1, color="0.45", ls="--", lw=1)
    return figure


def _lines(axis: Any, part: SetTable, x: str, y: str, grid: Any) -> None:
    """Draw a line for each method, the mean over the folds."""
    for name, curves in part["curves"].items():
        known = [curve for curve in curves if curve and curve[x]]
        if known:
            axis.plot(grid, np.mean([_at(curve, x, y, grid) for curve in known], axis=0), label=name)
    axis.set_ylim(0, 1.02)
    axis.legend(frameon=False, fontsize=8)


def _at(curve: Mapping[str, Sequence[float]], x: str, y: str, grid: Any) -> Any:
    order = np.argsort(curve[x], kind="stable")
    return np.interp(grid, np.asarray(curve[x])[order], np.asarray(curve[y])[order])


CURVES = {
    "roc": ("lesion voxels found against healthy ones detected", _roc),
    "pr": ("precision against recall", _precision_recall),
    "dice-threshold": ("Dice against the threshold", _dice),
}


def _counts(part: SetTable) -> dict[str, dict[str, Any]]:
    """Return how many voxels of lesions and of healthy brain have which score, by method: the sum over the folds."""
    found = {name: [one for one in folds if one] for name, folds in part.get("histograms", {}).items()}
    return {
        name: {kind: np.sum([one[kind] for one in folds], axis=0) for kind in ("healthy", "lesion")}
        for name, folds in found.items()
        if folds
    }


def _histograms(known: Mapping[str, Mapping[str, Any]]) -> Any:
    """Draw a panel for each method, with a logarithmic axis of counts, and the threshold as a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 1.4 * len(known) + 1), layout="constrained")
    axes = figure.subplots(len(known), sharex=True, sharey=True, squeeze=False)[:, 0]
    for axis, (name, counts) in zip(axes, known.items(), strict=True):
        edges = np.linspace(0, WIDEST, len(counts["lesion"]) + 1)
        for kind, voxels in counts.items():
            axis.stairs(voxels, edges, label="in lesions" if kind == "lesion" else "in healthy brain")
        axis.spines[["top", "right"]].set_visible(False)
        axis.set(title=name, ylabel="voxels", yscale="log")
        axis.set_ylim(bottom=0.5)
        axis.axvline(1, color="0.45", ls="--", lw=1)
    axes[0].legend(frameon=False, fontsize=8)
    axes[-1].set_xlabel("score, in multiples of the threshold from validation")
    return figure


def _time(part: SetTable) -> Any:
    figure, axis = _axis("seconds for each scan", "AUPRC")
    for row in part["rows"]:
        x, y = value_of(row.get("seconds_per_scan")), value_of(row.get("auprc"))
        if x and y is not None:
            axis.plot(x, y, "o", label=row["method"])
    axis.set_xscale("log")
    axis.legend(frameon=False, fontsize=8)
    return figure


def _swept(methods: Sequence[Row]) -> list[str]:
    """List the options that rows differ in, where their values are numbers."""
    numbers = {name for row in methods for name, value in row["swept"].items() if isinstance(value, int | float)}
    return sorted(numbers)


def _sweep(table: Table, part: SetTable, option: str) -> Any:
    """Draw a line for each method that an option of was swept, and for each combination of its other swept options."""
    figure, axis = _axis(option, "AUPRC")
    rows = {row["method"]: row for row in part["rows"]}
    lines: dict[str, list[tuple[float, float, float]]] = {}
    for method in table["config"]["method"]:
        if option not in method["swept"] or (value := value_of(rows[method["name"]].get("auprc"))) is None:
            continue
        others = [f"{name} = {said}" for name, said in method["swept"].items() if name != option]
        deviation = rows[method["name"]]["auprc"].get("deviation") or 0.0
        lines.setdefault(", ".join([method["family"], *others]), []).append((method["swept"][option], value, deviation))
    for name, points in lines.items():
        x, y, error = np.array(sorted(points)).T
        axis.errorbar(x, y, error, fmt="o-", capsize=3, label=name)
    axis.legend(frameon=False, fontsize=8)
    return figure
