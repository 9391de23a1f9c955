"""uad-score: how much each voxel differs from its healed self."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadtools.errors import UadError
from uadtools.grids.slices import filled
from uadtools.metrics.image import ssim_map
from uadtools.metrics.overlap import Mask
from uadtools.volume.io import Image
from uadtools.volume.roles import ROLES, default_metric, parted
from uadtools.volume.stream import Study, last_by, record, study_of

Metric = Literal[
    "l1", "l2", "product", "relative", "probability", "anomaly", "perceptual", "ssim", "gradient", "mahalanobis",
    "equalised",
]  # fmt: skip
Signed = Literal["both", "bright", "dark", "hyperintense"]
Floats = NDArray[np.float32]
NEEDED = {
    "mahalanobis": "spread", "product": "probability", "probability": "probability", "relative": "expected",
    "anomaly": "anomaly", "perceptual": "perceptual",
}  # fmt: skip
"""The map that a metric needs beside scan and healed."""
MADE_BY = {
    "spread": "pipe `uad-heal --samples 8`, or name its NAME_spread.nii.gz with --spread",
    "probability": "pipe `uad-heal --method restore`, or name its NAME_probability.nii.gz with --probability",
    "anomaly": "pipe uad-heal with a method that makes one",
    "perceptual": "pipe `uad-heal --perceptual`, or write it with --maps",
    "expected": "uad-heal makes it with a model that has a reference: uad-models reference",
}
LEAST = 1e-6
"""Smallest score inside the brain, so that 0 means outside."""
WIDTHS = (0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5, 1.7)
"""Deviations in voxels of the Gaussian windows that ssim is averaged over: those of the published code."""
EDGE = 1.5
"""Deviation in voxels of the Gaussian under which gradient takes slopes: less sees noise, more loses what is small."""
SOFT = 2.0
"""Deviation in voxels of the Gaussian that a region's border is smoothed with, in the axial slice."""
LEAST_SPREAD = 0.1
"""Deviation that mahalanobis adds to that of the draws, since a few draws may agree by chance.

Its square is what Behrendt et al.'s published code adds to the variances of images in [0, 1].
"""


def score(study: Study, *, metric: Metric | None = None, signed: Signed = "both", contrast: str = "mean") -> Study:
    """Score a study's scan against its healed scan; adds `score`, float32, 0 outside the brain and above 0 inside.

    metric: l1 |scan - healed| or l2, its square; probability, that of the method's map `probability`, and product, l1
    times its root; relative, product (or l1, where there is no probability) over what healthy scans have there, which
    the model's map `expected` says; anomaly and perceptual, the method's maps of that name, of which the first needs no
    healed scan; ssim, see `unlikeness`; gradient, see `slope`; equalised, see `shift`; mahalanobis |scan - healed| /
    sqrt(spread^2 + LEAST_SPREAD^2), where the study has a `spread` over several draws. Default: anomaly, relative,
    product or l1, the first that there are maps for. signed: bright keeps what is brighter than its healed self, dark
    what is darker, with every metric; hyperintense weighs what is brighter by how far the scan is above the median of
    the brain there, as lesions are in FLAIR; without a healed scan there is no sign. contrast: of several that were
    healed, the mean of their scores, the largest (max), or the one of this name alone. Where the study has a `region`
    (latent diffusion), the score is multiplied with it, smoothed inside the brain. What lies outside the brain has no
    influence. Raises UadError when images are missing or lie on different grids, or an option is unknown.
    """
    study = study_of(study)
    metric = metric or default_metric(study.images)
    for name, value, choice in (("metric", metric, Metric), ("signed", signed, Signed)):
        if value not in get_args(choice):
            raise UadError(f"--{name} {value}: there are {', '.join(get_args(choice))}")
    channels = _channels(study, contrast)
    for channel in channels:
        _check(study.seen_in(channel), metric, signed)
    brain, made = study.brain(), study.images.get("healed", study.need(NEEDED.get(metric, "healed")))
    of_channels = [_signed(study.seen_in(channel), metric, signed, brain) for channel in channels]
    values = np.max(of_channels, axis=0) if contrast == "max" else np.mean(of_channels, axis=0)
    if "region" in study.images:
        values = values * _smoothed(study.need("region").data, brain, SOFT)
    said = {"contrast": contrast} if contrast != "mean" or len(channels) > 1 else {}
    provenance = record(made, "uad-score", {"metric": metric, "signed": signed, **said})
    return study.adding(scored(replace(made, provenance=provenance), values, brain))


def _channels(study: Study, contrast: str) -> list[str]:
    """Return the channels that are scored, "" for the first one. Raises UadError for a contrast that was not healed."""
    channels = [channel for role, channel in map(parted, study.images) if role == "healed"] or [""]
    if contrast in ("mean", "max"):
        return channels
    names = last_by(study.product, "uad-heal").get("contrasts") or channels
    if contrast not in names:
        others = ", ".join(name for name in names if name) or "one contrast"
        raise UadError(f"{study.name}: --contrast {contrast}: what was healed is of {others} (or mean, or max)")
    return ["" if contrast == names[0] else contrast]


def _signed(study: Study, metric: Metric, signed: Signed, brain: Mask) -> NDArray[Any]:
    """Score one channel, which is the study's first here."""
    residual = _inside(study.need("scan"), brain) - _inside(study.images.get("healed", study.need("scan")), brain)
    values = _values(study, metric, residual, brain)
    if signed == "both":
        return values
    kept = np.where(residual < 0 if signed == "dark" else residual > 0, values, 0)
    return kept * _above(study.need("scan").data, brain) if signed == "hyperintense" else kept


def _above(scan: Floats, brain: Mask) -> Floats:
    """Return how far voxels are above the median of the brain, 0 for those below."""
    middle = np.float32(np.median(scan[brain]) if brain.any() else 0)
    return np.asarray(np.maximum(scan - middle, 0), dtype=np.float32)


def scored(template: Image, values: NDArray[Any], brain: Mask) -> Image:
    """Make a score map of values, on the template's grid: float32, at least LEAST inside the brain and 0 outside."""
    return template.derive(np.where(brain, np.maximum(values, LEAST), 0).astype(np.float32), "score")


def unlikeness(scan: Floats, healed: Floats) -> Floats:
    """Measure how unlike the structures around each voxel are: 1 - SSIM, averaged over windows of several WIDTHS.

    scan, healed: (X, Y, Z) in [0, 1]. The windows lie in the axial slices, as these are healed one by one, and one that
    spanned several would see their noise. In the mean, each window weighs exp(-SSIM), so that the one that finds the
    structures most unlike weighs most. From 0 for equal structures to 1 for unrelated and 2 for opposite ones.
    Source: Behrendt et al. 2024, "Diffusion models with ensembled structure-based anomaly scoring".
    """
    scores = np.zeros_like(scan)
    for z in filled((scan > 0) | (healed > 0)):
        likeness = np.stack([ssim_map(scan[:, :, z], healed[:, :, z], size=width) for width in WIDTHS])
        scores[:, :, z] = 1 - np.average(likeness, axis=0, weights=np.exp(-likeness))
    return scores


def slope(residual: Floats, brain: Mask) -> Floats:
    """Measure the steepness of the residual per voxel: |grad residual| in the axial slice, under a Gaussian of EDGE.

    residual, brain: (X, Y, Z). Neither the Gaussian nor the differences between neighbours look at what is not brain,
    so the brain's border is no edge. The gradient of the difference, not the difference of two gradients' lengths: that
    one misses an edge that turned round, and otherwise tells mostly how much healing smooths.
    """
    smooth = _smoothed(residual, brain, EDGE)
    return np.asarray(np.hypot(_slope(smooth, brain, 0), _slope(smooth, brain, 1)), dtype=np.float32)


def shift(scan: Floats, healed: Floats, brain: Mask) -> Floats:
    """Measure by how much of the brain each voxel changed its place: |F(scan) - F(healed)|, in [0, 1].

    F: the share of the brain's voxels that are no brighter in the scan, which is what histogram equalisation makes of
    an intensity; so it is the same for any rising curve of intensities that both went through, and one threshold serves
    scans of several scanners. Of `threshold`, bright, it is equalised FLAIR above its middle, as Meissen et al. 2022.
    """
    known = np.sort(scan[brain])
    one, other = (np.searchsorted(known, image, side="right") / max(known.size, 1) for image in (scan, healed))
    return np.abs(one - other).astype(np.float32)


def case_score(study: Study) -> float:
    """Return one number for the scan: the mean score inside the brain. NaN when there is no brain."""
    score = study.need("score")
    values = score.data[study.brain(score)]
    return float(values.mean(dtype=np.float64)) if values.size else float("nan")


def _check(study: Study, metric: Metric, signed: Signed) -> None:
    """Raise UadError unless the images that the metric and the sign need are there, on one grid."""
    alone = "healed" not in study.images and "anomaly" in study.images
    if alone and (metric != "anomaly" or signed != "both"):
        asked = f"--metric {metric}" if metric != "anomaly" else f"--signed {signed}"
        raise UadError(f"{study.name}: {asked} needs a healed scan, and its method heals nothing (leave it out)")
    if missing := {"scan", *([] if alone else ["healed"])} - study.images.keys():
        has = f"it has: {', '.join(study.images)}"
        raise UadError(
            f"{study.name}: no image of role '{min(missing)}' ({has}; name SCAN HEALED, or pipe uad-heal's stream)"
        )
    if (role := NEEDED.get(metric, "scan")) not in study.images:
        raise UadError(f"{study.name}: no image of role '{role}', which {metric} needs ({MADE_BY[role]})")
    others = (study.images[role] for role in ("healed", *maps_of(metric), "brain", "region") if role in study.images)
    study.check_grids(study.need("scan"), *others, advice="score a scan against what uad-heal made of it")


def maps_of(metric: Metric | None) -> tuple[str, ...]:
    """Return the roles of the maps that a metric looks at, where they are there; None: that the default may look at."""
    if metric is None:
        return tuple(role for role, about in ROLES.items() if about.scored)
    if metric == "relative":
        return NEEDED["product"], NEEDED["relative"]
    return (NEEDED[metric],) if metric in NEEDED else ()


def _values(study: Study, metric: Metric, residual: Floats, brain: Mask) -> NDArray[Any]:
    match metric:
        case "l1" | "l2":
            return np.abs(residual) if metric == "l1" else residual**2
        case "probability" | "anomaly" | "perceptual":
            return np.clip(_inside(study.need(metric), brain), 0, 1 if metric == "probability" else None)
        case "product" | "relative":
            sure = np.sqrt(_probability(study, brain)) if "probability" in study.images else np.float32(1)
            expected = np.where(brain, study.need("expected").data, 1) if metric == "relative" else np.float32(1)
            return np.abs(residual) * sure / expected
        case "ssim" | "equalised":
            scan, healed = (_inside(study.need(role), brain) for role in ("scan", "healed"))
            return unlikeness(scan, healed) if metric == "ssim" else shift(scan, healed, brain)
        case "gradient":
            return slope(residual, brain)
        case "mahalanobis":
            return np.abs(residual) / np.hypot(_inside(study.need("spread"), brain), LEAST_SPREAD)


def _probability(study: Study, brain: Mask) -> Floats:
    return np.clip(_inside(study.need("probability"), brain), 0, 1)


def _inside(image: Image, brain: Mask) -> Floats:
    """Return the image's values inside the brain, and 0 outside."""
    return np.where(brain, image.data, 0).astype(np.float32)


def _smoothed(values: NDArray[Any], brain: Mask, width: float) -> Floats:
    """Smooth with a Gaussian in the axial slice that looks at the brain alone, so that its border loses nothing."""
    weight, smooth = (
        ndimage.gaussian_filter(part.astype(np.float32), (width, width, 0))
        for part in (brain, np.where(brain, values, 0))
    )
    return np.asarray(smooth / np.where(brain, weight, 1), dtype=np.float32)


def _slope(values: Floats, brain: Mask, axis: int) -> NDArray[Any]:
    """Return the mean of each voxel's differences to those of its two neighbours along an axis that are brain, too."""
    along, within = np.moveaxis(values, axis, 0), np.moveaxis(brain, axis, 0)
    both = within[1:] & within[:-1]
    step = np.where(both, along[1:] - along[:-1], 0)
    total, count = np.zeros_like(along), np.zeros(along.shape, dtype=np.float32)
    for part in (slice(1, None), slice(None, -1)):
        total[part] += step
        count[part] += both
    return np.moveaxis(total / np.maximum(count, 1), 0, axis)
