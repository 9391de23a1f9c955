"""uad-preprocess: bring a raw scan onto a model's grid and intensities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import UadError
from uadtools.models.config import GridConfig, IntensityConfig
from uadtools.volume.brain import deepbet, from_background, is_stripped
from uadtools.volume.grid import Grid, continued, crop_pad, cropped_grid, link, resample, spaced_grid, to_ras
from uadtools.volume.intensity import inside, percentile
from uadtools.volume.io import Image
from uadtools.volume.stream import Study, record

Tell = Callable[[str], None]
Mask = NDArray[np.bool_]


def preprocess(
    scan: Image,
    *,
    name: str = "scan",
    grid: GridConfig | None = None,
    intensity: IntensityConfig | None = None,
    brain: Image | str = "auto",
    tell: Tell = lambda text: None,
) -> Study:
    """Turn a raw scan into a study of scan and brain mask, ready for a model of this grid and intensity window.

    brain: a mask on the scan's grid, "none" (everything that is not 0 is brain), "deepbet", or "auto" (none for a scan
    that is stripped already, else deepbet, which is for T1 scans of adults). tell: gets one line about anything the
    user should know. The scan comes back in RAS, float32 in [0, 1], above 0 exactly inside the brain; its provenance
    keeps the chain of grids. Raises UadError for a scan in which no brain can be seen.
    """
    grid, intensity = grid or GridConfig(), intensity or IntensityConfig()
    _check_contrast(scan)
    data, ras = to_ras(scan.data, scan.grid)
    mask = _find_brain(scan, data, ras, brain)
    data, mask, spaced = _spaced(data, mask, ras, grid.spacing)
    data, mask, target = _cropped(data, mask, spaced, grid.shape, tell)
    steps = [link("reorient", ras), link("resample", spaced), link("crop_pad", target)]
    chain = [*continued(scan.provenance.get("chain"), scan.grid), *steps]
    start = Image(
        _normalised(data, mask, intensity), target, "scan", {**scan.provenance, "study": name, "chain": chain}
    )
    arguments = {
        "grid": grid.model_dump(mode="json"),
        "intensity": intensity.model_dump(mode="json"),
        "brain": brain if isinstance(brain, str) else "file",
    }
    made = replace(start, provenance=record(start, "uad-preprocess", arguments))
    return Study(name, {"scan": made, "brain": made.derive(mask.astype(np.uint8), "brain")})


def _spaced(
    data: NDArray[Any], mask: Mask, ras: Grid, spacing: tuple[float, float, float]
) -> tuple[NDArray[Any], Mask, Grid]:
    """Bring scan and brain to the voxel size."""
    if not mask.any():
        raise UadError("the brain mask is empty (pass a better one with --brain FILE)")
    spaced = spaced_grid(ras, spacing)
    small = np.asarray(resample(mask.astype(np.float32), ras, spaced) > 0.5)
    if not small.any():
        size = " x ".join(f"{s:g}" for s in spacing)
        raise UadError(f"the brain is smaller than a voxel of {size} mm (pass a better mask with --brain FILE)")
    return resample(data, ras, spaced), small, spaced


def _cropped(
    data: NDArray[Any], mask: Mask, spaced: Grid, shape: tuple[int, int, int], tell: Tell
) -> tuple[NDArray[Any], Mask, Grid]:
    """Put the brain's bounding box in the middle of a grid of `shape` voxels; tell when it is too large for it."""
    occupied = np.argwhere(mask)
    target = cropped_grid(spaced, shape, (occupied.min(axis=0) + occupied.max(axis=0)) / 2)
    kept = crop_pad(mask, spaced, target)
    size = "x".join(map(str, shape))
    if not kept.any():
        raise UadError(f"the brain mask has nothing in its middle, where the grid of {size} lies (pass a better mask)")
    if lost := len(occupied) - int(kept.sum()):
        tell(f"{lost:,} of {len(occupied):,} brain voxels lie outside the grid of {size} and are cut off")
    return crop_pad(data, spaced, target), kept, target


def _check_contrast(scan: Image) -> None:
    if (scan.data == scan.data.flat[0]).all():
        raise UadError(f"all voxels have one value, {scan.data.flat[0]:g} (is this the right file?)")
    if not (scan.data > 0).any():
        raise UadError("no voxel above background, 0 (is this the right file?)")


def _find_brain(scan: Image, data: NDArray[Any], ras: Grid, brain: Image | str) -> Mask:
    """Return the mask in RAS order, on the grid of the turned scan."""
    if isinstance(brain, Image):
        if not brain.grid.same(scan.grid):
            raise UadError(
                f"brain mask and scan lie on different grids: {brain.grid.unlike(scan.grid)} (resample the mask first)"
            )
        turned, _ = to_ras(brain.data, scan.grid)
        return np.asarray(turned > 0.5)
    if brain == "none" or (brain == "auto" and is_stripped(data, ras)):
        return from_background(data)
    if brain in ("auto", "deepbet"):
        return deepbet(data, ras)
    raise UadError(f"no way to find a brain is called '{brain}' (auto, none, deepbet, or a file)")


def _normalised(data: NDArray[Any], mask: Mask, intensity: IntensityConfig) -> NDArray[np.float32]:
    if intensity.kind == "percentile":
        return percentile(data, mask, intensity.low, intensity.high)
    values = data[mask]
    if values.min() < 0 or values.max() > 1:
        raise UadError(
            f"intensities run from {values.min():g} to {values.max():g}, not 0 to 1 (--intensity percentile)"
        )
    return inside(data, mask)
