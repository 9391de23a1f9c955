"""Changes that a healthy scan may have and stay one: another scanner, a coarser protocol, a lesion."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from uadtools.anatomy.intensity import percentile
from uadtools.simulation.lesions import Floats, Mask, blobs, paint, smooth

CHANGES = ("blurred", "biased", "thick", "shifted", "darker", "brighter", "noisy", "tight", "lesioned")


def changed(data: Floats, change: str, rng: np.random.Generator, spacing: tuple[float, float, float]) -> Floats:
    """Return a prepared scan (X, Y, Z) with one of the CHANGES, stretched anew to percentiles 1 and 99 of its brain.

    blurred: a Gaussian of up to .9 voxels; biased: by up to 25% either way; thick: slices of 3 to 5 mm along one axis,
    brought back; shifted: by half a voxel along each axis; darker, brighter: gamma of 1.4 and .7; noisy: Gaussian of up
    to .03; tight: a mask that is one or two voxels smaller; lesioned: one to three blobs of up to 100 mL in all.
    """
    brain = data > 0
    values: Floats = np.asarray(data, dtype=np.float32)
    match change:
        case "blurred":
            values = smooth(values, brain, rng.uniform(0.5, 0.9))
        case "biased":
            coarse = rng.uniform(-0.25, 0.25, (3, 3, 3))
            values = values * (
                1 + ndimage.zoom(coarse, np.array(data.shape) / 3, order=1, grid_mode=True, mode="nearest")
            )
        case "thick":
            values = _thick(values, brain, int(rng.integers(3)), rng.uniform(3, 5), spacing)
        case "shifted":
            values = ndimage.shift(values, (0.5, 0.5, 0.5), order=1)
            brain = ndimage.shift(brain.astype(np.float32), (0.5, 0.5, 0.5), order=1) > 0.5
        case "darker" | "brighter":
            values = np.where(brain, values, 1) ** (1.4 if change == "darker" else 0.7)
        case "noisy":
            values = values + rng.uniform(0.01, 0.03) * rng.standard_normal(values.shape)
        case "tight":
            brain = ndimage.binary_erosion(brain, iterations=int(rng.integers(1, 3)))
        case "lesioned":
            values = _lesioned(values, brain, rng, spacing)
    return percentile(values, brain, 1, 99)


def _thick(values: Floats, brain: Mask, axis: int, thickness: float, spacing: tuple[float, float, float]) -> Floats:
    """Average slices of a thickness in mm along an axis, and interpolate between their middles."""
    step = max(1.0, thickness / spacing[axis])
    widths = [0.0, 0.0, 0.0]
    widths[axis] = 0.5 * np.sqrt(step**2 - 1)
    whole = np.moveaxis(smooth(values, brain, tuple(widths)), axis, 0)
    middles = np.arange(0, len(whole) - 1, step)
    sampled = ndimage.map_coordinates(
        whole, np.meshgrid(middles, *map(np.arange, whole.shape[1:]), indexing="ij"), order=1
    )
    places = np.clip(np.arange(len(whole)) / step, 0, len(middles) - 1)
    low = np.minimum(places.astype(int), len(middles) - 2)
    share = (places - low)[:, None, None]
    return np.moveaxis((1 - share) * sampled[low] + share * sampled[low + 1], 0, axis)


def _lesioned(values: Floats, brain: Mask, rng: np.random.Generator, spacing: tuple[float, float, float]) -> Floats:
    total = 100_000 * rng.uniform(0.1, 1)
    shares = rng.dirichlet(np.ones(int(rng.integers(1, 4))))
    diameters = np.sort(np.maximum((6 * total * shares / np.pi) ** (1 / 3), 6.0))[::-1]
    label = blobs(brain, [float(d) for d in diameters], spacing, rng)
    for number in range(1, int(label.max()) + 1):
        values = paint(values, label == number, float(rng.choice([0.1, 0.3, 0.85, 1.0])), brain)
    return values
