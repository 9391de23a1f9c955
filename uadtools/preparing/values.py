"""Intensities of scans: from what a scanner stores to [0, 1] inside the brain."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.anatomy.intensity import FLOOR, ct_window, inside, matched, percentile, zscore
from uadtools.concerns import Concern
from uadtools.errors import UadError
from uadtools.models.config import IntensityConfig
from uadtools.preparing.preparation import Preparation
from uadtools.volume.background import DARK, background, background_value


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
