"""Plots of an evaluation: precision against recall, Dice against threshold, and the agreement of volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import UadError
from uadtools.evaluation.evaluate import Evaluation
from uadtools.files import written
from uadtools.metrics.ranking import Ranking
from uadtools.report.picture import check_picture

MOST_POINTS = 2000
OURS, OTHER, GREY = "#0072b2", "#d55e00", "0.45"  # told apart by all eyes


def check_plots(plots: Mapping[str, Path], *, force: bool) -> None:
    """Raise UadError for a plot that there is not, and for files that cannot be written."""
    for name, path in plots.items():
        if name not in DRAWN:
            raise UadError(f"--plot {name}={path}: there are {', '.join(DRAWN)}")
        check_picture(path, force=force)


def plot(evaluation: Evaluation, name: str, path: Path, *, force: bool = False) -> None:
    """Draw one of DRAWN as PNG, PDF or SVG. Raises UadError when the evaluation does not hold what it shows."""
    check_plots({name: path}, force=force)
    figure = figure_of(evaluation, name)
    with written(path, force=force) as part:
        figure.savefig(part, dpi=150)


def figure_of(evaluation: Evaluation, name: str) -> Any:
    """Draw what `plot` writes, as a figure of matplotlib. Raises UadError as it does."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    axis = figure.subplots()
    axis.spines[["top", "right"]].set_visible(False)
    DRAWN[name](axis, evaluation)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=8)
    return figure


def strips(scores: Mapping[str, tuple[float, Sequence[float]]]) -> Any:
    """Draw numbers of a scan as lines among those of other scans as points, a strip for each, as a figure."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(8, 0.8 * len(scores) + 0.2), layout="constrained")
    for axis, (name, (value, others)) in zip(
        figure.subplots(len(scores), squeeze=False)[:, 0], scores.items(), strict=True
    ):
        heights = np.random.default_rng(0).uniform(0, 1, len(others))
        points = axis.plot(others, heights, "o", color=GREY, ms=4, alpha=0.5, mec="none")
        line = axis.axvline(value, color=OTHER, lw=2)
        axis.set(yticks=[], ylim=(-0.2, 1.2))
        if min(value, *others) > 0:
            axis.set_xscale("log")
            axis.xaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}")
            axis.minorticks_off()
        axis.set_title(name, loc="left", fontsize=9)
        axis.spines[["top", "right", "left"]].set_visible(False)
    figure.legend([*points, line], ["healthy scans", "this scan"], loc="outside right upper", frameon=False, fontsize=9)
    return figure


def _precision_recall(axis: Any, evaluation: Evaluation) -> None:
    """Draw the pooled curve in steps, as average precision sums it, over the line of a score that knows nothing."""
    ranking = _ranking(evaluation)
    curves = [("score", OURS, ranking)]
    if evaluation.baseline:
        curves.append((evaluation.report["baseline"]["name"], OTHER, evaluation.baseline))
    for name, colour, curve in curves:
        tp, fp = curve.tp[_few(curve)], curve.fp[_few(curve)]
        label = f"{name}, AUPRC {curve.average_precision():.3f}"
        recall, precision = tp / curve.positives, tp / (tp + fp)
        axis.step([0, *recall], [precision[0], *precision], where="pre", color=colour, label=label)
    prevalence = ranking.positives / (ranking.positives + ranking.negatives)
    axis.axhline(prevalence, color=GREY, ls="--", lw=1, label=f"chance, {prevalence:.3g} of the voxels are lesion")
    pooled, threshold = evaluation.report["pooled"], evaluation.report["threshold"]
    if threshold is not None and pooled["precision"] is not None:
        axis.plot(pooled["recall"], pooled["precision"], "o", color=OURS, label=f"score above {threshold:.4g}")
    axis.set(xlim=(0, 1.01), ylim=(0, 1.03))
    axis.set(xlabel="recall: lesion voxels that are detected", ylabel="precision: detected voxels that are lesion")


def _dice(axis: Any, evaluation: Evaluation) -> None:
    """Draw the pooled Dice of what scores at least so much, the best, and that of the threshold that was used."""
    ranking = _ranking(evaluation)
    dice, threshold = ranking.best_dice()
    curve = 2 * ranking.tp / (ranking.tp + ranking.fp + ranking.positives)
    few = np.union1d(_few(ranking), np.argmax(curve))
    axis.plot(ranking.value[few], curve[few], color=OURS)
    axis.plot(threshold, dice, "o", color=OURS, label=f"best, {dice:.3f} above {threshold:.4g}: chosen with the truth")
    used = evaluation.report["threshold"]
    if used is not None:
        label = f"used, {evaluation.report['pooled']['dice']:.3f} above {used:.4g}"
        axis.axvline(used, color=OTHER, ls="--", lw=1, label=label)
    axis.set(xlabel="threshold on the score", ylabel="Dice over the voxels of all scans")
    axis.set_ylim(bottom=0)


def _bland_altman(axis: Any, evaluation: Evaluation) -> None:
    """Draw detected minus true volume against their mean, with the bias and the limits of agreement.

    The limits are the mean difference and 1.96 standard deviations on either side. Source: Bland & Altman 1986.
    """
    if len(evaluation.volumes_ml) < 2:
        raise UadError("bland-altman: detections of two or more scans are needed (score maps need --threshold-from)")
    truth, detected = np.array(evaluation.volumes_ml).T
    difference = detected - truth
    bias, spread = difference.mean(), 1.96 * difference.std(ddof=1)
    axis.plot((truth + detected) / 2, difference, "o", color=OURS, alpha=0.7, mec="none")
    axis.axhline(0, color=GREY, lw=0.5)
    for value, style, name in (
        (bias + spread, "--", "upper limit"),
        (bias, "-", "mean"),
        (bias - spread, "--", "lower limit"),
    ):
        axis.axhline(value, color=OTHER, ls=style, lw=1)
        places = {"xycoords": axis.get_yaxis_transform(), "textcoords": "offset points", "ha": "right", "va": "bottom"}
        axis.annotate(f"{name} {value:+.3g} mL", (1, value), (0, 2), fontsize=8, color=OTHER, **places)
    axis.set(xlabel="mean of detected and true volume, mL", ylabel="detected minus true volume, mL")
    axis.margins(y=0.15)


def _ranking(evaluation: Evaluation) -> Ranking:
    if evaluation.ranking is None or not evaluation.ranking.positives:
        raise UadError("there is no curve to plot (it takes score maps, and a truth that is not empty everywhere)")
    return evaluation.ranking


def _few(ranking: Ranking) -> NDArray[np.intp]:
    """Choose entries to draw, the closer together the higher the score; the last is one of them."""
    last = ranking.value.size - 1
    return np.unique(np.append(np.geomspace(1, last + 1, MOST_POINTS).astype(int) - 1, last))


DRAWN = {"pr": _precision_recall, "dice": _dice, "bland-altman": _bland_altman}
