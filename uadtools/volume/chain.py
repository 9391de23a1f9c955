"""The chain of grids that a scan went through, which every result carries, and the way back along it.

Every step that leads from a scan to the model's grid is an affine change of grid, so the chain is enough to bring any
result back to the scan, and anything drawn on the scan to the result.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import UadError
from uadtools.grids.grid import Grid, carry_mask, resample
from uadtools.volume.io import Image
from uadtools.volume.labels import IGNORED, LESION, Labels, read_labels

GridChain = list[dict[str, Any]]
"""Oldest first: {"step": "input" | "reorient" | "register" | "resample" | "crop_pad", "grid": {...}}.

A register step has a "matrix", too, (4, 4), from the world in mm before it to the world after it (the template's).
"""
NATIVE = "uad-postproc --native puts a detection on the grid of the scan"
_FAULTS = (IndexError, KeyError, TypeError, ValueError, OverflowError)


def link(step: str, grid: Grid, matrix: NDArray[np.float64] | None = None) -> dict[str, Any]:
    """Make one step of a chain."""
    step_json = {"step": step, "grid": grid.to_json()}
    return step_json if matrix is None else step_json | {"matrix": [[float(v) for v in row] for row in matrix]}


def native_grid(chain: GridChain) -> Grid:
    """Return the grid of the original scan. Raises UadError when the chain is missing or damaged."""
    try:
        return Grid.from_json(chain[0]["grid"])
    except _FAULTS:
        raise UadError("does not say which grid it came from (its provenance is missing or damaged)") from None


def to_native(image: Image, name: str) -> Image:
    """Put a result back on the grid of the scan it came from: a detection as a mask, any other image linearly.

    name: of the study, for errors. Raises UadError when the image's provenance does not say where the scan was.
    """
    chain = image.provenance.get("chain", [])
    try:
        target, here = native_grid(chain), in_scan_space(chain, image.grid)
    except UadError as error:
        raise UadError(f"{name}: {error} (--native needs a scan that went through uad-preprocess)") from None
    if image.role == "detection":
        return image.derive(carry_mask(image.data > 0, here, target).astype(np.uint8), image.role, target)
    return image.derive(resample(image.data, here, target), image.role, target)


def in_scan_space(chain: GridChain, grid: Grid) -> Grid:
    """Return a grid at the end of the chain as it lies in the original scan's world: registration undone."""
    return _sane(Grid(grid.shape, np.linalg.inv(_moved(chain)) @ grid.affine))


def in_model_space(chain: GridChain, grid: Grid) -> Grid:
    """Return a grid in the original scan's world as it lies at the end of the chain: registration done."""
    return _sane(Grid(grid.shape, _moved(chain) @ grid.affine))


def seen_from(chain: GridChain, grid: Grid) -> Grid:
    """Return a grid as it lies at the end of the chain, where any but that of the original scan lies already."""
    return in_model_space(chain, grid) if chain and native_grid(chain).same(grid) else grid


def _sane(grid: Grid) -> Grid:
    """Raise UadError for a grid that no scan of a head has, which would also take for ever."""
    if grid.absurd:
        raise UadError(f"was registered to {grid.absurd} (its provenance is damaged)")
    return grid


def _moved(chain: GridChain) -> NDArray[np.float64]:
    """Return the matrix from the original scan's world to the world at the end of the chain."""
    total = np.eye(4)
    try:
        for step in chain:
            if "matrix" in step:
                matrix = np.array(step["matrix"], dtype=np.float64)
                whole = matrix.shape == (4, 4) and np.isfinite(matrix).all() and (matrix[3] == (0, 0, 0, 1)).all()
                if not whole or not np.linalg.det(matrix):
                    raise ValueError
                total = matrix @ total
    except _FAULTS:
        raise UadError("does not say how it was registered (its provenance is damaged)") from None
    return total


def continued(chain: object, grid: Grid) -> GridChain:
    """Return a chain that led to this grid, so that it can go on, or else the beginning of one."""
    try:
        if isinstance(chain, list) and native_grid(chain) and Grid.from_json(chain[-1]["grid"]).same(grid):
            return chain
    except (UadError, *_FAULTS):
        pass
    return [link("input", grid)]


def label_of(label: Image, prediction: Image, name: str, wanted: str = "truth") -> NDArray[np.bool_]:
    """Return a mask, label image or probabilities as a mask on the prediction's grid.

    name: of the label, for errors; wanted: what it is to be, a key of roles.INPUTS. Raises UadError.
    """
    return np.asarray(labels_on(read_labels(label, wanted, name)[0], prediction, name) == LESION)


def labels_on(label: Image, prediction: Image, name: str, other: str = "prediction", advice: str = NATIVE) -> Labels:
    """Bring what `read_labels` made of a label image onto the prediction's grid: LESION, IGNORED and 0.

    name, other: of both, for errors. Raises UadError unless it lies there, or on the grid of the original scan.
    """
    if label.grid.same(prediction.grid):
        return label.data
    chain = prediction.provenance.get("chain", [])
    try:
        matches = label.grid.same(native_grid(chain))
    except UadError:
        matches = False
    if not matches:
        raise UadError(f"{name} and {other} lie on different grids: {label.grid.unlike(prediction.grid)} ({advice})")
    there = in_model_space(chain, label.grid)
    lesion, ignored = (carry_mask(label.data == value, there, prediction.grid) for value in (LESION, IGNORED))
    return np.where(lesion, LESION, np.where(ignored, IGNORED, 0)).astype(np.uint8)


def voxel_ml(image: Image) -> float:
    """Return the volume of a voxel in mL of the person, where the chain tells that the image was registered, too.

    A template's world is larger or smaller than the person's; a damaged chain tells nothing.
    """
    chain, grid = image.provenance.get("chain", []), image.grid
    try:
        volume = (grid if native_grid(chain).same(grid) else in_scan_space(chain, grid)).voxel_volume
    except UadError:
        volume = grid.voxel_volume
    return float(f"{volume:.12g}")
