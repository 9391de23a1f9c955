"""How far healthy scans are from their healed selves, at each place of a grid: what a residual is measured by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadtools.anatomy.contrast import bundled
from uadtools.errors import UadError
from uadtools.models.checkpoint import REFERENCE, amend, read_config
from uadtools.models.defaults import ReferenceConfig
from uadtools.volume.listing import files_of
from uadtools.volume.stream import Study, read_path

if TYPE_CHECKING:
    from uadtools.models.config import ModelConfig
    from uadtools.models.model import Model

Floats = NDArray[np.float32]
SMOOTH = 1.5
"""Deviation in voxels of the Gaussian over which places share their residuals: tens of scans say little of one."""
LEAST_SCANS = 8
PRIOR = 0.5
"""Scans with the residuals of all places together, by which a place that few brains cover is filled up."""


def learn_reference(studies: Iterable[Study]) -> tuple[Floats, ReferenceConfig]:
    """Return what is to be expected of a healthy residual, on every second voxel, and what it was learnt from.

    studies: healthy scans and their healed selves, on one grid. Expected is the root of the mean square of the
    residuals at a place, of all contrasts, smoothed, plus the median of that over the brain, so that no place is taken
    for free of errors. Raises UadError for fewer than LEAST_SCANS scans, for other grids, and where nothing was healed.
    """
    squares, brains, count = np.zeros(()), np.zeros(()), 0
    for study in studies:
        scan = study.need("scan").data
        if count and scan.shape != squares.shape:
            raise UadError(f"{study.name}: lies on another grid than the scans before it")
        brain = scan > 0
        pairs = zip(study.in_channels("scan"), study.in_channels("healed"), strict=True)
        of_channels = [np.where(brain, image.data - healed.data, 0).astype(np.float64) ** 2 for image, healed in pairs]
        squares, brains, count = squares + np.mean(of_channels, axis=0), brains + brain, count + 1
    if count < LEAST_SCANS:
        raise UadError(f"{count} healthy scans: a reference needs at least {LEAST_SCANS}")
    whole = squares.sum() / brains.sum()
    if not whole > 0:
        raise UadError("the healed scans are the scans themselves, so nothing can be measured by them")
    shared, covered = (ndimage.gaussian_filter(part, SMOOTH, mode="constant") for part in (squares, brains))
    rms = np.sqrt((shared + PRIOR * whole) / (covered + PRIOR))
    expected = rms + np.median(rms[brains > count / 2])
    return expected[::2, ::2, ::2].astype(np.float32), ReferenceConfig(scans=count, smooth=SMOOTH)


def healed_of(
    sources: Sequence[str], model: Model, *, watch: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[Study]:
    """Heal healthy scans in the model's default way: files, folders and lists of scans that were prepared for it.

    Raises UadError for a model of single slices, whose scans have no places in common.
    """
    from uadtools.healing.heal import heal

    if model.config.grid.flat:
        raise UadError(f"{model.config.name}: a model of single slices knows no places, so it has no reference")
    files = [file for source in sources for file in files_of(source)]
    for number, file in enumerate(files, start=1):
        yield heal(next(read_path(Path(file))), model)
        watch(number, len(files))


def keep_reference(
    model: Path, expected: Floats, about: ReferenceConfig, out: Path, *, contrast: str = "", force: bool = False
) -> Path:
    """Write a model file with a reference in place of the one it has: for all scans, or for those of a contrast.

    Raises UadError, beside what `amend` does, where `check_contrast` does.
    """
    import torch

    config = read_config(model)
    earlier = check_contrast(config, contrast, model)
    if earlier and contrast:
        about = earlier.model_copy(update={"contrasts": earlier.contrasts | {contrast: about.scans}})
    elif earlier:
        about = about.model_copy(update={"contrasts": earlier.contrasts})
    name = f"{REFERENCE}.{contrast}" if contrast else REFERENCE
    tensors = {name: torch.from_numpy(expected).half()}
    return amend(model, out, config.model_copy(update={"reference": about}), tensors, force=force)


def check_contrast(config: ModelConfig, contrast: str, path: Path) -> ReferenceConfig | None:
    """Return the reference a model has. Raises UadError for a contrast that is not recognised, or comes too early."""
    if contrast and contrast not in bundled()["means"]:
        raise UadError(f"--contrast {contrast}: scans are recognised as {', '.join(bundled()['means'])}")
    if contrast and config.reference is None:
        raise UadError(f"{path}: has no reference for all scans yet (learn that one first, without --contrast)")
    return config.reference
