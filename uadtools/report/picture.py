"""A picture of studies: scan, healed, score, detection and truth, slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import UadError
from uadtools.files import check_free, written
from uadtools.grids.box import box_of
from uadtools.grids.grid import Grid, carry_mask, oriented, resample
from uadtools.metrics.overlap import Mask
from uadtools.volume.chain import GridChain, seen_from
from uadtools.volume.clean import keep_largest
from uadtools.volume.io import Image
from uadtools.volume.roles import ROLES
from uadtools.volume.stream import Study

_COLUMNS = [role for role, about in ROLES.items() if about.title and role != "truth"]
_MARGIN = 3
PLANES = ((1, 2), (0, 2), (0, 1))
"""Array axes shown to the right and up: sagittal, coronal, axial."""


def picture(
    study: Study, path: Path | str, *, truth: Image | None = None, slices: int = 4, force: bool = False
) -> None:
    """Draw axial slices of a study, one row each, and write a PNG, PDF or SVG.

    Columns are the images that the study has, then the truth; everything is shown on the scan's grid (else the
    product's), front of the head up, patient's left on the right. The slices are those with most truth, else most
    detection, else evenly spaced; an only one is that with most of the largest component. Raises UadError when there is
    nothing to show or the file cannot be written.
    """
    path = Path(path)
    check_picture(path, force=force)
    figure = drawn(study, truth=truth, slices=slices)
    with written(path, force=force) as part:
        figure.savefig(part, dpi=150, facecolor="black")


def drawn(study: Study, *, truth: Image | None = None, slices: int = 4) -> Any:
    """Draw what `picture` writes, as a figure of matplotlib. Raises UadError when there is nothing to show."""
    from matplotlib.figure import Figure

    views = _views(study, truth)
    chosen = _choose(views, slices)
    box = _frame(views)
    width, height = (side.stop - side.start for side in box)
    limits = window(next((views[role] for role in ("scan", "healed") if role in views), np.zeros(1)))
    figure = Figure(figsize=(2.2 * len(views), 2.2 * len(chosen) * (height / width) + 0.35), facecolor="black")
    axes = figure.subplots(len(chosen), len(views), squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.02})
    for row, z in zip(axes, chosen, strict=True):
        for axis, (role, data) in zip(row, views.items(), strict=True):
            _draw(axis, role, data, views.get("scan"), (*box, z), limits)
    for axis, role in zip(axes[0], views, strict=True):
        axis.set_title(ROLES[role].title, color="white", fontsize=10)
    figure.subplots_adjust(0.005, 0.005, 0.995, 1 - 0.35 / figure.get_figheight())
    return figure


def glimpse(study: Study) -> Any:
    """Draw a study's scan, else its product, through the middle of what is detected, which is outlined, as a figure.

    One slice of each of PLANES, of single slices the axial one.
    """
    from matplotlib.figure import Figure

    base = study.images.get("scan", study.product)
    marked = {role: study.images[role] for role in ("detection",) if role in study.images}
    views = _views(Study(study.name, {"scan": base.derive(base.data, "scan"), **marked}), None)
    data, found = views["scan"], views.get("detection", np.zeros(1)) > 0
    outline = (found, "#ff5a1f") if found.any() else (data != 0, "none")
    spacing = oriented(base.data, base.grid)[1].spacing
    planes = PLANES if min(data.shape) > 1 else PLANES[2:]
    figure = Figure(figsize=(2.2 * len(planes), 2.2), facecolor="black")
    for axis, plane in zip(figure.subplots(1, len(planes), squeeze=False)[0], planes, strict=True):
        draw_slice(axis, data, [outline], spacing, plane)
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.99, 0.02)
    return figure


def draw_slice(
    axis: Any,
    data: NDArray[Any],
    outlines: Sequence[tuple[Mask, str]],
    spacing: Sequence[float],
    plane: tuple[int, int],
) -> None:
    """Draw the slice through the middle of the first mask, with all outlines; plane: array axes to the right and up."""
    right, up = plane
    (through,) = {0, 1, 2} - {right, up}
    occupied = np.flatnonzero(outlines[0][0].any(axis=plane))
    middle = int(occupied[len(occupied) // 2]) if len(occupied) else data.shape[through] // 2
    turn = -1 if right == 0 else 1  # the patient's left on the right
    flat = np.take(data, middle, axis=through).T[:, ::turn]
    above = data[data > data.min()]
    low, high = np.percentile(above, [1, 99.5]) if above.size else (0, 1)
    low = low if low < high else data.min()
    axis.imshow(flat, cmap="gray", vmin=low, vmax=high, origin="lower", aspect=spacing[up] / spacing[right])
    for mask, colour in outlines:
        edge = np.take(mask, middle, axis=through).T[:, ::turn]
        if edge.any() and min(edge.shape) > 1:
            axis.contour(edge, [0.5], colors=[colour], linewidths=0.8)
    axis.axis("off")


def png(figure: Any, **look: Any) -> bytes:
    """Return a figure of matplotlib as the bytes of a PNG file."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110, **look)
    return buffer.getvalue()


def window(data: NDArray[Any]) -> tuple[float, float]:
    """Choose what is drawn black and white of a scan that is 0 outside the brain.

    From the 5th to the 95th hundredth inside it, and half as far again to both sides, but no farther than there is
    anything: of a contrast that fills its range all of it, of CT the few values that tissue has.
    """
    inside = data[data != 0]
    if not inside.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(inside, [5, 95]))
    reach = (high - low) / 2 or np.inf
    low, high = max(float(inside.min()), low - reach), min(float(inside.max()), high + reach)
    return low, max(high, low + 1e-6)


def check_picture(path: Path, *, force: bool) -> None:
    """Raise UadError when a picture cannot be written there."""
    if path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise UadError(f"{path}: pictures are written as .png, .pdf or .svg (change the name)")
    check_free(path, force=force)


def _views(study: Study, truth: Image | None) -> dict[str, NDArray[Any]]:
    """Return the volumes to show, on one grid, in RAS order."""
    base = study.images.get("scan", study.product)
    images = {role: study.images[role] for role in _COLUMNS if role in study.images}
    if truth is not None:
        images["truth"] = truth
    chain = base.provenance.get("chain", [])
    views = {role: _on(image, base.grid, role, chain) for role, image in images.items()}
    if not views:
        raise UadError(f"{study.name}: nothing to draw (no {', '.join(_COLUMNS)})")
    return views


def _on(image: Image, base: Grid, role: str, chain: GridChain) -> NDArray[Any]:
    """Return an image on the base grid, which the chain led to, in RAS order."""
    grid = image.grid if image.grid.same(base) else seen_from(chain, image.grid)
    if ROLES[role].kind == "mask":
        return oriented(carry_mask(image.data > 0.5, grid, base), base)[0]
    return oriented(resample(image.data.astype(np.float32), grid, base), base)[0]


def _choose(views: dict[str, NDArray[Any]], count: int) -> list[int]:
    """Pick slices, top of the head first; an only one is through the largest component, else the middle."""
    first = next(iter(views.values()))
    masks = (views[role] > 0.5 for role in ("truth", "detection") if role in views)
    shown = next((mask for mask in masks if mask.any()), None)
    weight = None if shown is None else (keep_largest(shown) if count == 1 else shown).sum(axis=(0, 1))
    if weight is None:
        occupied = np.flatnonzero((first > 0).any(axis=(0, 1)))
        places = (np.linspace(0.3, 0.75, count) if count > 1 else np.array([0.5])) * (len(occupied) - 1)
        return sorted({int(occupied[int(p)]) for p in places}, reverse=True) if len(occupied) else [first.shape[2] // 2]
    picked: list[int] = []
    apart = max(1, int((weight > 0).sum()) // (2 * count))
    for z in np.argsort(-weight, kind="stable"):
        if weight[z] > 0 and all(abs(int(z) - p) >= apart for p in picked):
            picked.append(int(z))
    return sorted(picked[:count], reverse=True)


def _frame(views: dict[str, NDArray[Any]]) -> tuple[slice, slice]:
    """Return the box in x and y that holds everything above 0 in the first view, with a margin."""
    x, y, _ = box_of(next(iter(views.values())) > 0, _MARGIN)
    return x, y


def _draw(
    axis: Any,
    role: str,
    data: NDArray[Any],
    scan: NDArray[Any] | None,
    where: tuple[slice, slice, int],
    limits: tuple[float, float],
) -> None:
    low, high = limits
    axis.axis("off")
    flat = data[where].T[::-1, ::-1]
    if role == "score":
        scored = data[data > 0]
        axis.imshow(flat, cmap="inferno", vmin=0, vmax=float(np.percentile(scored, 99.5)) if scored.size else 1)
    elif ROLES[role].kind == "mask" and scan is not None:
        axis.imshow(scan[where].T[::-1, ::-1], cmap="gray", vmin=low, vmax=high)
        colour = {"detection": (1.0, 0.3, 0.2), "truth": (0.2, 0.9, 0.4)}[role]
        axis.imshow(np.dstack([np.full(flat.shape, c) for c in colour] + [0.75 * (flat > 0.5)]))
    elif ROLES[role].kind == "scan":
        axis.imshow(flat, cmap="gray", vmin=low, vmax=high)
    else:
        axis.imshow(flat, cmap="gray", vmin=0)


def truth_picture(study: Study, path: Path, *, force: bool = False) -> None:
    """Draw a study's scan beside the truth, if that is not empty; PNG, PDF or SVG. Raises UadError."""
    scan, truth = study.need("scan"), study.need("truth")
    picture(Study(study.name, {"scan": scan}), path, truth=truth if truth.data.any() else None, force=force)
