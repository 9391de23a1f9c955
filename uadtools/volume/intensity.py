"""From scanner units to the [0, 1] a model was trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import UadError

FLOOR = 1e-3
"""Smallest value inside the brain, so that 0 means outside and an image alone says where its brain is."""


def percentile(data: NDArray[Any], brain: NDArray[np.bool_], low: float, high: float) -> NDArray[np.float32]:
    """Map the low-th percentile inside the brain to 0 and the high-th to 1, linearly, and cut off beyond.

    data, brain: (X, Y, Z), any brain at all. Returns float32, at least FLOOR inside the brain and exactly 0 outside.
    Raises UadError when the brain is all of one value, or nearly so.
    """
    bottom, top = np.percentile(data[brain].astype(np.float64), [low, high])
    if not top > bottom:
        raise UadError(f"the brain is all of one value, {bottom:g} (is this the right file, or the right brain mask?)")
    return inside((data.astype(np.float64) - bottom) / (top - bottom), brain)


def inside(data: NDArray[Any], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Limit data to [FLOOR, 1] inside the brain and set it to 0 outside."""
    return np.where(brain, np.clip(data, FLOOR, 1), 0).astype(np.float32)
