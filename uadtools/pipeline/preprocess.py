"""uad-preprocess: bring a raw scan onto a model's grid and intensities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import UadError
from uadtools.models.config import GridConfig, IntensityConfig
from uadtools.volume.brain import deepbet, from_background, is_stripped
from uadtools.volume.grid import Chain, Grid, crop_pad, cropped_grid, link, resample, spaced_grid, to_ras
from uadtools.volume.intensity import inside, percentile
from uadtools.volume.io import Image
from uadtools.volume.stream import Study, record

Tell = Callable[[str], None]


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
    if not mask.any():
        raise UadError("the brain mask is empty (pass a better one with --brain FILE)")
    chain: Chain = [link("input", scan.grid), link("reorient", ras)]

    spaced = spaced_grid(ras, grid.spacing)
    data = resample(data, ras, spaced)
    mask = resample(mask.astype(np.float32), ras, spaced) > 0.5
    chain.append(link("resample", spaced))
    if not mask.any():
        raise UadError(f"the brain is smaller than one voxel of the target grid ({grid.spacing} mm)")

    occupied = np.argwhere(mask)
    centre = (occupied.min(axis=0) + occupied.max(axis=0)) / 2
    target = cropped_grid(spaced, grid.shape, centre)
    whole = int(mask.sum())
    data, mask = crop_pad(data, spaced, target), crop_pad(mask, spaced, target)
    chain.append(link("crop_pad", target))
    if lost := whole - int(mask.sum()):
        tell(f"{lost:,} of {whole:,} brain voxels lie outside the grid of {'x'.join(map(str, grid.shape))} and are cut off")

    arguments: dict[str, Any] = {
        "grid": grid.model_dump(mode="json"),
        "intensity": intensity.model_dump(mode="json"),
        "brain": brain if isinstance(brain, str) else "file",
    }
    start = Image(_normalised(data, mask, intensity), target, "scan", {**scan.provenance, "study": name, "chain": chain})
    provenance = record(start, "uad-preprocess", arguments)
    return Study(
        name,
        {
            "scan": Image(start.data, target, "scan", provenance),
            "brain": Image(mask.astype(np.uint8), target, "brain", provenance),
        },
    )


def _check_contrast(scan: Image) -> None:
    if (scan.data == scan.data.flat[0]).all():
        raise UadError(f"all voxels have one value, {scan.data.flat[0]:g} (is this the right file?)")
    if not (scan.data > 0).any():
        raise UadError("no voxel above background (0)")


def _find_brain(scan: Image, data: NDArray[Any], ras: Grid, brain: Image | str) -> NDArray[np.bool_]:
    """Return the mask in RAS order, on the grid of the turned scan."""
    if isinstance(brain, Image):
        if not brain.grid.same(scan.grid):
            raise UadError(f"the brain mask has another grid ({brain.grid}) than the scan ({scan.grid})")
        turned, _ = to_ras(brain.data, brain.grid)
        return np.asarray(turned > 0.5)
    if brain == "none" or (brain == "auto" and is_stripped(data, ras)):
        return from_background(data)
    if brain in ("auto", "deepbet"):
        return deepbet(data, ras)
    raise UadError(f"no way to find a brain is called '{brain}' (auto, none, deepbet, or a file)")


def _normalised(data: NDArray[Any], mask: NDArray[np.bool_], intensity: IntensityConfig) -> NDArray[np.float32]:
    if intensity.kind == "percentile":
        return percentile(data, mask, intensity.low, intensity.high)
    values = data[mask]
    if values.min() < 0 or values.max() > 1:
        raise UadError(f"intensities run from {values.min():g} to {values.max():g}, not 0 to 1 (--intensity percentile)")
    return inside(data, mask)
