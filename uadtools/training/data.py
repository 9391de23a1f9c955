"""Slices to learn from: from folders, lists, scans and arrays into one array in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uadtools.concerns import Concern
from uadtools.corrupting.fields import Labels
from uadtools.errors import UadError
from uadtools.grids.slices import to_slices
from uadtools.models.config import GridConfig
from uadtools.training.lesions import Masks
from uadtools.training.sick import Sick
from uadtools.training.structures import label_maps, structures_of
from uadtools.volume.flat import is_flat, read_flat
from uadtools.volume.io import Image
from uadtools.volume.labels import IGNORED, LESION, looks_unlike
from uadtools.volume.labels import Labels as MaskLabels
from uadtools.volume.listing import files_of
from uadtools.volume.roles import require_role
from uadtools.volume.stream import concerns_of, read_path

Halves = NDArray[np.float16]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Slices:
    """Slices, healthy ones but where they have labels.

    pixels: (N, H, W) in [0, 1]; scans: (N,) the number of the scan each is from, not falling; structures: (N, H, W),
    numbers of what is there, where label maps were given; concerns: what their history says against them; labels: (N,
    H, W) LESION, IGNORED and 0, where masks of lesions were given; kinds: (N,) whether each is healthy, 0, or sick,
    LESION, where scans are the one or the other; others: (N, C - 1, H, W), the same places in other contrasts.

    For networks that see whole volumes pixels are (N, D, H, W): what is said of a slice is meant of a volume.
    """

    pixels: Halves
    scans: NDArray[np.intp]
    structures: Labels | None = None
    concerns: tuple[Concern, ...] = ()
    labels: MaskLabels | None = None
    kinds: MaskLabels | None = None
    others: Halves | None = None
    _held: dict[torch.device, Tensor] = field(default_factory=dict, compare=False)

    def __len__(self) -> int:
        return len(self.pixels)

    def windows(self, chosen: NDArray[Any], reach: int, device: torch.device = CPU) -> Tensor:
        """Return slices with `reach` neighbours on either side, (B, 2 reach + 1, H, W) float32; volumes (B, D, H, W).

        chosen: (B,) their places. Where a scan ends, its last slice is repeated. Those of other contrasts follow, as
        many of each: (B, C (2 reach + 1), H, W). A GPU that has room for all slices holds them.
        """
        places = chosen if self.solid else self.neighbours(chosen, reach)
        pixels = self._on(device)
        x = pixels[torch.from_numpy(places).to(pixels.device)].to(device).float()
        if self.others is None:
            return x
        others = torch.from_numpy(self.others[places]).to(device).float()  # (B, 2 reach + 1, C - 1, H, W)
        return torch.cat([x[:, None], others.transpose(1, 2)], dim=1).flatten(1, 2)

    def labels_at(self, chosen: NDArray[Any], device: torch.device = CPU) -> Tensor | None:
        """Return the labels of slices, (B, 1, H, W) uint8, or of volumes, (B, 1, D, H, W)."""
        return None if self.labels is None else torch.from_numpy(self.labels[chosen]).to(device)[:, None]

    def sick_at(self, chosen: NDArray[Any], device: torch.device = CPU) -> Tensor | None:
        """Return whether slices are sick, (B,)."""
        return None if self.kinds is None else torch.from_numpy(self.kinds[chosen] == LESION).to(device)

    @cached_property
    def healthy(self) -> NDArray[np.intp]:
        """The places of the slices that are healthy, where they are the one or the other."""
        return np.flatnonzero(self.kinds == 0) if self.kinds is not None else np.empty(0, int)

    @cached_property
    def sick(self) -> NDArray[np.intp]:
        """The places of the slices that are sick, or hold a lesion."""
        if self.kinds is not None:
            return np.flatnonzero(self.kinds == LESION)
        axes = tuple(range(1, self.pixels.ndim))
        return np.flatnonzero((self.labels == LESION).any(axis=axes)) if self.labels is not None else np.empty(0, int)

    def neighbours(self, chosen: NDArray[Any], reach: int) -> NDArray[np.intp]:
        """Return the places of slices and their neighbours, (B, 2 reach + 1)."""
        first, last = (np.searchsorted(self.scans, self.scans[chosen], side) for side in ("left", "right"))
        return np.clip(chosen[:, None] + np.arange(-reach, reach + 1), first[:, None], last[:, None] - 1)

    def _on(self, device: torch.device) -> Tensor:
        if device not in self._held:
            fits = device.type == "cuda" and 2 * self.pixels.nbytes < torch.cuda.mem_get_info(device)[0]
            self._held[device] = torch.from_numpy(self.pixels).to(device if fits else CPU)
        return self._held[device]

    @property
    def solid(self) -> bool:
        """Whether these are volumes."""
        return self.pixels.ndim == 4

    def seen(self, x: Tensor) -> Tensor:
        """Return slices of `windows`, changed or not, as networks see them: in [-1, 1], volumes (B, 1, D, H, W)."""
        return 2 * x[:, None] - 1 if self.solid else 2 * x - 1


def load_slices(  # noqa: PLR0913  one parameter per option
    sources: Sequence[str],
    grid: GridConfig,
    min_brain: float,
    *,
    solid: bool = False,
    labels: Sequence[str] = (),
    masks: Masks | None = None,
    sick: Sick | None = None,
    contrasts: Sequence[str] = (),
) -> Slices:
    """Read all slices that hold enough brain, in the order of the sources; solid: all volumes, whole.

    sources: NIfTI scans prepared by uad-preprocess, pictures, .npz files of 2-D images (N, H, W), uint8 or in [0, 1],
    FILE.npz:KEY for one array of several, and folders and lists of them (see volume.listing). Pictures and stacks are
    taken as they are: rows are H, columns W; the images of a stack are no neighbours.
    min_brain: least share of pixels above 0; labels: label maps of all these scans, see training.structures; masks: of
    their lesions; sick: which of them, or of their slices, are sick: what is neither that nor healthy is left out.
    contrasts: of which there are images, too, in the same file, see `Study.in_channels`. Raises UadError when a source
    does not fit the grid, or has no such image, or nothing is left.
    """
    pixels, starts, structures, lesions, kinds, others, concerns = [], [], [], [], [], [], list[Concern]()
    maps = label_maps(labels)
    for file in (file for source in sources for file in files_of(source)):
        image, *more = _prepared(file, grid, contrasts)
        said = [*concerns_of(image), *looks_unlike(image, "scan", file)]
        concerns.extend(concern.about(Path(file).name) for concern in said)
        piece = to_slices(image.data)[:, 0].astype(np.float16)
        drawn = None if masks is None else to_slices(masks.on(file, image))[:, 0].astype(np.uint8)
        if solid:
            lesions += [] if drawn is None else [drawn[None]]
            pixels.append(piece[None])
            starts.append(np.ones(1, bool))
            continue
        kept = (piece > 0).mean(axis=(1, 2)) >= min_brain
        if sick is not None:
            told = sick.slices_of(file, image)
            kept &= told != IGNORED
            kinds.append(told[kept])
        pixels.append(piece[kept])
        if more:
            others.append(np.concatenate([to_slices(other.data)[kept].astype(np.float16) for other in more], axis=1))
        lesions += [] if drawn is None else [drawn[kept]]
        if maps:
            labelled = structures_of(Path(file), maps, image.grid)
            structures.append(to_slices(labelled)[kept, 0].astype(np.uint8))
        count = len(pixels[-1])
        starts.append(np.ones(count, bool) if is_flat(Path(file)) else np.arange(count) == 0)
    if not sum(map(len, pixels)):
        raise UadError(f"{', '.join(sources)}: no slice of which {min_brain:.0%} is brain (nothing to learn from)")
    scans = np.cumsum(np.concatenate(starts))
    known = np.concatenate(structures) if structures else None
    marked = np.concatenate(lesions) if lesions else None
    sides = np.concatenate(kinds) if kinds else None
    beside = np.concatenate(others) if others else None
    return Slices(np.concatenate(pixels), scans, known, tuple(concerns), marked, sides, beside)


def _prepared(source: str, grid: GridConfig, contrasts: Sequence[str]) -> list[Image]:
    """Read a scan, in all contrasts that are learnt from."""
    path = Path(source)
    if is_flat(path):
        if contrasts:
            raise UadError(f"{path}: 2-D images have one contrast, and the recipe learns from several")
        image = read_flat(path)
        if image.grid.shape[:2] != grid.shape[:2]:
            columns, rows, count = image.grid.shape
            wanted = f"(N, {grid.shape[1]}, {grid.shape[0]})"
            raise UadError(f"{path}: images of shape {(count, rows, columns)}, the recipe's grid wants {wanted}")
        return [image]
    study = next(read_path(path))
    image = study.product
    require_role(image, "scan", str(path))
    images = [image, *study.of_contrasts(contrasts, str(path))]
    low, high = min(float(image.data.min()) for image in images), max(float(image.data.max()) for image in images)
    if any(grid.misfit(image.grid) for image in images) or low < 0 or not 0 < high <= 1:
        shape, spacing = ",".join(map(str, grid.shape)), ",".join(f"{s:g}" for s in grid.spacing)
        raise UadError(
            f"{path}: not prepared for this recipe: {image.grid}, values {low:g} to {high:g} "
            f"(uad-preprocess {path} --shape {shape} --spacing {spacing})"
        )
    return images


def shared_scans(slices: Slices, others: Slices) -> int:
    """Return how many scans of others are among these, voxel for voxel, whatever their files are called."""
    marks = [{crc32(part.tobytes()) for part in _scans(some)} for some in (slices, others)]
    return len(marks[0] & marks[1])


def _scans(slices: Slices) -> list[Halves]:
    return np.split(slices.pixels, np.flatnonzero(np.diff(slices.scans)) + 1)


def require_lesions(slices: Slices) -> None:
    """Raise UadError where slices have labels, and nothing is a lesion there."""
    if not len(slices.sick):
        raise UadError(
            "--labels: no lesion in any mask, in the slices that are learnt from (are these the right masks?)"
        )


def require_both(slices: Slices, option: str) -> None:
    """Raise UadError unless some slices are healthy and some sick, and none both. option: by which the sick came."""
    if not len(slices.sick) or not len(slices.healthy):
        which, given = ("healthy", "sick") if len(slices.sick) else ("sick", "healthy")
        raise UadError(f"{option}: all {len(slices)} slices are {given}, and none is {which} (both are needed)")
    sides = [slices.pixels[places] for places in (slices.healthy, slices.sick)]
    marks = [{crc32(pixels.tobytes()) for pixels in side if pixels.any()} for side in sides]
    if both := len(marks[0] & marks[1]):
        raise UadError(
            f"{option}: {both} slices are among the healthy ones, too, voxel for voxel (leave these scans out on one "
            "side, or tell the slices of sick scans apart with --sick-slices)"
        )


def quantiles(slices: Slices) -> tuple[float, ...]:
    """Return the percentiles 0 to 100 of the intensities inside the brain, from at most about a thousand slices."""
    some = slices.pixels[:: max(1, len(slices) // 1000)]
    return tuple(round(float(v), 5) for v in np.quantile(some[some > 0].astype(np.float32), np.linspace(0, 1, 101)))


def fingerprint(slices: Slices) -> dict[str, Any]:
    """Describe data well enough to notice that they changed between two runs."""
    structures = {} if slices.structures is None else {"structures": int(slices.structures.sum(dtype=np.int64))}
    labels = {} if slices.labels is None else {"labels": crc32(slices.labels.tobytes())}
    kinds = {} if slices.kinds is None else {"sick": crc32(slices.kinds.tobytes())}
    others = {} if slices.others is None else {"contrasts": crc32(slices.others.tobytes())}
    known = structures | labels | kinds | others
    return {"slices": len(slices), "sum": float(slices.pixels.sum(dtype=np.float64)), **known}
