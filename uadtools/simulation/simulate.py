"""uad-simulate: healthy scans with lesions of known truth, or as another scanner would show them, without lesions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadtools.anatomy.brain import is_stripped
from uadtools.anatomy.intensity import inside
from uadtools.errors import UadError
from uadtools.grids.grid import CORNERS
from uadtools.grids.slices import to_volume
from uadtools.noise.coarse import coarse_fields
from uadtools.simulation import acquisition, history, lesions, sprites
from uadtools.simulation.acquisition import ACQUISITIONS
from uadtools.simulation.artefacts import ARTEFACTS
from uadtools.simulation.glioma import with_glioma
from uadtools.simulation.plan import MASKED, TONED, Simulation, SimulationKind, require_masks
from uadtools.simulation.source import generator
from uadtools.volume.background import background
from uadtools.volume.chain import label_of, voxel_ml
from uadtools.volume.io import Image
from uadtools.volume.labels import looks_unlike
from uadtools.volume.listing import files_of
from uadtools.volume.stream import Study, concerns_of, noting, read_mask, record, study_of

EMPTY = 0.1
"""Least share of a prepared scan that is exactly 0: what is outside the brain."""
STD = 0.2
"""Deviation of coarse noise at strength 1."""


def simulate(
    study: Study,
    plan: Simulation | SimulationKind,
    *,
    seed: int = 0,
    copy: int = 0,
    tell: Callable[[str], None] = lambda text: None,
    **options: Any,
) -> Study:
    """Draw into a study's scan; gives the changed `scan` and its `truth`, uint8, 1 where there is a lesion.

    plan: or a kind; options: its other fields. What was drawn before stays: its truth is part of the new. What is 0
    outside the brain stays 0, and what is inside above 0, but where a scan is cropped, and truth and brain with it. All
    but lesions have an empty truth: what is found in them is a false alarm. copy: which of several draws. What is drawn
    hangs on seed, copy, the study's name and the plan alone, and is told in the provenance. tell: gets a line when
    there is no room for a sprite in some images. Raises UadError for a scan that the plan is not for, and for several
    contrasts.
    """
    plan = replace(plan, **options) if isinstance(plan, Simulation) else Simulation(plan, **options)
    study = study_of(study)
    require_masks(plan.kind, plan.masks)
    if others := ", ".join(study.channels[1:]):
        raise UadError(f"{study.name}: has {others}, too, and one contrast is changed (give each by itself)")
    scan, before = study.need("scan"), study.images.get("truth")
    if before is None and history.drawn_lesions(scan):
        raise UadError(
            f"{study.name}: holds drawn lesions, but not their truth (pipe both, or begin with the healthy scan)"
        )
    if before is not None and plan.kind == "glioma" and before.data.any():
        raise UadError(f"{study.name}: holds drawn lesions, which a glioma would push away (draw the glioma first)")
    rng = generator(seed, study.name, plan.key, copy)
    try:
        _check(scan, plan)
        data, truth, drawn = _DRAW.get(plan.kind, _artefact)(scan, plan, rng)
    except UadError as error:
        raise UadError(f"{study.name}: {error}") from None
    if missing := drawn.get("sprites", []).count(None):
        tell(f"{study.name}: {missing} of {len(drawn['sprites'])} images show too little of a head, and get no sprite")
    if before is not None:
        truth = (truth > 0) | label_of(before, scan, f"{study.name}: truth")
    if plan.kind == "crop":  # neither lesion nor brain is where nothing is shown
        truth = (truth > 0) & (data > 0)
        if brain := study.images.get("brain"):
            study = study.adding(brain.derive(np.where(data > 0, brain.data, 0), "brain"))
    doubts = looks_unlike(scan, "scan", study.name)
    for doubt in doubts:
        tell(str(doubt.about(study.name)))
    provenance = record(scan, "uad-simulate", plan.arguments, seed=seed, copy=copy, drawn=drawn)
    masks = [mask for name, mask in plan.masks.items() if name == drawn.get("mask")]
    provenance |= noting(scan, [*doubts, *concerns_of(*masks)])
    image = replace(scan, provenance=provenance).derive(data.astype(np.float32), "scan")
    return study.adding(image, image.derive(truth.astype(np.uint8), "truth"))


def read_masks(sources: Sequence[str], tell: Callable[[str], None] = lambda text: None) -> dict[str, Image]:
    """Read lesion masks by file name: files, and those in folders; tell: gets a line where one is no plain mask.

    Raises UadError for one without any lesion.
    """
    masks = {}
    for path in (Path(file) for source in sources for file in files_of(source)):
        mask = read_mask(path, role="truth", tell=tell)
        if not mask.data.any():
            raise UadError(f"{path}: an empty mask (leave it out)")
        masks[str(path) if path.name in masks else path.name] = mask
    return masks


def measured(study: Study) -> dict[str, Any]:
    """Tell what was drawn into a study: its lesions' voxels and volume, and what chance chose."""
    truth = study.need("truth")
    line = truth.provenance["history"][-1]
    count = int(truth.data.sum())
    volume = count * voxel_ml(truth)
    return {"kind": line["arguments"]["kind"], "lesion_voxels": count, "lesion_ml": volume, "drawn": line["drawn"]}


Drawing = tuple[NDArray[Any], NDArray[Any], dict[str, Any]]
"""The changed scan, the truth, and what was drawn, as JSON."""


def _check(scan: Image, plan: Simulation) -> None:
    low, high = float(scan.data.min()), float(scan.data.max())
    if high <= 0:
        raise UadError("no voxel above background (is this the right file?)")
    if plan.kind in (*ARTEFACTS, *ACQUISITIONS):
        if low < 0:
            raise UadError(f"values from {low:g}, but {plan.kind} is an artefact of MRI, whose values begin at 0")
        if min(scan.data.shape) < 2:
            raise UadError(f"a single slice, but {plan.kind} is an artefact of volumes")
        return
    if low < 0 or high > 1:
        raise UadError(f"values {low:g} to {high:g}, and not 0 to 1 (uad-preprocess SCAN -o - | uad-simulate)")
    if plan.kind in (*TONED, *MASKED) and (scan.data == 0).mean() < EMPTY:
        raise UadError("hardly anything of it is 0, so where is the brain? (uad-preprocess SCAN -o - | uad-simulate)")


def _blobs(scan: Image, plan: Simulation, rng: np.random.Generator) -> Drawing:
    lesioned = lesions.with_blobs(scan, plan.tone, rng, size=plan.diameters, count=plan.count)
    return lesioned.image, lesioned.truth, {"diameters": lesioned.diameters, "levels": lesioned.levels}


def _masks(scan: Image, plan: Simulation, rng: np.random.Generator) -> Drawing:
    masks = list(plan.masks.values())
    if plan.kind == "cavities":
        lesioned = lesions.with_cavities(scan, masks, rng, box=plan.box)
    else:
        lesioned = lesions.with_masks(scan, masks, plan.tone, rng, box=plan.box)
    sizes = np.sort(np.bincount(ndimage.label(lesioned.truth, CORNERS)[0].ravel())[1:])[::-1]
    diameters = np.cbrt(6 / np.pi * sizes * math.prod(scan.grid.spacing)).tolist()
    mask = list(plan.masks)[lesioned.origin or 0]
    return lesioned.image, lesioned.truth, {"mask": mask, "diameters": diameters, "levels": lesioned.levels}


def _glioma(scan: Image, plan: Simulation, rng: np.random.Generator) -> Drawing:
    lesioned, drawn = with_glioma(scan, plan.tone, rng, size=plan.diameters)
    return lesioned.image, lesioned.truth, {"diameters": lesioned.diameters, "levels": lesioned.levels, **drawn}


def _sprites(scan: Image, plan: Simulation, rng: np.random.Generator) -> Drawing:
    """Draw one into every image of the stack, along the third axis."""
    data, truth = scan.data.astype(np.float32), np.zeros(scan.data.shape, dtype=bool)
    drawn: list[dict[str, Any] | None] = []
    for z, image_rng in enumerate(rng.spawn(data.shape[2])):
        sprite = sprites.with_sprite(data[:, :, z], image_rng, plan.diameters)
        drawn.append(asdict(sprite[2]) if sprite else None)
        if sprite:
            data[:, :, z], truth[:, :, z], _ = sprite
    if not truth.any():
        raise UadError(f"no image shows enough of a head for a sprite of {plan.diameters[0]:g} pixels")
    return data, truth, {"sprites": drawn}


def _coarse(scan: Image, plan: Simulation, rng: np.random.Generator) -> Drawing:
    """Add noise to every axial slice, as the denoising autoencoder is trained with."""
    x, y, z = scan.data.shape
    std = STD * plan.strength
    seeds = np.array([rng.integers(2**63 - 1) for _ in range(z)], dtype=np.int64)
    noise = to_volume(coarse_fields((y, x), seeds, std=std)[:, None])
    return inside(scan.data + noise, scan.data > 0), np.zeros((x, y, z)), {"std": std}


def _artefact(scan: Image, plan: Simulation, rng: np.random.Generator) -> Drawing:
    """Spoil the scan; a scan without skull keeps its brain, as that is cut out of the spoilt one, too."""
    data = scan.data.astype(np.float32)
    if plan.kind == "shift":
        changed, drawn = acquisition.shift(data, scan.grid.spacing, rng, plan.degree, plan.interpolation)
    elif plan.kind in ACQUISITIONS:
        changed, drawn = ACQUISITIONS[plan.kind](data, scan.grid.spacing, rng, plan.degree)
    else:
        changed, drawn = ARTEFACTS[plan.kind](data, scan.grid.spacing, rng, plan.strength)
    if plan.kind == "crop":
        return changed, np.zeros(data.shape), drawn
    if data.max() <= 1:
        changed = inside(changed, data > 0)
    elif is_stripped(data, scan.grid):
        changed = np.where(background(data), data, changed)
    return changed, np.zeros(data.shape), drawn


def _contrast(scan: Image, plan: Simulation, rng: np.random.Generator) -> Drawing:
    """Raise what is inside the brain to a power. Source: Behrendt et al. 2023 (cDDPM), 4.5.2."""
    changed = inside(scan.data.astype(np.float32) ** plan.degree, scan.data > 0)
    return changed, np.zeros(scan.data.shape), {"level": plan.degree}


_DRAW: dict[SimulationKind, Callable[[Image, Simulation, np.random.Generator], Drawing]] = {
    "blobs": _blobs, "masks": _masks, "cavities": _masks, "sprites": _sprites, "coarse": _coarse,
    "contrast": _contrast, "glioma": _glioma,
}  # fmt: skip
"""The other kinds are artefacts."""
