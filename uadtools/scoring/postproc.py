"""uad-postproc: from a score map to a detection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from uadtools.concerns import Concern
from uadtools.errors import UadError
from uadtools.healing.likeness import too_unlike
from uadtools.scoring.history import model_floor, model_threshold, unlike, way_of, without_threshold
from uadtools.scoring.otsu import otsu
from uadtools.scoring.score import LEAST
from uadtools.volume import clean
from uadtools.volume.chain import to_native
from uadtools.volume.clean import Mask, Score
from uadtools.volume.io import Image
from uadtools.volume.labels import LESION, looks_unlike, read_labels
from uadtools.volume.roles import ROLES, stated_role
from uadtools.volume.stream import Study, last_by, noting, record, study_of

FILTERS = ("median", "smooth")
CHAIN = (*FILTERS, "erode", "min_size")
"""The steps that a model recommends."""
MOST_NOTED = 1000
"""A history or a file that says more voxels than this for a step is damaged."""
IMPLAUSIBLE = 0.1
"""Share of the brain above which a detection says more about the scanner than about lesions."""


@dataclass(frozen=True)
class Steps:
    """The chain, in the order of the papers: median, smooth, erode, threshold, min_size, then dilate and largest.

    median: size of the window; smooth: deviation of a Gaussian, in voxels; erode: layers taken off the brain;
    threshold: a number (score > threshold), "otsu", or "model" for the one that uad-heal noted; min_size: voxels a
    component needs; dilate: layers added; largest: keep only the largest component.
    Source: Behrendt et al. 2023 (pDDPM, cDDPM), without smoothing; dilation, largest component: Damudi & Kini 2024.
    """

    median: int = 5
    erode: int = 3
    threshold: float | str = "model"
    min_size: int = 7
    dilate: int = 0
    largest: bool = False
    smooth: float = 0.0

    @property
    def filters(self) -> tuple[int, float]:
        return self.median, self.smooth

    @property
    def chain(self) -> dict[str, Any]:
        """All steps but the threshold."""
        return {f.name: getattr(self, f.name) for f in fields(Steps) if f.name != "threshold"}


@dataclass(frozen=True)
class Calibrated(Steps):
    """A chain whose threshold uad-calibrate found. rule: how; way: of making scores (see `way_of`); source: a file;
    floor: that 19 in 20 of the healthy scans stayed under.
    """

    rule: str = ""
    way: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    floor: float | None = None


@dataclass(frozen=True)
class Prepared:
    """A score ready for the threshold: filtered, the brain, and the eroded brain, all (X, Y, Z)."""

    score: Image
    smooth: Score
    inside: Mask
    eroded: Mask

    @property
    def floor(self) -> float:
        """The noise floor: the median score of the eroded brain, of one sign where the other's voxels have none.

        Lesions would have to be half of the brain to raise it; another scanner or contrast does.
        """
        values = self.smooth[self.eroded]
        values = values[values > LEAST]
        return float(np.median(values)) if values.size else LEAST


def postproc(
    study: Study,
    steps: Steps | None = None,
    *,
    brain: Image | None = None,
    native: bool = False,
    adapt: bool = False,
    force_detection: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Study:
    """Turn a study's score into `detection`, uint8. An image of another program, without role, is taken for a score.

    brain: a mask on the score's grid, instead of the study's own. native: put the detection on the grid of the original
    scan, where no component is lost. adapt: raise the threshold by as much as the scan's noise floor (see `Prepared`)
    lies above that of 19 in 20 healthy scans. force_detection: detect also where uad-heal found the scan unlike what
    the model learnt from; else the detection is empty, and its provenance says `withheld`. tell: gets one line for
    that, when erosion leaves no brain, when the model recommends no threshold and Otsu's is taken, when a threshold
    that the user did not choose detects an implausible share of the brain, and when a plain image looks like no score.
    Raises UadError for an option out of range, for native when the provenance does not say where the scan was, for
    adapt where no noise floor is known, and for a calibrated threshold when the score was made in another way than
    those it was found on.
    """
    study = study_of(study)
    steps = steps or own_steps(study)
    ready = prepare(study, steps, brain)
    (level, origin), score, inside = _level(steps, ready, study.name), ready.score, ready.inside
    doubts = looks_unlike(study.product, "score", study.name) if study.product.role == "scan" else []
    for doubt in doubts:
        tell(str(doubt.about(study.name)))
    if steps.threshold == "model" and origin == "otsu":
        text = f"no threshold is known for this way of scoring, Otsu's is taken, as {without_threshold(score)}"
        text += " (it always finds something, also in a healthy scan; choose one with --threshold)"
        doubts.append(Concern("threshold", text, round(level, 6)))
        tell(f"{study.name}: {text}")
    raised = _raised(steps, ready, study.name, origin) if adapt else 1.0
    level *= raised
    withheld = "" if force_detection else too_unlike(score)
    if withheld:
        why = f"unlike what the model learnt from ({withheld})"
        tell(f"{study.name}: no detection: {why} (--force-detection to detect anyway)")
    mask = np.zeros_like(inside) if withheld else detect(ready.smooth, ready.eroded, steps, level)
    if origin != "user" and steps.threshold != "otsu" and mask.sum() > IMPLAUSIBLE * inside.sum():
        share = f"{mask.sum() / inside.sum():.0%} of the brain is detected"
        whose = {"model": "the model's", "otsu": "Otsu's"}.get(origin, "the calibrated")
        tell(f"{study.name}: {share}: {whose} threshold does not fit this scan (choose one with --threshold)")
    arguments = {**steps.chain, "threshold": level, "threshold_from": origin, "native": native}
    arguments |= ({"raised": raised} if adapt else {}) | ({"withheld": withheld} if withheld else {})
    score = replace(score, provenance=record(score, "uad-postproc", arguments) | noting(score, doubts))
    detection = score.derive(mask.astype(np.uint8), "detection")
    detection = to_native(detection, study.name) if native else detection
    if not ready.eroded.any():
        tell(f"{study.name}: no brain is left after {steps.erode} erosions, so nothing is found (--erode takes fewer)")
    return study.adding(detection)


def own_steps(study: Study, **changes: Any) -> Steps:
    """Return the chain that the model recommends for its scores, the papers' where it has none, with some changes."""
    noted = last_by(score_of(study), "uad-heal").get("chain")
    chain = noted if isinstance(noted, dict) else {}
    return Steps(**{s: chain[s] for s in CHAIN if possible(s, chain.get(s))} | changes)


def possible(step: str, size: Any) -> bool:
    """Tell whether what a history or a file says of a step can be."""
    if step == "smooth":
        return isinstance(size, int | float) and 0 <= size <= clean.MOST_SMOOTH
    return isinstance(size, int) and 0 <= size <= MOST_NOTED and (step != "median" or size % 2 == 1)


def prepare(study: Study, steps: Steps, brain: Image | None = None) -> Prepared:
    """Do what comes before the threshold: the filters on the score, and the eroded brain. Raises UadError."""
    score = score_of(study)
    inside = _brain(study, score, brain)
    try:  # where the model did not look, its score is 0; the filters see that as the papers' code does
        smooth = clean.smooth(clean.median(score.data, steps.median), steps.smooth)
    except UadError as error:
        source = f"{steps.source}: " if isinstance(steps, Calibrated) else ""
        raise UadError(f"{study.name}: {source}{error}") from None
    return Prepared(score, smooth, inside, clean.erode(inside, steps.erode))


def detect(smooth: Score, eroded: Mask, steps: Steps, level: float) -> Mask:
    """Do the rest of the chain: what is above the level in the eroded brain, without small components, dilated."""
    detection = clean.threshold(smooth, level) & eroded
    detection = clean.dilate(clean.drop_small(detection, steps.min_size), steps.dilate)
    return clean.keep_largest(detection) if steps.largest else detection


def score_of(study: Study) -> Image:
    """Return the score map; a plain image, with nothing but masks beside it, is another program's."""
    product = study.product
    alone = all(role in ROLES and ROLES[role].kind == "mask" for role in study.images if role != product.role)
    if alone and stated_role(product) is None:
        return product.derive(product.data, "score")
    if "score" not in study.images:
        raise UadError(f"{study.name}: no score map in it, only: {', '.join(study.images)} (uad-score makes one)")
    return study.need("score")


def _brain(study: Study, score: Image, brain: Image | None) -> Mask:
    whole = study.adding(score)
    if brain is not None:
        labels, _ = read_labels(brain, "brain", f"{study.name}: brain mask")
        whole = whole.adding(labels.derive((labels.data == LESION).astype(np.uint8), "brain"))
    mask = whole.brain(score, "pass a mask on the score's grid with --brain")
    if not mask.any():
        raise UadError(f"{study.name}: no voxel above background, so there is no brain (is this the right file?)")
    return mask


def _level(steps: Steps, ready: Prepared, name: str) -> tuple[float, str]:
    """Return the threshold as a number, and where it is from."""
    threshold = steps.threshold
    if isinstance(steps, Calibrated) and (other := unlike(way_of(ready.score), steps.way)):
        raise UadError(
            f"{name}: {steps.source} was not found on scores such as this: {other} "
            "(heal and score as those were, calibrate on such, or give the threshold as a number)"
        )
    if isinstance(threshold, float | int):
        return float(threshold), steps.rule if isinstance(steps, Calibrated) else "user"
    if threshold not in ("model", "otsu"):
        raise UadError(f"--threshold {threshold}: a number, otsu, model, or a .json file")
    if threshold == "model" and (noted := model_threshold(ready.score)) is not None:
        return noted, "model"
    try:
        return otsu(ready.smooth[ready.eroded]), "otsu"
    except UadError as error:
        raise UadError(f"{name}: {error}") from None


def _raised(steps: Steps, ready: Prepared, name: str, origin: str) -> float:
    """Return by how much the scan's noise floor lies above that of healthy scans; 1 where it does not."""
    noted = model_floor(ready.score) if origin == "model" else None
    floor = steps.floor if isinstance(steps, Calibrated) else noted
    if floor is None or floor <= 0:
        raise UadError(
            f"{name}: --adapt: no noise floor of healthy scans is known for this threshold (take the model's, for its "
            "default way and metric, or a file of uad-calibrate)"
        )
    return max(1.0, ready.floor / floor)
