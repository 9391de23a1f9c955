"""Figures per lesion, after the evaluation of BraTS 2023: how many are found, how well, and how much is made up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadtools.errors import UadError
from uadtools.metrics.overlap import Mask, ratio, require_masks
from uadtools.metrics.surface import Points, crop, distance95, surface

EDGES = ndimage.generate_binary_structure(3, 2)  # 18-connected
CORNERS = ndimage.generate_binary_structure(3, 3)  # 26-connected
UNMATCHED = 374.0
"""Distance in mm that a missed lesion or a false positive costs: about the diagonal of a BraTS volume."""
OVERLAP = 0.1
"""Share of a lesion that is to be detected, and of a detected component that is to be lesion, for it to be found."""

Labels = NDArray[np.signedinteger[Any]]


@dataclass(frozen=True)
class Lesion:
    """A true lesion: volume in mL, Dice and HD95 in mm with all that was detected there, and whether anything was.

    A lesion may be found and have a Dice of 0, because what is detected close by counts. Dice is 0 and HD95 is
    `UNMATCHED` where nothing was detected.
    """

    ml: float
    dice: float
    hd95: float
    found: bool


@dataclass(frozen=True)
class Lesionwise:
    """The true lesions, and of the `detected` components the number that find none.

    most: how many lesions one component touches, at most. A figure is NaN where its denominator is 0.
    `sum(scans, Lesionwise())` pools over scans.
    """

    lesions: tuple[Lesion, ...] = ()
    false_positives: int = 0
    detected: int = 0
    most: int = 0

    def __add__(self, other: Lesionwise) -> Lesionwise:
        return Lesionwise(
            self.lesions + other.lesions,
            self.false_positives + other.false_positives,
            self.detected + other.detected,
            max(self.most, other.most),
        )

    @property
    def count(self) -> int:
        """Number of true lesions."""
        return len(self.lesions)

    @property
    def found(self) -> int:
        """Number of true lesions that are found; the true positives of precision, recall and F1."""
        return sum(lesion.found for lesion in self.lesions)

    @property
    def recall(self) -> float:
        """Share of the lesions that is found; NaN without lesions."""
        return ratio(self.found, self.count)

    @property
    def precision(self) -> float:
        """Found lesions / (found lesions + false positives); NaN if there is neither."""
        return ratio(self.found, self.found + self.false_positives)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; NaN if there are neither lesions nor false positives."""
        return ratio(2 * self.found, self.found + self.count + self.false_positives)

    @property
    def dice(self) -> float:
        """Mean Dice over lesions and false positives, which have 0; NaN if there are none, where BraTS says 1."""
        return ratio(sum(lesion.dice for lesion in self.lesions), self.count + self.false_positives)

    @property
    def hd95(self) -> float:
        """Mean HD95 in mm, a false positive costing `UNMATCHED`; NaN if there is nothing, where BraTS says 0."""
        total = sum(lesion.hd95 for lesion in self.lesions) + UNMATCHED * self.false_positives
        return ratio(total, self.count + self.false_positives)


@dataclass(frozen=True)
class SizeBin:
    """Lesions of low <= volume in mL < high: how many there are, how many are found, and their share (NaN of none)."""

    low: float
    high: float
    count: int
    found: int
    recall: float


def lesionwise(
    detection: Mask,
    truth: Mask,
    spacing: Sequence[float],
    *,
    overlap: float = OVERLAP,
    voxel_ml: float | None = None,
    dilation: int = 3,
    smallest: float = 50.0,
) -> Lesionwise:
    """Match the lesions of the truth with the 26-connected components of the detection.

    Masks are (X, Y, Z), their voxels `spacing` mm along each axis, of `voxel_ml` mL (none: of that spacing). The truth,
    grown by `dilation` layers of voxels, falls into 26-connected areas: the true voxels of an area are one lesion, and
    the components that touch the area are what was detected there, even if they touch others, too, as far as at least
    the share `overlap` of a component is lesion, any lesion; the others are false positives. A lesion is found when at
    least that share of it is detected there; 0: touching is enough, as in BraTS. Lesions of at most `smallest` mm3 are
    not counted, and what touches only those is no false positive.
    Raises UadError if the shapes differ, if these are no masks, and for settings out of range.
    Source: Saluja et al., evaluation of BraTS 2023, with its settings for glioma. A layer is 18-connected, as there.
    Distances are ours (`surface.hd95`): from voxel to voxel, where BraTS weighs the elements of a finer surface. The
    overlap, which keeps a detection of half the brain from finding all in it, is like that of Commowick et al. 2018
    (MSSEG), who also ask for a tenth of the lesion, and bound how much of what is detected lies outside.
    """
    require_masks(detection=detection, truth=truth)
    if dilation < 0 or not smallest >= 0:
        raise UadError(f"dilation {dilation}, smallest lesion {smallest:g} mm3: out of range (give numbers from 0 on)")
    if not 0 <= overlap <= 1:
        raise UadError(f"--overlap {overlap:g}: out of range (give a share from 0 to 1)")
    detection, truth = crop(detection, truth)  # grown lesions that meet anywhere meet in this box
    components, detected = ndimage.label(detection, CORNERS)
    grown = ndimage.binary_dilation(truth, EDGES, iterations=dilation) if dilation else truth
    areas, number = ndimage.label(grown, CORNERS)
    touches = np.zeros((number + 1, detected + 1), dtype=bool)
    touches[areas[detection], components[detection]] = True
    touches[0] = False

    sizes = np.bincount(components.ravel())
    voxels = np.bincount(areas[truth], minlength=number + 1)
    ml = voxels * (math.prod(spacing) / 1000 if voxel_ml is None else voxel_ml)
    counted = 1000 * ml > smallest * (1 + 1e-9)  # an affine of 32 bits rounds
    most = int(touches[counted].sum(axis=0).max(initial=0))
    touches &= np.bincount(components[truth], minlength=detected + 1) >= overlap * sizes
    both = truth & detection
    there = areas[both]
    shared = np.bincount(there, weights=touches[there, components[both]], minlength=number + 1)
    matched = touches @ sizes
    found = (matched > 0) & (shared >= overlap * voxels)
    true_points, area = _surface_points(truth, areas, spacing)
    points, component = _surface_points(detection, components, spacing)
    lesions = tuple(
        Lesion(
            ml=float(ml[i]),
            dice=float(2 * shared[i] / (voxels[i] + matched[i])) if found[i] else 0.0,
            hd95=distance95(true_points[area == i], points[touches[i][component]]) if found[i] else UNMATCHED,
            found=bool(found[i]),
        )
        for i in np.flatnonzero(counted)
    )
    false = detected - int(np.count_nonzero(touches.any(axis=0)))
    return Lesionwise(lesions, false, detected, most)


def recall_by_size(lesions: Iterable[Lesion], edges_ml: Sequence[float]) -> list[SizeBin]:
    """Return the share of found lesions in each of the bins between successive `edges_ml`, of one scan or of many.

    Lesions beyond the outer edges count in no bin; an outer edge may be 0 or infinite. Raises UadError unless the edges
    rise.
    """
    lesions = list(lesions)
    bins = []
    for low, high in pairwise(edges_ml):
        if not low < high:
            raise UadError(f"size bin from {low:g} to {high:g} mL: the edges do not rise (give them in rising order)")
        found = [lesion.found for lesion in lesions if low <= lesion.ml < high]
        bins.append(SizeBin(low, high, len(found), sum(found), ratio(sum(found), len(found))))
    return bins


def _surface_points(mask: Mask, labels: Labels, spacing: Sequence[float]) -> tuple[Points, Labels]:
    """Return the surface voxels of a mask in mm, and their labels."""
    shell = surface(mask)
    return np.argwhere(shell) * np.asarray(spacing), labels[shell]
