"""uad-postproc: from a score map to a detection."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import UadError
from uadtools.pipeline.score import brain_image
from uadtools.volume import clean
from uadtools.volume.chain import to_native
from uadtools.volume.io import Image
from uadtools.volume.stream import Study, record

IMPLAUSIBLE = 0.1
"""Share of the brain above which a detection says more about the scanner than about lesions."""


@dataclass(frozen=True)
class Steps:
    """The chain, in the order of the papers: median, erode, threshold, min_size, then dilate and largest.

    median: size of the window; erode: layers taken off the brain; threshold: a number (score > threshold), "otsu", or
    "model" for the one that uad-heal noted; min_size: voxels a component needs; dilate: layers added; largest: keep
    only the largest component.
    Source: Behrendt et al. 2023 (pDDPM, cDDPM); dilation and largest component: Damudi & Kini 2024.
    """

    median: int = 5
    erode: int = 3
    threshold: float | str = "model"
    min_size: int = 7
    dilate: int = 0
    largest: bool = False


def postproc(
    study: Study,
    steps: Steps | None = None,
    *,
    brain: Image | None = None,
    native: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Study:
    """Turn a study's score into `detection`, uint8. An image of another program, without role, is taken for a score.

    brain: a mask on the score's grid, instead of the study's own. native: put the detection on the grid of the original
    scan, where no component is lost. tell: gets one line when the model recommends no threshold and Otsu's is taken,
    and when the model's detects an implausible share of the brain.
    Raises UadError for an option out of range, and for native when the provenance does not say where the scan was.
    """
    steps = steps or Steps()
    score = _score(study)
    inside = _brain(study, score, brain)
    # where the model did not look, its score is 0; the median filter sees that as the papers' code does
    smooth = clean.median(score.data, steps.median)
    eroded = clean.erode(inside, steps.erode)
    level, origin = _level(steps.threshold, score, smooth[eroded], study.name, tell)
    found = clean.threshold(smooth, level) & eroded
    found = clean.dilate(clean.drop_small(found, steps.min_size), steps.dilate)
    if steps.largest:
        found = clean.keep_largest(found)
    if origin == "model" and found.sum() > IMPLAUSIBLE * inside.sum():
        share = f"{found.sum() / inside.sum():.0%} of the brain is detected"
        tell(f"{study.name}: {share}: the model's threshold does not fit this scan (choose one with --threshold)")
    arguments = {**asdict(steps), "threshold": level, "threshold_from": origin, "native": native}
    made = replace(score, provenance=record(score, "uad-postproc", arguments)).derive(
        found.astype(np.uint8), "detection"
    )
    return study.adding(to_native(made, study.name) if native else made)


def read_threshold(path: Path) -> float:
    """Read {"threshold": X} from a JSON file, or the pooled best threshold of a report by `uad-eval --best --json`."""
    try:
        data = json.loads(path.read_text())
        noted = data.get("threshold")  # null in a report on score maps
        value = float(data["pooled"]["best_threshold"] if noted is None else noted)
    except OSError as error:
        raise UadError(f"{path}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UadError(f'{path}: no threshold in it (expected JSON such as {{"threshold": 0.1}})') from None
    if not math.isfinite(value):
        raise UadError(f"{path}: the threshold is not a finite number")
    return value


def _score(study: Study) -> Image:
    """Return the score map; an only image without role and history is another program's."""
    product = study.product
    if len(study.images) == 1 and product.role == "scan" and not product.provenance.get("history"):
        return product.derive(product.data, "score")
    if "score" not in study.images:
        raise UadError(f"{study.name}: no score map in it, only: {', '.join(study.images)} (uad-score makes one)")
    return study.need("score")


def _brain(study: Study, score: Image, brain: Image | None) -> NDArray[np.bool_]:
    image = brain or brain_image(study)
    if not image.grid.same(score.grid):
        where = f"brain mask and score lie on different grids: {image.grid.unlike(score.grid)}"
        raise UadError(f"{study.name}: {where} (pass a mask on the score's grid with --brain)")
    mask = np.asarray(image.data > (0 if brain is None else 0.5))
    if not mask.any():
        raise UadError(f"{study.name}: no voxel above background, so there is no brain (is this the right file?)")
    return mask


def _level(
    threshold: float | str, score: Image, values: NDArray[Any], name: str, tell: Callable[[str], None]
) -> tuple[float, str]:
    """Return the threshold as a number, and where it is from."""
    if isinstance(threshold, float | int):
        return float(threshold), "user"
    if threshold not in ("model", "otsu"):
        raise UadError(f"--threshold {threshold}: a number, otsu, model, or a .json file")
    if threshold == "model":
        noted = _noted(score)
        if noted is not None:
            return noted, "model"
        tell(
            f"{name}: no threshold is known for this way of scoring, Otsu's is taken "
            "(it always finds something, also in a healthy scan; choose one with --threshold)"
        )
    try:
        return clean.otsu(values), "otsu"
    except UadError as error:
        raise UadError(f"{name}: {error}") from None


def _noted(score: Image) -> float | None:
    """The model's threshold. It is for l1; a score of one sign is never above that of both, so it holds for it, too."""
    history = score.provenance.get("history", [])
    scored = [line.get("arguments") for line in history if line.get("tool") == "uad-score"]
    if len(scored) != 1 or not isinstance(scored[0], dict) or scored[0].get("metric") != "l1":
        return None
    noted = [line.get("threshold") for line in history if line.get("tool") == "uad-heal"]
    return noted[-1] if noted and isinstance(noted[-1], float) else None
