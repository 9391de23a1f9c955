"""An item to learn mending from: a healthy slab, as a scanner might show it, with anomalies, and what is true of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from uadtools.corrupting.anomalies import draw_groups, draw_looks, put_in
from uadtools.corrupting.config import CorruptionConfig
from uadtools.corrupting.domains import (
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
from uadtools.corrupting.fields import Floats, Labels, Mask, nearest, sample
from uadtools.corrupting.looks import Foreign

STEPS = 1000
"""Severities are told as integers below this."""
STRONGEST = 1000.0
"""The sum of all changes in a slice, in intensities times pixels, that is the highest severity."""


@dataclass(frozen=True)
class Item:
    """One item. seen: (D, H, W), corrupted; healthy: (H, W), its middle slice as it should be; of C contrasts (C D, H,
    W), each contrast's slices in a row, and (C, H, W).

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


def draw_item(config: CorruptionConfig, rng: np.random.Generator, step: int, channels: int = 1) -> Numbers:
    """Draw everything that is random in an item; JSON keeps it exactly.

    step: of training, as anomalies fade; channels: of how many contrasts it is, in each of which scanner and anomalies
    have looks of their own.
    """
    drawn: Numbers = {
        "person": draw_person(config.domains, rng),
        "contrast": draw_contrast(config.domains, rng, min(1.0, step / config.anomalies.fade)),
        "scanner": draw_scanner(config.domains, rng),
        "groups": draw_groups(config.anomalies, rng, step),
        "ceiling": float(rng.random()),
    }
    others = [
        {
            "contrast": draw_contrast(config.domains, rng),
            "scanner": draw_scanner(config.domains, rng),
            "groups": draw_looks(config.anomalies, rng, step, drawn["groups"]),
        }
        for _ in range(channels - 1)
    ]
    return drawn | ({"others": others} if others else {})


def make_item(
    slab: Floats, drawn: Numbers, foreign: Foreign, masks: Sequence[Floats] = (), structures: Labels | None = None
) -> Item:
    """Make an item of a healthy slab, (D, H, W) in [0, 1], as drawn; of C contrasts it is (C D, H, W).

    foreign: slabs of other healthy scans, which get the same contrast; masks: see corrupting.anomalies.put_in;
    structures: (D, H, W), numbers of the slab's anatomy. Where nothing was drawn, seen differs from healthy by noise
    alone.
    """
    views = [drawn, *(_as_seen(drawn, other) for other in drawn.get("others", []))]
    slabs = np.split(slab, len(views))
    places = places_of(slabs[0], drawn["person"])
    t1 = sample(slabs[0], *places)
    brain = t1 > 0.02
    left = as_stripped(brain, drawn["scanner"])
    moved = None if structures is None else nearest(structures, *places)
    here = _Place(t1, brain, left, places, moved)
    shown = [t1, *(sample(own, *places) for own in slabs[1:])]
    made = [
        _in_contrast((own, image), view, here, partial(_part, foreign, number, len(views)), masks)
        for number, (own, image, view) in enumerate(zip(slabs, shown, views, strict=True))
    ]
    middle = len(t1) // 2
    apart = np.max([np.abs(one.damaged[middle] - one.healthy[middle]) for one in made], axis=0)
    where = np.any([one.where[middle] for one in made], axis=0)
    severity = int((STEPS - 1) * min(1.0, np.log1p(apart.sum()) / np.log1p(STRONGEST)))
    weight = np.clip(apart / 0.12, 0.25, 1)
    healthy = np.stack([one.healthy[middle] for one in made])
    return Item(
        np.concatenate([as_noisy(one.damaged, left, view["scanner"]) for one, view in zip(made, views, strict=True)]),
        healthy if len(made) > 1 else healthy[0],
        (where & left[middle]) * weight.astype(np.float32),
        left[middle].astype(np.float32),
        severity,
        severity + round(drawn["ceiling"] * (STEPS - 1 - severity)),
    )


def _as_seen(drawn: Numbers, other: Numbers) -> Numbers:
    """Return what was drawn as another contrast shows it: the person and the shapes of anomalies are the same."""
    groups = [{**group, **look} for group, look in zip(drawn["groups"], other["groups"], strict=True)]
    return {**drawn, "contrast": other["contrast"], "scanner": other["scanner"], "groups": groups}


class _Place(NamedTuple):
    """Where an item is, the same in all contrasts: the first one's slab there, its brain and what is left of that, all
    (D, H, W), where its pixels come from, and the numbers of structures.
    """

    t1: Floats
    brain: Mask
    left: Mask
    places: tuple[Floats, Floats]
    structures: Labels | None


class _Seen(NamedTuple):
    """An item in one contrast, all (D, H, W)."""

    healthy: Floats
    damaged: Floats
    where: Mask


def _in_contrast(
    slabs: tuple[Floats, Floats], drawn: Numbers, here: _Place, foreign: Foreign, masks: Sequence[Floats]
) -> _Seen:
    """slabs: as it is stored, and as it lies here."""
    slab, image = slabs
    pairs = pairs_of(slab, drawn["contrast"])
    moved_pairs = None if pairs is None else sample(pairs, *here.places)
    plain = as_contrast(image, here.brain, drawn["contrast"], here.structures, moved_pairs)

    def other(number: float) -> Floats:
        slab_of_other = foreign(number)
        return as_contrast(slab_of_other, slab_of_other > 0.02, drawn["contrast"])

    damaged, where = put_in(plain, here.t1, here.brain, drawn["groups"], other, masks)
    healthy = as_scanned(plain, here.left, drawn["scanner"])
    damaged = as_scanned(damaged, here.left, drawn["scanner"]) if drawn["groups"] else healthy
    return _Seen(healthy, damaged, where)


def _part(foreign: Foreign, number: int, count: int, share: float) -> Floats:
    """Return one contrast's slab of another scan."""
    return np.split(foreign(share), count)[number]
