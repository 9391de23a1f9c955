"""Bounding boxes of lesions and of what is detected: how well they lie on one another, and what a score has inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from uadtools.metrics.lesions import CORNERS
from uadtools.metrics.overlap import Mask, ratio

LEVELS = (0.1, 0.3, 0.5)
"""Intersection over union from which on a detected box has found a true one."""
Boxes = NDArray[np.intp]
"""(N, 2, 3): of each box its first voxel, and the one behind its last, along each axis."""


@dataclass(frozen=True)
class Boxwise:
    """How many boxes are true, and detected; found: pairs of both at each of LEVELS; best: the sum of the largest IoU
    of each true box. A figure is NaN where its denominator is 0. `sum(scans, Boxwise())` pools over scans.
    """

    true: int = 0
    detected: int = 0
    found: tuple[int, ...] = (0,) * len(LEVELS)
    best: float = 0.0

    def __add__(self, other: Boxwise) -> Boxwise:
        found = tuple(a + b for a, b in zip(self.found, other.found, strict=True))
        return Boxwise(self.true + other.true, self.detected + other.detected, found, self.best + other.best)

    @property
    def iou(self) -> float:
        """Mean over true boxes of their largest IoU with a detected one."""
        return ratio(self.best, self.true)

    @property
    def recalls(self) -> list[float]:
        """Share of the true boxes that is found, at each of LEVELS."""
        return [ratio(found, self.true) for found in self.found]

    @property
    def precisions(self) -> list[float]:
        """Share of the detected boxes that finds one, at each of LEVELS."""
        return [ratio(found, self.detected) for found in self.found]


def boxes_of(mask: Mask) -> Boxes:
    """Return the bounding boxes of the 26-connected components of a mask (X, Y, Z)."""
    labels, _ = ndimage.label(mask, CORNERS)
    found = [[[part.start for part in box], [part.stop for part in box]] for box in ndimage.find_objects(labels)]
    return np.array(found, dtype=np.intp).reshape(-1, 2, 3)


def filled(boxes: Boxes, shape: Sequence[int]) -> Mask:
    """Return the mask of what lies in any of the boxes, (X, Y, Z)."""
    mask = np.zeros(shape, dtype=bool)
    for low, high in boxes:
        mask[tuple(map(slice, low, high))] = True
    return mask


def ious(boxes: Boxes, others: Boxes) -> NDArray[np.float64]:
    """Return intersection over union of each box with each of the others, (N, M)."""
    low = np.maximum(boxes[:, None, 0], others[None, :, 0])
    high = np.minimum(boxes[:, None, 1], others[None, :, 1])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    sizes, of_others = ((part[:, 1] - part[:, 0]).prod(axis=-1) for part in (boxes, others))
    return np.asarray(shared / (sizes[:, None] + of_others - shared), dtype=np.float64)


def boxwise(overlaps: NDArray[np.float64]) -> Boxwise:
    """Hold detected boxes against true ones: at each level as many pairs as there can be, each box in one at most.

    overlaps: `ious` of true and detected boxes, (true, detected).
    """
    found = tuple(_pairs(overlaps >= level) for level in LEVELS)
    return Boxwise(overlaps.shape[0], overlaps.shape[1], found, float(overlaps.max(axis=1, initial=0).sum()))


def response(score: NDArray[Any], boxes: Boxes, within: Mask) -> tuple[float, float]:
    """Return the mean score inside of boxes and outside of them, both among the voxels within; NaN where there is none.

    Source: Bercea et al. 2024 (survey), section 4: how much a score answers inside and outside of bounding boxes.
    """
    inside = filled(boxes, score.shape)
    return _mean(score[within & inside]), _mean(score[within & ~inside])


def _pairs(fits: NDArray[np.bool_]) -> int:
    rows, columns = linear_sum_assignment(fits, maximize=True)
    return int(fits[rows, columns].sum())


def _mean(values: NDArray[Any]) -> float:
    return ratio(float(values.sum(dtype=np.float64)), values.size)
