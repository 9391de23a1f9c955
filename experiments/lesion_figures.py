"""Figures, table and picture of the simulated lesions. Used by simulated_lesions.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from uadtools.files import written
from uadtools.metrics.ranking import rank

Floats = NDArray[np.floating[Any]]
Scored = list[tuple[Floats, NDArray[np.bool_]]]
"""(score, truth) of the brain's voxels, scan by scan."""
Figures = dict[str, Any]
SIZES = ((5.0, 10.0), (10.0, 20.0), (20.0, 30.0))
"""Classes of blobs by diameter in mm, of the ball of the same volume."""
HOT = 0.3
"""Score that is drawn white."""


@dataclass(frozen=True)
class Case:
    """One method on one scan, inside the brain: its score, the lesions' labels, its score of the untouched scan."""

    score: Floats
    label: NDArray[np.uint8]
    untouched: Floats
    diameters: tuple[float, ...] = ()


class Row(NamedTuple):
    """A row of the picture: scan, healed scan and score, and the axial slice to show."""

    title: str
    volumes: tuple[Floats, Floats, Floats]
    z: int


def figures(cases: Sequence[Case]) -> Figures:
    """Sum up one method on one kind of lesion.

    untouched_share: of the untouched scans, what the threshold of the pooled best Dice detects, mean over scans.
    """
    best = summary([(c.score, c.label > 0) for c in cases])
    return {
        **best,
        "untouched_share": float(np.mean([np.mean(c.untouched > best["threshold"]) for c in cases])),
        "untouched_mean": float(np.mean([c.untouched.mean(dtype=np.float64) for c in cases])),
        "by_size": {f"{low:g}-{high:g}": summary(of_size(cases, low, high)) for low, high in SIZES},
    }


def summary(scored: Scored) -> Figures:
    """AUPRC and best Dice, as mean over scans and pooled over their voxels."""
    if not scored:
        return {"scans": 0}
    single = [rank(score, truth) for score, truth in scored]
    pooled = rank(np.concatenate([s for s, _ in scored]), np.concatenate([t for _, t in scored]))
    each = [r.average_precision() for r in single]
    best = pooled.best_dice()
    return {
        "scans": len(scored),
        "auprc": float(np.mean(each)),
        "auprc_pooled": pooled.average_precision(),
        "dice": float(np.mean([r.best_dice().dice for r in single])),
        "dice_pooled": best.dice,
        "threshold": best.threshold,
        "auprc_each": each,
    }


def of_size(cases: Sequence[Case], low: float, high: float) -> Scored:
    """Take the scans that have blobs of a diameter in [low, high) mm; voxels of their other blobs are left out."""
    found = []
    for case in cases:
        numbers = [k for k, d in enumerate(case.diameters, start=1) if low <= d < high]
        if numbers:
            ours = np.isin(case.label, numbers)
            keep = ours | (case.label == 0)
            found.append((case.score[keep], ours[keep]))
    return found


def table(results: Mapping[str, Mapping[str, Figures]], methods: Sequence[str]) -> Table:
    """Lay out the figures of these methods, kind by kind."""
    made = Table(
        title="simulated lesions: mean over scans, and pooled over voxels",
        caption="Dice: best possible; sizes: mean AUPRC over the scans with blobs of that diameter; untouched: share "
        "of the scan without lesions that the threshold of the pooled best Dice detects",
    )
    sizes = [f"{low:g}-{high:g} mm" for low, high in SIZES]
    for text in ("lesions", "method"):
        made.add_column(text, no_wrap=True)
    for text in ("AUPRC", "pooled", "Dice", "pooled", *sizes, "untouched"):
        made.add_column(text, justify="right", no_wrap=True)
    for kind, found in results.items():
        for method in methods:
            f = found[method]
            name = f"{method} ({f['sigma']})" if "sigma" in f else method
            plain = [f"{f[key]:.3f}" for key in ("auprc", "auprc_pooled", "dice", "dice_pooled")]
            by_size = [f"{s['auprc']:.3f}" if s["scans"] else "" for s in f["by_size"].values()]
            made.add_row(kind, name, *plain, *by_size, f"{100 * f['untouched_share']:.2f} %")
        made.add_section()
    return made


def picture(rows: Sequence[Row], path: Path, *, force: bool = False) -> None:
    """Draw each row's axial slices of scan, healed scan and score: front up, patient's left on the right.

    The brain fills every frame; one scale (scan and healed 0 to 1, score 0 to HOT) for all rows.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    slices = [_cropped([volume[::-1, :, row.z].T for volume in row.volumes]) for row in rows]
    heights = [scan.shape[0] / scan.shape[1] for scan, _, _ in slices]
    figure = Figure(figsize=(6, 2 * sum(heights) + 0.3), facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), 3, squeeze=False, height_ratios=heights)
    for line, row, shown in zip(axes, rows, slices, strict=True):
        for axis, flat, (colours, top) in zip(line, shown, (("gray", 1), ("gray", 1), ("hot", HOT)), strict=True):
            axis.imshow(flat, origin="lower", cmap=colours, vmin=0, vmax=top, aspect="auto")
            axis.axis("off")
        line[0].text(0.02, 0.98, row.title, color="white", fontsize=6, va="top", transform=line[0].transAxes)
    for axis, text in zip(axes[0], ("scan", "healed", f"score, 0 to {HOT:g}"), strict=True):
        axis.set_title(text, color="white", fontsize=9)
    figure.subplots_adjust(0, 0, 1, 1 - 0.3 / figure.get_figheight(), wspace=0.01, hspace=0.01)
    with written(path, force=force) as part:
        figure.savefig(part, dpi=150, facecolor="black")


def _cropped(slices: Sequence[Floats]) -> list[Floats]:
    """Cut slices to the box of the first one's brain and one voxel around it."""
    spans = [np.flatnonzero((slices[0] > 0).any(axis=axis)) for axis in (1, 0)]
    y, x = (slice(max(int(s[0]) - 1, 0), int(s[-1]) + 2) for s in spans)
    return [flat[y, x] for flat in slices]
