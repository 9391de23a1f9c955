"""The blurred scan: what is small and unlike its surroundings is smoothed away. Source: none; it knows no anatomy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from uadtools.errors import UadError
from uadtools.interface.healing import Option
from uadtools.volume.io import Image


@dataclass(frozen=True)
class Options:
    """sigma: 6 to 16 mm suited one kind of lesion each (docs/results.md), 12 lies between."""

    sigma: Annotated[float, Option("Width of the Gaussian. Default: 12.", "MM", 0)] = 12.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma < float("inf"):
            raise UadError(f"--sigma {self.sigma:g}: a width in mm, above 0")


def heal(scan: Image, brain: NDArray[np.bool_], options: Options) -> NDArray[np.float32]:
    """Smooth inside the brain: G(brain * scan) / G(brain), so that nothing outside bleeds in.

    Slices turned as pictures are (LPS) are smoothed one by one, as they may be no neighbours. brain: (X, Y, Z).
    """
    sigmas = options.sigma / np.array(scan.grid.spacing)
    if scan.grid.orientation == "LPS":
        sigmas[2] = 0
    weight = gaussian_filter(brain.astype(np.float32), sigmas)
    mixed = gaussian_filter(np.where(brain, scan.data, 0).astype(np.float32), sigmas)
    return np.asarray(mixed / np.maximum(weight, 1e-6), dtype=np.float32)
