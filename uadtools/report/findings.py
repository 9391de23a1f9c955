"""What is detected, component by component: how large it is, where it lies, and how it scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadtools.errors import UadError
from uadtools.grids.grid import CORNERS, Grid, nearest
from uadtools.scoring.postproc import FILTERS, Steps, own_steps, possible, prepare
from uadtools.volume.chain import GridChain, in_scan_space
from uadtools.volume.io import Image
from uadtools.volume.stream import Study, last_by

Place = tuple[float, float, float]
PLACES = 6
"""Decimals of volumes in mL, so that what binary fractions add to them is not told."""
WIDE = 20
"""A median filter of such a window takes minutes."""


@dataclass(frozen=True)
class Finding:
    """A 26-connected component of a mask.

    ml: of the person, whom a template's world may be larger than. shown: a voxel of it near its middle, RAS mm in the
    world that the page shows; native: in that of the scan as it came. mean, peak: of the score as the threshold sees
    it, None where there is none. found: whether it has a voxel in common with the other mask, None where there is none.
    """

    ml: float
    shown: Place
    native: Place
    mean: float | None
    peak: float | None
    found: bool | None


def findings(mask: Image, smooth: Image | None, chain: GridChain, other: Image | None = None) -> list[Finding]:
    """List the components of a mask, the largest first.

    mask, smooth, other: in the world at the end of the chain; smooth: a score as `smoothed` gives it.
    """
    labels, _ = ndimage.label(mask.data > 0, CORNERS)
    native = in_scan_space(chain, mask.grid)
    score = None if smooth is None else nearest(smooth.data, smooth.grid, mask.grid)
    touched = None if other is None else {*np.unique(labels[other.data > 0]).tolist()}
    found = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        inside = labels[box] == number
        voxel = _middle(inside) + [part.start for part in box]
        values = None if score is None else score[box][inside]
        found.append(
            Finding(
                round(float(inside.sum()) * native.voxel_volume, PLACES),
                _place(mask.grid, voxel),
                _place(native, voxel),
                None if values is None else float(values.mean()),
                None if values is None else float(values.max()),
                None if touched is None else number in touched,
            )
        )
    return sorted(found, key=lambda one: -one.ml)


def smoothed(study: Study) -> Image | None:
    """Return the score as the threshold of uad-postproc sees it; as it is where that cannot be; None without one."""
    if "score" not in study.images:
        return None
    score = study.need("score")
    try:
        return score.derive(prepare(study, steps_of(study)).smooth, "score")
    except UadError:
        return score


def steps_of(study: Study) -> Steps:
    """Return the chain that the detection went through, else the one that the model recommends."""
    noted = last_by(study.images.get("detection", study.product), "uad-postproc").get("arguments", {})
    known = (
        {step: noted[step] for step in FILTERS if possible(step, noted.get(step))} if isinstance(noted, dict) else {}
    )
    return own_steps(study, **(known if known.get("median", 1) < WIDE else {}))


def _middle(inside: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the voxel of a component that is nearest to its centre of mass."""
    voxels = np.argwhere(inside)
    return np.asarray(voxels[np.linalg.norm(voxels - voxels.mean(axis=0), axis=1).argmin()])


def _place(grid: Grid, voxel: NDArray[np.intp]) -> Place:
    x, y, z = (grid.affine @ [*voxel, 1.0])[:3]
    return float(x), float(y), float(z)


def said(place: Place) -> str:
    """Write a place for people: whole millimetres."""
    return ", ".join(f"{value:.0f}" if round(value) else "0" for value in place)
