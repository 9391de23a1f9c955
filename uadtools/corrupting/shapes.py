"""Where anomalies lie, and which shape they have. All of it follows from numbers drawn before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.corrupting.domains import Numbers
from uadtools.corrupting.fields import Floats, Mask, sample, smooth, wavy


def _places(t1: Floats, brain: Mask, near: str) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the places in the middle slice, (N, 2), and the sums of their weights up to each, which end at 1."""
    middle, inside = t1[len(t1) // 2], brain[len(brain) // 2]
    places = np.argwhere(inside)
    weights: NDArray[np.float64] = np.ones(len(places))
    if near != "anywhere":
        values = middle * (middle > 0.55) + 1e-3
        if near == "fluid":
            deep = smooth(inside, (6, 6)) > 0.97
            values = values * (smooth((middle < 0.35) * deep, (3, 3)) + 1e-3)
        weights = values[tuple(places.T)].astype(np.float64)
    sums = np.cumsum(weights)
    return places, sums / max(sums[-1], 1e-12) if len(sums) else sums


def shape_of(group: Numbers, t1: Floats, brain: Mask, masks: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Return how much of each pixel is anomalous, and how much of that is core, both (D, H, W) in [0, 1]."""
    depth, height, width = t1.shape
    alpha, core = np.zeros(t1.shape, np.float32), np.ones(t1.shape, np.float32)
    places, sums = _places(t1, brain, group["near"])
    if not len(places):
        return alpha, core
    if group["shape"] == "rim":
        return _rim(group, t1, brain), core
    for part in group["parts"]:
        centre = places[min(int(np.searchsorted(sums, part["place"], side="right")), len(places) - 1)]
        if group["shape"] == "mask":
            _stamp(alpha, centre, masks[int(group["mask"][0] * len(masks))], group["mask"])
            continue
        box = _box((height, width), centre, 1.5 * part["radius"] + 2)
        distance = _distance(box, depth, centre, part)
        if len(group["parts"]) == 1:
            cells = max(1.5, 0.8 * part["radius"])
            rough = wavy(group["seed"], distance.shape, (3, cells, cells))
            distance = distance + np.float32(group["rough"]) * rough
        here = np.clip((1 - distance) * part["radius"] / group["edge"] + 0.5, 0, 1)
        if group["shape"] == "cloud":
            low, steep = group["cloud"]
            field = wavy(group["seed"], here.shape, (3, *group["cells"]))
            here = np.clip((field - low) * steep + 0.5, 0, 1) * np.clip((1 - distance) * 3, 0, 1)
        if group["shape"] == "ring":
            core[box] = np.clip((group["core"] - distance) * part["radius"] + 0.5, 0, 1)
        alpha[box] = np.maximum(alpha[box], here)
    return alpha * brain, core


def _rim(group: Numbers, t1: Floats, brain: Mask) -> Floats:
    """Return a band in white matter along deep fluid, here wide and there narrow or none, on both sides of the head."""
    deep = smooth(brain, (0, 6, 6)) > 0.97
    near = smooth((t1 < 0.35) * deep, (0.5, *group["cells"]))
    band = np.clip((near - 0.3 * group["cloud"][0]) * 6 * group["cloud"][1], 0, 1) * np.clip((t1 - 0.4) * 6, 0, 1)
    broken = np.clip(2 * wavy(group["seed"], t1.shape, (4, 10, 10)) + 0.5 + 2 * group["core"], 0, 1)
    return np.asarray(band * broken * brain, np.float32)


def _box(shape: Sequence[int], centre: NDArray[np.intp], reach: float) -> tuple[slice, slice, slice]:
    edges = [
        slice(max(0, math.floor(c - reach)), min(n, math.ceil(c + reach) + 1))
        for c, n in zip(centre, shape, strict=True)
    ]
    return slice(None), edges[0], edges[1]


def _distance(box: tuple[slice, slice, slice], depth: int, centre: NDArray[np.intp], part: Numbers) -> Floats:
    """Return how far pixels of a box lie from the centre, in radii of an ellipsoid."""
    z = np.arange(depth, dtype=np.float32)[:, None, None] - (depth - 1) / 2 - np.float32(part["depth"])
    y = np.arange(box[1].start, box[1].stop, dtype=np.float32)[None, :, None] - centre[0]
    x = np.arange(box[2].start, box[2].stop, dtype=np.float32)[None, None] - centre[1]
    cos, sin = np.float32(np.cos(part["turn"])), np.float32(np.sin(part["turn"]))
    a, b, c = part["axes"]
    distance = np.sqrt(((cos * y + sin * x) / a) ** 2 + ((cos * x - sin * y) / b) ** 2 + (z / c) ** 2) / part["radius"]
    return np.asarray(distance, np.float32)


def _stamp(alpha: Floats, centre: NDArray[np.intp], mask: Floats, drawn: Sequence[Any]) -> None:
    """Set a mask of the library down with its middle at the centre: mirrored, turned and resized as drawn."""
    _, _, zoom, turn = drawn
    mask = np.rot90(mask, turn, (1, 2))
    height, width = mask.shape[1:]
    rows, columns = (np.arange(n, dtype=np.float32) for n in alpha.shape[1:])
    down, along = np.meshgrid(
        (rows - centre[0]) / zoom + (height - 1) / 2, (columns - centre[1]) / zoom + (width - 1) / 2, indexing="ij"
    )
    np.maximum(alpha, sample(np.ascontiguousarray(mask), down, along), out=alpha)
