"""A scan's prediction and its truth, brought onto one grid to be compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import UadError
from uadtools.evaluation.reports import Kind
from uadtools.metrics.image import histogram_kld, l1, psnr, ssim
from uadtools.metrics.overlap import Mask, ratio
from uadtools.volume.chain import label_of
from uadtools.volume.io import Image
from uadtools.volume.stream import Study, contrast_level

Scan = NDArray[np.float32]
LIKENESS = ("ssim", "psnr", "l1", "l1_lesion", "l1_healthy", "l1_ratio", "kld")


@dataclass(frozen=True)
class Case:
    """One scan: prediction, truth and the voxels that count, (X, Y, Z) on one grid.

    prediction: boolean for a detection, else floating point; truth: None where a reconstruction has none; in_brain: the
    voxels that count are those of the brain, not all; spacing: mm; baseline: the score that the intensity threshold
    gives, where the study holds the scan of a score map; likeness: figures of scan and healed, where it holds both;
    contrast: the level that uad-simulate changed the scan to, where it did.
    """

    name: str
    kind: Kind
    prediction: NDArray[Any]
    truth: Mask | None
    within: Mask
    in_brain: bool
    spacing: tuple[float, float, float]
    baseline: NDArray[Any] | None = None
    likeness: dict[str, float] = field(default_factory=dict)
    contrast: float | None = None


def case(study: Study, truth: Image | None = None, brain: Image | None = None) -> Case:
    """Bring prediction and truth together.

    The study's product is the prediction: healed is a reconstruction; other floating point is a score map, unless it
    holds only 0 and 1; integers are a detection (not 0). truth: by default the study's own. Score maps and
    reconstructions count inside the brain (brain, or the study's own), detections everywhere unless brain is given. A
    truth or brain on the grid of the original scan is brought onto the prediction's grid, where its provenance tells
    how. Raises UadError when the grids cannot be matched, no voxel is left to count, or the truth is missing that all
    but reconstructions need.
    """
    prediction, kind = study.product, kind_of(study)
    truth = truth or study.images.get("truth")
    if truth is None and kind != "reconstruction":
        raise UadError(f"{study.name}: no truth to hold it against (give the expert's mask)")
    label = None if truth is None else label_of(truth, prediction, f"{study.name}: truth")
    if brain is not None:
        within = label_of(brain, prediction, f"{study.name}: brain mask")
    else:
        within = np.ones(prediction.grid.shape, dtype=bool) if kind == "detection" else _brain(study)
    if not within.any():
        raise UadError(f"{study.name}: no voxel to count (the brain is empty)")
    return Case(
        study.name,
        kind,
        prediction.data != 0 if kind == "detection" else prediction.data,
        label,
        within,
        brain is not None or kind != "detection",
        prediction.grid.spacing,
        _baseline(study, within) if kind == "score" else None,
        _likeness(study, truth, brain),
        next((level for image in study.images.values() if (level := contrast_level(image)) is not None), None),
    )


def kind_of(study: Study) -> Kind:
    """Tell what a study's product is."""
    if study.product.role == "healed":
        return "reconstruction"
    data = study.product.data
    if study.product.role == "score" and data.dtype.kind == "f":
        return "score"
    return "detection" if data.dtype.kind != "f" or _is_binary(data) else "score"


def with_scan(study: Study, scan: Image) -> Study:
    """Give a study its scan. A product without role that is no mask is then taken for what was healed of the scan."""
    scan = scan.derive(scan.data, "scan")
    product = study.product
    levels = [level for image in (product, scan) if (level := contrast_level(image)) is not None]
    if len(set(levels)) > 1:
        contrasts = f"contrast {levels[0]:g}, its scan has {levels[1]:g}"
        raise UadError(f"{study.name}: {product.role} was made at {contrasts} (name both in the same order)")
    if product.role == "scan" and not _is_binary(product.data):
        return Study(study.name, {"healed": product.derive(product.data, "healed"), "scan": scan})
    prediction = product.derive(product.data, "detection") if product.role == "scan" else product
    return Study(study.name, {prediction.role: prediction} | study.images | {"scan": scan})


def _is_binary(data: NDArray[Any]) -> bool:
    return bool(((data == 0) | (data == 1)).all())


def _brain(study: Study) -> Mask:
    """Return where the brain of a map is, which of a foreign one its own voxels above 0 say."""
    prediction = study.product
    foreign = prediction.role == "scan"
    return np.asarray(prediction.data > 0) if foreign else study.brain(prediction, "pass the brain with --brain")


def _baseline(study: Study, within: Mask) -> NDArray[Any] | None:
    """Score the study's scan, if it is there, by its distance from the brain's median intensity.

    Source: Meissen et al. 2022, whose histogram equalisation keeps the order of the voxels of one scan.
    """
    scan = study.images.get("scan")
    if scan is None or study.product is scan or not scan.grid.same(study.product.grid):
        return None
    return np.asarray(np.abs(scan.data - np.median(scan.data[within])))


def _likeness(study: Study, truth: Image | None, brain: Image | None) -> dict[str, float]:
    """Compare a study's scan with its healed self inside the brain; nothing where one of them is missing.

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
    within = study.brain(scan, advice) if brain is None else label_of(brain, healed, f"{study.name}: brain mask")
    lesion = None if truth is None else label_of(truth, healed, f"{study.name}: truth")
    return {"ssim": ssim(a, b, within), "psnr": psnr(a, b, within), **differences(a, b, within, lesion)}


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
