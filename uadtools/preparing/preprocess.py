"""uad-preprocess: bring a raw scan onto a model's grid and intensities."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from uadtools.anatomy import brain as brains
from uadtools.anatomy.bias import n4
from uadtools.anatomy.contrast import Contrast, seen
from uadtools.concerns import Concern
from uadtools.errors import UadError
from uadtools.grids.grid import Grid, cropped_grid, oriented, resample, spaced_grid
from uadtools.preparing.channels import doubts, in_place
from uadtools.preparing.preparation import BRAIN_EXTRACTORS, Preparation
from uadtools.preparing.values import check_raw, grounded, normalised, saturated
from uadtools.volume.background import background
from uadtools.volume.chain import GridChain, continued, link
from uadtools.volume.io import Image
from uadtools.volume.roles import in_channel
from uadtools.volume.stream import Study, concerns_of, fingerprint, noting, record

Tell = Callable[[str], None]
Mask = NDArray[np.bool_]
T = TypeVar("T")
MATCH = 0.85
"""Dice of scan and template after registration, under which it has probably failed."""
MOST_VOXELS = 2**30
"""Of a scan on the model's voxels; more is a slip of the hand, and no machine's memory holds it."""


@dataclass(frozen=True)
class PreparedStudy:
    """A study of scan, in all its channels, and brain, and what a user should know about it.

    brain_ml: the brain's volume in the scan, before registration; concerns: of this step; seconds: by step; contrast:
    what was recognised, None where nothing can be (single slices, CT, less than 100 mL of brain).
    """

    study: Study
    brain_ml: float
    concerns: tuple[Concern, ...]
    seconds: dict[str, float]
    contrast: Contrast | None = None


@dataclass(frozen=True)
class _Work:
    """A scan on its own voxels, which registration moves to another world without touching them."""

    data: NDArray[Any]
    grid: Grid
    mask: Mask
    chain: GridChain
    concerns: tuple[Concern, ...] = ()


def preprocess(
    scan: Image,
    preparation: Preparation | None = None,
    *,
    name: str = "scan",
    tell: Tell = lambda text: None,
    **changes: Any,
) -> Study:
    """Turn a raw scan into a study of scan and brain mask, ready for a model of this grid and intensity window.

    changes: fields of the Preparation, such as brain="none", or channels={"FLAIR": image}, which become images
    `scan:FLAIR`. tell: gets one line about anything the user should know. The scan comes back in RAS, float32 in [0,
    1], above 0 exactly inside the brain; its provenance keeps the chain of grids. It is resampled once, whatever is
    done to it. Raises UadError for a scan in which no brain can be seen, and for one that was prepared already.
    """
    prepared = prepare(scan, replace(preparation or Preparation(), **changes), name=name)
    for concern in prepared.concerns:
        tell(str(concern))
    return prepared.study


def prepare(scan: Image, preparation: Preparation, *, name: str = "scan") -> PreparedStudy:
    """Do what `preprocess` does, and say how long each step took."""
    check_raw(scan, preparation)
    if preparation.register and preparation.grid.flat:
        raise UadError("--register is for volumes, and this model takes single slices (leave it out)")
    seconds: dict[str, float] = {}
    work = _timed(seconds, "orient", partial(_oriented, scan, preparation))
    steps: dict[str, Callable[[_Work, Preparation], _Work]] = {"brain": _brained}
    steps |= {"bias": _unbiased} if preparation.bias_correct else {}
    steps |= {"register": _registered} if preparation.register else {}
    for step in (step for step in preparation.steps if step in steps):
        work = _timed(seconds, step, partial(steps[step], work, preparation))
    return _timed(seconds, "grid", partial(_finished, scan, work, preparation, name, seconds))


def _oriented(scan: Image, preparation: Preparation) -> _Work:
    data, grid = oriented(grounded(scan.data, preparation), scan.grid, preparation.grid.orientation)
    mask, guesses = np.ones(data.shape, dtype=bool), list[Concern]()
    if isinstance(preparation.brain, Image):
        guesses = concerns_of(preparation.brain)
        if not preparation.brain.grid.same(scan.grid):
            where = preparation.brain.grid.unlike(scan.grid)
            raise UadError(f"brain mask and scan lie on different grids: {where} (resample the mask first)")
        mask = oriented(preparation.brain.data, scan.grid, preparation.grid.orientation)[0] > 0.5
        if not mask.any():
            raise UadError("the brain mask is empty (pass a better one with --brain FILE)")
    chain = [*continued(scan.provenance.get("chain"), scan.grid), link("reorient", grid)]
    return _Work(data, grid, np.asarray(mask), chain, tuple(guesses))


def _brained(work: _Work, preparation: Preparation) -> _Work:
    given = isinstance(preparation.brain, Image)
    mask = work.mask if given else _find_brain(work.data, work.grid, preparation)
    if not mask.any():
        raise UadError("no brain was found in it (pass a mask with --brain FILE)")
    if preparation.grid.flat:
        return replace(work, mask=mask)
    found = brains.concerns(mask, work.grid)
    if preparation.brain == "none":  # may be less than a brain, and of CT more; else its background was not understood
        large = mask.sum() * work.grid.voxel_volume > brains.LARGEST_BRAIN and preparation.intensity.kind != "ct"
        found = [concern for concern in found if large and concern.code == "brain-size"]
    elif not given:
        room = math.prod(preparation.grid.shape) * math.prod(preparation.grid.spacing) / 1000
        brains.require_brain(mask, work.grid, room)
    return replace(work, mask=mask, concerns=(*work.concerns, *found))


def _find_brain(data: NDArray[Any], grid: Grid, preparation: Preparation) -> Mask:
    ct = preparation.intensity.kind == "ct"
    if preparation.brain == "none":
        return brains.from_air(data) if ct and data.min() < brains.AIR else brains.from_background(data)
    if preparation.brain == "auto" and (preparation.grid.flat or brains.is_stripped(data, grid)):
        return brains.from_background(data)
    if preparation.brain == "auto" and ct:
        raise UadError("this CT scan has its skull, and --brain auto is for T1 (--brain synthstrip, none, or FILE)")
    if preparation.brain in ("auto", "deepbet"):
        if 1 in data.shape:
            raise UadError("a brain is found in volumes, and this is a slice (--shape X,Y,1, --brain FILE, or none)")
        return brains.deepbet(data, grid)
    if preparation.brain in brains.PROGRAMS:
        return brains.by_program(str(preparation.brain), data, grid)
    raise UadError(f"no way to find a brain is called '{preparation.brain}' ({', '.join(BRAIN_EXTRACTORS)}, or a file)")


def _unbiased(work: _Work, preparation: Preparation) -> _Work:
    return replace(work, data=n4(work.data, work.mask, work.grid))


def _registered(work: _Work, preparation: Preparation) -> _Work:
    from uadtools.anatomy.register import affine, agreement

    assert preparation.register is not None
    moving = Image(np.where(work.mask, work.data, 0), work.grid)
    matrix = affine(moving, preparation.register, seed=preparation.seed)
    grid = Grid(work.grid.shape, matrix @ work.grid.affine)
    dice = agreement(moving, preparation.register, matrix)
    text = f"registration may have failed: scan and template overlap with Dice {dice:.2f} (look at the result)"
    concerns = (*work.concerns, *([Concern("registration", text, round(dice, 3))] if dice < MATCH else ()))
    return replace(work, grid=grid, chain=[*work.chain, link("register", grid, matrix)], concerns=concerns)


def _finished(
    scan: Image, work: _Work, preparation: Preparation, name: str, seconds: dict[str, float]
) -> PreparedStudy:
    """Bring scan and brain onto the model's grid, and intensities to [0, 1]."""
    spaced, target = _target(work, preparation)
    mask = np.asarray(resample(work.mask.astype(np.float32), work.grid, target) > 0.5)
    cut = brains.cut_off(work.mask, work.grid, target)
    if not mask.any():
        size = "x".join(map(str, target.shape))
        raise UadError(f"the brain mask has nothing in its middle, where the grid of {size} lies (pass a better mask)")
    chain = [*work.chain, link("resample", spaced), link("crop_pad", target)]
    values = normalised(resample(work.data, work.grid, target), mask, preparation)
    lost = saturated(values[mask], preparation.intensity)
    unknown = preparation.grid.flat or preparation.intensity.kind == "ct"
    contrast = None if unknown else seen(values, mask, preparation.grid.spacing)
    others = in_place(scan, work.grid, target, mask, preparation)
    strange = [doubt.about(name) for name, other in preparation.channels.items() for doubt in concerns_of(other)]
    concerns = (*work.concerns, *cut, *lost, *strange, *doubts(values, others, preparation))
    notes: dict[str, Any] = {"contrast": contrast.to_json()} if contrast else {}
    notes |= noting(scan, concerns)
    image = Image(values, target, "scan", {**scan.provenance, "study": name, "chain": chain, **notes})
    source = fingerprint(scan, *preparation.channels.values())
    prepared = replace(image, provenance=record(image, "uad-preprocess", preparation.arguments, source=source))
    more = [prepared.derive(values, in_channel("scan", channel)) for channel, values in others.items()]
    images = [prepared, *more, prepared.derive(mask.astype(np.uint8), "brain")]
    study = Study(name, {image.role: image for image in images})
    volume = float(work.mask.sum()) * scan.grid.voxel_volume
    return PreparedStudy(study, volume, concerns, seconds, contrast)


def _target(work: _Work, preparation: Preparation) -> tuple[Grid, Grid]:
    """Return the grid of the model's voxels over the whole scan (or template), and in its middle the model's own.

    The middle is that of the brain's box, so that it fits; on a template, where the scans of a cohort are to lie alike,
    that of the template's.
    """
    base, occupied = work.grid, work.mask
    if preparation.register:
        occupied, base = oriented(~background(preparation.register.data), preparation.register.grid)
    x, y, z = preparation.grid.spacing
    spaced = spaced_grid(base, (x, y, base.spacing[2] if preparation.grid.flat else z))
    if (count := max(math.prod(spaced.shape), math.prod(preparation.grid.shape))) > MOST_VOXELS:
        raise UadError(f"the grid has {count:,} voxels (larger --spacing or less --shape)")
    small = np.argwhere(resample(occupied.astype(np.float32), base, spaced) > 0.5)
    if not len(small):
        size = " x ".join(f"{s:g}" for s in preparation.grid.spacing)
        raise UadError(f"the brain is smaller than a voxel of {size} mm (pass a better mask with --brain FILE)")
    middle = (small.min(axis=0) + small.max(axis=0)) / 2
    columns, rows, depth = preparation.grid.shape
    if preparation.grid.flat:
        middle[2], depth = (spaced.shape[2] - 1) / 2, spaced.shape[2]
    return spaced, cropped_grid(spaced, (columns, rows, depth), middle)


def _timed(seconds: dict[str, float], step: str, work: Callable[[], T]) -> T:
    """Do something, and note how long it took."""
    start = time.perf_counter()
    result = work()
    seconds[step] = time.perf_counter() - start
    return result
