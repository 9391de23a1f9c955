"""How high healthy scans score, as far as the model that made a score knows."""

from __future__ import annotations

from dataclasses import dataclass

from uadtools.errors import UadError
from uadtools.files import read_json
from uadtools.scoring.history import unlike, way_of
from uadtools.scoring.postproc import Calibrated, bundled_file, read_steps
from uadtools.volume.io import Image


@dataclass(frozen=True)
class HealthyLevel:
    """A score that all but `alarms` of so many healthy scans stayed under, everywhere; median: of the window before."""

    threshold: float
    scans: int
    alarms: int
    median: int


def healthy_level(score: Image) -> HealthyLevel | None:
    """Return what the model that made a score says of healthy scans' highest; None where it says nothing of this way.

    What holds for scores of both signs holds for those of one, which are never above them.
    """
    try:
        path = bundled_file(score, "scanwise")
        steps, healthy = read_steps(path), read_json(path)["healthy"]
    except UadError:
        return None
    way = way_of(score)
    both = {"uad-score signed": "both"} if "uad-score signed" in way else {}
    if not isinstance(steps, Calibrated) or unlike(way | both, steps.way):
        return None
    return HealthyLevel(float(steps.threshold), healthy["scans"], healthy["alarms"], steps.median)
