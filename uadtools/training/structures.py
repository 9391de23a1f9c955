"""Structures: label maps of the training scans' anatomy, by which a contrast differs from region to region."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.corrupting.fields import Labels
from uadtools.errors import UadError
from uadtools.grids.grid import Grid, nearest
from uadtools.volume.io import stem
from uadtools.volume.labels import whole
from uadtools.volume.listing import files_of
from uadtools.volume.stream import base_name, read_image

SUFFIX = "_dseg"
"""What BIDS calls a discrete segmentation."""


def label_maps(sources: Sequence[str]) -> dict[str, Path]:
    """Find the label maps of studies, NAME_dseg of NAME, in files, folders and lists of them. Raises UadError."""
    files = [Path(file) for source in sources for file in files_of(source)]
    maps = {stem(path).removesuffix(SUFFIX): path for path in files if stem(path).endswith(SUFFIX)}
    if sources and not maps:
        raise UadError(f"{', '.join(sources)}: no label map (NAME{SUFFIX}.nii.gz, of the scan NAME)")
    return maps


def structures_of(scan: Path, maps: dict[str, Path], grid: Grid) -> Labels:
    """Return the structures of a scan at the voxels of its grid, (X, Y, Z), numbered from 1, 0 where there is none.

    The map may lie on any grid in the scan's space. Left and right parts get one number. Raises UadError where there is
    no map, or none of its labels lies in the scan.
    """
    name = base_name(scan)
    if name not in maps:
        raise UadError(f"{scan}: no label map {name}{SUFFIX} among those of corruption.labels")
    image = read_image(maps[name])
    numbered = whole(image.data)
    if numbered is None:
        raise UadError(f"{maps[name]}: not whole numbers of a few values, so it is no label map (is it the scan?)")
    labels = nearest(numbered, image.grid, grid)
    if not labels.any():
        raise UadError(f"{maps[name]}: no label lies where {scan} does (are both in one space?)")
    numbers = np.unique(np.append(0, labels), return_inverse=True)[1][1:].reshape(labels.shape)
    return (paired(numbers) % 256).astype(np.uint8)


def paired(labels: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    """Give labels that lie on one another when the first axis is mirrored, as left and right do, one number."""
    count = int(labels.max()) + 1
    overlap = np.bincount((labels * count + labels[::-1]).ravel(), minlength=count**2).reshape(count, count)
    overlap[:, 0] = 0
    numbers, opposite = np.arange(count), overlap.argmax(axis=1)
    pairs = opposite[opposite] == numbers
    return np.asarray(np.where(pairs, np.minimum(numbers, opposite), numbers)[labels])
