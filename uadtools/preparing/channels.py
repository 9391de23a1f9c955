"""The other contrasts of a scan: brought onto its grid, into its brain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from uadtools.anatomy.bias import n4
from uadtools.anatomy.register import affine
from uadtools.concerns import Concern
from uadtools.errors import UadError
from uadtools.grids.grid import Grid, nearest, oriented, resample
from uadtools.preparing.preparation import Preparation
from uadtools.preparing.values import check_raw, grounded, normalised
from uadtools.volume.io import Image
from uadtools.volume.labels import looks_unlike

Mask = NDArray[np.bool_]
Values = NDArray[np.float32]
COVERED = 0.8
"""The least share of the brain that another contrast must show."""
ASIDE, FITS = 6.0, 2.0
"""Of one person two contrasts that lie alike tell at least FITS times as much of one another as with one moved by so
many mm. Chosen by hand: T1 and FLAIR of two people have 8.2 and 8.5, of one and the other 1.4 and 1.5, mirrored 1.8.
"""
BINS = 32
"""Of intensities, in the histogram of two contrasts."""


def in_place(
    scan: Image, onto: Grid, target: Grid, brain: Mask, preparation: Preparation
) -> dict[str, NDArray[np.float32]]:
    """Bring the other contrasts of a scan onto the model's grid; returns their values by name, 0 outside the brain.

    onto: where the scan's own voxels lie once it was registered, if it was; target: the model's grid, on which the
    brain is. All lie in one world, or, where the preparation says so, are registered to the scan by a rigid transform
    first. Raises UadError for one that shows less than COVERED of the brain.
    """
    values = {}
    for name, image in preparation.channels.items():
        try:
            values[name] = _in_place(image, scan, onto, target, brain, preparation)
        except UadError as error:
            raise UadError(f"channel {name}: {error}") from None
    return values


def _in_place(
    image: Image, scan: Image, onto: Grid, target: Grid, brain: Mask, preparation: Preparation
) -> NDArray[np.float32]:
    check_raw(image, preparation)
    orientation = preparation.grid.orientation
    data, grid = oriented(grounded(image.data, preparation), image.grid, orientation)
    if preparation.align:
        grid = Grid(grid.shape, affine(Image(data, grid), scan, seed=preparation.seed, rigid=True) @ grid.affine)
    moved = onto.affine @ np.linalg.inv(oriented(scan.data, scan.grid, orientation)[1].affine)
    grid = Grid(grid.shape, moved @ grid.affine)
    shown = float((resample(np.ones(grid.shape, np.float32), grid, target)[brain] > 0.5).mean())
    if shown < COVERED:
        raise UadError(f"shows {shown:.0%} of the scan's brain (is it of the same person? --align registers it)")
    if preparation.bias_correct:
        data = n4(data, nearest(brain.astype(np.uint8), target, grid) > 0, grid)
    return normalised(resample(data, grid, target), brain, preparation)


def doubts(scan: Values, others: Mapping[str, Values], preparation: Preparation) -> list[Concern]:
    """Tell which other contrasts, on the model's grid, seem not to show the scan's brain as it lies, or show nothing.

    By mutual information inside the brain: where they lie, over the most where they are moved by ASIDE along an axis.
    """
    found = list[Concern]()
    for name, image in preparation.channels.items():
        found += [doubt.about(name) for doubt in looks_unlike(image, "scan", name)]
        if np.array_equal(scan, others[name]):
            found.append(Concern("twice", f"{name} has the voxels of the scan (is it the right file?)", 1))
        if preparation.grid.flat or (times := fit(scan, others[name], preparation.grid.spacing)) >= FITS:
            continue
        text = f"{name} fits the scan {times:.1f} times as well as moved by {ASIDE:g} mm, and should {FITS:g} times"
        found.append(Concern("channel", f"{text} (is it of this person and visit? --align)", round(times, 2)))
    return found


def fit(scan: Values, other: Values, spacing: Sequence[float]) -> float:
    """Return how much more two contrasts tell of one another as they lie than with one moved aside."""
    low, high = np.percentile(other[other > 0], (5, 95))
    if high - low < 1 / BINS:
        return 0.0
    steps = [(axis, way * max(1, round(ASIDE / size))) for axis, size in enumerate(spacing) for way in (-1, 1)]
    aside = max(_shared(scan, np.roll(other, step, axis)) for axis, step in steps)
    return _shared(scan, other) / max(aside, 1e-6)


def _shared(scan: Values, other: Values) -> float:
    """Return the mutual information of two images where both have a brain, in nats."""
    both = (scan > 0) & (other > 0)
    counts, _, _ = np.histogram2d(scan[both], other[both], bins=BINS, range=((0, 1), (0, 1)))
    joint = counts / max(counts.sum(), 1)
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    return float((joint[joint > 0] * np.log(joint[joint > 0] / apart[joint > 0])).sum())
