"""A picture of what uad-preprocess did to a scan: before and after, with the outline of the brain."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from uadtools.files import written
from uadtools.grids.grid import Grid, oriented, resample
from uadtools.metrics.overlap import Mask
from uadtools.report.picture import PLANES, check_picture, draw_slice
from uadtools.volume.background import background
from uadtools.volume.chain import in_scan_space
from uadtools.volume.io import Image
from uadtools.volume.stream import Study

_BRAIN, _TEMPLATE = "#ffd23f", "#3fc7ff"


def outlined(
    raw: Image, prepared: Study, path: Path, *, template: Image | None = None, flat: bool = False, force: bool = False
) -> None:
    """Draw a raw scan and what became of it, through the middle of the brain along three axes; PNG, PDF or SVG.

    flat: single slices, so only the axial one is drawn.

    The brain is outlined in yellow; after registration the template's brain in blue. Front of the head up or right,
    patient's left on the right. Raises UadError when the file cannot be written.
    """
    from matplotlib.figure import Figure

    check_picture(path, force=force)
    scan, brain = prepared.need("scan"), prepared.need("brain")
    native = in_scan_space(scan.provenance["chain"], brain.grid)
    rows: dict[str, tuple[Image, list[tuple[Mask, str]]]] = {
        "as it came": (raw, [(_on(brain.data > 0, native, raw.grid), _BRAIN)]),
        "prepared": (scan, [(brain.data > 0, _BRAIN)]),
    }
    if template is not None:
        rows["prepared"][1].append((_on(~background(template.data), template.grid, scan.grid), _TEMPLATE))
    planes = PLANES[2:] if flat else PLANES
    figure = Figure(figsize=(3 * len(planes), 6.4), facecolor="black")
    for axes, (title, (image, masks)) in zip(figure.subplots(2, len(planes), squeeze=False), rows.items(), strict=True):
        axes[0].set_title(title, color="white", fontsize=10, loc="left")
        data, grid = oriented(image.data, image.grid)
        outlines = [(oriented(mask, image.grid)[0], colour) for mask, colour in masks]
        for axis, plane in zip(axes, planes, strict=True):
            draw_slice(axis, data, outlines, grid.spacing, plane)
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.95, 0.02, 0.1)
    with written(path, force=force) as part:
        figure.savefig(part, dpi=100, facecolor="black")


def _on(mask: Mask, source: Grid, target: Grid) -> Mask:
    return np.asarray(resample(mask.astype(np.float32), source, target) > 0.5)
