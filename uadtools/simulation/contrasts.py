"""Other contrasts of a T1 scan whose tissues are labelled: what T1, T2, FLAIR and proton density make of them.

Scans are what uad-preprocess makes: float32 in (0, 1] inside the brain, 0 outside. The levels are drawn, wide around
what such sequences look like; nothing is computed from relaxation times, and no lesion, vessel or coil is in it.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadtools.anatomy.intensity import percentile
from uadtools.errors import UadError
from uadtools.simulation.lesions import Floats, smooth

ContrastName = Literal["T1", "T2", "FLAIR", "PD"]
CONTRASTS: tuple[ContrastName, ...] = get_args(ContrastName)
TISSUES = ("fluid", "grey", "deep grey", "white")
LEVELS: dict[ContrastName, tuple[tuple[float, float], ...]] = {
    "T1": ((0.05, 0.25), (0.48, 0.62), (0.60, 0.72), (0.80, 0.95)),
    "T2": ((0.85, 1.20), (0.42, 0.56), (0.34, 0.46), (0.24, 0.36)),
    "FLAIR": ((0.05, 0.25), (0.62, 0.80), (0.55, 0.72), (0.45, 0.60)),
    "PD": ((0.62, 0.95), (0.72, 0.90), (0.62, 0.76), (0.48, 0.62)),
}
"""Lowest and highest level of each tissue; fluid of proton density runs from darker to brighter than grey."""
TEXTURE = (-0.3, 0.5)
"""Factor of what the T1 has of detail within a tissue; of T1 it is 1."""
PRIOR = 0.8
"""Deviation in voxels of the Gaussian over labels, which makes them shares: borders are uncertain."""
FLUIDS = (1, 4, 11, 46, 49, 50, 51, 52)
WHITES = (35, 40, 41, 55, 56, 61, 62, 69, *range(81, 96))
DEEP_GREYS = (23, 30, 31, 32, 36, 37, 57, 58, 59, 60, 75, 76)
"""Labels of the Neuromorphometrics protocol as MALPEM uses it (IXI's are of it); all others above 0 are grey matter.

Brain stem and pallidum count as white matter: that is what they look like on most contrasts.
"""


def tissues(labels: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
    """Turn structures into tissues: 0 none, 1 fluid, 2 grey, 3 deep grey, 4 white, as TISSUES counted from 1."""
    classes = np.where(labels > 0, 2, 0).astype(np.uint8)
    for number, structures in ((1, FLUIDS), (3, DEEP_GREYS), (4, WHITES)):
        classes[np.isin(labels, structures)] = number
    return classes


def synthesize(t1: Floats, labels: NDArray[np.integer[Any]], kind: ContrastName, rng: np.random.Generator) -> Floats:
    """Draw another contrast of a T1 scan; float32, stretched to the percentiles 1 and 99 of the brain as models expect.

    t1: (X, Y, Z), above 0 inside the brain; labels: 0 to 4 as `tissues` makes them. What is brain but unlabelled goes
    to the tissue it looks like. Each voxel is the mean of the drawn levels, weighed by how much the T1 and the labels
    around it speak for each tissue, so that borders are mixed; plus the T1's own detail, times a factor; a little blur,
    brightness that drifts, and noise (Rician). Raises UadError for an unknown kind.
    """
    if kind not in CONTRASTS:
        raise UadError(f"no contrast is called '{kind}' (there are {', '.join(CONTRASTS)})")
    brain = t1 > 0
    shares, means = _shares(np.asarray(t1, dtype=np.float32), labels, brain)
    levels = np.array([rng.uniform(low, high) for low, high in LEVELS[kind]], dtype=np.float32)
    factor = rng.uniform(0.7, 1.1) if kind == "T1" else rng.uniform(*TEXTURE)
    coarse = np.tensordot(levels, shares, axes=1)
    detail = t1 - np.tensordot(means, shares, axes=1)
    image = np.maximum(coarse + factor * detail, 0.02) * _drift(t1.shape, rng)
    image = smooth(image, brain, rng.uniform(0, 0.6))
    noise = rng.uniform(0, 0.03) * rng.standard_normal((2, *t1.shape))
    return percentile(np.hypot(image + noise[0], noise[1]), brain, 1, 99)


def _shares(t1: Floats, labels: NDArray[np.integer[Any]], brain: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return each tissue's share of every voxel, (4, X, Y, Z), and its T1 level, (4,)."""
    weights, means = [], []
    for number in range(1, len(TISSUES) + 1):
        mask = (labels == number) & brain
        core = ndimage.binary_erosion(mask)
        values = t1[core if core.sum() > 50 else mask]
        mean = float(np.median(values)) if values.size else float(np.median(t1[brain]))
        deviation = max(float(np.abs(values - mean).mean()) * 1.25, 0.04) if values.size else 0.1
        prior = ndimage.gaussian_filter(mask.astype(np.float32), PRIOR) + 1e-3
        weights.append(prior * np.exp(-0.5 * ((t1 - mean) / deviation) ** 2) / deviation + 1e-6 * prior)
        means.append(mean)
    stack = np.stack(weights)
    return np.where(brain, stack / stack.sum(axis=0), 0), np.array(means, dtype=np.float32)


def _drift(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Return brightness that changes smoothly, by up to 15% either way."""
    coarse = ndimage.zoom(rng.uniform(-1, 1, (3, 3, 3)), np.array(shape) / 3, order=1, mode="nearest", grid_mode=True)
    return np.asarray(1 + rng.uniform(0, 0.15) * coarse)
