"""Distances in mm between the surfaces of two masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from uadtools.grids.box import box_of
from uadtools.metrics.overlap import Mask, require_masks

Points = NDArray[np.floating[Any]]


def hd95(detection: Mask, truth: Mask, spacing: Sequence[float]) -> float:
    """Hausdorff distance at 95% in mm: the larger of the two directed 95th percentiles.

    spacing: size of a voxel in mm along each axis. A percentile is that of the distances from the surface voxels of one
    mask to the nearest of the other, linearly interpolated, as MONAI's. NaN if both masks are empty, infinite if one
    is. Raises UadError if the shapes differ or if these are no masks.
    """
    require_masks(detection=detection, truth=truth)
    scale = np.asarray(spacing)
    a, b = (np.argwhere(surface(mask)) * scale for mask in crop(detection, truth))
    return distance95(a, b)


def crop(*masks: Mask) -> tuple[Mask, ...]:
    """Cut masks of one shape to the smallest box that holds all of them; if all are empty, leave them as they are."""
    box = box_of(np.logical_or.reduce(masks))
    return tuple(mask[box] for mask in masks)


def surface(mask: Mask) -> Mask:
    """Return the voxels of the mask that share a face with a voxel outside of it, or with the border of the volume."""
    return mask & ~ndimage.binary_erosion(mask)


def distance95(a: Points, b: Points) -> float:
    """Return the larger of the directed 95th percentiles between points (N, 3) and (M, 3); see `hd95`."""
    if not (len(a) and len(b)):
        return math.inf if len(a) or len(b) else math.nan
    there, back = KDTree(b).query(a)[0], KDTree(a).query(b)[0]
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))
