"""uad-score: how much each voxel differs from its healed self."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import UadError
from uadtools.volume.io import Image
from uadtools.volume.stream import Study, record

Metric = Literal["l1", "l2"]
Signed = Literal["both", "bright", "dark"]
LEAST = 1e-6
"""Smallest score inside the brain, so that 0 means outside."""


def score(study: Study, *, metric: Metric = "l1", signed: Signed = "both") -> Study:
    """Score a study's scan against its healed scan; adds `score`, float32, 0 outside the brain and above 0 inside.

    metric: l1 |scan - healed| or l2, its square. signed: bright keeps what is brighter than its healed self, dark what
    is darker. Raises UadError when scan and healed lie on different grids, or an option is unknown.
    """
    for name, value, choice in (("metric", metric, Metric), ("signed", signed, Signed)):
        if value not in get_args(choice):
            raise UadError(f"--{name} {value}: there are {', '.join(get_args(choice))}")
    if missing := {"scan", "healed"} - study.images.keys():
        has = f"it has: {', '.join(study.images)}"
        raise UadError(
            f"{study.name}: no image of role '{min(missing)}' ({has}; name SCAN HEALED, or pipe uad-heal's stream)"
        )
    scan, healed = study.need("scan"), study.need("healed")
    for other in (healed, *(i for i in (study.images.get("brain"),) if i)):
        if not scan.grid.same(other.grid):
            raise UadError(
                f"{study.name}: scan and {other.role} lie on different grids: {scan.grid.unlike(other.grid)} "
                "(score a scan against what uad-heal made of it)"
            )
    residual = np.asarray(scan.data, np.float32) - np.asarray(healed.data, np.float32)
    if signed != "both":
        residual = np.maximum(residual if signed == "bright" else -residual, 0)
    values = np.abs(residual) if metric == "l1" else residual**2
    brain = brain_of(study)
    provenance = record(healed, "uad-score", {"metric": metric, "signed": signed})
    made = replace(healed, provenance=provenance).derive(
        np.where(brain, np.maximum(values, LEAST), 0).astype(np.float32), "score"
    )
    return study.adding(made)


def brain_image(study: Study) -> Image:
    """Return the image that says where the brain is: the mask if the study has one, else its scan, healed or score."""
    return next((study.images[r] for r in ("brain", "scan", "healed", "score") if r in study.images), study.product)


def brain_of(study: Study) -> NDArray[np.bool_]:
    """Return where the brain is, which is where that image is above 0."""
    return np.asarray(brain_image(study).data > 0)


def case_score(study: Study) -> float:
    """Return one number for the scan: the mean score inside the brain. NaN when there is no brain."""
    values = study.need("score").data[brain_of(study)]
    return float(values.mean(dtype=np.float64)) if values.size else float("nan")
