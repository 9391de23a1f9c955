"""Which contrast a prepared scan has: T1, T2, FLAIR, PD, or another."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uadtools.anatomy.likeness import GROUPS, distance, features, spread_of, vector
from uadtools.errors import UadError
from uadtools.volume.io import Image

OTHER = "other"
NAMES = GROUPS["histogram"] + GROUPS["contrast"]
"""The features that tell contrasts apart; sharpness, noise and size would tell scanners and people apart."""
MARGIN = 1.5
"""How much farther than 99 in 100 scans of the known contrasts a scan may be and still be of one."""
PRIORS = {"T1": 0.4, "T2": 0.25, "FLAIR": 0.3, "PD": 0.05}
"""How often such scans come, as a guess: scans of proton density are rare today."""
LEAST = 0.5
"""Distance that is usual in any case, in deviations, tolerance counted in."""


class Contrast(NamedTuple):
    """name: the likeliest, or `other` where the scan is far from all; p: of each known contrast, if it is one of them;
    away: distance from the nearest, over what is usual.
    """

    name: str
    p: dict[str, float]
    away: float

    def to_json(self) -> dict[str, Any]:
        """What goes into provenance and JSON."""
        return {"name": self.name, "p": {k: round(v, 3) for k, v in self.p.items()}, "away": round(self.away, 2)}


def recognise(features: dict[str, float], table: Mapping[str, Any] | None = None) -> Contrast:
    """Tell the contrast of a scan with these features (volume.likeness.features).

    table: of `learn`; none: the bundled one, of contrasts that were synthesized from labelled T1 scans, and of T1 scans
    themselves. Linear discriminant analysis with the PRIORS.
    """
    table = table or bundled()
    row, inverse = vector(features, NAMES), np.array(table["inverse"])
    away = {name: distance(row, np.array(mean), inverse) for name, mean in table["means"].items()}
    logits = np.array([math.log(PRIORS.get(name, 1.0)) - len(NAMES) * d**2 / 2 for name, d in away.items()])
    shares = np.exp(logits - logits.max())
    p = dict(zip(away, (float(s) for s in shares / shares.sum()), strict=True))
    likeliest = max(p, key=lambda name: p[name])
    ratio = min(away.values()) / table["usual"]
    return Contrast(likeliest if ratio <= table["margin"] else OTHER, p, ratio)


def seen(data: NDArray[Any], brain: NDArray[np.bool_], spacing: tuple[float, float, float]) -> Contrast | None:
    """Recognise the contrast of a prepared scan, as `features` takes it; None where too little is in it."""
    try:
        return recognise(features(data, brain, spacing))
    except UadError:
        return None


def contrast_of(scan: Image, brain: NDArray[np.bool_]) -> Contrast | None:
    """Return the contrast of a prepared scan: what uad-preprocess recognised, as provenance says, else what is seen."""
    noted: Any = scan.provenance.get("contrast")
    try:
        return Contrast(str(noted["name"]), {str(k): float(v) for k, v in noted["p"].items()}, float(noted["away"]))
    except (KeyError, TypeError, ValueError, AttributeError):  # no such provenance, or somebody else's
        return seen(scan.data, brain, scan.grid.spacing)


def learn(rows: Mapping[str, Sequence[dict[str, float]]], margin: float = MARGIN) -> dict[str, Any]:
    """Make the table from features by contrast: a mean (F,) each, and one inverse covariance (F, F) of all."""
    arrays = {name: np.array([vector(features, NAMES) for features in scans]) for name, scans in rows.items()}
    means = {name: array.mean(axis=0) for name, array in arrays.items()}
    inverse = spread_of(np.concatenate([array - means[name] for name, array in arrays.items()]), NAMES)[1]
    distances = [distance(row, means[name], inverse) for name, array in arrays.items() for row in array]
    return {
        "features": list(NAMES),
        "means": {name: [round(float(v), 6) for v in mean] for name, mean in means.items()},
        "inverse": [[float(f"{v:.6g}") for v in line] for line in inverse],
        "usual": round(max(LEAST, float(np.quantile(distances, 0.99))), 4),
        "margin": margin,
    }


@cache
def bundled() -> dict[str, Any]:
    """Return the table that ships."""
    return dict(json.loads((files("uadtools.anatomy") / "contrast.json").read_text()))
