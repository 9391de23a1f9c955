"""Anomalies put into healthy slabs for a model to mend: drawn first, as plain numbers, and applied second.

Slabs are (D, H, W) in [0, 1], 0 outside the brain and above 0 inside. No anomaly is modelled on a disease: shapes,
places and looks are as many as can be, so that what they have in common is that they do not belong there.
Sources of ideas: Naval Marimont et al. 2023 (foreign patches, severity), Baugh et al. 2023 (many tasks, labels by the
visible change), Marimont & Tarroni 2022 (shapes), Perez et al. 2003 (Poisson blending).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from uadtools.anatomy.intensity import inside
from uadtools.corrupting.config import AnomalyConfig
from uadtools.corrupting.domains import Numbers
from uadtools.corrupting.fields import Floats, Mask, smooth
from uadtools.corrupting.looks import LOOKS, Foreign
from uadtools.corrupting.shapes import shape_of

VISIBLE = 0.04
"""Change of intensity from which on an anomaly counts as one; less is not to be learnt."""
EASY = {"none": 0.05, "radius": 3.5, "least": 0.3}
"""Where training starts: without looks that are faint, too. With everything at once nothing is learnt for long."""
FAINT = ("waves", "blur", "texture", "push")
UNSEEN = 0.2
"""Share of the anomalies that another contrast than the first does not show."""


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
    return [_group(config, _weights(config, hard), rng, smallest, least) for _ in range(count)]


def draw_looks(config: AnomalyConfig, rng: np.random.Generator, step: int, groups: Sequence[Numbers]) -> list[Numbers]:
    """Draw how the anomalies of an item look in another contrast, which does not show all of them (look: none)."""
    weights = _weights(config, min(1.0, step / config.fade))
    least = [group["look"]["least"] for group in groups]
    return [{"look": _look(weights, rng, each) if rng.random() >= UNSEEN else None} for each in least]


def _weights(config: AnomalyConfig, hard: float) -> dict[str, float]:
    return {name: weight * (hard if name in FAINT else 1) for name, weight in config.looks.model_dump().items()}


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
        "edge": float(rng.uniform(*_borders(config, parts))),
        "cells": rng.uniform(2, 6, 2).tolist(),
        "cloud": [float(rng.uniform(0.2, 1.0)), float(rng.uniform(1, 4))],
        "core": float(rng.uniform(0.3, 0.8)),
        "mask": [float(rng.random()), float(rng.random()), float(np.exp(rng.normal(0, 0.2))), int(rng.integers(4))],
        "seed": int(rng.integers(2**53)),
        "look": _look(looks, rng, least),
    }


def _borders(config: AnomalyConfig, parts: int) -> tuple[float, float]:
    narrowest, widest = config.edge
    return narrowest, widest if parts == 1 else min(widest, max(narrowest, 1.2))


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
    corrupted, where = slab, np.zeros(slab.shape, bool)
    for group in (group for group in groups if group["look"]):
        alpha, core = shape_of(group, t1, brain, masks)
        if alpha[len(alpha) // 2].sum() < 1:
            continue
        corrupted = inside(LOOKS[group["look"]["kind"]](corrupted, alpha, core, group["look"], foreign), brain)
        where |= alpha > 0.4
    change = np.abs(smooth(corrupted - slab, (0, 0.7, 0.7)))
    return corrupted, np.asarray(where & (change > VISIBLE) & brain)
