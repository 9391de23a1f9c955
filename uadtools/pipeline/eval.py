"""uad-eval: how good detections and score maps are, against an expert's truth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import UadError
from uadtools.metrics.overlap import Overlap, overlap
from uadtools.metrics.ranking import rank
from uadtools.pipeline.score import brain_image
from uadtools.volume.chain import in_model_space, native_grid
from uadtools.volume.clean import threshold as exceed
from uadtools.volume.grid import carry_mask
from uadtools.volume.io import Image
from uadtools.volume.stream import Study

OVERLAPS = ("dice", "iou", "precision", "recall", "f1")
RANKINGS = ("auprc", "auroc")
BEST = ("best_dice", "best_threshold")


MOST_LABELS = 256
"""A label image has no more values than this; a scan has."""


@dataclass(frozen=True)
class Case:
    """One scan's prediction and truth, as flat arrays over the voxels that count."""

    name: str
    prediction: NDArray[Any]
    truth: NDArray[np.bool_]
    outside: int

    @property
    def is_score(self) -> bool:
        return self.prediction.dtype.kind == "f"


def case(study: Study, truth: Image, brain: Image | None = None) -> Case:
    """Bring prediction and truth together.

    The study's product is the prediction: floating point is a score map, unless it holds only 0 and 1; integers are a
    detection (not 0). Score maps count inside the brain (brain, or the study's own), detections everywhere unless brain
    is given. A truth or brain on the grid of the original scan is brought onto the prediction's grid, where its
    provenance tells how. Raises UadError when the grids cannot be matched, or no voxel is left to count.
    """
    prediction = study.product
    is_score = prediction.data.dtype.kind == "f" and not np.isin(prediction.data, (0, 1)).all()
    label = _label(truth, prediction, f"{study.name}: truth")
    if brain is not None:
        mask = _label(brain, prediction, f"{study.name}: brain mask")
    else:
        mask = _brain(study) if is_score else np.ones(prediction.grid.shape, dtype=bool)
    if not mask.any():
        raise UadError(f"{study.name}: no voxel to count (the brain is empty)")
    values = prediction.data if is_score else prediction.data != 0
    return Case(study.name, values[mask], label[mask], int(label.sum() - label[mask].sum()))


def _brain(study: Study) -> NDArray[np.bool_]:
    """Return where the brain of a score map is, which of a foreign one its own voxels above 0 say."""
    prediction = study.product
    image = brain_image(study) if prediction.role == "score" else prediction
    if not image.grid.same(prediction.grid):
        where = f"score and {image.role} lie on different grids: {prediction.grid.unlike(image.grid)}"
        raise UadError(f"{study.name}: {where} (pass the brain with --brain)")
    return np.asarray(image.data > 0)


def _label(label: Image, prediction: Image, name: str) -> NDArray[np.bool_]:
    """Return a label image as a mask on the prediction's grid."""
    if label.data.max() > 1 and len(np.unique(label.data)) > MOST_LABELS:
        raise UadError(f"{name}: holds more than {MOST_LABELS} different values, so it is no label (is it the scan?)")
    if label.grid.same(prediction.grid):
        return np.asarray(label.data > 0.5)
    chain = prediction.provenance.get("chain", [])
    try:
        known = label.grid.same(native_grid(chain))
    except UadError:
        known = False
    if not known:
        raise UadError(
            f"{name} and prediction lie on different grids: {label.grid.unlike(prediction.grid)} "
            "(uad-postproc --native puts a detection on the grid of the scan)"
        )
    return carry_mask(label.data > 0.5, in_model_space(chain, label.grid), prediction.grid)


def evaluate(cases: Iterable[Case], *, best: bool = False, threshold: float | None = None) -> dict[str, Any]:
    """Compute all figures per scan, averaged over scans, and pooled over voxels.

    best: add the best possible Dice of score maps and its threshold, which is a ceiling, as the truth chose it.
    threshold: turn score maps into detections, and add their figures. Returns a JSON-ready report; a figure that is
    undefined (such as Dice where nothing is and nothing was found) is null, and means are over the scans where it is
    defined. Raises UadError without cases, when score maps and detections are mixed, and for an option of score maps
    where there are detections.
    """
    found = list(cases)
    if not found:
        raise UadError("nothing to evaluate")
    if len({c.is_score for c in found}) > 1:
        raise UadError("score maps and detections in one call (evaluate them one kind at a time)")
    if not found[0].is_score and (best or threshold is not None):
        raise UadError("a detection has no thresholds left to choose (evaluate its score map instead)")
    rows = [{"name": c.name, **_figures([c], best, threshold)} for c in found]
    pooled = _figures(found, best, threshold)
    figures = [key for key in pooled if key in (*OVERLAPS, *RANKINGS, *BEST)]
    means = {key: _mean([row[key] for row in rows]) for key in figures if key != "best_threshold"}
    return {
        "schema": 1,
        "kind": "score" if found[0].is_score else "detection",
        "threshold": threshold if found[0].is_score else None,
        "scans": rows,
        "mean": means,
        "pooled": pooled,
    }


def _figures(cases: Sequence[Case], best: bool, threshold: float | None) -> dict[str, Any]:
    """Return the figures of these cases, taken together as one set of voxels."""
    truth = np.concatenate([c.truth for c in cases])
    values = np.concatenate([c.prediction for c in cases])
    row: dict[str, Any] = {
        "voxels": int(truth.size),
        "lesion_voxels": int(truth.sum()),
        "lesion_voxels_outside": sum(c.outside for c in cases),
    }
    detection: NDArray[np.bool_] | None = None
    if not cases[0].is_score:
        detection = values
    elif threshold is not None:
        detection = exceed(values, threshold)
    if detection is not None:
        counts: Overlap = overlap(detection, truth)
        row |= {"detected_voxels": int(detection.sum())}
        row |= {key: _defined(getattr(counts, key)) for key in OVERLAPS}
    if cases[0].is_score:
        ranking = rank(values, truth)
        row |= {"auprc": _defined(ranking.average_precision()), "auroc": _defined(ranking.auroc())}
        if best:
            ceiling = ranking.best_dice()
            row |= {"best_dice": _defined(ceiling.dice), "best_threshold": _defined(ceiling.threshold)}
    return row


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None
