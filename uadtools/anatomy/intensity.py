"""From scanner units to the [0, 1] a model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import UadError

FLOOR = 1e-3
"""Smallest value inside the brain, so that 0 means outside and an image alone says where its brain is."""
WINDOWS = {"brain": (40.0, 80.0), "subdural": (75.0, 215.0), "bone": (600.0, 2800.0)}
"""CT windows by name: centre and width in Hounsfield units."""
LIMIT = 3.0
"""Standard deviations from the mean at which zscore cuts off."""


def percentile(data: NDArray[Any], brain: NDArray[np.bool_], low: float, high: float) -> NDArray[np.float32]:
    """Map the low-th percentile inside the brain to 0 and the high-th to 1, linearly, and cut off beyond.

    data, brain: (X, Y, Z), any brain at all. Returns float32, at least FLOOR inside the brain and exactly 0 outside.
    Raises UadError when the brain is all of one value, or nearly so.
    """
    bottom, top = np.percentile(data[brain].astype(np.float64), [low, high])
    return _stretched(data, brain, bottom, top)


def zscore(data: NDArray[Any], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Map the mean inside the brain to 1/2 and LIMIT standard deviations below and above it to 0 and 1, cut off beyond.

    So a value v of the result is a z-score of LIMIT (2 v - 1). Shapes, bounds and errors as for `percentile`.
    """
    values = data[brain].astype(np.float64)
    mean, deviation = values.mean(), values.std() if np.ptp(values) else 0.0
    return _stretched(data, brain, mean - LIMIT * deviation, mean + LIMIT * deviation)


def ct_window(data: NDArray[Any], brain: NDArray[np.bool_], center: float, width: float) -> NDArray[np.float32]:
    """Map a window of Hounsfield units to [0, 1], cut off beyond. Shapes and bounds as for `percentile`."""
    return _stretched(data, brain, center - width / 2, center + width / 2)


def matched(data: NDArray[np.float32], brain: NDArray[np.bool_], quantiles: Sequence[float]) -> NDArray[np.float32]:
    """Give the values inside the brain the distribution that a model was trained on, keeping their order.

    data: in [0, 1]; quantiles: of the training data at evenly spaced levels from 0 to 1, not falling. Bounds as for
    `percentile`.
    """
    levels = np.linspace(0, 1, len(quantiles))
    scan_quantiles = np.quantile(data[brain], levels)
    return inside(np.interp(data, scan_quantiles, quantiles), brain)


def inside(data: NDArray[Any], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Limit data to [FLOOR, 1] inside the brain and set it to 0 outside."""
    return np.where(brain, np.clip(data, FLOOR, 1), 0).astype(np.float32)


def _stretched(data: NDArray[Any], brain: NDArray[np.bool_], bottom: float, top: float) -> NDArray[np.float32]:
    if not top > bottom:
        raise UadError(f"the brain is all of one value, {bottom:g} (is this the right file, or the right brain mask?)")
    return inside((data.astype(np.float64) - bottom) / (top - bottom), brain)
