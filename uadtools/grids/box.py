"""The part of a volume that holds what is there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Box = tuple[slice, ...]


def box_of(mask: NDArray[np.bool_], margin: int = 0) -> Box:
    """Return the smallest box that holds a mask, with a margin of voxels as far as there are any; of none, all."""
    (box,) = ndimage.find_objects(mask.astype(np.int8)) or [tuple(slice(0, size) for size in mask.shape)]
    ends = zip(box, mask.shape, strict=True)
    return tuple(slice(max(0, part.start - margin), min(size, part.stop + margin)) for part, size in ends)
