"""A scan's prediction and its truth, brought onto one grid to be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.concerns import Concern
from uadtools.errors import UadError
from uadtools.evaluation.reports import Kind
from uadtools.metrics.boxes import Boxes
from uadtools.metrics.image import histogram_kld, l1, mean_of, psnr, ssim_map
from uadtools.metrics.normative import conservation_correction
from uadtools.metrics.overlap import Mask, ratio
from uadtools.simulation.history import contrast_level
from uadtools.volume.chain import labels_on, voxel_ml
from uadtools.volume.io import Image
from uadtools.volume.labels import BY_THEMSELVES, IGNORED, LESION, Choice, is_labels, looks_unlike, read_labels
from uadtools.volume.roles import ROLES, require_role
from uadtools.volume.stream import Study, last_by, lines_by

Scan = NDArray[np.float32]
UNNAMED: Mapping[str, str | None] = {}
CALLED = {"truth": "truth", "brain": "brain mask"}
LIKENESS = (
    "ssim", "psnr", "l1", "l1_lesion", "l1_healthy", "l1_ratio", "kld", "ssim_lesion", "ssim_healthy",
    "conservation_correction", "perceptual", "restoration_quality",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One scan: prediction, truth and the voxels that count, (X, Y, Z) on one grid.

    prediction: boolean for a detection, else floating point; truth: None where a reconstruction has none; in_brain: the
    voxels that count are those of the brain, not all; spacing: mm; voxel_ml: in mL of the person; baseline: the score
    that the intensity threshold gives, where the study holds the scan of a score map, and signed, which way; likeness:
    figures of scan and healed, where it holds both; contrast: the level that uad-simulate changed the scan to, where it
    did; threshold: that uad-postproc made a detection with; concerns: what had to be guessed of the images; boxes: the
    true ones, where a table has them, else they are those of the lesions.
    """

    name: str
    kind: Kind
    prediction: NDArray[Any]
    truth: Mask | None
    within: Mask
    in_brain: bool
    spacing: tuple[float, float, float]
    voxel_ml: float
    baseline: NDArray[Any] | None = None
    signed: str | None = None
    likeness: dict[str, float] = field(default_factory=dict)
    contrast: float | None = None
    threshold: float | None = None
    concerns: tuple[Concern, ...] = ()
    boxes: Boxes | None = None


def case(
    study: Study,
    truth: Image | None = None,
    brain: Image | None = None,
    choice: Choice = BY_THEMSELVES,
    *,
    files: Mapping[str, str | None] = UNNAMED,
) -> Case:
    """Bring prediction and truth together.

    The study's product is the prediction, see `kind_of`. truth: by default the study's own; choice: which of its labels
    count; files: that truth and brain are from, for what is said of them. Score maps and reconstructions count inside
    the brain (brain, or the study's own), detections everywhere unless brain is given. A truth or brain on the grid of
    the original scan is brought onto the prediction's grid, where its provenance tells how. Raises UadError when an
    image has another role, the grids cannot be matched, no voxel is left to count, or the truth is missing that all but
    reconstructions need.
    """
    prediction, kind = study.product, kind_of(study)
    concerns = [doubt.about(study.name) for doubt in looks_unlike(prediction, "prediction", study.name)]
    data: NDArray[Any] = prediction.data
    if kind == "detection":
        detection, guesses = read_labels(prediction, "prediction", study.name, choice)
        data, concerns = detection.data == LESION, concerns + guesses
    called = {role: f"{files.get(role) or study.name}: {what}" for role, what in CALLED.items()}
    truth = truth or study.images.get("truth")
    if truth is None and kind != "reconstruction":
        raise UadError(f"{study.name}: no truth to hold it against (give the expert's mask)")
    label, ignored = None, np.zeros(prediction.grid.shape, dtype=bool)
    if truth is not None:
        truth, guesses = read_labels(truth, "truth", called["truth"], choice)
        labels = labels_on(truth, prediction, called["truth"])
        label, ignored, concerns = labels == LESION, labels == IGNORED, concerns + guesses
    if brain is not None:
        brain, guesses = read_labels(brain, "brain", called["brain"])
        within = labels_on(brain, prediction, called["brain"]) == LESION
        concerns = concerns + guesses
    else:
        within = np.ones(prediction.grid.shape, dtype=bool) if kind == "detection" else _brain(study)
    within &= ~ignored
    if not within.any():
        raise UadError(f"{study.name if brain is None else called['brain']}: no voxel to count (the brain is empty)")
    signed = _signed(prediction) if kind == "score" else None
    return Case(
        study.name,
        kind,
        data,
        label,
        within,
        brain is not None or kind != "detection",
        prediction.grid.spacing,
        voxel_ml(prediction),
        _baseline(study, within, signed) if kind == "score" else None,
        signed,
        _likeness(study, truth, brain, called),
        next((level for image in study.images.values() if (level := contrast_level(image)) is not None), None),
        last_by(prediction, "uad-postproc").get("arguments", {}).get("threshold") if kind == "detection" else None,
        tuple(concerns),
    )


def kind_of(study: Study) -> Kind:
    """Tell what a study's product is: by its role, else by its voxels.

    healed is a reconstruction; masks are detections, as are whole numbers without a role; other numbers are scores.
    """
    product = study.product
    if product.role == "healed":
        return "reconstruction"
    role = ROLES[product.role].kind if product.role in ROLES else "map"
    if role == "mask" or (role == "map" and product.data.dtype.kind == "f"):
        return "detection" if role == "mask" else "score"
    return "detection" if is_labels(product.data) else "score"


def with_scan(study: Study, scan: Image) -> Study:
    """Give a study its scan. A product without role that is no mask is then taken for what was healed of the scan."""
    product = study.product
    require_role(scan, "scan", f"{study.name}: scan")
    require_role(product, "prediction", study.name)
    levels = [level for image in (product, scan) if (level := contrast_level(image)) is not None]
    if len(set(levels)) > 1:
        contrasts = f"contrast {levels[0]:g}, its scan has {levels[1]:g}"
        raise UadError(f"{study.name}: {product.role} was made at {contrasts} (name both in the same order)")
    if product.role == "scan" and not is_labels(product.data):
        return Study(study.name, {"healed": product.derive(product.data, "healed"), "scan": scan})
    prediction = product.derive(product.data, "detection") if product.role == "scan" else product
    return Study(study.name, {prediction.role: prediction} | study.images | {"scan": scan})


def _brain(study: Study) -> Mask:
    """Return where the brain of a map is, which of a foreign one its own voxels above 0 say."""
    prediction = study.product
    foreign = prediction.role == "scan"
    return np.asarray(prediction.data > 0) if foreign else study.brain(prediction, "pass the brain with --brain")


def _signed(score: Image) -> str:
    """Return of which sign a score is, which its history tells; of both where it tells nothing."""
    scored = [line.get("arguments", {}) for line in lines_by(score, "uad-score")]
    return next((str(arguments["signed"]) for arguments in scored if "signed" in arguments), "both")


def _baseline(study: Study, within: Mask, signed: str | None) -> NDArray[Any] | None:
    """Score the study's scan, if it is there, by its distance from the brain's median intensity, signed as the score.

    Source: Meissen et al. 2022, whose histogram equalisation keeps the order of the voxels of one scan.
    """
    scan = study.images.get("scan")
    if scan is None or study.product is scan or not scan.grid.same(study.product.grid):
        return None
    above = scan.data - np.median(scan.data[within])
    return np.asarray(np.abs(above) if signed == "both" else -above if signed == "dark" else above)


def _likeness(study: Study, truth: Image | None, brain: Image | None, called: Mapping[str, str]) -> dict[str, float]:
    """Compare a study's scan with its healed self inside the brain; nothing where one of them is missing.

    truth, brain: as read_labels makes them; called: what they are, in errors.

    Raises UadError when the two lie on different grids, or when there is a reconstruction without a scan.
    """
    healed, scan = study.images.get("healed"), study.images.get("scan")
    if healed is None or (scan is None and healed is not study.product):
        return {}
    if scan is None:
        raise UadError(f"{study.name}: no scan to hold the healed one against (give it with --scan)")
    advice = "compare a scan with what uad-heal made of it"
    study.check_grids(scan, healed, advice=advice)
    a, b = (np.asarray(image.data, np.float32) for image in (scan, healed))
    within = study.brain(scan, advice) if brain is None else labels_on(brain, healed, called["brain"]) > 0
    lesion = None
    if truth is not None:
        labels = labels_on(truth, healed, called["truth"])
        lesion, within = labels == LESION, within & (labels != IGNORED)
    similarity = ssim_map(a, b)
    sides = [np.zeros_like(within)] * 2 if lesion is None else [within & lesion, within & ~lesion]
    whole, sick, healthy = (mean_of(similarity, side) for side in (within, *sides))
    return {
        "ssim": whole,
        "psnr": psnr(a, b, within),
        **differences(a, b, within, lesion),
        "ssim_lesion": sick,
        "ssim_healthy": healthy,
        "conservation_correction": conservation_correction(healthy, sick),
    }


def differences(scan: Scan, healed: Scan, within: Mask, lesion: Mask | None) -> dict[str, float]:
    """Tell the mean difference of two images and that of their histograms; what is of lesions is NaN without truth.

    All are (X, Y, Z); within: the brain. l1_ratio: the difference in the lesions as a multiple of that outside of them.
    """
    sick = healthy = np.nan
    if lesion is not None:
        sick, healthy = l1(scan, healed, within & lesion), l1(scan, healed, within & ~lesion)
    return {
        "l1": l1(scan, healed, within),
        "l1_lesion": sick,
        "l1_healthy": healthy,
        "l1_ratio": ratio(sick, healthy),
        "kld": histogram_kld(scan, healed, within),
    }
