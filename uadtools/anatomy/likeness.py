"""What a prepared scan looks like, in numbers that need no labels, and how far such numbers lie from known ones."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadtools.errors import UadError
from uadtools.grids.box import box_of
from uadtools.grids.grid import Grid, resample

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
SPACING = 2.0
"""mm of the voxels that features are taken at, whatever the scan's own are, so that they mean the same everywhere."""
LEAST_VOXELS = 12_500
"""Of 2 mm, 100 mL: what is smaller has too little in it to be described."""
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9)
SHELLS = (0.0, 5.0, 9.0, 15.0, 24.0, math.inf)
"""mm from the brain's border: fluid and cortex, cortex, white matter below it, deep white matter, ventricles."""
WIDTHS = (1.0, 2.0, 4.0)
"""Deviations in voxels of the Gaussians under which it is asked how much of the contrast is left."""
GROUPS: dict[str, tuple[str, ...]] = {
    "histogram": (*(f"q{round(100 * level):02d}" for level in LEVELS), "entropy"),
    "contrast": (
        "shell0", "shell1", "shell2", "shell3", "shell4", "deep_dark", "deep_bright", "rim_dark", "rim_bright",
        "from_dark", "from_bright", "ridges", "symmetry",
    ),
    "sharpness": ("left1", "left2", "left4", "along_x", "along_y", "along_z"),
    "noise": ("noise", "evenness"),
    "brain size": ("log_ml", "width", "length", "height", "roughness"),
}  # fmt: skip
"""The features by what they tell. Changing what one of them means makes every stored table wrong."""
TOLERANCE = {
    **dict.fromkeys((f"q{round(100 * level):02d}" for level in LEVELS), 0.1), "entropy": 0.2,
    **dict.fromkeys(("shell0", "shell1", "shell2", "shell3", "shell4"), 0.1),
    "deep_dark": 0.12, "deep_bright": 0.12, "rim_dark": 0.12, "rim_bright": 0.12,
    "from_dark": 0.07, "from_bright": 0.12, "ridges": 0.25, "symmetry": 0.12,
    "left1": 0.08, "left2": 0.15, "left4": 0.2, "along_x": 0.2, "along_y": 0.2, "along_z": 0.25,
    "noise": 0.5, "evenness": 0.12,
    "log_ml": 0.2, "width": 0.12, "length": 0.15, "height": 0.15, "roughness": 0.1,
}  # fmt: skip
"""By how much more than in one data set healthy scans may differ: other scanners, brain extractors and people, small
and large lesions. Judged by the few such scans at hand, not estimated: one data set cannot tell.
"""
FEATURES = tuple(name for names in GROUPS.values() for name in names)


def features(data: NDArray[Any], brain: Mask, spacing: tuple[float, float, float]) -> dict[str, float]:
    """Describe a prepared scan by the FEATURES.

    data: (X, Y, Z) in [0, 1], in RAS order; brain: the same shape; spacing: mm. Contrast and noise are taken from ranks
    of the intensities inside the brain, which gamma and windows do not change. Raises UadError for less than 100 mL of
    brain, and for one of a single value.
    """
    data, brain = _at_two_mm(data, brain, spacing)
    if brain.sum() < LEAST_VOXELS:
        raise UadError(f"the brain has {brain.sum() * SPACING**3 / 1000:.0f} mL, too little to say what it is like")
    box = box_of(brain)
    brain = np.pad(brain[box], 2)
    values = np.where(brain, np.pad(data[box], 2), 0).astype(np.float32)
    if np.ptp(values[brain]) == 0:
        raise UadError("all one value inside the brain, so nothing can be said of what it is like")
    ranks = _ranks(values, brain)
    depth = _depth(brain)
    groups = [_histogram(values[brain]), _contrast(ranks, brain, depth), _sharpness(values, brain)]
    groups += [_noise(ranks, brain, depth), _size(brain)]
    flat = [float(value) for group in groups for value in group]
    return dict(zip(FEATURES, flat, strict=True))


def vector(features: dict[str, float], names: tuple[str, ...] = FEATURES) -> Floats:
    """Return features as an array, in the order of their names."""
    return np.array([features[name] for name in names], dtype=np.float64)


def spread_of(rows: Floats, names: tuple[str, ...]) -> tuple[Floats, Floats]:
    """Return mean (F,) and inverse covariance (F, F) of rows (N, F) of these features, each widened by its TOLERANCE.

    The covariance is drawn towards its own diagonal by a tenth, so that a few rows do not make it singular.
    """
    covariance = np.atleast_2d(np.cov(rows, rowvar=False))
    variances = np.diag(covariance)
    allowed = np.diag([TOLERANCE[name] ** 2 for name in names])
    inverse = np.linalg.inv(0.9 * covariance + np.diag(0.1 * variances) + allowed)
    return rows.mean(axis=0), np.asarray(inverse, dtype=np.float64)


def distance(row: Floats, mean: Floats, inverse: Floats) -> float:
    """Return how many deviations a row lies from the mean, per feature: sqrt(Mahalanobis^2 / F)."""
    off = row - mean
    return math.sqrt(max(0.0, float(off @ inverse @ off)) / len(off))


def _at_two_mm(data: NDArray[Any], brain: Mask, spacing: tuple[float, float, float]) -> tuple[NDArray[Any], Mask]:
    if np.allclose(spacing, SPACING, rtol=0.01):
        return data, brain
    source = Grid(data.shape, np.diag([*spacing, 1.0]))
    x, y, z = (max(1, round(n * s / SPACING)) for n, s in zip(data.shape, spacing, strict=True))
    target = Grid((x, y, z), np.diag([SPACING, SPACING, SPACING, 1.0]))
    target.affine[:3, 3] = (SPACING - np.array(spacing)) / 2  # the first voxels begin at the same place
    share = resample(brain.astype(np.float32), source, target)
    values = resample(np.where(brain, data, 0).astype(np.float32), source, target)
    return values / np.maximum(share, 0.5), np.asarray(share > 0.5)  # what is outside does not darken the border


def _ranks(values: NDArray[np.float32], brain: Mask) -> NDArray[np.float32]:
    """Return the share of the brain's voxels that are darker, halves counted for ties; 0 outside."""
    steps = np.clip(values[brain] * 4096, 0, 4095).astype(np.int16)  # as fine as 12 bits of a scanner
    counts = np.bincount(steps, minlength=4096)
    middle = (np.cumsum(counts) - counts / 2) / counts.sum()
    ranks = np.zeros_like(values)
    ranks[brain] = middle[steps]
    return ranks


def _histogram(inside: NDArray[np.float32]) -> list[float]:
    share = np.histogram(inside, bins=32, range=(0, 1))[0] / len(inside)
    filled = share[share > 0]
    return [*np.quantile(inside, LEVELS), -float((filled * np.log(filled)).sum())]


def _contrast(ranks: NDArray[np.float32], brain: Mask, depth: Floats) -> list[float]:
    """Where it is dark and where bright: by depth, and between the two sides of the head."""
    shells = [brain & (depth > low) & (depth <= high) for low, high in pairwise(SHELLS)]
    means = [float(ranks[shell].mean()) if shell.any() else 0.5 for shell in shells]
    deep, rim = ranks[brain & (depth > 24)], ranks[shells[0]]
    shares = [float((part > 0.85).mean()) if bright else float((part < 0.15).mean())
              for part in (deep if len(deep) else rim, rim) for bright in (False, True)]  # fmt: skip
    smooth = _smoothed(ranks, brain, 2.0)
    both = brain & brain[::-1]
    return [*means, *shares, *_order(ranks, brain, depth, smooth), _correlation(smooth[both], smooth[::-1][both])]


def _order(ranks: NDArray[np.float32], brain: Mask, depth: Floats, smooth: NDArray[np.float32]) -> list[float]:
    """Which tissue is next to which, whatever lies on the border of the mask, and whatever lesions there are.

    Returns how the intensity goes with the distance (up to 9 mm) from the darkest and from the brightest quarter, as a
    correlation, and the skewness of a difference of Gaussians: thin things are dark (sulci of T1) or bright (of T2).
    """
    soft = _smoothed(ranks, brain, 0.5)
    correlations = []
    for extreme in (brain & (soft < 0.25), brain & (soft > 0.75)):
        away = _depth(~extreme)
        near = brain & ~extreme & (away <= 9) & (depth > 4)
        correlations.append(_correlation(away[near], ranks[near]))
    thin = (_smoothed(ranks, brain, 0.7) - smooth)[brain & (depth > 4)]
    deviation = float(thin.std()) if len(thin) else 0.0
    skew = float(((thin - thin.mean()) ** 3).mean()) / deviation**3 if deviation else 0.0
    return [*correlations, max(-3.0, min(3.0, skew))]


def _depth(mask: Mask) -> Floats:
    """Return how far, in mm, each voxel is from what is not in the mask: the mean of a lower and an upper bound."""
    near, far = (ndimage.distance_transform_cdt(mask, metric=metric) for metric in ("chessboard", "taxicab"))
    return np.asarray((near + far) * (SPACING / 2))


def _sharpness(values: NDArray[np.float32], brain: Mask) -> list[float]:
    """How much of the deviation is left under Gaussians, and how alike neighbours are along each axis."""
    inside = values[brain]
    whole = float(inside.std()) or 1.0
    left = [float(_smoothed(values, brain, width)[brain].std()) / whole for width in WIDTHS]
    along = []
    for axis in range(3):
        here, there = np.moveaxis(values, axis, 0)[:-1], np.moveaxis(values, axis, 0)[1:]
        within = np.moveaxis(brain, axis, 0)
        both = within[:-1] & within[1:]
        alike = _correlation(here[both], there[both])
        along.append(math.atanh(min(max(alike, -0.9999), 0.9999)))  # which spreads correlations near 1 out
    return [*left, *along]


def _noise(ranks: NDArray[np.float32], brain: Mask, depth: Floats) -> list[float]:
    """What is left of a second difference in quiet places, and whether all places are alike.

    Returns the log of its lower quartile over its mean (evenness: 0 where everything is alike, as in noise), in what is
    inside the brain, and before that the log of the lower quartile itself.
    """
    deep = brain & (depth > 2 * SPACING)
    interior = deep if deep.any() else brain  # of a slice
    rough = sum(np.abs(ndimage.correlate1d(ranks, [1, -2, 1], axis=axis)) for axis in range(3)) / 3
    local = ndimage.uniform_filter(rough, 3)[interior]
    low, mean = np.quantile(local, 0.25), local.mean()
    return [math.log(float(low) + 1e-4), math.log((float(low) + 1e-4) / (float(mean) + 1e-4))]


def _size(brain: Mask) -> list[float]:
    volume = float(brain.sum()) * SPACING**3
    places = np.argwhere(brain)
    extent = [float(np.ptp(np.quantile(places[:, axis], [0.01, 0.99]))) * SPACING / 100 for axis in range(3)]
    faces = sum(int((brain ^ np.roll(brain, 1, axis)).sum()) for axis in range(3))
    return [math.log(volume / 1000), *extent, math.log(faces * SPACING**2 / volume ** (2 / 3))]


def _smoothed(values: NDArray[np.float32], brain: Mask, sigma: float) -> NDArray[np.float32]:
    """Smooth within the brain alone."""
    weight = ndimage.gaussian_filter(brain.astype(np.float32), sigma, truncate=3)
    smooth = ndimage.gaussian_filter(values, sigma, truncate=3)
    return np.asarray(np.where(brain, smooth / np.maximum(weight, 1e-6), 0), dtype=np.float32)


def _correlation(first: NDArray[Any], second: NDArray[Any]) -> float:
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
