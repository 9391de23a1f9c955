"""Lesions painted into healthy T1 scans: expert masks moved onto the subject, also as cavities, and blobs.

Scans are what uad-preprocess makes: float32 in (0, 1] inside the brain, 0 outside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadtools.anatomy.intensity import inside
from uadtools.errors import UadError
from uadtools.grids.grid import Grid, resample
from uadtools.volume.clean import keep_largest
from uadtools.volume.io import Image

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Tone = Literal["dark", "bright", "both"]
Box = NDArray[np.float64]
"""(2, 3): the lower and the upper end in mm along each world axis."""

MASKS_BOX: Box = np.array([[-57.0, -90.0, -45.0], [58.0, 51.0, 62.0]])
"""Tissue box (see `tissue_box`) of the brains that the MS masks were drawn on, in mm of the masks' own MNI coordinates.

Mean over the two patients of Lesjak et al. 2018 whose scans in that space were at hand. It is smaller than the MNI152
template's, about 130 x 170 x 135 mm: those scans were moved to MNI space but not stretched to the template's size.
"""
MNI152_BOX: Box = np.array([[-66.0, -99.0, -58.0], [66.0, 66.0, 74.0]])
"""The same of the MNI152 template (2009a, symmetric), for masks of brains that were stretched to it."""
DIAMETERS = (5.0, 30.0)
"""Smallest and largest blob, in mm of the ball of the same volume; those drawn are even over this range."""
BLOBS = (1, 3)
"""Fewest and most blobs in a scan."""
TEXTURE = 1.0
"""Detail finer than a Gaussian of this deviation, in voxels, is texture and survives in a lesion."""
EDGE = 0.6
"""Deviation, in voxels, of the Gaussian that softens a lesion's edge."""
CAVITY_EDGE, CAVITY_TEXTURE = 1.0, 0.25
"""The same of a cavity's edge, and the share of the fine texture that is left in it."""
MOST_OF_ROOM = 0.5
"""Share of the brain that is still free which one blob may fill."""
SMALLEST = 7
"""A mask that leaves fewer voxels on the subject's grid than this is passed over for the next one."""


class Levels(NamedTuple):
    """Typical intensities of cerebrospinal fluid, grey matter and white matter in one T1 scan."""

    csf: float
    gm: float
    wm: float

    @property
    def tissue(self) -> float:
        """Halfway between fluid and grey matter; what is brighter is tissue."""
        return (self.csf + self.gm) / 2


@dataclass(frozen=True)
class LesionedScan:
    """A scan with lesions. image: (X, Y, Z) float32; label: k in the k-th lesion, 0 elsewhere.

    levels: the intensity that each lesion was moved to; diameters: mm, one per blob (none for a mask); origin: the mask
    used, counted from 0 (None for blobs).
    """

    image: NDArray[np.float32]
    label: NDArray[np.uint8]
    levels: tuple[float, ...]
    diameters: tuple[float, ...] = ()
    origin: int | None = None

    @property
    def truth(self) -> Mask:
        return self.label > 0


def with_blobs(
    scan: Image,
    tone: Tone,
    rng: np.random.Generator,
    *,
    size: tuple[float, float] = DIAMETERS,
    count: tuple[int, int] = BLOBS,
) -> LesionedScan:
    """Paint irregular blobs into a healthy scan, their number and their diameters (mm) even over count and size.

    Lesions that are not bright go to a level drawn from the middle half of the way from fluid to grey matter, bright
    ones to the upper half of the way from white matter to 1; both: each is dark or bright at random. Raises UadError
    when the brain has no room for them.
    """
    number = rng.integers(*count, endpoint=True)
    diameters = tuple(float(d) for d in np.sort(rng.uniform(*size, number))[::-1])
    label = blobs(scan.data > 0, diameters, scan.grid.spacing, rng)
    levels = tissue_levels(scan.data[scan.data > 0])
    return LesionedScan(*_painted(scan.data, label, tone, levels, rng), diameters)


def with_masks(
    scan: Image, masks: Sequence[Image], tone: Tone, rng: np.random.Generator, *, box: Box = MASKS_BOX
) -> LesionedScan:
    """Paint the lesions of one of these masks, drawn at random, into a healthy scan; levels as in `with_blobs`.

    The masks are in MNI space, and moved onto the subject (see `brought_over`), or on the scan's grid, and stay where
    they are. box: of the brains they were drawn on. Raises UadError when none has a lesion in this brain.
    """
    levels = tissue_levels(scan.data[scan.data > 0])
    label, origin = _mask_label(scan, masks, levels, rng, box)
    return LesionedScan(*_painted(scan.data, label, tone, levels, rng), origin=origin)


def with_cavities(
    scan: Image, masks: Sequence[Image], rng: np.random.Generator, *, box: Box = MNI152_BOX
) -> LesionedScan:
    """Fill one of these masks, drawn at random, with fluid, as an old stroke leaves its place; else as `with_masks`.

    The level is even over a quarter of the way from fluid to grey matter, about fluid: cavities hold more or less of
    tissue and of partial volume. Fluid that was in the mask before stays as it is, and is not in the truth.
    """
    levels = tissue_levels(scan.data[scan.data > 0])
    label, origin = _mask_label(scan, masks, levels, rng, box)
    level = float(levels.csf + rng.uniform(-0.1, 0.15) * (levels.gm - levels.csf))
    image = paint(scan.data, label > 0, level, scan.data > 0, edge=CAVITY_EDGE, texture=CAVITY_TEXTURE)
    return LesionedScan(image, label, (level,), origin=origin)


def tissue_levels(values: Floats) -> Levels:
    """Find three tissues in the intensities inside a brain: Lloyd's k-means, started at .15, .5 and .8.

    Against anatomical labels of 20 IXI scans: fluid .18 to .24 (ventricles .23 to .36, with partial volume), grey
    matter .51 to .57 (cortex .45 to .54), white matter .79 to .82.
    """
    centres = np.array([0.15, 0.5, 0.8])
    for _ in range(100):
        member = np.digitize(values, (centres[1:] + centres[:-1]) / 2)
        moved = np.array([values[member == k].mean() if (member == k).any() else centres[k] for k in range(3)])
        if np.allclose(moved, centres, atol=1e-5):
            break
        centres = moved
    return Levels(*(float(c) for c in centres))


def smooth(image: Floats, brain: Mask, sigma: float | tuple[float, ...]) -> NDArray[np.float32]:
    """Smooth inside the brain by normalised convolution, so that nothing outside bleeds in. sigma in voxels."""
    weight = ndimage.gaussian_filter(brain.astype(np.float32), sigma)
    mixed = ndimage.gaussian_filter(np.where(brain, image, 0).astype(np.float32), sigma)
    return np.where(brain, mixed / np.maximum(weight, 1e-6), 0).astype(np.float32)


def paint(
    image: Floats, lesion: Mask, level: float | Floats, brain: Mask, *, edge: float = EDGE, texture: float = 1.0
) -> NDArray[np.float32]:
    """Move a lesion to an intensity level (or a map of them) so that fine texture survives.

    The result is image - alpha (smooth(image) - level). alpha is half the mask and half its Gaussian blur: it falls
    from 1 to 0 within a voxel on either side of the edge, alpha > .5 is exactly the mask, and a lesion of few voxels
    does not fade away. Values stay in [FLOOR, 1] inside the brain and 0 outside. edge: deviation of that Gaussian, in
    voxels; texture: the share of it that survives.
    """
    alpha = (lesion + ndimage.gaussian_filter(lesion.astype(np.float32), edge)) / 2
    coarse = smooth(image, brain, TEXTURE)
    changed = image - alpha * (texture * coarse + (1 - texture) * image - level)
    return np.where(alpha > 0, inside(changed, brain), image).astype(np.float32)


def blobs(
    brain: Mask, diameters: Sequence[float], spacing: tuple[float, float, float], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Draw one blob per diameter (mm, largest first), apart from one another, and label them 1, 2, ..."""
    label = np.zeros(brain.shape, np.uint8)
    for k, diameter in enumerate(diameters, start=1):
        room = brain & ~ndimage.binary_dilation(label > 0, iterations=3)
        if math.pi / 6 * diameter**3 > MOST_OF_ROOM * room.sum() * math.prod(spacing):
            raise UadError(f"no room for a blob of {diameter:.3g} mm in this brain (choose a smaller --size, or fewer)")
        label[blob(room, diameter, spacing, rng)] = k
    return label


def blob(room: Mask, diameter: float, spacing: tuple[float, float, float], rng: np.random.Generator) -> Mask:
    """Draw one connected, irregular blob inside `room`, of the volume of a ball of this diameter in mm.

    An ellipsoid of random axes and direction, its distance map roughened by smoothed noise, cut at the level that gives
    the volume. The centre lies a radius from the border of `room`, or as deep as `room` goes.
    """
    depth = ndimage.distance_transform_edt(np.pad(room, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    centres = np.argwhere(depth >= min(diameter / 2, 0.8 * float(depth.max())))
    return blob_at(room, centres[rng.integers(len(centres))], diameter, spacing, rng)


def blob_at(
    room: Mask, centre: NDArray[Any], diameter: float, spacing: tuple[float, float, float], rng: np.random.Generator
) -> Mask:
    """Draw the blob of `blob` around a centre, in voxels."""
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    axes = np.exp(rng.uniform(-0.3, 0.3, 3))
    offset = (np.indices(room.shape).reshape(3, -1).T - centre) * spacing
    reach = np.linalg.norm(offset @ turn / axes, axis=1).reshape(room.shape) / (diameter / 2)
    noise = ndimage.gaussian_filter(rng.standard_normal(room.shape), diameter / 5 / np.array(spacing))
    field = np.where(room, reach + 0.3 * noise / noise.std(), np.inf)
    return keep_largest(lowest(field, diameter, spacing))


def lowest(field: Floats, diameter: float, spacing: tuple[float, float, float]) -> Mask:
    """Return the lowest voxels of a field, as many as a ball of this diameter in mm has, or all that are finite."""
    count = max(1, min(round(math.pi / 6 * diameter**3 / math.prod(spacing)), int(np.isfinite(field).sum())))
    return np.asarray(field <= np.partition(field, count - 1, axis=None)[count - 1])


def tissue_box(image: Floats, grid: Grid, levels: Levels) -> Floats:
    """Return the box of the tissue in mm, (2, 3): the .5th and the 99.5th percentile of its voxels along each axis.

    Fluid is left out and the ends are cut off because skull strippers disagree about the first, and scans about how far
    down the brain stem goes. Raises UadError when there is no tissue, or only a slice of it.
    """
    voxels = np.argwhere(image > levels.tissue)
    if not voxels.size or not np.ptp(voxels, axis=0).all():
        raise UadError("no brain with tissue brighter than fluid (is this the right file?)")
    return np.percentile(voxels @ grid.affine[:3, :3].T + grid.affine[:3, 3], [0.5, 99.5], axis=0)


def brought_over(mask: Image, scan: Image, levels: Levels, box: Box = MASKS_BOX) -> Mask:
    """Move a mask onto a subject: each world axis is shifted and scaled so that `box` becomes the subject's."""
    subject_box = tissue_box(scan.data, scan.grid, levels)
    scale = (subject_box[1] - subject_box[0]) / (box[1] - box[0])
    move = np.diag([*scale, 1.0])
    move[:3, 3] = subject_box[0] - scale * box[0]
    source = Grid(mask.grid.shape, move @ mask.grid.affine)
    return np.asarray(resample((mask.data > 0).astype(np.float32), source, scan.grid) > 0.5)


def _mask_label(
    scan: Image, masks: Sequence[Image], levels: Levels, rng: np.random.Generator, box: Box
) -> tuple[NDArray[np.uint8], int]:
    """Take the masks in random order until one leaves enough lesion in the subject's tissue; fluid has no plaques."""
    tissue = scan.data > levels.tissue
    for index in rng.permutation(len(masks)):
        mask = masks[index]
        lesion = (mask.data > 0 if mask.grid.same(scan.grid) else brought_over(mask, scan, levels, box)) & tissue
        if lesion.sum() >= SMALLEST:
            return lesion.astype(np.uint8), int(index)
    raise UadError(f"none of {len(masks)} masks has a lesion inside this brain (are they in MNI space?)")


def _painted(
    image: NDArray[np.float32], label: NDArray[np.uint8], tone: Tone, levels: Levels, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8], tuple[float, ...]]:
    """Paint every lesion, each to a level of its own. Returns the image, the label, and the levels."""
    brain, drawn = image > 0, []
    for k in range(1, int(label.max()) + 1):
        if tone == "bright" or (tone == "both" and rng.random() < 0.5):
            level = levels.wm + rng.uniform(0.5, 1) * (1 - levels.wm)
        else:
            level = levels.csf + rng.uniform(0.25, 0.75) * (levels.gm - levels.csf)
        image = paint(image, label == k, level, brain)
        drawn.append(float(level))
    return image, label, tuple(drawn)
