"""Between a volume and its axial slices, and between [0, 1] and the range a network sees."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def to_slices(volume: NDArray[Any]) -> Floats:
    """Cut a volume (X, Y, Z) into axial slices (Z, 1, Y, X): rows run from posterior to anterior in RAS."""
    return np.ascontiguousarray(volume.transpose(2, 1, 0)[:, None], dtype=np.float32)


def to_volume(slices: Floats) -> Floats:
    """Stack slices (Z, 1, Y, X) into the volume (X, Y, Z) they were cut from."""
    return np.ascontiguousarray(slices[:, 0].transpose(2, 1, 0))


def to_solid(volume: NDArray[Any]) -> Floats:
    """Turn a volume (X, Y, Z) into a batch of one that a network sees whole, (1, 1, Z, Y, X)."""
    return to_slices(volume)[None, None, :, 0]


def filled(brain: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the z of the slices that hold any brain. brain: (X, Y, Z)."""
    return np.flatnonzero(brain.any(axis=(0, 1)))


def to_network(x: Floats) -> Floats:
    """Map [0, 1] to [-1, 1]."""
    return 2 * x - 1


def from_network(x: Floats) -> Floats:
    """Map [-1, 1] to [0, 1]; what lies outside is cut off."""
    return np.clip((x + 1) / 2, 0, 1)
