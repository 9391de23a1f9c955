"""The intensity threshold: every voxel heals to the median of the brain. Source: Meissen et al. 2022.

They show that in FLAIR the intensity itself, histogram-equalised, finds lesions better than many trained models: bright
is abnormal. Here |scan - healed| is the distance from the usual intensity, and with `uad-score --signed bright` (or
`dark`) its bright (or dark) half, which ranks voxels as their intensity does. Equalisation keeps that order within a
scan; where one threshold has to serve several scans, how they were prepared takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uadtools.volume.io import Image


@dataclass(frozen=True)
class Options:
    """There are none."""


def heal(scan: Image, brain: NDArray[np.bool_], options: Options) -> NDArray[np.float32]:
    """Return the median of the brain at every voxel. brain: (X, Y, Z), with any voxel at all."""
    return np.full(brain.shape, np.median(scan.data[brain]), dtype=np.float32)
