"""The chain from score to detection, as uad-postproc and uad-calibrate are told it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uadtools.cli._common import usage

if TYPE_CHECKING:
    from uadtools.scoring.postproc import Steps
    from uadtools.volume.stream import Study


def given(**options: Any) -> dict[str, Any]:
    """Return the steps that the user chose. Raises a usage error for an even median."""
    if (options["median"] or 1) % 2 == 0:
        raise usage(f"{options['median']}: the size must be odd", "--median")
    return {name: value for name, value in options.items() if value is not None}


def steps_of(threshold: str, **options: Any) -> Callable[[Study], Steps]:
    """Return what makes a study's chain: the model's own but for the options, and a threshold.

    threshold: a word, a number, or a file, which may say the other steps, too.
    """
    from uadtools.scoring.postproc import bundled_steps, own_steps, read_steps

    chosen = given(**options)
    if threshold in ("scanwise", "voxelwise"):
        return partial(bundled_steps, rule=threshold, **chosen)
    if threshold.endswith(".json"):
        found = read_steps(Path(threshold), **chosen)
        return lambda study: found
    return partial(own_steps, threshold=_level(threshold), **chosen)


def _level(text: str) -> float | str:
    if text in ("otsu", "model"):
        return text
    try:
        level = float(text)
    except ValueError:
        level = float("nan")
    if not 0 <= level < float("inf"):
        raise usage(f"{text}: a number from 0, otsu, model, scanwise, voxelwise, or a .json file", "--threshold")
    return level
