"""One number for a scan, from its score map: several, as each sees another kind of disease."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uadtools.healing.likeness import too_unlike
from uadtools.scoring.history import model_threshold
from uadtools.scoring.postproc import Prepared, Steps, detect, own_steps, prepare
from uadtools.volume.chain import voxel_ml
from uadtools.volume.roles import ROLES
from uadtools.volume.stream import Study

BOUNDS = tuple(role for role, about in ROLES.items() if about.bound)
"""Maps of how unlikely a model finds the scan, whose means are case scores."""
TOP = 0.01
"""Share of the brain's voxels that the case score `top` is the mean of."""


class Summed(NamedTuple):
    """The first of CaseScores, which every score map has."""

    case_score: float
    top: float
    peak: float | None


@dataclass(frozen=True)
class CaseScores:
    """Numbers for one scan, the higher the more suspicious; None for what is not known.

    case_score: mean score inside the brain. top: mean of the highest TOP of the brain's scores. peak: highest score
    after the median and the erosion of uad-postproc; the scan has a detection when it is above the threshold (but for
    small components). detected_ml: what uad-postproc detects by itself, where the model has a threshold for this way of
    healing and scoring. bound, chain, nll: means inside the brain of the method's maps of these roles, where there are
    any.
    """

    case_score: float
    top: float
    peak: float | None
    detected_ml: float | None
    bound: float | None
    chain: float | None
    nll: float | None


def top(scores: NDArray[np.floating[Any]]) -> float:
    """Return the mean of the highest TOP of (N,) scores, of one at least."""
    return float(np.sort(scores)[-math.ceil(TOP * scores.size) :].mean(dtype=np.float64))


def case_scores(study: Study) -> CaseScores:
    """Sum up a study's score map in several numbers. Raises UadError when there is no brain."""
    steps = own_steps(study)
    ready = prepare(study, steps)
    bounds = mean_bounds(study)
    return CaseScores(
        *summed(ready), _detected(ready, steps), bound=bounds["bound"], chain=bounds["chain"], nll=bounds["nll"]
    )


def summed(ready: Prepared) -> Summed:
    """Sum up a score that is ready for the threshold, whose brain is not empty."""
    scores, smooth = ready.score.data[ready.inside], ready.smooth[ready.eroded]
    return Summed(float(scores.mean(dtype=np.float64)), top(scores), float(smooth.max()) if smooth.size else None)


def mean_bounds(study: Study) -> dict[str, float | None]:
    """Return the means inside the brain of the maps BOUNDS; None for those that are not there, or where no brain is."""
    brain, means = study.brain(), dict.fromkeys(BOUNDS, None)
    roles = [role for role in BOUNDS if role in study.images and brain.any()]
    return means | {role: float(study.images[role].data[brain].mean(dtype=np.float64)) for role in roles}


def _detected(ready: Prepared, steps: Steps) -> float | None:
    """Return the volume above the model's threshold in mL, None where it has none; of scans it does not know, 0."""
    level = model_threshold(ready.score)
    if level is None:
        return None
    if too_unlike(ready.score):
        return 0.0
    return int(detect(ready.smooth, ready.eroded, steps, level).sum()) * voxel_ml(ready.score)
