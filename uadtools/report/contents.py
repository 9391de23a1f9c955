"""What a report says of a study, gathered from its images and their history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from uadtools import __version__
from uadtools.concerns import united
from uadtools.errors import UadError
from uadtools.healing.likeness import too_unlike
from uadtools.report import repeat
from uadtools.report.findings import Finding, findings, said, smoothed, steps_of
from uadtools.report.index import Row
from uadtools.report.layers import Layered, layered, layers, threshold_of
from uadtools.report.page import Page
from uadtools.report.picture import drawn, png
from uadtools.report.tables import Table
from uadtools.scoring.case_scores import case_scores
from uadtools.scoring.healthy import HealthyLevel, healthy_level
from uadtools.scoring.score import case_score
from uadtools.volume.io import Image
from uadtools.volume.stream import Study, concerns_of, last_by

CASE_SCORES = {
    "case_score": "mean score inside the brain",
    "top": "mean of the highest hundredth",
    "peak": "highest score",
    "detected_ml": "mL above the model's threshold",
    "bound": "mean bound",
    "chain": "mean chain",
}
NAMES = ("register", "masks", "condition")
"""Settings that may be the name of somebody's file."""
MOST_LESIONS = 50
TOOLS = {"uad-preprocess", "uad-simulate", "uad-heal", "uad-score", "uad-postproc"}


def gather(
    study: Study,
    truth: Image | None = None,
    *,
    title: str = "Scan",
    figures: Sequence[Table] = (),
    plots: Sequence[tuple[str, bytes]] = (),
) -> Page:
    """Gather what a report shows of a study; what cannot be shown is said on it, and its name only where it is a title.

    truth: an expert's mask. figures, plots: of an evaluation. Raises UadError when there is nothing to show, or the
    truth lies elsewhere.
    """
    whole = layered(study, truth)
    history = study.product.provenance.get("history", [])
    smooth = smoothed(study) if "score" in whole.study.images else None
    smooth = smooth and replace(smooth, grid=whole.study.need("score").grid)
    detected = listed(whole, smooth)
    level = _healthy_level(study)
    missing = [*whole.missing, *([] if history else ["how this was made (no history)"])]
    tables = [
        *figures,
        *_lesions(whole, smooth),
        *_scores(study, level),
        *_steps(history),
    ]
    return Page(
        title,
        _summary(detected, study),
        [str(concern) for concern in united(concerns_of(*study.images.values()), whole.guesses)],
        missing,
        layers(whole.study),
        detected,
        _places(whole, study),
        _rare(level, detected or ()) if level else None,
        tables,
        [*plots, ("Slices", _slices(whole))],
        repeat.paragraph(history, __version__),
        repeat.pipe(history, study.product.role, unlike=bool(too_unlike(study.product))),
        __version__,
    )


def listed(whole: Layered, smooth: Image | None) -> list[Finding] | None:
    """List what is detected; None where nothing was to be."""
    images = whole.study.images
    if "detection" not in images:
        return None
    return findings(images["detection"], smooth, whole.chain, images.get("truth"))


def _healthy_level(study: Study) -> HealthyLevel | None:
    """Return what is known of healthy scans' scores, if they went through the same median filter."""
    level = healthy_level(study.need("score")) if "score" in study.images else None
    return level if level and level.median == steps_of(study).median else None


def _rare(level: HealthyLevel, found: Sequence[Finding]) -> tuple[float, str]:
    above = any((one.peak or 0) > level.threshold for one in found)
    quiet = (
        f"{level.scans - level.alarms} of {level.scans} healthy scans score less than {level.threshold:.3g} everywhere"
    )
    return level.threshold, f"{quiet}; {'rare peaks are above that' if above else 'no finding is above that'}."


def _places(whole: Layered, study: Study) -> tuple[str, ...]:
    """Name the worlds that places are told in: the one that is shown, and the scan's own where it was registered."""
    if not any("matrix" in step for step in whole.chain):
        return ("place",)
    onto = _arguments(last_by(study.product, "uad-preprocess")).get("register")
    return ("MNI" if onto == "mni" else "template", "scan")


def index_row(page: Page, study: Study, file: str) -> Row:
    """Sum up a page for the index; its thumbnail is the slice with most detected."""
    found = page.findings
    return Row(
        page.title,
        file,
        _slices(layered(study, None), roles=("scan", "detection"), slices=1),
        None if found is None else sum(one.ml for one in found),
        None if found is None else len(found),
        found[0].ml if found else None,
        max((one.peak for one in found or () if one.peak is not None), default=None),
        case_score(study) if "score" in study.images else None,
        len(page.concerns),
    )


def _slices(whole: Layered, *, roles: Sequence[str] = (), slices: int = 4) -> bytes:
    images = {role: image for role, image in whole.study.images.items() if role not in ("hit", "truth")}
    chosen = {role: image for role, image in images.items() if role in roles} or images
    truth = None if roles else whole.study.images.get("truth")
    return png(drawn(Study(whole.study.name, chosen), truth=truth, slices=slices), facecolor="black")


def _summary(found: Sequence[Finding] | None, study: Study) -> str:
    if found is None:
        return "Nothing was thresholded, so there are no findings." if "score" in study.images else "No score is in it."
    if not found:
        return "Nothing was detected." + (" It was withheld." if too_unlike(study.product) else "")
    total = sum(one.ml for one in found)
    things = "1 finding" if len(found) == 1 else f"{len(found):,} findings, {total:.2f} mL in all"
    return f"{things}, the largest of {found[0].ml:.2f} mL"


def _lesions(whole: Layered, smooth: Image | None) -> Iterator[Table]:
    images = whole.study.images
    if "truth" not in images:
        return
    rows = [["mL", "place, mm", "mean score", "peak score", "found"]]
    for one in findings(images["truth"], smooth, whole.chain, images.get("detection"))[:MOST_LESIONS]:
        numbers = ["" if value is None else f"{value:.3g}" for value in (one.mean, one.peak)]
        found = {True: "yes", False: "no", None: ""}[one.found]
        rows.append([f"{one.ml:.2f}", said(one.native), *numbers, found])
    yield Table("Components of the truth, the largest first; found: the detection touches them", rows)


def _scores(study: Study, level: HealthyLevel | None) -> Iterator[Table]:
    """Lay out the case scores, as far as there are any, and what is known of healthy scans."""
    if "score" not in study.images:
        return
    try:
        known = {name: value for name, value in asdict(case_scores(study)).items() if value is not None}
    except UadError:
        return
    healthy = (
        {"peak": f"at most {level.threshold:.4g} in {level.scans - level.alarms} of {level.scans}"} if level else {}
    )
    rows = [["score", "this scan", "healthy scans"] if level else ["score", "this scan"]]
    for name, value in known.items():
        rows.append([CASE_SCORES[name], f"{value:.4g}", *([healthy.get(name, "")] if level else [])])
    if (used := threshold_of(study)) is not None:
        rows.append(["threshold of the detection", f"{used:.4g}", *([""] if level else [])])
    yield Table("Scores of the scan", rows)


def _steps(history: Sequence[Mapping[str, Any]]) -> Iterator[Table]:
    """Lay out the history: each tool with what it was told; names of files are left out."""
    if not history:
        return
    rows = [["tool", "version", "model", "settings"]]
    for line in history:
        known = line.get("tool") in TOOLS
        given = {name: value for name, value in _arguments(line).items() if value not in (None, False, [])}
        settings = ", ".join(_setting(*item) for item in given.items()) if known else ""
        tool = line["tool"] if known else "another program"
        rows.append([tool, str(line.get("version", "")), str(line.get("model") or ""), settings])
    yield Table("What was done", rows)


def _arguments(line: Mapping[str, Any]) -> dict[str, Any]:
    arguments = line.get("arguments")
    return arguments if isinstance(arguments, dict) else {}


def _setting(name: str, value: Any) -> str:
    if name in NAMES and value not in (None, "mni", "none"):
        return f"{name} given"
    if isinstance(value, dict):
        return f"{name} ({', '.join(_setting(*item) for item in value.items())})"
    if isinstance(value, list):
        return f"{name} {' '.join(f'{part:g}' if isinstance(part, float) else str(part) for part in value)}"
    return f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}"
