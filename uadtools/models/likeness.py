"""What a model's healthy inputs look like, and how unlike them a scan is."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from uadtools.anatomy.contrast import OTHER, recognise
from uadtools.anatomy.likeness import GROUPS, distance, vector
from uadtools.settings import Config, Fraction, PositiveFloat, PositiveInt

SURE = 0.99
"""Probability of a contrast from which on a scan is taken for one of it."""


class GroupConfig(Config):
    """One group of features in healthy scans: their mean (F,) and inverse covariance (F, F), tolerance and all."""

    mean: tuple[float, ...]
    inverse: tuple[tuple[float, ...], ...]


class LikenessConfig(Config):
    """What healthy inputs look like, by contrast and group of features (see volume.likeness).

    limit: of `unlike`, beyond which a scan is not judged; quantiles: of `unlike` in healthy scans that were held out,
    at evenly spaced levels from 0 to 1; scans: how many they were, changed versions counted; typical: the share of
    these that are as unlike, from which on a scan is one of those that a model of one contrast is best for; version: of
    the features.
    """

    version: Literal[1] = 1
    contrasts: dict[str, dict[str, GroupConfig]] = Field(min_length=1)
    limit: PositiveFloat
    quantiles: Annotated[tuple[float, ...], Field(min_length=2)]
    scans: PositiveInt
    typical: Fraction = 0.5
    source: str = ""

    @model_validator(mode="after")
    def _of_these_features(self) -> Self:
        for contrast, groups in self.contrasts.items():
            sizes = {name: (len(g.mean), *map(len, g.inverse)) for name, g in groups.items()}
            if sizes != {name: (len(f),) * (len(f) + 1) for name, f in GROUPS.items()}:
                raise ValueError(f"contrasts.{contrast}: not the features that this version takes (make it again)")
        return self


class Unlike(NamedTuple):
    """How unlike healthy inputs a scan is, in deviations (tolerance counted in).

    reason: the group of features that adds most, and against what; p: share of healthy scans that are as unlike, at
    least 1 / (scans + 1); stranger: it is of a contrast that the model does not know.
    """

    number: float
    limit: float
    reason: str
    p: float
    stranger: bool = False

    @property
    def beyond(self) -> bool:
        return self.stranger or self.number > self.limit

    def to_json(self) -> dict[str, Any]:
        """What goes into provenance and JSON."""
        return {
            "unlike": round(self.number, 3), "limit": self.limit, "reason": self.reason, "p": self.p,
            "beyond": self.beyond,
        }  # fmt: skip


def unlike(features: dict[str, float], reference: LikenessConfig) -> Unlike:
    """Measure how unlike the healthy scans of a table a scan with these features is: of the nearest contrast.

    The number is the root mean square over the groups of features of the distances in them, which are root mean squares
    of deviations, correlations taken into account; 1 is a deviation in every respect. A scan that is surely of a
    contrast that the table does not know is beyond the limit, too.
    """
    by_contrast = {contrast: distances(features, groups) for contrast, groups in reference.contrasts.items()}
    contrast, by_group = min(by_contrast.items(), key=lambda item: together(item[1]))
    group, number = max(by_group, key=lambda name: by_group[name]), together(by_group)
    least = 1 / (reference.scans + 1)
    levels = np.linspace(0, 1, len(reference.quantiles))
    p = max(least, 1 - float(np.interp(number, reference.quantiles, levels)))
    wanted = "T1-like" if list(reference.contrasts) == ["T1"] else f"like {' or '.join(reference.contrasts)}"
    apart = f"not {wanted}" if group == "contrast" else f"not that of healthy scans, nearest {contrast}"
    odds = f"p < {max(_up(least), 0.001):g}" if p <= least else f"p = {p:.2g}"
    stranger = _stranger(features, reference)
    reason = (
        f"contrast: {stranger}, not {' or '.join(reference.contrasts)}" if stranger else f"{group}: {apart}, {odds}"
    )
    return Unlike(number, reference.limit, reason, p, bool(stranger))


def together(by_group: dict[str, float]) -> float:
    """Return the one number that distances in several groups come to."""
    return float(np.sqrt(np.mean(np.square(list(by_group.values())))))


def _stranger(features: dict[str, float], reference: LikenessConfig) -> str:
    """Return the contrast that a scan surely has and the table does not know; an empty string where there is none."""
    contrast = recognise(features)
    names = set(reference.contrasts)
    strange = names <= set(contrast.p) and contrast.name not in {*names, OTHER} and contrast.p[contrast.name] >= SURE
    return contrast.name if strange else ""


def distances(features: dict[str, float], groups: dict[str, GroupConfig]) -> dict[str, float]:
    """Return the distance in each group."""
    rows = {name: vector(features, GROUPS[name]) for name in groups}
    return {name: distance(rows[name], np.array(g.mean), np.array(g.inverse)) for name, g in groups.items()}


def _up(p: float) -> float:
    """Round up to one digit."""
    size = 10.0 ** np.floor(np.log10(p))
    return float(np.ceil(p / size) * size)
