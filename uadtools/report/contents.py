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
from uadtools.report.findings import PLACES, Finding, findings, said, smoothed, steps_of
from uadtools.report.index import Row
from uadtools.report.layers import Layered, layered, layers, threshold_of
from uadtools.report.page import Page, Picture
from uadtools.report.picture import drawn, png
from uadtools.report.plots import strips
from uadtools.report.tables import Table
from uadtools.scoring.case_scores import case_scores
from uadtools.scoring.healthy import HealthyScores, healthy_scores
from uadtools.scoring.score import case_score
from uadtools.volume.io import Image
from uadtools.volume.roles import ROLES
from uadtools.volume.stream import Study, concerns_of, last_by

CASE_SCORES = {
    "case_score": "mean score inside the brain",
    "top": "mean of the highest hundredth",
    "peak": "highest score",
    "detected_ml": "mL above the model's threshold",
    "bound": "mean bound",
    "chain": "mean chain",
    "nll": "mean negative log-likelihood",
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
    plots: Sequence[Picture] = (),
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
    healthy, scores = _healthy(study), _case_scores(study)
    missing = [*whole.missing, *([] if history else ["how this was made (no history)"])]
    tables = [*figures, *_lesions(whole, smooth), *_scores(study, scores, healthy), *_steps(history)]
    return Page(
        title,
        _summary(detected, study),
        [str(concern) for concern in united(concerns_of(*study.images.values()), whole.guesses)],
        missing,
        layers(whole.study),
        detected,
        _places(whole, study),
        healthy,
        tables,
        [Picture("Slices", _slices(whole), _shows(whole)), *_against(scores, healthy), *plots],
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


def _healthy(study: Study) -> HealthyScores | None:
    """Return what is known of healthy scans' scores, if they went through the same filters."""
    known = healthy_scores(study.need("score")) if "score" in study.images else None
    return known if known and known.filters == steps_of(study).filters else None


def _case_scores(study: Study) -> dict[str, float]:
    """Return the case scores that there are."""
    if "score" not in study.images:
        return {}
    try:
        return {name: value for name, value in asdict(case_scores(study)).items() if value is not None}
    except UadError:
        return {}


def _against(scores: Mapping[str, float], healthy: HealthyScores | None) -> Iterator[Picture]:
    """Draw the case scores against those of healthy scans."""
    if healthy and (both := {name: scores[name] for name in healthy.case_scores if name in scores}):
        drawn = {CASE_SCORES[name]: (value, healthy.case_scores[name]) for name, value in both.items()}
        told = [f"{CASE_SCORES[name]} {value:.3g}, {_counted(healthy, name, value)}" for name, value in both.items()]
        shows = "Points are healthy scans, the line is this scan"
        yield Picture("This scan against healthy scans", png(strips(drawn)), f"{shows}: {'; '.join(told)}.")


def _counted(healthy: HealthyScores, name: str, value: float) -> str:
    count, all_of_them = healthy.as_high(name, value), len(healthy.case_scores[name])
    most = "at most " if healthy.both and count else ""
    return f"{most}{count or 'none'} of {all_of_them} healthy scans are as high"


def _shows(whole: Layered) -> str:
    titles = [ROLES[role].title for role in whole.study.images if role in ROLES and ROLES[role].title]
    return f"Axial slices, the patient's left on the right: {', '.join(titles)}."


def _places(whole: Layered, study: Study) -> tuple[str, ...]:
    """Name the worlds that places are told in: the one that is shown, and the scan's own where it was registered."""
    if not any("matrix" in step for step in whole.chain):
        return ("place",)
    onto = _arguments(last_by(study.product, "uad-preprocess")).get("register")
    return ("MNI" if onto == "mni" else "template", "scan")


def index_row(page: Page, study: Study, file: str) -> Row:
    """Sum up a page for the index; its thumbnail is the slice with most of the largest finding, else the middle."""
    found = page.findings
    return Row(
        page.title,
        file,
        _slices(layered(study, None), roles=("scan", "detection"), slices=1),
        None if found is None else round(sum(one.ml for one in found), PLACES),
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


def _scores(study: Study, scores: Mapping[str, float], healthy: HealthyScores | None) -> Iterator[Table]:
    """Lay out the case scores, as far as there are any, and what is known of healthy scans."""
    if not scores:
        return
    rows = [["score", "this scan", *(["healthy scans", "as high"] if healthy else [])]]
    for name, value in scores.items():
        known = healthy.case_scores.get(name) if healthy else None
        cells = (
            [f"{known[0]:.3g} to {known[-1]:.3g}", _counted(healthy, name, value)] if healthy and known else ["", ""]
        )
        rows.append([CASE_SCORES[name], f"{value:.4g}", *(cells if healthy else [])])
    if (used := threshold_of(study)) is not None:
        rows.append(["threshold of the detection", f"{used:.4g}", *(["", ""] if healthy else [])])
    yield Table("Scores of the scan", rows)


def _steps(history: Sequence[Mapping[str, Any]]) -> Iterator[Table]:
    """Lay out the history: each tool with what it was told; names of files are left out."""
    if not history:
        return
    rows = [["tool", "version", "model", "settings"]]
    for line in history:
        known = line.get("tool") in TOOLS
        given = [item for item in _arguments(line).items() if item[1] not in (None, []) and item[1] is not False]
        settings = ", ".join(_setting(*item) for item in given) if known else ""
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
