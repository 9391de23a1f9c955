"""Thresholds in files: those of uad-calibrate and uad-eval, and those that ship with the bundled models."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from uadtools.errors import UadError
from uadtools.files import read_json
from uadtools.models.checkpoint import bundled, default_path
from uadtools.scoring.postproc import Calibrated, Steps, possible, score_of
from uadtools.volume.io import Image
from uadtools.volume.stream import Study, last_by

NO_CHAIN = {"median": (1,), "smooth": (0,), "erode": (0,), "min_size": (0, 1), "dilate": (0,), "largest": (False,)}
"""Steps that leave scores and what is above a threshold as they are."""


def read_steps(path: Path, **given: Any) -> Steps:
    """Read a threshold file of any kind (see `read_threshold`) as a chain; uad-calibrate's says all of its steps.

    given: steps that the user chose. Raises UadError when these are not those that the threshold was found with.
    """
    data, level = _read(path)
    if "chain" not in data:
        return Steps(threshold=level, **given)
    chain = data["chain"] if isinstance(data["chain"], dict) else {}
    stored = {"rule": data.get("rule"), "way": data.get("way"), "smooth": 0.0, **chain}
    example = {"rule": "", "way": {}, **Steps().chain}
    typed = {name: type(value) for name, value in stored.items()} == {name: type(v) for name, v in example.items()}
    if not typed or not all(possible(step, size) for step, size in chain.items()):
        raise UadError(f"{path}: damaged, or of another version (make it again with uad-calibrate)")
    floor = data.get("floor")
    steps = Calibrated(**stored, threshold=level, source=path.name, floor=floor if isinstance(floor, float) else None)
    for name, value in given.items():
        if value != (calibrated := steps.chain[name]):
            option = "--" + name.replace("_", "-")
            raise UadError(f"{option} {value}: the threshold of {path.name} was found with {calibrated} (leave it out)")
    return steps


def bundled_steps(study: Study, rule: str, **given: Any) -> Steps:
    """Read the chain that ships, by its rule, for the bundled model that healed a study; for the default's if none did.

    given: as in `read_steps`. Raises UadError as that does, and where that model ships without one.
    """
    return read_steps(bundled_file(score_of(study), rule), **given)


def bundled_file(score: Image, rule: str) -> Path:
    """Return the file of the chain that ships, by its rule, for the model of a score. Raises UadError without one."""
    name = str(last_by(score, "uad-heal").get("model")).partition(":")[0]
    model = next((path for path in bundled() if path.stem == name), default_path())
    path = model.with_suffix(f".{rule}.json")
    if not path.exists():
        raise UadError(f"--threshold {rule}: none ships for {model.stem} (uad-calibrate finds one on healthy scans)")
    return path


def read_threshold(path: Path) -> float:
    """Read a threshold for plain scores: {"threshold": X}, or the pooled best of a `uad-eval --best --json` report.

    Raises UadError for one of uad-calibrate that is for scores which go through a chain first.
    """
    data, level = _read(path)
    chain = data.get("chain")
    if isinstance(chain, dict) and not all(chain.get(name) in nothing for name, nothing in NO_CHAIN.items()):
        raise UadError(f"{path}: for post-processed scores (uad-postproc --threshold {path}, then uad-eval)")
    return level


def scans_of(path: Path) -> list[str]:
    """Return the scans on which a threshold file says that its threshold was chosen, as a report of uad-eval does."""
    rows = _read(path)[0].get("scans")
    return [str(row.get("name")) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _read(path: Path) -> tuple[dict[str, Any], float]:
    wrong = 'no threshold in it (expected JSON such as {"threshold": 0.1})'
    data = read_json(path, wrong)
    try:
        noted = data.get("threshold")  # null in a report on score maps
        value = float(data["pooled"]["best_threshold"] if noted is None else noted)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UadError(f"{path}: {wrong}") from None
    if not math.isfinite(value):
        raise UadError(f"{path}: the threshold is not a finite number")
    return data, value
