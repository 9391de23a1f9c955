"""How high healthy scans score, as far as the model that made a score knows."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from uadtools.errors import UadError
from uadtools.files import read_json
from uadtools.scoring.history import WEIGHED, unlike, way_of
from uadtools.scoring.postproc import Calibrated
from uadtools.scoring.threshold_files import bundled_file, read_steps
from uadtools.volume.io import Image


@dataclass(frozen=True)
class HealthyScores:
    """Case scores of healthy scans, rising, by their names.

    filters: median and smoothing before the peak. both: they are of both signs, and the score that was asked about is
    of one, which is nowhere above that of both.
    """

    case_scores: Mapping[str, Sequence[float]]
    filters: tuple[int, float]
    both: bool

    def as_high(self, name: str, value: float) -> int:
        """Count the healthy scans with a case score as high as this, or higher."""
        scores = self.case_scores[name]
        return len(scores) - bisect_left(scores, value)


def healthy_scores(score: Image) -> HealthyScores | None:
    """Return what the model that made a score says of healthy scans; None where it says nothing of this way."""
    try:
        path = bundled_file(score, "scanwise")
        steps, healthy = read_steps(path), read_json(path)["healthy"]
    except UadError:
        return None
    way = way_of(score)
    both = {"uad-score signed": "both"} if way.get("uad-score signed", WEIGHED) != WEIGHED else {}
    if not isinstance(steps, Calibrated) or unlike(way | both, steps.way) or "case_scores" not in healthy:
        return None
    return HealthyScores(healthy["case_scores"], steps.filters, both=way | both != way)
