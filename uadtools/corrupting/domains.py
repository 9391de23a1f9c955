"""What must not be flagged: how healthy slabs differ between people, contrasts and scanners.

Everything is drawn first, as plain numbers that JSON keeps exactly, and applied second. Slabs are (D, H, W) in [0, 1],
0 outside the brain and above 0 inside; the slice that is learnt is in the middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from uadtools.anatomy.intensity import inside
from uadtools.corrupting.config import DomainConfig
from uadtools.corrupting.fields import Floats, Labels, Mask, sample, smooth, wavy, white

KNOTS = (0.0, 0.15, 0.5, 0.8, 1.0)
"""T1 intensities at which a curve of contrast is drawn: background, fluid, grey matter, white matter, brightest."""
Numbers = dict[str, Any]


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**53))


def draw_person(config: DomainConfig, rng: np.random.Generator) -> Numbers:
    """Draw the person: place and shape of the brain, width of its fluid."""
    widen = rng.uniform(-config.widen / 4, config.widen) if rng.random() < 0.4 else 0.0
    return {
        "flip": bool(rng.random() < config.flip),
        "turn": float(np.deg2rad(rng.normal(0, config.turn))),
        "scale": np.exp(rng.normal(0, config.scale) + rng.normal(0, config.aspect, 2)).tolist(),
        "shift": rng.normal(0, config.shift, 2).tolist(),
        "warp": float(rng.uniform(0, config.warp)) if rng.random() < 0.7 else 0.0,
        "cell": float(rng.uniform(10, 28)),
        "widen": float(widen),
        "seed": _seed(rng),
    }


def places_of(slab: Floats, drawn: Numbers) -> tuple[Floats, Floats]:
    """Return the rows and columns, (H, W) each, that a T1 slab's pixels come from when it is moved as drawn.

    Fluid spreads, or shrinks, along the slope of how much fluid there is around.
    """
    _, height, width = slab.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    y, x = rows - (height - 1) / 2, columns - (width - 1) / 2
    cos, sin = np.cos(drawn["turn"]), np.sin(drawn["turn"])
    (sy, sx), (ty, tx) = drawn["scale"], drawn["shift"]
    x = -x if drawn["flip"] else x
    down = sy * (cos * y - sin * x) + (height - 1) / 2 + ty
    along = sx * (sin * y + cos * x) + (width - 1) / 2 + tx
    if drawn["warp"] > 0:
        bent = wavy(drawn["seed"], (2, height, width), (1, drawn["cell"], drawn["cell"]))
        down, along = down + drawn["warp"] * bent[0], along + drawn["warp"] * bent[1]
    if drawn["widen"]:
        middle = slab[len(slab) // 2]
        fluid = smooth(np.clip((0.4 - middle) / 0.2, 0, 1) * (smooth(middle > 0, (1.5, 1.5)) > 0.9), (2, 2))
        slope = np.stack([np.gradient(fluid, axis=axis) for axis in (0, 1)])
        length = np.sqrt((slope**2).sum(axis=0))
        slope *= drawn["widen"] * np.minimum(1, length / 0.08) / np.maximum(length, 1e-3)
        moved = sample(slope, down, along)
        down, along = down + moved[0], along + moved[1]
    return down, along


def draw_contrast(config: DomainConfig, rng: np.random.Generator, hard: float = 1.0) -> Numbers:
    """Draw the contrast: the levels of fluid, grey and white matter, and the curve through them.

    hard: 0 to 1, the share of other contrasts than T1's that are drawn at all.
    """
    drawn: Numbers = {"gamma": float(np.exp(rng.normal(0, config.gamma))), "levels": None, "curve": None}
    if rng.random() < hard * config.contrast:
        kind = rng.random()
        if kind < config.flair:
            fluid, grey = rng.uniform(0, 0.2), rng.uniform(0.5, 0.95)
            white = grey - rng.uniform(0.0, 0.25)
        elif kind < config.flair + config.t2:
            fluid, grey = rng.uniform(0.75, 1.0), rng.uniform(0.35, 0.7)
            white = grey - rng.uniform(0.05, 0.35)
        else:
            fluid, grey, white = rng.uniform(0, 1, 3)
        middle = np.array(KNOTS[1:4]) + rng.normal(0, (0.02, 0.03, 0.03))
        brightest = white + rng.normal(0, 0.05)
        drawn["levels"] = [float(v) for v in (fluid, fluid, grey, white, brightest)]
        drawn["knots"] = [KNOTS[0], *(float(v) for v in middle), KNOTS[4]]
        drawn |= {"soft": float(rng.uniform(0.3, 0.7)), "texture": float(rng.uniform(-0.3, 0.3))}
        drawn["regions"] = [float(rng.uniform(0, config.regions)), _seed(rng)]
        if rng.random() < config.vessels:
            drawn["vessels"] = {
                "level": float(rng.uniform(0, 1)),
                "above": float(rng.uniform(-0.5, 1.5)),
                "cells": [float(cell) for cell in rng.uniform((1, 2, 2), (2, 5, 5))],
                "seed": _seed(rng),
            }
        if config.bilateral and rng.random() < config.bilateral:  # else what is drawn stays as it was without
            drawn["bilateral"] = {
                "change": float(rng.normal(0, 0.15)),
                "above": float(rng.uniform(0, 1.5)),
                "cells": [float(cell) for cell in rng.uniform((2, 4, 4), (5, 12, 12))],
                "tissue": [float(rng.uniform(0.4, 1)), float(rng.uniform(0.08, 0.25))],
                "seed": _seed(rng),
            }
    elif rng.random() < config.curve:
        knots = np.sort(np.concatenate([[0, 1], rng.uniform(0, 1, 2)]))
        values = np.sort(np.clip(knots + rng.normal(0, 0.06, 4), 0, 1.05))
        drawn |= {"curve": [knots.tolist(), [0.0, *values[1:].tolist()]]}
    drawn["low"] = float(rng.uniform(0.5, 1))
    drawn["top"] = float(rng.uniform(0.5, 1)) if rng.random() < config.headroom else 1.0
    return drawn


def as_contrast(
    slab: Floats, brain: Mask, drawn: Numbers, structures: Labels | None = None, pairs: Floats | None = None
) -> Floats:
    """Give a T1 slab its contrast: a smooth curve over its values, fine texture kept in part; then 0 to 1 again.

    What is ordered alike in T1 and in the levels drawn stays so, as the curve is linear between its knots. structures:
    (D, H, W), numbers of the anatomy; each is somewhat darker or brighter than the curve would have it. pairs: what
    pairs_of the slab makes, where the slab lies now.
    """
    image = slab ** np.float32(drawn["gamma"])
    if drawn["levels"]:
        curve = np.interp(image, drawn["knots"], drawn["levels"]).astype(np.float32)
        if vessels := drawn.get("vessels"):
            curve = _with_vessels(curve, image, drawn["knots"], vessels)
        if pairs is not None:
            curve = curve + pairs
        fine = image - smooth(image, (0.6, 1, 1))
        image = smooth(curve, (0.4, drawn["soft"], drawn["soft"])) + np.float32(drawn["texture"]) * fine
        if structures is not None:
            deviation, seed = drawn["regions"]
            levels = np.float32(deviation) * white(seed, (256,))
            image += smooth(levels[structures], (0.4, 0.8, 0.8))
    elif drawn["curve"]:
        image = np.interp(image, *drawn["curve"]).astype(np.float32)
    values = image[brain]
    if len(values) > 50:
        low, high = np.percentile(values[:: max(1, len(values) // 4000)], [1, 99])
        low *= drawn["low"]
        image = (image - low) * np.float32(drawn["top"] / max(high - low, 0.1))
    return inside(image, brain)


def pairs_of(slab: Floats, drawn: Numbers) -> Floats | None:
    """Return changes of level, (D, H, W), alike on both sides of a T1 slab that lies straight; None if none is drawn.

    Iron darkens the pallidum, and long tracts are brighter than other white matter, on contrasts that T1 does not tell
    of: healthy anatomy comes in pairs. Blotches, as far as T1 shows a tissue that was drawn, too.
    """
    if not (bilateral := drawn.get("bilateral")):
        return None
    columns = np.flatnonzero((slab > 0).any(axis=(0, 1)))
    if not columns.size:
        return None
    field = wavy(bilateral["seed"], slab.shape, bilateral["cells"])
    mirrored = np.roll(field[..., ::-1], columns[0] + columns[-1] + 1, axis=-1)
    level, width = bilateral["tissue"]
    share = np.exp(-0.5 * ((slab - level) / width) ** 2) / (1 + np.exp(-4 * (field + mirrored - bilateral["above"])))
    return np.asarray(bilateral["change"] * share, dtype=np.float32)


def _with_vessels(curve: Floats, t1: Floats, knots: Sequence[float], drawn: Numbers) -> Floats:
    """Give what T1 shows as dark as fluid its vessels, flow and meninges, which other contrasts tell from fluid."""
    fluid = np.clip((knots[2] - t1) / (knots[2] - knots[1]), 0, 1)
    field = wavy(drawn["seed"], curve.shape, drawn["cells"])
    share = fluid / (1 + np.exp(np.float32(-6) * (field - np.float32(drawn["above"]))))
    return np.asarray(curve + share * (np.float32(drawn["level"]) - curve), dtype=np.float32)


def draw_scanner(config: DomainConfig, rng: np.random.Generator) -> Numbers:
    """Draw the scanner: its resolution, drifting brightness, ghosts, noise, and how the skull was stripped."""
    blur = rng.uniform(0, config.blur, 2) * (rng.random(2) < 0.7) if rng.random() < 0.5 else np.zeros(2)
    across = rng.uniform(0.3, 1.2) if rng.random() < config.thick else rng.uniform(0, 0.5)
    return {
        "blur": [float(across if across > 0.3 or blur.any() else 0.0), *blur.tolist()],
        "bias": float(rng.uniform(0, config.bias)) if rng.random() < 0.6 else 0.0,
        "bias_cell": float(rng.uniform(20, 60)),
        "ghost": float(rng.uniform(0.02, 0.08)) if rng.random() < config.ghosts else 0.0,
        "ghost_shift": [int(rng.integers(2)), float(rng.uniform(0.25, 0.5))],
        "strip": float(rng.uniform(0, config.strip)) if rng.random() < 0.4 else 0.0,
        "strip_cell": float(rng.uniform(6, 20)),
        "noise": float(abs(rng.normal(0, config.noise))),
        "seeds": [_seed(rng) for _ in range(3)],
    }


def as_stripped(brain: Mask, drawn: Numbers) -> Mask:
    """Return the brain with its border cut away, here more and there less, by at most `strip` pixels or so."""
    if not drawn["strip"]:
        return brain
    cut = wavy(drawn["seeds"][1], brain.shape, (4, drawn["strip_cell"], drawn["strip_cell"]))
    depth = np.float32(drawn["strip"]) / (1 + np.exp(-2 * cut))
    around = smooth(brain, (0, 1.5, 1.5))
    return np.asarray(brain & (around > 0.5 + 0.49 * np.tanh(0.55 * depth)))


def as_scanned(slab: Floats, brain: Mask, drawn: Numbers) -> Floats:
    """Show a slab as the scanner would, but for its noise; brain: what is left of it, outside which all is 0."""
    image = smooth(slab, drawn["blur"])
    if drawn["bias"]:
        cell = drawn["bias_cell"]
        image = image * np.exp(np.float32(drawn["bias"]) * wavy(drawn["seeds"][0], slab.shape, (8, cell, cell)))
    if drawn["ghost"]:
        axis, share = drawn["ghost_shift"]
        image = image + np.float32(drawn["ghost"]) * np.roll(image, int(share * image.shape[1 + axis]), axis=1 + axis)
    return inside(image, brain)


def as_noisy(slab: Floats, brain: Mask, drawn: Numbers) -> Floats:
    """Add the scanner's noise."""
    return inside(slab + np.float32(drawn["noise"]) * white(drawn["seeds"][2], slab.shape), brain)
