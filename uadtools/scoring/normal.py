"""What healthy scores are like at each position of the grid, and scores in units of it."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadtools.errors import UadError
from uadtools.files import written
from uadtools.grids.grid import Grid
from uadtools.scoring.history import unlike, way_of
from uadtools.scoring.postproc import score_of
from uadtools.scoring.score import scored
from uadtools.volume.io import Image, check_target
from uadtools.volume.stream import Study, read_path, record, write_study

Per = Literal["voxel", "slice"]
Sums = NDArray[np.float64]
"""(3, X, Y, Z), axes may be 1: at each position the number of scores, their sum, and the sum of their squares."""
SMOOTH = 1.5
"""Deviation in voxels of the Gaussian over which positions share their scores: tens of scans say little of one voxel,
and brains that were only centred on the grid differ in where their parts lie."""
LEAST_SPREAD = 0.1
"""Least spread at a position, as a share of that over all positions, so that nothing is divided by nearly 0."""


def learn(studies: Iterable[Study], *, per: Per = "voxel", smooth: float = SMOOTH) -> Study:
    """Learn mean and standard deviation of healthy scores at each position; returns images `mean` and `spread`.

    studies: of healthy people, each with a `score`, on grids that differ at most in where they lie in the world. per: a
    position is a voxel, or an axial slice. smooth: deviation in voxels of the Gaussian over which neighbouring
    positions share their scores; 0: none do. A scan whose brain does not cover a voxel counts there as an average voxel
    of its slice does, and slices without brain are like the whole. Memory is that of one study.
    Raises UadError for fewer than two studies, and when their grids or their ways of scoring differ.
    """
    if per not in get_args(Per):
        raise UadError(f"normal per {per}: there are {', '.join(get_args(Per))}")
    first: Image | None = None
    sums, count = np.zeros(()), 0
    for study in studies:
        score = score_of(study)
        first = first or score
        _check(study, first.grid, way_of(first), "the healthy scans before it")
        values = score.data.astype(np.float64)
        sums = sums + np.stack([values > 0, values, values**2])
        count += 1
    if first is None or count < 2:
        raise UadError(f"{count} healthy scans: mean and spread need at least 2 (and are worth little under 10)")
    mean, spread = _moments(sums, count, per, smooth)
    about = {"normal": {"per": per, "smooth": smooth, "scans": count, "way": way_of(first)}}
    images = {"mean": mean, "spread": spread}
    return Study("normal", {role: Image(data, first.grid, role, about) for role, data in images.items()})


def normalise(study: Study, normal: Study) -> Study:
    """Put a study's score in units of healthy spread: (score - mean) / spread, at least LEAST inside the brain.

    Raises UadError when the normal was learnt on another grid, or on scores made in another way.
    """
    mean, spread = normal.need("mean"), normal.need("spread")
    about = mean.provenance["normal"]
    _check(study, mean.grid, about["way"], "the reference")
    score = study.need("score")
    arguments = {"normal": {key: about[key] for key in ("per", "smooth", "scans")}}
    template = replace(score, provenance=record(score, "uad-score", arguments))
    return study.adding(scored(template, (score.data - mean.data) / spread.data, score.data > 0))


def save_normal(normal: Study, path: Path, *, force: bool = False) -> None:
    """Write a normal as one file of two images (.nii or .nii.gz). Raises UadError."""
    check_target(path, force=force, provenance=False)
    buffer = BytesIO()
    write_study(normal, buffer)
    data = buffer.getvalue()
    with written(path, force=force) as part:
        part.write_bytes(gzip.compress(data, 4, mtime=0) if path.name.endswith(".gz") else data)


def read_normal(path: Path) -> Study:
    """Read a file that save_normal wrote. Raises UadError for any other."""
    study = next(read_path(path))
    about = study.product.provenance.get("normal")
    if set(study.images) != {"mean", "spread"} or not isinstance(about, dict) or {"per", "way"} - about.keys():
        raise UadError(f"{path}: not what healthy scores are like (uad-calibrate makes such files)")
    return study


def _check(study: Study, grid: Grid, way: dict[str, Any], what: str) -> None:
    """Raise UadError unless the study's score lies on such a grid and was made in this way."""
    score = score_of(study)
    here = score.grid
    close = np.allclose(here.spacing, grid.spacing, rtol=0, atol=0.01)
    if here.shape != grid.shape or here.orientation != grid.orientation or not close:
        raise UadError(f"{study.name}: score and {what} lie on different grids: {here} and {grid}")
    if difference := unlike(way_of(score), way):
        raise UadError(f"{study.name}: its score was not made as that of {what}: {difference} (make both alike)")


def _moments(sums: Sums, count: int, per: Per, smooth: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and spread at each position, (X, Y, Z)."""
    whole = sums.sum(axis=(1, 2, 3), keepdims=True)
    if not whole[0].any():
        raise UadError("the healthy scans have no voxel above background, so there is no brain to learn from")
    local = _filled(_shared(sums.sum(axis=(1, 2), keepdims=True), smooth), whole, 1)
    if per == "voxel":
        local = _filled(_shared(sums, smooth), local, count)
    least = LEAST_SPREAD * _spread(whole)
    if not least * whole[0] > 1e-7 * whole[1]:  # what is left then is rounding
        raise UadError("the healthy scores are all the same, so they have no spread (were the scans healed?)")
    shape = sums.shape[1:]
    mean = np.broadcast_to(local[1] / local[0], shape).astype(np.float32)
    return mean, np.broadcast_to(np.maximum(_spread(local), least), shape).astype(np.float32)


def _shared(sums: Sums, smooth: float) -> Sums:
    """Let neighbouring positions share their scores, by a Gaussian; beyond the grid there are none."""
    widths = [0, *(smooth if n > 1 else 0 for n in sums.shape[1:])]
    return np.asarray(ndimage.gaussian_filter(sums, widths, mode="constant"))


def _filled(sums: Sums, above: Sums, count: float) -> Sums:
    """Fill up to `count` scores at each position with average ones of the level above."""
    return np.asarray(sums + np.maximum(count - sums[0], 0) * above / above[0])


def _spread(sums: Sums) -> Sums:
    return np.asarray(np.sqrt(np.maximum(sums[2] / sums[0] - (sums[1] / sums[0]) ** 2, 0)))
