"""Anomalies put into healthy slabs for a model to mend: drawn first, as plain numbers, and applied second.

Slabs are (D, H, W) in [0, 1], 0 outside the brain and above 0 inside. No anomaly is modelled on a disease: shapes,
places and looks are as many as can be, so that what they have in common is that they do not belong there.
Sources of ideas: Naval Marimont et al. 2023 (foreign patches, severity), Baugh et al. 2023 (many tasks, labels by the
visible change), Marimont & Tarroni 2022 (shapes), Perez et al. 2003 (Poisson blending).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.settings import Amount, Config, Fraction, PositiveFloat, PositiveInt
from uadtools.simulation.domains import Numbers, kept_inside
from uadtools.simulation.fields import Floats, Mask, sample, smooth, wavy, white

VISIBLE = 0.04
"""Change of intensity from which on an anomaly counts as one; less is not to be learnt."""
Foreign = Callable[[float], Floats]
"""Gives a slab of another healthy scan, by a number from 0 to 1."""


class Shapes(Config):
    """Weights of shapes: rough ellipsoids, many small ones, clouds, cores with a ring around, masks of a library."""

    blob: Amount = 0.4
    many: Amount = 0.3
    cloud: Amount = 0.15
    ring: Amount = 0.15
    mask: Amount = 0.0


class Looks(Config):
    """Weights of looks: an intensity, a factor, another scan's patch, waves, blur, texture and pushed tissue.

    dark and bright: weights of the two directions in which level and factor may go.
    """

    level: Amount = 0.42
    factor: Amount = 0.25
    foreign: Amount = 0.12
    waves: Amount = 0.09
    blur: Amount = 0.04
    texture: Amount = 0.04
    push: Amount = 0.04
    dark: Amount = 0.5
    bright: Amount = 0.5


class AnomalyConfig(Config):
    """How anomalies are drawn.

    shapes, looks: what is drawn, by weights, so that one is left out by setting it to 0. none: the share of items
    without any. most: groups in an item. radius: of blobs, smallest and largest, in pixels, even in its logarithm.
    least: the least change of a level. fade: the steps over which anomalies go from easy (large, strong, in almost
    every item) to all of this.
    """

    shapes: Shapes = Shapes()
    looks: Looks = Looks()
    none: Fraction = 0.2
    most: PositiveInt = 6
    radius: tuple[PositiveFloat, PositiveFloat] = (1.0, 12.0)
    least: PositiveFloat = 0.07
    fade: PositiveInt = 10_000


EASY = {"none": 0.05, "radius": 3.5, "least": 0.3}
"""Where training starts: without looks that are faint, too. With everything at once nothing is learnt for long."""
FAINT = ("waves", "blur", "texture", "push")


def draw_groups(config: AnomalyConfig, rng: np.random.Generator, step: int) -> list[Numbers]:
    """Draw the anomalies of an item for a training step. What is drawn does not look at the image."""
    hard = min(1.0, step / config.fade)
    none, smallest, least = (
        (1 - hard) * EASY[name] + hard * value
        for name, value in (("none", config.none), ("radius", config.radius[0]), ("least", config.least))
    )
    if rng.random() < none:
        return []
    count = int(np.ceil(config.most ** rng.random() ** (1 + hard)))
    looks = {name: weight * (hard if name in FAINT else 1) for name, weight in config.looks.model_dump().items()}
    return [_group(config, looks, rng, smallest, least) for _ in range(count)]


def _pick(weights: dict[str, float], rng: np.random.Generator) -> str:
    names, values = list(weights), np.array(list(weights.values()))
    return str(rng.choice(names, p=values / values.sum()))


def _group(
    config: AnomalyConfig, looks: dict[str, float], rng: np.random.Generator, smallest: float, least: float
) -> Numbers:
    shape = _pick(config.shapes.model_dump(), rng)
    radius = float(np.exp(rng.uniform(np.log(smallest), np.log(config.radius[1]))))
    parts = 1
    if shape == "many":
        parts = int(rng.integers(3, 40))
    elif shape == "cloud":
        radius = float(rng.uniform(4, 16))
    elif shape == "ring":
        radius = max(radius, 3.0)
    small = max(float(rng.uniform(0.9, 2.0)), 0.5 * smallest)
    return {
        "shape": shape,
        "near": _pick({"anywhere": 0.4, "white": 0.35, "fluid": 0.25}, rng),
        "parts": [
            _part(rng, radius if parts == 1 else small * float(np.exp(rng.normal(0, 0.4)))) for _ in range(parts)
        ],
        "rough": float(rng.uniform(0, 0.35)),
        "edge": float(rng.uniform(0.4, 2.0 if parts == 1 else 1.2)),
        "cells": rng.uniform(2, 6, 2).tolist(),
        "cloud": [float(rng.uniform(0.2, 1.0)), float(rng.uniform(1, 4))],
        "core": float(rng.uniform(0.3, 0.8)),
        "mask": [float(rng.random()), float(rng.random()), float(np.exp(rng.normal(0, 0.2))), int(rng.integers(4))],
        "seed": int(rng.integers(2**53)),
        "look": _look(looks, rng, least),
    }


def _part(rng: np.random.Generator, radius: float) -> Numbers:
    axes = np.exp(rng.uniform(-0.35, 0.35, 3))
    return {
        "place": float(rng.random()),
        "depth": float(rng.uniform(-1, 1)) * min(radius, 4.0),
        "radius": radius,
        "axes": (axes / np.prod(axes) ** (1 / 3)).tolist(),
        "turn": float(rng.uniform(0, np.pi)),
    }


def _look(looks: dict[str, float], rng: np.random.Generator, least: float) -> Numbers:
    weights = {name: weight for name, weight in looks.items() if name not in ("dark", "bright")}
    darker = bool(rng.random() * (looks["dark"] + looks["bright"]) < looks["dark"])
    strength = rng.uniform(max(0.12, least), 0.65)
    return {
        "kind": _pick(weights, rng),
        "darker": darker,
        "any": bool(rng.random() < 0.5),
        "change": float(rng.uniform(least, 0.5)),
        "least": least,
        "levels": rng.uniform(0, 1, 2).tolist(),
        "factor": float(1 - strength if darker else 1 + strength),
        "alpha": float(rng.uniform(0.5, 1)),
        "texture": float(rng.uniform(0, 1)),
        "grain": float(rng.uniform(0, 0.04)),
        "foreign": float(rng.random()),
        "poisson": bool(rng.random() < 0.4),
        "shift": rng.integers(-12, 13, 2).tolist(),
        "waves": [float(rng.uniform(1.5, 6)), float(rng.uniform(0.1, 0.35))],
        "width": float(rng.uniform(1, 3)),
        "push": rng.uniform(-3, 3, 2).tolist(),
        "seeds": [int(rng.integers(2**53)) for _ in range(2)],
    }


def put_in(
    slab: Floats, t1: Floats, brain: Mask, groups: Sequence[Numbers], foreign: Foreign, masks: Sequence[Floats] = ()
) -> tuple[Floats, Mask]:
    """Put anomalies into a slab; returns it, and where it is anomalous, (D, H, W).

    t1: the slab before its contrast was drawn, by which places in white matter and beside fluid are told. masks: (D, h,
    w) shapes in [0, 1] to choose from. What changed by less than VISIBLE, smoothed a little, is not anomalous.
    """
    made, where = slab, np.zeros(slab.shape, bool)
    for group in groups:
        alpha, core = _shape(group, t1, brain, masks)
        if alpha[len(alpha) // 2].sum() < 1:
            continue
        changed = kept_inside(_LOOKS[group["look"]["kind"]](made, alpha, core, group["look"], foreign), brain)
        where |= alpha > 0.4
        made = changed
    change = np.abs(smooth(made - slab, (0, 0.7, 0.7)))
    return made, np.asarray(where & (change > VISIBLE) & brain)


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


def _shape(group: Numbers, t1: Floats, brain: Mask, masks: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Return how much of each pixel is anomalous, and how much of that is core, both (D, H, W) in [0, 1]."""
    depth, height, width = t1.shape
    alpha, core = np.zeros(t1.shape, np.float32), np.ones(t1.shape, np.float32)
    places, sums = _places(t1, brain, group["near"])
    if not len(places):
        return alpha, core
    for part in group["parts"]:
        centre = places[min(int(np.searchsorted(sums, part["place"], side="right")), len(places) - 1)]
        if group["shape"] == "mask" and masks:
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
    made = np.sqrt(((cos * y + sin * x) / a) ** 2 + ((cos * x - sin * y) / b) ** 2 + (z / c) ** 2) / part["radius"]
    return np.asarray(made, np.float32)


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


Look = Callable[[Floats, Floats, Floats, Numbers, Foreign], NDArray[Any]]


def _mixed(slab: Floats, alpha: Floats, other: NDArray[Any]) -> NDArray[Any]:
    return slab + alpha * (other - slab)


def _texture(slab: Floats, look: Numbers) -> Floats:
    fine = slab - smooth(slab, (0.6, 1.5, 1.5))
    return np.float32(look["texture"]) * fine + np.float32(look["grain"]) * white(look["seeds"][0], slab.shape)


def _level(slab: Floats, alpha: Floats, core: Floats, look: Numbers, foreign: Foreign) -> NDArray[Any]:
    """Move to an intensity: a change of what is there, or any that is far enough from it; the ring has one, too."""
    here = float(slab[alpha > 0.4].mean()) if (alpha > 0.4).any() else 0.5
    sign = -1 if look["darker"] else 1
    room = here if look["darker"] else 1.1 - here
    levels = []
    for drawn in look["levels"]:
        change = look["least"] + drawn * max(room - look["least"], 0) if look["any"] else look["change"]
        levels.append(here + sign * change)
    level = core * levels[0] + (1 - core) * levels[1]
    return _mixed(slab, alpha * np.float32(look["alpha"]), level + _texture(slab, look))


def _factor(slab: Floats, alpha: Floats, core: Floats, look: Numbers, foreign: Foreign) -> NDArray[Any]:
    return slab * (1 + alpha * np.float32(look["factor"] - 1))


def _foreign(slab: Floats, alpha: Floats, core: Floats, look: Numbers, foreign: Foreign) -> NDArray[Any]:
    """Put another scan's patch there: as it is, or with its brightness bent to what lies around (Poisson).

    The bending is a weighted mean of the differences outside the patch, which solves no equation, but is as smooth.
    """
    patch: NDArray[Any] = np.roll(foreign(look["foreign"]), tuple(look["shift"]), axis=(1, 2))
    if look["poisson"]:
        outside = (1 - alpha) * (slab > 0) * (patch > 0)
        weight = smooth(outside, (0.5, 4, 4))
        patch = patch + smooth((slab - patch) * outside, (0.5, 4, 4)) / np.maximum(weight, 0.02)
    return _mixed(slab, alpha * np.float32(look["alpha"]), patch)


def _waves(slab: Floats, alpha: Floats, core: Floats, look: Numbers, foreign: Foreign) -> NDArray[Any]:
    cell, strength = look["waves"]
    return slab + alpha * np.float32(strength) * wavy(look["seeds"][0], slab.shape, (2, cell, cell))


def _blur(slab: Floats, alpha: Floats, core: Floats, look: Numbers, foreign: Foreign) -> NDArray[Any]:
    return _mixed(slab, alpha, smooth(slab, (1, look["width"], look["width"])))


def _grain(slab: Floats, alpha: Floats, core: Floats, look: Numbers, foreign: Foreign) -> NDArray[Any]:
    return slab + alpha * np.float32(0.05 + 0.15 * look["texture"]) * smooth(
        white(look["seeds"][0], slab.shape), (0.5, 0.7, 0.7)
    ) * np.float32(2)


def _push(slab: Floats, alpha: Floats, core: Floats, look: Numbers, foreign: Foreign) -> NDArray[Any]:
    """Pull tissue aside: the patch shows what lies beside it."""
    rows, columns = np.mgrid[: slab.shape[1], : slab.shape[2]].astype(np.float32)
    middle = smooth(alpha[len(alpha) // 2], (1, 1))
    down, along = (np.float32(shift) * middle for shift in look["push"])
    return sample(slab, rows + down, columns + along)


_LOOKS: dict[str, Look] = {
    "level": _level, "factor": _factor, "foreign": _foreign, "waves": _waves, "blur": _blur, "texture": _grain,
    "push": _push,
}  # fmt: skip
