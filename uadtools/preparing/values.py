"""Intensities of scans: from what a scanner stores to [0, 1] inside the brain."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.anatomy.intensity import FLOOR, ct_window, inside, matched, percentile, zscore
from uadtools.concerns import Concern
from uadtools.errors import UadError
from uadtools.models.config import IntensityConfig
from uadtools.preparing.preparation import Preparation
from uadtools.volume.background import DARK, background, background_value
from uadtools.volume.chain import continued
from uadtools.volume.io import Image
from uadtools.volume.roles import ROLES


def check_raw(scan: Image, preparation: Preparation) -> None:
    """Raise UadError for what is no scan, was prepared before, or shows nothing."""
    tools = [line.get("tool") for line in scan.provenance.get("history", [])]
    if "uad-preprocess" in tools and len(continued(scan.provenance.get("chain"), scan.grid)) > 1:
        raise UadError(
            f"was prepared by uad-preprocess already, {scan.grid} (give the scan it was made from; "
            "for the model it was made for, uad-heal takes it as it is)"
        )
    if scan.role in ROLES and scan.role != "scan":
        raise UadError(f"is a {scan.role}, not a scan (give the scan it was made from)")
    if (scan.data == scan.data.flat[0]).all():
        raise UadError(f"all voxels have one value, {scan.data.flat[0]:g} (is this the right file?)")
    value, low, high = background_value(scan.data), float(scan.data.min()), float(scan.data.max())
    outside = background(scan.data)
    if outside.all() or (high <= value and outside.any()):
        raise UadError(f"no voxel above background, {value:g} (is this the right file?)")
    if high <= value and preparation.brain in ("auto", "none") and preparation.intensity.kind != "ct":
        raise UadError(
            f"all values are below 0, {low:g} to {high:g}, as of a scan that was shifted or z-scored, and none of them "
            f"fills its edges, so where is its background? (add {-math.floor(low)} to them, or --brain FILE)"
        )


def grounded(data: NDArray[Any], preparation: Preparation) -> NDArray[Any]:
    """Make a constant background 0, below the rest, but where intensities mean something by themselves.

    Else the brain's edge, where it mixes with the background, would depend on which value that is.
    """
    value, kind = background_value(data), preparation.intensity.kind
    if not value or kind == "ct":
        return data
    outside = background(data)
    lowest = 0.0 if kind == "none" else min(value, float(np.percentile(data[~outside], DARK)))
    return np.where(outside, np.float32(0), data.astype(np.float32) - np.float32(lowest))


def normalised(data: NDArray[Any], mask: NDArray[np.bool_], preparation: Preparation) -> NDArray[np.float32]:
    """Bring the intensities inside the brain, on the model's grid, to [0, 1]; the others to 0. Raises UadError."""
    intensity = preparation.intensity
    if intensity.kind == "percentile":
        values = percentile(data, mask, intensity.low, intensity.high)
    elif intensity.kind == "zscore":
        values = zscore(data, mask)
    elif intensity.kind == "ct":
        values = ct_window(data, mask, intensity.center, intensity.width)
    else:
        low, high = float(data[mask].min()), float(data[mask].max())
        if low < 0 or high > 1:
            raise UadError(f"intensities run from {low:g} to {high:g}, not 0 to 1 (--intensity percentile)")
        values = inside(data, mask)
    if np.ptp(values[mask]) == 0:
        raise UadError(f"all of the brain is {values[mask][0]:g} after --intensity {intensity} (is it the right one?)")
    return matched(values, mask, preparation.quantiles) if preparation.quantiles else values


def saturated(values: NDArray[Any], intensity: IntensityConfig) -> list[Concern]:
    """Say whether a CT window shows little of what is in it, as of a scan that is no CT. values: inside the brain."""
    share = float(((values <= FLOOR) | (values >= 1)).mean())
    text = f"{share:.0%} of the brain lies outside the window of {intensity} (is it a CT scan, in Hounsfield units?)"
    return [Concern("intensity-window", text, round(share, 4))] if intensity.kind == "ct" and share > 0.5 else []
