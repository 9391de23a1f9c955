"""An item to learn mending from: a healthy slab, as a scanner might show it, with anomalies, and what is true of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from uadtools.simulation.anomalies import draw_groups, put_in
from uadtools.simulation.config import CorruptionConfig
from uadtools.simulation.domains import (
    Numbers,
    as_contrast,
    as_noisy,
    as_scanned,
    as_stripped,
    draw_contrast,
    draw_person,
    draw_scanner,
    pairs_of,
    places_of,
)
from uadtools.simulation.fields import Floats, Labels, nearest, sample
from uadtools.simulation.looks import Foreign

STEPS = 1000
"""Severities are told as integers below this."""
STRONGEST = 1000.0
"""The sum of all changes in a slice, in intensities times pixels, that is the highest severity."""


@dataclass(frozen=True)
class Item:
    """One item. seen: (D, H, W), corrupted; healthy: (H, W), its middle slice as it should be.

    changed: (H, W), how much of a visible anomaly there is, 0 where none, else 0 to 1; brain: (H, W); severity: how
    strong and how large the changes are, 0 for none, below STEPS; ceiling: the highest severity that the network is
    told to expect, drawn from severity to STEPS - 1.
    """

    seen: Floats
    healthy: Floats
    changed: Floats
    brain: Floats
    severity: int
    ceiling: int


def draw_item(config: CorruptionConfig, rng: np.random.Generator, step: int) -> Numbers:
    """Draw everything that is random in an item; JSON keeps it exactly. step: of training, as anomalies fade."""
    return {
        "person": draw_person(config.domains, rng),
        "contrast": draw_contrast(config.domains, rng, min(1.0, step / config.anomalies.fade)),
        "scanner": draw_scanner(config.domains, rng),
        "groups": draw_groups(config.anomalies, rng, step),
        "ceiling": float(rng.random()),
    }


def make_item(
    slab: Floats, drawn: Numbers, foreign: Foreign, masks: Sequence[Floats] = (), structures: Labels | None = None
) -> Item:
    """Make an item of a healthy slab, (D, H, W) in [0, 1], as drawn.

    foreign: slabs of other healthy scans, which get the same contrast; masks: see simulation.anomalies.put_in;
    structures: (D, H, W), numbers of the slab's anatomy. Where nothing was drawn, seen differs from healthy by noise
    alone.
    """
    places = places_of(slab, drawn["person"])
    t1 = sample(slab, *places)
    brain = t1 > 0.02
    moved = None if structures is None else nearest(structures, *places)
    pairs = pairs_of(slab, drawn["contrast"])
    plain = as_contrast(t1, brain, drawn["contrast"], moved, None if pairs is None else sample(pairs, *places))

    def other(number: float) -> Floats:
        slab_of_other = foreign(number)
        return as_contrast(slab_of_other, slab_of_other > 0.02, drawn["contrast"])

    damaged, where = put_in(plain, t1, brain, drawn["groups"], other, masks)
    left = as_stripped(brain, drawn["scanner"])
    healthy = as_scanned(plain, left, drawn["scanner"])
    damaged = as_scanned(damaged, left, drawn["scanner"]) if drawn["groups"] else healthy
    middle = len(slab) // 2
    apart = np.abs(damaged[middle] - healthy[middle])
    severity = int((STEPS - 1) * min(1.0, np.log1p(apart.sum()) / np.log1p(STRONGEST)))
    weight = np.clip(apart / 0.12, 0.25, 1)
    return Item(
        as_noisy(damaged, left, drawn["scanner"]),
        healthy[middle],
        (where[middle] & left[middle]) * weight.astype(np.float32),
        left[middle].astype(np.float32),
        severity,
        severity + round(drawn["ceiling"] * (STEPS - 1 - severity)),
    )
