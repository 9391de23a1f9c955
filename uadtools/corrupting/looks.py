"""What anomalies look like: how a slab changes where they lie. All of it follows from numbers drawn before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.corrupting.domains import Numbers
from uadtools.corrupting.fields import Floats, sample, smooth, wavy, white

Foreign = Callable[[float], Floats]
"""Gives a slab of another healthy scan, by a number from 0 to 1."""
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


LOOKS: dict[str, Look] = {
    "level": _level, "factor": _factor, "foreign": _foreign, "waves": _waves, "blur": _blur, "texture": _grain,
    "push": _push,
}  # fmt: skip
