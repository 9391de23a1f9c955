"""Sprites: flat geometric shapes in 2-D images, the synthetic anomalies of the HeadCT protocol (Pinaya et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadtools.anatomy.intensity import FLOOR
from uadtools.volume.clean import IN_PLANE, keep_largest

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Shape = Literal["ellipse", "rectangle", "triangle", "star"]
SHAPES: tuple[Shape, ...] = get_args(Shape)

DIAMETERS = (5.0, 16.0)
"""Smallest and largest sprite, in pixels of the circle around it."""
CONTRAST = 40 / 255
"""A sprite's grey level is at least so far from the mean under it."""
AIR = 25 / 255
"""What is not so much brighter than the border of the image is air; the air of HeadCT is not 0."""
_PARTS = 8
"""A pixel is asked at _PARTS x _PARTS points how much of it a sprite covers."""


@dataclass(frozen=True)
class Sprite:
    """One sprite. x, y: its centre along the two array axes; diameter: of the circle around it; all in pixels.

    degrees: how far it is turned; aspect: short over long side, which triangles and stars do not have; grey: its
    intensity in [0, 1].
    """

    shape: Shape
    x: float
    y: float
    diameter: float
    degrees: float
    aspect: float
    grey: float


def with_sprite(
    image: Floats, rng: np.random.Generator, size: tuple[float, float] = DIAMETERS
) -> tuple[NDArray[np.float32], Mask, Sprite] | None:
    """Draw one sprite somewhere inside the head. image: (X, Y) in [0, 1]. Returns the image, its truth, and the sprite.

    Shape, place, diameter, angle and grey level are drawn evenly; in a head where the largest does not fit, up to what
    does. The truth is the pixels of which the sprite covers at least half; edges are mixed by how much it covers.
    Returns None where not even the smallest fits into the head: in images of nearly nothing.
    """
    # the reserve: the centre lies anywhere in its pixel, and no pixel outside the head may be touched by an edge
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(head(image), 1)))[1:-1, 1:-1] - 1.5
    largest = min(size[1], 2 * float(depth.max()))
    if largest < size[0]:
        return None
    shape = SHAPES[rng.integers(len(SHAPES))]
    diameter = rng.uniform(size[0], largest)
    places = np.argwhere(depth >= diameter / 2)
    x, y = places[rng.integers(len(places))] + rng.uniform(-0.5, 0.5, 2)
    degrees, aspect = rng.uniform(0, 360), rng.uniform(0.5, 1)
    share = coverage((image.shape[0], image.shape[1]), Sprite(shape, x, y, diameter, degrees, aspect, 0))
    grey = _grey(float((share * image).sum() / share.sum()), rng)
    sprite = Sprite(shape, float(x), float(y), float(diameter), float(degrees), float(aspect), grey)
    return (image + share * (grey - image)).astype(np.float32), share >= 0.5, sprite


def head(image: Floats) -> Mask:
    """Find the head in an image of one: the largest thing that is not air, filled. image: (X, Y) in [0, 1].

    Air is as bright as half of the image's border, or darker; where it is 0, a hole that is 0 stays a hole. What is
    thinner than three pixels, as the table that the patient lies on, is taken away first.
    """
    air = np.median(np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]))
    thick = ndimage.binary_opening(image > air + AIR, IN_PLANE[..., 0])
    whole = ndimage.binary_fill_holes(keep_largest(thick[..., None])[..., 0])
    return np.asarray(whole if air else whole & (image > 0), dtype=bool)


def coverage(shape: tuple[int, int], sprite: Sprite) -> NDArray[np.float64]:
    """Return how much of each pixel of an image of this shape a sprite covers, 0 to 1."""
    radius = sprite.diameter / 2
    box = [_pixels(middle, radius, size) for middle, size in zip((sprite.x, sprite.y), shape, strict=True)]
    parts = (np.arange(_PARTS) + 0.5) / _PARTS - 0.5
    x, y = ((np.add.outer(pixels, parts)).ravel() for pixels in box)
    turn = np.exp(-1j * np.deg2rad(sprite.degrees)) / radius
    place = np.add.outer(x - sprite.x, 1j * (y - sprite.y)) * turn
    inside = _INSIDE[sprite.shape](place, sprite.aspect)
    share = np.zeros(shape)
    share[np.ix_(*box)] = inside.reshape(len(box[0]), _PARTS, len(box[1]), _PARTS).mean(axis=(1, 3))
    return share


def _pixels(middle: float, radius: float, size: int) -> NDArray[np.intp]:
    """Return the pixels along one axis that a sprite may touch."""
    return np.arange(max(int(middle - radius), 0), min(int(middle + radius) + 2, size))


def _ellipse(place: NDArray[np.complex128], aspect: float) -> Mask:
    return np.asarray(place.real**2 + (place.imag / aspect) ** 2 <= 1)


def _rectangle(place: NDArray[np.complex128], aspect: float) -> Mask:
    half = 1 / np.hypot(1, aspect)
    return np.asarray((np.abs(place.real) <= half) & (np.abs(place.imag) <= aspect * half))


def _triangle(place: NDArray[np.complex128], aspect: float) -> Mask:
    return _behind(place, 3, 3, np.cos(np.pi / 3))


def _star(place: NDArray[np.complex128], aspect: float) -> Mask:
    return _behind(place, 5, 4, np.cos(2 * np.pi / 5))


def _behind(place: NDArray[np.complex128], lines: int, least: int, distance: float) -> Mask:
    """Tell which places lie behind at least so many of the lines, evenly turned at one distance from the middle.

    Three of three make a triangle, four of five a star, whose points lie behind all lines but one.
    """
    normals = np.exp(2j * np.pi * np.arange(lines) / lines)
    return np.asarray(sum((place * n).real <= distance for n in normals) >= least)


_INSIDE: dict[Shape, Callable[[NDArray[np.complex128], float], Mask]] = {
    "ellipse": _ellipse, "rectangle": _rectangle, "triangle": _triangle, "star": _star,
}  # fmt: skip
"""Which places a shape holds, as complex numbers, in the circle of radius 1 around it."""


def _grey(under: float, rng: np.random.Generator) -> float:
    """Draw a grey level evenly from all that are CONTRAST or more away from the mean under the sprite; none is 0."""
    darker, brighter = max(under - CONTRAST - FLOOR, 0), max(1 - under - CONTRAST, 0)
    drawn = rng.uniform(0, darker + brighter)
    return float(FLOOR + drawn if drawn < darker else under + CONTRAST + drawn - darker)
