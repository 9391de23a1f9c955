"""What is made of healthy slices where a recipe corrupts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from uadtools.corrupting.config import CorruptionConfig
from uadtools.corrupting.corruption import Item, draw_item, make_item
from uadtools.corrupting.domains import Numbers
from uadtools.corrupting.fields import Floats
from uadtools.errors import UadError
from uadtools.grids.grid import oriented
from uadtools.interface.learning import Corrupted, Seeds
from uadtools.training.data import Slices
from uadtools.volume.listing import files_of
from uadtools.volume.stream import read_mask

SMALLEST = 6
"""Pixels of a mask's slice, on the model's grid, from which on it is a shape to learn from."""
APART = 3
"""Slices from one shape of a mask to the next."""


@dataclass(frozen=True)
class DrawnItems:
    """What was drawn for the items of a batch, from which each can be made again."""

    items: tuple[Numbers, ...]
    places: tuple[int, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Say what was drawn for each item, ready for JSON; slice: its place in the training data."""
        return [{"slice": place, **item} for place, item in zip(self.places, self.items, strict=True)]


@dataclass(frozen=True)
class Corruptor:
    """What corrupts slices. reach, channels: of the slabs, how many contrasts they have; masks: shapes of anomalies."""

    config: CorruptionConfig
    reach: int
    masks: Sequence[Floats] = ()
    channels: int = 1

    def __call__(
        self, slices: Slices, chosen: NDArray[Any], seeds: Seeds, *, step: int, device: torch.device
    ) -> tuple[Corrupted, DrawnItems]:
        """Corrupt slices, each by its seed. chosen: (B,) their places; step: of training, by which anomalies fade."""
        streams = (np.random.default_rng((2, int(seed))) for seed in seeds)
        drawn = [draw_item(self.config, stream, step, self.channels) for stream in streams]
        places = tuple(int(place) for place in chosen)
        items = [self.remade(slices, place, numbers) for place, numbers in zip(places, drawn, strict=True)]
        return _stacked(items, device), DrawnItems(tuple(drawn), places)

    def remade(self, slices: Slices, place: int, drawn: Numbers) -> Item:
        """Make an item from what was drawn for it, as drawn.jsonl has it."""

        def foreign(number: float) -> Floats:
            return _slab(slices, int(number * len(slices)), self.reach)

        structures = slices.structures
        if structures is not None:
            structures = structures[slices.neighbours(np.array([place]), self.reach)[0]]
        return make_item(_slab(slices, place, self.reach), drawn, foreign, self.masks, structures)


def _slab(slices: Slices, place: int, reach: int) -> Floats:
    return np.asarray(slices.windows(np.array([place]), reach)[0].numpy())


def _stacked(items: Sequence[Item], device: torch.device) -> Corrupted:
    def tensor(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(item, name) for item in items])).to(device)

    return Corrupted(
        2 * tensor("seen") - 1,
        2 * tensor("healthy").view(len(items), -1, *items[0].brain.shape) - 1,
        tensor("changed")[:, None],
        tensor("brain")[:, None],
        torch.tensor([item.ceiling for item in items], device=device),
    )


def load_masks(sources: Sequence[str], spacing: Sequence[float], reach: int) -> list[Floats]:
    """Read lesion masks as shapes to draw with: (2 reach + 1, h, w) in [0, 1], a few of each mask.

    sources: masks, and folders and lists of them; spacing: of the model's voxels in mm. Raises UadError when no mask
    has a slice of SMALLEST pixels.
    """
    shapes = [shape for source in sources for file in files_of(source) for shape in _shapes(file, spacing, reach)]
    if sources and not shapes:
        raise UadError(f"{', '.join(sources)}: no lesion of {SMALLEST} pixels on the model's grid (other masks)")
    return shapes


def _shapes(file: str, spacing: Sequence[float], reach: int) -> list[Floats]:
    image = read_mask(Path(file), role="truth")
    data, grid = oriented(image.data, image.grid, "RAS")
    box = ndimage.find_objects((data > 0.5).astype(int))
    if not box:
        return []
    zoom = np.array(grid.spacing) / spacing
    mask = np.pad((data[box[0]] > 0.5).astype(np.float32), 2)
    coarse = ndimage.zoom(ndimage.gaussian_filter(mask, 0.35 / zoom), zoom, order=1)
    padded = np.pad(coarse, ((0, 0), (0, 0), (reach, reach))).transpose(2, 1, 0)
    depth = len(padded) - 2 * reach
    slabs = (padded[z : z + 2 * reach + 1] for z in range(reach % APART, depth, APART))
    return [shape.astype(np.float32) for shape in slabs if (shape[reach] > 0.5).sum() >= SMALLEST]
