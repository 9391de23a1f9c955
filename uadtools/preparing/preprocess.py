"""uad-preprocess: bring a raw scan onto a model's grid and intensities."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import UadError
from uadtools.models.config import GridConfig, IntensityConfig
from uadtools.volume import brain as brains
from uadtools.volume.bias import n4
from uadtools.volume.chain import Chain, continued, link
from uadtools.volume.contrast import Contrast, seen
from uadtools.volume.grid import Grid, cropped_grid, oriented, resample, spaced_grid
from uadtools.volume.intensity import FLOOR, ct_window, inside, matched, percentile, zscore
from uadtools.volume.io import Image
from uadtools.volume.roles import ROLES
from uadtools.volume.stream import Study, record

Tell = Callable[[str], None]
Mask = NDArray[np.bool_]
T = TypeVar("T")
Step = Literal["brain", "bias", "register"]
ORDER: tuple[Step, ...] = get_args(Step)
MATCH = 0.85
"""Dice of scan and template after registration, under which it has probably failed."""
MOST_VOXELS = 2**30
"""Of a scan on the model's voxels; more is a slip of the hand, and no machine's memory holds it."""


@dataclass(frozen=True)
class Way:
    """How scans are prepared.

    grid, intensity: what the model works on. brain: a mask on the scan's grid, "none" (everything that is not
    background is brain), "deepbet", "hd-bet", "synthstrip", or "auto" (none for a scan that is stripped already, else
    deepbet, which is for T1 scans of adults). bias_correct: N4. register: the template to bring the brain onto, or
    None; template_name: what it is called in the provenance. order: of the steps that are asked for. quantiles: the
    intensities inside the brain are given this distribution at the end (a model's `quantiles`); none: they are not.
    seed: of the registration. volume: which one of a 4-D image the scan was.
    """

    grid: GridConfig = field(default_factory=GridConfig)
    intensity: IntensityConfig = field(default_factory=IntensityConfig)
    brain: Image | str = "auto"
    bias_correct: bool = False
    register: Image | None = None
    template_name: str = "file"
    order: tuple[Step, ...] = ORDER
    quantiles: tuple[float, ...] = ()
    seed: int = 0
    volume: int | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """The order, in which the brain comes first where it is to lie on a template that is nothing but a brain."""
        if self.register and brains.is_stripped(self.register.data, self.register.grid):
            return ("brain", *(step for step in self.order if step != "brain"))
        return self.order

    @property
    def arguments(self) -> dict[str, Any]:
        """What goes into the provenance: everything that changes a voxel."""
        return {
            "grid": self.grid.model_dump(mode="json"),
            "intensity": self.intensity.model_dump(mode="json"),
            "brain": self.brain if isinstance(self.brain, str) else "file",
            "bias_correct": self.bias_correct,
            "register": self.template_name if self.register else None,
            "order": list(self.steps),
            "match_histogram": bool(self.quantiles),
            "seed": self.seed if self.register else None,
            "volume": self.volume,
        }


@dataclass(frozen=True)
class Prepared:
    """A study of scan and brain, and what a user should know about it.

    brain_ml: the brain's volume in the scan, before registration; concerns: one line each; seconds: by step; contrast:
    what was recognised, None where nothing can be (single slices, CT, less than 100 mL of brain).
    """

    study: Study
    brain_ml: float
    concerns: tuple[str, ...]
    seconds: dict[str, float]
    contrast: Contrast | None = None


@dataclass(frozen=True)
class _Work:
    """A scan on its own voxels, which registration moves to another world without touching them."""

    data: NDArray[Any]
    grid: Grid
    mask: Mask
    chain: Chain
    concerns: tuple[str, ...] = ()


def preprocess(
    scan: Image, way: Way | None = None, *, name: str = "scan", tell: Tell = lambda text: None, **changes: Any
) -> Study:
    """Turn a raw scan into a study of scan and brain mask, ready for a model of this grid and intensity window.

    changes: fields of the Way, such as brain="none". tell: gets one line about anything the user should know. The scan
    comes back in RAS, float32 in [0, 1], above 0 exactly inside the brain; its provenance keeps the chain of grids. It
    is resampled once, whatever is done to it. Raises UadError for a scan in which no brain can be seen, and for one
    that was prepared already.
    """
    made = prepare(scan, replace(way or Way(), **changes), name=name)
    for concern in made.concerns:
        tell(concern)
    return made.study


def prepare(scan: Image, way: Way, *, name: str = "scan") -> Prepared:
    """Do what `preprocess` does, and say how long each step took."""
    _check_raw(scan)
    if way.register and way.grid.flat:
        raise UadError("--register is for volumes, and this model takes single slices (leave it out)")
    seconds: dict[str, float] = {}
    work = _timed(seconds, "orient", partial(_oriented, scan, way))
    steps: dict[str, Callable[[_Work, Way], _Work]] = {"brain": _brained, "bias": _unbiased, "register": _registered}
    for step in way.steps:
        if step == "brain" or (step == "bias" and way.bias_correct) or (step == "register" and way.register):
            work = _timed(seconds, step, partial(steps[step], work, way))
    return _timed(seconds, "grid", partial(_finished, scan, work, way, name, seconds))


def _check_raw(scan: Image) -> None:
    tools = [line.get("tool") for line in scan.provenance.get("history", [])]
    if "uad-preprocess" in tools and len(continued(scan.provenance.get("chain"), scan.grid)) > 1:
        raise UadError(
            f"was prepared by uad-preprocess already, {scan.grid} (give the scan it was made from; "
            "for the model it was made for, uad-heal takes it as it is)"
        )
    if scan.role in ROLES and scan.role != "scan":
        raise UadError(f"is a {scan.role}, not a scan (give the scan it was made from)")
    if (scan.data == scan.data.flat[0]).all():
        raise UadError(f"all voxels have one value, {scan.data.flat[0]:g} (is this the right file?)")
    if not (scan.data > 0).any():
        raise UadError("no voxel above background, 0 (is this the right file?)")


def _oriented(scan: Image, way: Way) -> _Work:
    data, grid = oriented(scan.data, scan.grid, way.grid.orientation)
    mask = np.ones(data.shape, dtype=bool)
    if isinstance(way.brain, Image):
        if not way.brain.grid.same(scan.grid):
            where = f"{way.brain.grid.unlike(scan.grid)}"
            raise UadError(f"brain mask and scan lie on different grids: {where} (resample the mask first)")
        mask = oriented(way.brain.data, scan.grid, way.grid.orientation)[0] > 0.5
        if not mask.any():
            raise UadError("the brain mask is empty (pass a better one with --brain FILE)")
    chain = [*continued(scan.provenance.get("chain"), scan.grid), link("reorient", grid)]
    return _Work(data, grid, np.asarray(mask), chain)


def _brained(work: _Work, way: Way) -> _Work:
    given = isinstance(way.brain, Image)
    mask = work.mask if given else _find_brain(work.data, work.grid, way)
    if not mask.any():
        raise UadError("no brain was found in it (pass a mask with --brain FILE)")
    said = () if way.grid.flat or way.brain == "none" else brains.concerns(mask, work.grid)
    if not (given or way.grid.flat or way.brain == "none"):
        brains.require_brain(mask, work.grid, math.prod(way.grid.shape) * math.prod(way.grid.spacing) / 1000)
    return replace(work, mask=mask, concerns=(*work.concerns, *said))


def _find_brain(data: NDArray[Any], grid: Grid, way: Way) -> Mask:
    ct = way.intensity.kind == "ct"
    if way.brain == "none":
        return brains.from_air(data) if ct and data.min() < brains.AIR else brains.from_background(data)
    if way.brain == "auto" and (way.grid.flat or brains.is_stripped(data, grid)):
        return brains.from_background(data)
    if way.brain == "auto" and ct:
        raise UadError("this CT scan has its skull, and --brain auto is for T1 (--brain synthstrip, none, or FILE)")
    if way.brain in ("auto", "deepbet"):
        if 1 in data.shape:
            raise UadError("a brain is found in volumes, and this is a slice (--shape X,Y,1, --brain FILE, or none)")
        return brains.deepbet(data, grid)
    if way.brain in brains.PROGRAMS:
        return brains.by_program(str(way.brain), data, grid)
    raise UadError(f"no way to find a brain is called '{way.brain}' ({', '.join(WAYS_TO_A_BRAIN)}, or a file)")


WAYS_TO_A_BRAIN = ("auto", "none", "deepbet", *brains.PROGRAMS)


def _unbiased(work: _Work, way: Way) -> _Work:
    return replace(work, data=n4(work.data, work.mask, work.grid))


def _registered(work: _Work, way: Way) -> _Work:
    from uadtools.volume.register import affine, agreement

    assert way.register is not None
    moving = Image(np.where(work.mask, work.data, 0), work.grid)
    matrix = affine(moving, way.register, seed=way.seed)
    grid = Grid(work.grid.shape, matrix @ work.grid.affine)
    match = agreement(moving, way.register, matrix)
    said = (f"registration may have failed: scan and template overlap with Dice {match:.2f} (look at the result)",)
    return replace(
        work,
        grid=grid,
        chain=[*work.chain, link("register", grid, matrix)],
        concerns=(*work.concerns, *(said if match < MATCH else ())),
    )


def _finished(scan: Image, work: _Work, way: Way, name: str, seconds: dict[str, float]) -> Prepared:
    """Bring scan and brain onto the model's grid, and intensities to [0, 1]."""
    spaced, target = _target(work, way)
    mask = np.asarray(resample(work.mask.astype(np.float32), work.grid, target) > 0.5)
    cut = brains.cut_off(work.mask, work.grid, target)
    if not mask.any():
        size = "x".join(map(str, target.shape))
        raise UadError(f"the brain mask has nothing in its middle, where the grid of {size} lies (pass a better mask)")
    chain = [*work.chain, link("resample", spaced), link("crop_pad", target)]
    values = _normalised(resample(work.data, work.grid, target), mask, way)
    lost = _saturated(values[mask], way.intensity)
    unknown = way.grid.flat or way.intensity.kind == "ct"
    contrast = None if unknown else seen(values, mask, way.grid.spacing)
    concerns = (*work.concerns, *cut, *lost)
    told: dict[str, Any] = {"contrast": contrast.told} if contrast else {}
    told |= {"concerns": list(concerns)} if concerns else {}
    start = Image(values, target, "scan", {**scan.provenance, "study": name, "chain": chain, **told})
    made = replace(start, provenance=record(start, "uad-preprocess", way.arguments))
    study = Study(name, {"scan": made, "brain": made.derive(mask.astype(np.uint8), "brain")})
    volume = float(work.mask.sum()) * scan.grid.voxel_volume
    return Prepared(study, volume, concerns, seconds, contrast)


def _target(work: _Work, way: Way) -> tuple[Grid, Grid]:
    """Return the grid of the model's voxels over the whole scan (or template), and in its middle the model's own.

    The middle is that of the brain's box, so that it fits; on a template, where the scans of a cohort are to lie alike,
    that of the template's.
    """
    base, occupied = work.grid, work.mask
    if way.register:
        occupied, base = oriented(~brains.background(way.register.data), way.register.grid)
    x, y, z = way.grid.spacing
    spaced = spaced_grid(base, (x, y, base.spacing[2] if way.grid.flat else z))
    if (count := max(math.prod(spaced.shape), math.prod(way.grid.shape))) > MOST_VOXELS:
        raise UadError(f"the grid has {count:,} voxels (larger --spacing or less --shape)")
    small = np.argwhere(resample(occupied.astype(np.float32), base, spaced) > 0.5)
    if not len(small):
        size = " x ".join(f"{s:g}" for s in way.grid.spacing)
        raise UadError(f"the brain is smaller than a voxel of {size} mm (pass a better mask with --brain FILE)")
    middle = (small.min(axis=0) + small.max(axis=0)) / 2
    columns, rows, depth = way.grid.shape
    if way.grid.flat:
        middle[2], depth = (spaced.shape[2] - 1) / 2, spaced.shape[2]
    return spaced, cropped_grid(spaced, (columns, rows, depth), middle)


def _saturated(values: NDArray[Any], kind: IntensityConfig) -> list[str]:
    """Say whether a CT window shows little of what is in it, as of a scan that is no CT. values: inside the brain."""
    share = float(((values <= FLOOR) | (values >= 1)).mean())
    said = f"{share:.0%} of the brain lies outside the window of {kind} (is it a CT scan, in Hounsfield units?)"
    return [said] if kind.kind == "ct" and share > 0.5 else []


def _normalised(data: NDArray[Any], mask: Mask, way: Way) -> NDArray[np.float32]:
    kind = way.intensity
    if kind.kind == "percentile":
        values = percentile(data, mask, kind.low, kind.high)
    elif kind.kind == "zscore":
        values = zscore(data, mask)
    elif kind.kind == "ct":
        values = ct_window(data, mask, kind.center, kind.width)
    else:
        low, high = float(data[mask].min()), float(data[mask].max())
        if low < 0 or high > 1:
            raise UadError(f"intensities run from {low:g} to {high:g}, not 0 to 1 (--intensity percentile)")
        values = inside(data, mask)
    if np.ptp(values[mask]) == 0:
        raise UadError(f"all of the brain is {values[mask][0]:g} after --intensity {kind} (is it the right one?)")
    return matched(values, mask, way.quantiles) if way.quantiles else values


def _timed(seconds: dict[str, float], step: str, work: Callable[[], T]) -> T:
    """Do something, and note how long it took."""
    start = time.perf_counter()
    made = work()
    seconds[step] = time.perf_counter() - start
    return made
