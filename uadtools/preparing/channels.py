"""The other contrasts of a scan: brought onto its grid, into its brain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uadtools.anatomy.bias import n4
from uadtools.anatomy.register import affine
from uadtools.errors import UadError
from uadtools.grids.grid import Grid, nearest, oriented, resample
from uadtools.preparing.preparation import Preparation
from uadtools.preparing.values import check_raw, grounded, normalised
from uadtools.volume.io import Image

Mask = NDArray[np.bool_]
COVERED = 0.8
"""The least share of the brain that another contrast must show."""


def in_place(
    scan: Image, onto: Grid, target: Grid, brain: Mask, preparation: Preparation
) -> dict[str, NDArray[np.float32]]:
    """Bring the other contrasts of a scan onto the model's grid; returns their values by name, 0 outside the brain.

    onto: where the scan's own voxels lie once it was registered, if it was; target: the model's grid, on which the
    brain is. All lie in one world, or, where the preparation says so, are registered to the scan by a rigid transform
    first. Raises UadError for one that shows less than COVERED of the brain.
    """
    values = {}
    for name, image in preparation.channels.items():
        try:
            values[name] = _in_place(image, scan, onto, target, brain, preparation)
        except UadError as error:
            raise UadError(f"channel {name}: {error}") from None
    return values


def _in_place(
    image: Image, scan: Image, onto: Grid, target: Grid, brain: Mask, preparation: Preparation
) -> NDArray[np.float32]:
    check_raw(image, preparation)
    orientation = preparation.grid.orientation
    data, grid = oriented(grounded(image.data, preparation), image.grid, orientation)
    if preparation.align:
        grid = Grid(grid.shape, affine(Image(data, grid), scan, seed=preparation.seed, rigid=True) @ grid.affine)
    moved = onto.affine @ np.linalg.inv(oriented(scan.data, scan.grid, orientation)[1].affine)
    grid = Grid(grid.shape, moved @ grid.affine)
    shown = float((resample(np.ones(grid.shape, np.float32), grid, target)[brain] > 0.5).mean())
    if shown < COVERED:
        raise UadError(f"shows {shown:.0%} of the scan's brain (is it of the same person? --align registers it)")
    if preparation.bias_correct:
        data = n4(data, nearest(brain.astype(np.uint8), target, grid) > 0, grid)
    return normalised(resample(data, grid, target), brain, preparation)
