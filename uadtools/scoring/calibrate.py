"""uad-calibrate: a detection threshold, what it promises about healthy scans, and what it leaves of lesions."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, TypedDict, get_args
from zlib import crc32

import numpy as np

from uadtools.concerns import Concern, told
from uadtools.errors import UadError
from uadtools.metrics import conformal
from uadtools.metrics.ranking import rank
from uadtools.scoring.case_scores import Summed, summed
from uadtools.scoring.history import unlike, way_of
from uadtools.scoring.postproc import Prepared, Steps, detect, own_steps, prepare
from uadtools.scoring.power import Lesioned, Power, power
from uadtools.simulation.history import drawn_lesions
from uadtools.volume.chain import labels_on, voxel_ml
from uadtools.volume.clean import Score
from uadtools.volume.io import Image
from uadtools.volume.labels import IGNORED, LESION, looks_unlike, read_labels
from uadtools.volume.stream import Study, concerns_of

Rule = Literal["scanwise", "voxelwise", "percentile", "best-dice"]
CONFORMAL: tuple[Rule, ...] = ("scanwise", "voxelwise")


@dataclass(frozen=True)
class Healthy:
    """A healthy scan: the (N,) smooth scores of the eroded brain, the threshold from which on no more is found than is
    allowed, which is nothing unless it is said, the noise floor, and its case scores.
    """

    scores: Score
    peak: float
    floor: float
    summed: Summed


class Silence(TypedDict):
    """How many healthy scans there were and are needed, and what the threshold detects in them.

    share: mean share of the eroded brain above the threshold. alarms_95: the rate of false alarms that these very scans
    may have led to, at 95% confidence. case_scores: each of `Summed`, rising, of which none is said to be which scan's.
    """

    scans: int
    needed: int | None
    alarms: int
    alarms_95: float | None
    share: float | None
    case_scores: dict[str, list[float]]


class Calibration(TypedDict):
    """A threshold file. level, percentile, allowed_ml, best_dice: null but for the rules that have them; floor: see
    `usual_floor`; chain: `Steps.chain`; way: that of `way_of`.
    """

    schema: int
    threshold: float
    rule: Rule
    level: float | None
    percentile: float | None
    allowed_ml: float | None
    best_dice: float | None
    healthy: Silence
    floor: float | None
    power: Power | None
    chain: dict[str, Any]
    way: dict[str, Any]
    concerns: list[dict[str, Any]]


def calibrate(
    studies: Iterable[Study],
    rule: Rule = "scanwise",
    steps: Steps | None = None,
    *,
    level: float = 0.05,
    percentile: float = 99.5,
    allowed_ml: float = 0.0,
    **changes: int,
) -> Calibration:
    """Find a threshold for `uad-postproc`; returns a JSON-ready report, which `read_steps` reads.

    studies: score maps; those with an image `truth` that shows a lesion are lesioned, all others healthy. Every rule
    but best-dice looks at the healthy ones alone; the lesioned ones tell what it leaves. steps: the chain; none: the
    model's own, with `changes` of it.
    scanwise: in at most `level` of new healthy scans is more than allowed_ml detected, by the whole chain. voxelwise:
    of a new healthy scan at most `level` of the eroded brain scores higher on average, so that no more is detected
    unless it is dilated. percentile: of all healthy voxels together. best-dice: of all voxels together, midway between
    two scores; lesions outside the eroded brain are missed at any threshold.
    Raises UadError when a rule, level or percentile is none, when scans are too few for it, or scored in several ways.
    """
    if allowed_ml and rule != "scanwise":
        raise UadError(f"--allow {allowed_ml:g}: has an effect only with --rule scanwise (leave it out)")
    _check(rule, steps.dilate if steps else changes.get("dilate", 0), level, percentile)
    concerns: list[Concern] = []
    scans = _noted(studies, concerns)
    first = next(scans, None)
    if first is None:
        raise UadError("no scan to calibrate on")
    steps = steps or own_steps(first, **changes)
    healthy, lesioned, way = _sorted(chain([first], scans), steps, allowed_ml, concerns)
    threshold, dice = _threshold(rule, healthy, lesioned, level if rule in CONFORMAL else percentile)
    return {
        "schema": 1,
        "threshold": threshold,
        "rule": rule,
        "level": level if rule in CONFORMAL else None,
        "percentile": percentile if rule == "percentile" else None,
        "allowed_ml": allowed_ml if rule == "scanwise" else None,
        "best_dice": dice,
        "healthy": _silence(rule, healthy, threshold, level),
        "floor": usual_floor([scan.floor for scan in healthy]) if healthy else None,
        "power": power(lesioned, steps, threshold) if lesioned else None,
        "chain": steps.chain,
        "way": way,
        "concerns": told(concerns),
    }


def _noted(studies: Iterable[Study], concerns: list[Concern]) -> Iterator[Study]:
    """Yield studies, and keep what the tools before said against them."""
    for study in studies:
        concerns.extend(concern.about(study.name) for concern in concerns_of(study.product))
        yield study


def has_lesion(study: Study) -> bool:
    """Tell whether the study has a truth that shows a lesion. Raises UadError for drawn lesions without their truth."""
    if "truth" in study.images:
        labels, _ = read_labels(study.images["truth"], "truth", f"{study.name}: truth")
        return bool((labels.data == LESION).any())
    if drawn_lesions(study.product):
        raise UadError(f"{study.name}: lesions were drawn into it, and it lacks their truth (--power with --truth)")
    return False


def peak(ready: Prepared, steps: Steps, allowed_ml: float = 0.0) -> float:
    """Return the lowest of the scan's own scores from which on, as a threshold, the chain detects nothing in it.

    allowed_ml: or no more than this volume. More is detected at no higher threshold, unless it is dilated.
    """
    allowed = allowed_ml / voxel_ml(ready.score)

    def is_silent(level: np.floating[Any]) -> bool:
        return bool(detect(ready.smooth, ready.eroded, steps, float(level)).sum() <= allowed)

    values = np.unique(ready.smooth[ready.eroded])
    return float(values[bisect_left(values, True, key=is_silent)])


def usual_floor(floors: Sequence[float]) -> float:
    """Return the noise floor that 19 in 20 healthy scans stay under."""
    return float(np.quantile(floors, 0.95))


def _check(rule: Rule, dilate: int, level: float, percentile: float) -> None:
    if rule not in get_args(Rule):
        raise UadError(f"--rule {rule}: there are {', '.join(get_args(Rule))}")
    if rule in CONFORMAL:
        conformal.scans_needed(level)
    if not 0 <= percentile <= 100:
        raise UadError(f"--percentile {percentile:g}: out of range (give one from 0 to 100)")
    if rule == "voxelwise" and dilate:
        raise UadError("--rule voxelwise bounds what scores above the threshold, and dilation adds to it (--dilate 0)")


def _sorted(
    studies: Iterable[Study], steps: Steps, allowed_ml: float, concerns: list[Concern]
) -> tuple[list[Healthy], list[Lesioned], dict[str, Any]]:
    """Prepare the scans as `uad-postproc` does, and part them; returns the way in which all were scored, too.

    concerns: gets those of each scan.
    """
    healthy, lesioned, way = [], [], dict[str, Any]()
    seen: dict[int, str] = {}
    for study in studies:
        ready = prepare(study, steps)
        if study.product.role == "scan":
            concerns += [doubt.about(study.name) for doubt in looks_unlike(study.product, "score", study.name)]
        _check_new(study.name, ready.score, seen)
        if not ready.eroded.any():
            raise UadError(f"{study.name}: no brain is left after {steps.erode} erosions (--erode takes fewer)")
        here = way_of(ready.score)
        way = way or here
        if other := unlike(here, way):
            raise UadError(f"{study.name}: not scored as the scans before it: {other} (calibrate each way by itself)")
        if has_lesion(study):
            what = f"{study.name}: truth"
            truth, guesses = read_labels(study.images["truth"], "truth", what)
            labels = labels_on(truth, ready.score, what)
            counted = ready.eroded & (labels != IGNORED)
            mine = Lesioned(ready.smooth[counted], counted, labels == LESION, ready.score.grid, voxel_ml(ready.score))
            lesioned.append(mine)
            concerns += guesses
        else:
            scores = ready.smooth[ready.eroded]
            healthy.append(Healthy(scores, peak(ready, steps, allowed_ml), ready.floor, summed(ready)))
    return healthy, lesioned, way


def _check_new(name: str, score: Image, seen: dict[int, str]) -> None:
    """Refuse a score that came before: what is promised is for as many scans as there are different ones."""
    mark = crc32(score.data.tobytes())
    if mark in seen:
        raise UadError(f"{name}: the same scores as {seen[mark]} (give each scan once)")
    seen[mark] = name


def _threshold(
    rule: Rule, healthy: Sequence[Healthy], lesioned: Sequence[Lesioned], aim: float
) -> tuple[float, float | None]:
    """Return the threshold, and the Dice if that chose it. aim: level or percentile."""
    match rule:
        case "scanwise":
            return conformal.scanwise(np.array([scan.peak for scan in healthy]), aim), None
        case "voxelwise":
            return conformal.voxelwise([scan.scores for scan in healthy], aim), None
        case "percentile":
            if not healthy:
                raise UadError("no healthy scan, of whose voxels a percentile could be taken (--rule best-dice)")
            return float(np.percentile(np.concatenate([scan.scores for scan in healthy]), aim)), None
        case "best-dice":
            if not lesioned:
                raise UadError("no lesion in any truth, and --rule best-dice needs some (--truth)")
            return _best_dice(healthy, lesioned)


def _best_dice(healthy: Sequence[Healthy], lesioned: Sequence[Lesioned]) -> tuple[float, float]:
    scores = [scan.scores for scan in healthy]
    truths = [np.zeros(values.size, dtype=bool) for values in scores]
    for scan in lesioned:
        counted = scan.eroded | scan.truth
        scores.append(scan.smooth[counted])
        truths.append(scan.truth[counted])
    values = np.concatenate(scores)
    best = rank(values, np.concatenate(truths)).best_dice()
    above = values[values > best.threshold]
    middle = values.dtype.type((best.threshold + float(above.min())) / 2) if above.size else best.threshold
    return float(middle if above.size and middle < above.min() else best.threshold), best.dice


def _silence(rule: Rule, healthy: Sequence[Healthy], threshold: float, level: float) -> Silence:
    return {
        "scans": len(healthy),
        "needed": conformal.scans_needed(level) if rule in CONFORMAL else None,
        "alarms": sum(scan.peak > threshold for scan in healthy),
        "alarms_95": conformal.scanwise_bound(len(healthy), level) if rule == "scanwise" else None,
        "share": float(np.mean([np.mean(scan.scores > threshold) for scan in healthy])) if healthy else None,
        "case_scores": {
            name: sorted(float(f"{getattr(scan.summed, name):.5g}") for scan in healthy) for name in Summed._fields
        },
    }
