"""From score map to detection: the steps of post-processing, each a pure function on (X, Y, Z) arrays.

The papers' order is median, erode, threshold, drop_small; smooth comes after median. Every step gives back a new array
and leaves its input alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadtools.errors import UadError
from uadtools.grids.box import box_of
from uadtools.grids.grid import CORNERS

Mask = NDArray[np.bool_]
Score = NDArray[np.floating[Any]]

MOST_SMOOTH = 100
FACES = ndimage.generate_binary_structure(3, 1)  # 6-connected
IN_PLANE = ndimage.generate_binary_structure(2, 1)[:, :, np.newaxis]  # 4-connected in each axial slice


def median(score: Score, size: int) -> Score:
    """Replace each voxel by the median of the size x size x size voxels around it; size 1 changes nothing.

    The volume is mirrored at its border (d c b a | a b c d | d c b a). Raises UadError unless size is odd and positive.
    """
    if size < 1 or size % 2 == 0:
        raise UadError(f"median filter of size {size}: there is no such window (give an odd size, or 1 for none)")
    if size == 1 or not score.any():
        return score.copy()
    if size > 2 * max(score.shape) + 1:
        raise UadError(f"median filter of size {size}: wider than the scan (give a smaller size, or 1 for none)")
    box = box_of(score != 0, size // 2)  # beyond it, every window holds only zeros
    filtered = np.zeros_like(score)
    filtered[box] = ndimage.median_filter(score[box], size=size, mode="reflect")
    return filtered


def smooth(score: Score, deviation: float) -> Score:
    """Smooth with a Gaussian of this standard deviation in voxels, of four deviations' reach; 0 changes nothing.

    The volume is mirrored at its border, as for the median. Raises UadError unless deviation is from 0 to 100.
    """
    if not 0 <= deviation <= MOST_SMOOTH:
        raise UadError(f"smoothing by {deviation:g} voxels: from 0, for none, to {MOST_SMOOTH}")
    return score.copy() if deviation == 0 else ndimage.gaussian_filter(score, deviation)


def erode(brain: Mask, iterations: int, per_slice: bool = False) -> Mask:
    """Peel `iterations` layers of voxels off the mask; beyond the border of the volume is background.

    A layer is 6-connected. With `per_slice`, each axial slice [:, :, z] is peeled by itself, 4-connected, as the
    published pDDPM and cDDPM code does: it leaves the top and the bottom of the brain in place.
    """
    _require_count("erosion", iterations)
    if iterations == 0:  # for SciPy, 0 means "until nothing changes"
        return brain.copy()
    return ndimage.binary_erosion(brain, IN_PLANE if per_slice else FACES, iterations=iterations)


def dilate(detection: Mask, iterations: int) -> Mask:
    """Grow the mask by `iterations` 6-connected layers of voxels."""
    _require_count("dilation", iterations)
    if iterations == 0:
        return detection.copy()
    return ndimage.binary_dilation(detection, FACES, iterations=iterations)


def threshold(score: Score, t: float) -> Mask:
    """Detect the voxels strictly above t, compared in the score's own precision. Raises UadError if t is NaN."""
    if math.isnan(t):
        raise UadError("the threshold is not a number (it was perhaps chosen on scans without any lesion)")
    return score > float(t)


def drop_small(detection: Mask, min_size: int) -> Mask:
    """Keep the 26-connected components of at least `min_size` voxels.

    The papers drop "under 7" (min_size 7); their published code drops 7 and fewer (min_size 8). That code counts a
    component's holes, too, but no component under 26 voxels can have one, so up to min_size 26 the result is the same.
    """
    _require_count("smallest component", min_size)
    labels, sizes = _components(detection)
    return np.take(sizes >= max(min_size, 1), labels)


def keep_largest(detection: Mask) -> Mask:
    """Keep only the 26-connected component with the most voxels; among equals, the first in array order."""
    labels, sizes = _components(detection)
    return np.asarray(labels == np.argmax(sizes)) & detection


def components(detection: Mask) -> int:
    """Return the number of 26-connected components: how many findings there are."""
    return int(ndimage.label(detection, CORNERS)[1])


def _components(detection: Mask) -> tuple[NDArray[np.signedinteger[Any]], NDArray[np.intp]]:
    """Label the 26-connected components 1, 2, ... and count the voxels of each label; the background's size is 0."""
    labels, _ = ndimage.label(detection, CORNERS)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels, sizes


def _require_count(what: str, number: int) -> None:
    if number < 0:
        raise UadError(f"{what} of {number} voxels: there is no such thing (give 0 for none)")
