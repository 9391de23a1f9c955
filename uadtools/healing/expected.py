"""What is to be expected of a healthy residual at every voxel of a scan, by a model's reference."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from uadtools.anatomy.contrast import contrast_of
from uadtools.volume.io import Image

Floats = NDArray[np.float32]


def expected_of(scan: Image, brain: NDArray[np.bool_], by_contrast: Mapping[str, Floats]) -> Floats:
    """Return the reference for a prepared scan: that of the contrast it is recognised as, else the one for all."""
    contrast = contrast_of(scan, brain) if len(by_contrast) > 1 else None
    return by_contrast.get(contrast.name if contrast else "", by_contrast[""])


def on_grid(expected: Floats, shape: tuple[int, ...]) -> Floats:
    """Return a reference at every voxel of the model's grid, linearly."""
    for axis, size in enumerate(shape):
        before, after = (expected.take(np.arange(first, first + size) // 2, axis, mode="clip") for first in (0, 1))
        expected = np.asarray((before + after) / 2, dtype=np.float32)
    return expected
