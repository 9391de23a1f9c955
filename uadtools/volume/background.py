"""What surrounds what was scanned: one value that fills a volume's edges, and NaN, as SPM writes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

DARK = 1.0
"""Percentile of what is not background that is its lowest value; resampling leaves a few that are lower."""
ROUNDING = 1e-5
"""Share of a background's value that resampling may have taken from it or added."""


def background_value(data: NDArray[Any]) -> float:
    """Return the value that more than half of the voxels along the 12 edges of a volume (X, Y, Z) hold, else 0."""
    return _value_of_edges(data) or 0.0


def _value_of_edges(data: NDArray[Any]) -> float | None:
    """Return the value that more than half of the voxels along the 12 edges hold, but for NaN; None: there is none."""
    at_ends = [np.isin(np.arange(n), (0, n - 1)) for n in data.shape]
    x, y, z = at_ends[0][:, None, None], at_ends[1][:, None], at_ends[2]
    edges = data[(x & y) | (y & z) | (z & x)]
    known = edges[np.isfinite(edges)]
    value = float(np.median(known)) if known.size else 0.0
    return value if 2 * int(_near(edges, value).sum()) > known.size else None


def background(data: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the voxels that hold the background's value; exactly, where that is 0."""
    return _near(data, background_value(data))


def surrounding_nan_filled(data: NDArray[Any]) -> NDArray[Any]:
    """Give NaN that reach the border of a volume, over others and over background, the background's value.

    Where the rest has none, that is 0, or the lowest of the rest (DARK), if that is lower. Other NaN stay.
    """
    missing = np.isnan(data)
    if not missing.any() or missing.all():
        return data
    value = _value_of_edges(data)
    labels, count = ndimage.label(missing if value is None else missing | _near(data, value))
    at_border = np.zeros(count + 1, dtype=bool)
    for axis in range(3):
        for end in (0, -1):
            at_border[labels.take(end, axis)] = True
    at_border[0] = False
    filler = min(0.0, float(np.percentile(data[~missing], DARK))) if value is None else value
    return np.where(missing & at_border[labels], np.asarray(filler, data.dtype), data)


def _near(data: NDArray[Any], value: float) -> NDArray[np.bool_]:
    if value == 0 or data.dtype.kind not in "fc":
        return np.asarray(data == value)
    return np.asarray(np.abs(data - value) <= ROUNDING * abs(value))
