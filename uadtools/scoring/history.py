"""What a score's history says: how it was made, and what its model recommends for it."""

from __future__ import annotations

import json
from typing import Any, TypeGuard

import numpy as np

from uadtools.volume.io import Image
from uadtools.volume.stream import last_by, lines_by

WEIGHED = "hyperintense"
"""The sign whose scores are in other units than those of both."""


def way_of(score: Image) -> dict[str, Any]:
    """Tell how a score was made, as far as its history does: arguments of heal and score, the model, voxels in mm."""
    way: dict[str, Any] = {"voxels": list(score.grid.spacing)}
    for line in score.provenance.get("history", []):
        if (tool := line.get("tool")) in ("uad-heal", "uad-score"):
            arguments = {**line.get("arguments", {}), "model": line.get("model")}
            way |= {f"{tool} {key}": value for key, value in arguments.items() if value is not None}
    return dict(json.loads(json.dumps(way)))


def unlike(way: dict[str, Any], other: dict[str, Any]) -> str:
    """Name the model or the first other thing in which a way of making scores is not as another; nothing if none is."""
    for key in sorted(way.keys() | other.keys(), key=lambda key: (not key.endswith(" model"), key)):
        here, there = way.get(key), other.get(key)
        if here != there and not (_floats(here) and _floats(there) and np.allclose(here, there, atol=0.01)):
            return f"{key} {_text(here)}, not {_text(there)}"
    return ""


def _floats(value: Any) -> TypeGuard[list[float]]:
    return isinstance(value, list) and len(value) == 3 and all(isinstance(v, float) for v in value)


def _text(value: Any) -> str:
    return "unknown" if value is None else ",".join(map(str, value)) if isinstance(value, list) else str(value)


def model_threshold(score: Image) -> float | None:
    """The model's threshold for a score of its own metric.

    A score that is bright or dark is never above that of both, whose threshold holds where it has none of its own.
    """
    noted = last_by(score, "uad-heal")
    return _of_own_metric(score, noted.get("thresholds", {"both": noted.get("threshold")}))


def without_threshold(score: Image) -> str:
    """Say why the model recommends no threshold for a score."""
    healed, scored = last_by(score, "uad-heal"), lines_by(score, "uad-score")
    if not healed or len(scored) != 1:
        return f"its history does not say how it was {'scored' if healed else 'healed'}"
    arguments, own = scored[0].get("arguments") or {}, healed.get("metric", "l1")
    used, signed = arguments.get("metric"), arguments.get("signed")
    if arguments.get("contrast", "mean") != "mean" and healed.get("thresholds"):
        return f"the model's is for the mean of its contrasts, not --contrast {arguments['contrast']}"
    if "without_threshold" not in healed and used != own and healed.get("thresholds"):
        return f"the model's is for --metric {own}, not {used}"
    if "without_threshold" not in healed and signed == WEIGHED and healed.get("thresholds"):
        return f"the model has none for --signed {signed}"
    return str(healed.get("without_threshold", f"{healed.get('model') or 'healing without a model'} has none"))


def model_floor(score: Image) -> float | None:
    """The noise floor of healthy scans' scores of the model's own metric."""
    return _of_own_metric(score, last_by(score, "uad-heal").get("floors"))


def _of_own_metric(score: Image, table: Any) -> float | None:
    """What a table has for the sign of a score that is of its model's own metric."""
    scored = [line.get("arguments") for line in lines_by(score, "uad-score")]
    metric = last_by(score, "uad-heal").get("metric", "l1")
    if len(scored) != 1 or not isinstance(scored[0], dict) or scored[0].get("metric") != metric:
        return None
    if scored[0].get("contrast", "mean") != "mean":
        return None
    sign = scored[0].get("signed")
    table = table if isinstance(table, dict) else {}
    level = table.get(sign, None if sign == WEIGHED else table.get("both"))
    return level if isinstance(level, float) else None
