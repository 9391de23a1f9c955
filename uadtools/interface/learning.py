"""What the networks and the losses of several methods have in common.

Losses follow from slices, their seeds and the number of the step: that of a batch is the mean of those of its slices.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from uadtools.diffusion.process import add_noise
from uadtools.diffusion.schedule import Schedule
from uadtools.errors import UadError
from uadtools.nets.layout import packed
from uadtools.nets.unet import UNet
from uadtools.noise.source import fields_on

if TYPE_CHECKING:
    from uadtools.interface.recipe import NoisedRecipe, Recipe
    from uadtools.models.networks import UNetConfig
    from uadtools.models.settings import Settings
    from uadtools.settings import Config

Seeds = NDArray[np.int64]
_schedule = lru_cache(Schedule.of)


class Corrupted(NamedTuple):
    """Items as a network sees them. seen: (B, C (2 reach + 1), H, W), healthy: (B, C, H, W) in [-1, 1]; changed, brain:
    (B, 1, H, W) in [0, 1]; ceiling: (B,) the highest severity to be expected.
    """

    seen: Tensor
    healthy: Tensor
    changed: Tensor
    brain: Tensor
    ceiling: Tensor


class Batch(NamedTuple):
    """What a training step is taken on.

    x0: (B, C, H, W) in [-1, 1], C being that of the contrasts, or 2 reach + 1 times as many, each contrast's in a row
    with the slice to reconstruct in the middle; volumes are (B, 1, D, H, W). seeds: (B,), from which all that is random
    for a slice follows. corrupted: what was made of them, where the recipe says how. labels: (B, 1, H, W) or (B, 1, D,
    H, W) uint8, LESION, IGNORED (see volume.labels) and 0 of the slice in the middle, moved as it was, where the recipe
    is LABELLED. sick: (B,) whether each is, where it is weak.
    """

    x0: Tensor
    seeds: Seeds
    corrupted: Corrupted | None = None
    labels: Tensor | None = None
    sick: Tensor | None = None


class Healthy(Protocol):
    """Healthy slices, as training.data.Slices holds them."""

    def __len__(self) -> int: ...
    @property
    def solid(self) -> bool: ...
    def windows(self, chosen: NDArray[Any], reach: int, device: torch.device = ...) -> Tensor: ...
    def seen(self, x: Tensor) -> Tensor: ...


def unet(sizes: UNetConfig, **more: Any) -> UNet:
    """Make a U-Net with fresh weights. more: what is not among its settings, such as in_channels."""
    return UNet(**sizes.model_dump(exclude={"kind", "reach", "variance", "pretrained"}), **more)


def denoiser(settings: Settings, **more: Any) -> UNet:
    """Make the U-Net of a model whose network tells as many channels as it sees, one for each contrast."""
    channels, told = settings.channels, settings.network.outputs
    return unet(settings.network, in_channels=channels, out_channels=channels * told, **more)


def dense(settings: Settings) -> dict[str, Any]:
    """Return the sizes of the networks in nets.dense for a model's images."""
    sizes = settings.network.model_dump(exclude={"kind"})
    return {"shape": settings.grid.shape[1::-1], "channels": settings.channels, **sizes}


def spread_out(slices: Sized, most: int) -> NDArray[np.intp]:
    """Return the places of at most so many slices, evenly spaced."""
    return np.linspace(0, len(slices) - 1, min(most, len(slices))).round().astype(np.intp)


def distance(recipe: Recipe, output: Tensor, target: Tensor) -> Tensor:
    """Return the recipe's distance between images, a scalar."""
    return measure(recipe)(output.float(), target)


def measure(recipe: Recipe) -> Callable[..., Tensor]:
    return F.l1_loss if recipe.training.loss == "l1" else F.mse_loss


class Noised(NamedTuple):
    """x_t: like x0; t: (B,); target: what the network is to tell of it, x0 or the noise."""

    x_t: Tensor
    t: Tensor
    target: Tensor


def noised(recipe: NoisedRecipe, x0: Tensor, seeds: Seeds, streams: Sequence[np.random.Generator] = ()) -> Noised:
    """Noise each slice to a t of its own, which streams tell: by default those of `streams_of`."""
    t, eps, schedule = drawn(recipe, x0, seeds, streams)
    return Noised(packed(add_noise(x0, t, eps, schedule)), t, x0 if recipe.target == "x0" else eps)


def drawn(
    recipe: NoisedRecipe, x0: Tensor, seeds: Seeds, streams: Sequence[np.random.Generator] = ()
) -> tuple[Tensor, Tensor, Schedule]:
    """Draw a t for each slice, (B,), and noise, shaped like x0; with the schedule of the recipe."""
    t = torch.tensor([stream.integers(*recipe.t_range) for stream in streams or streams_of(seeds)], device=x0.device)
    eps = fields_on(recipe.noise, tuple(x0.shape[1:]), seeds, x0.device)
    return t, eps, _schedule(recipe.schedule.kind, recipe.schedule.steps)


def shape_of(x: Tensor) -> tuple[int, int]:
    """Return (H, W)."""
    return x.shape[2], x.shape[3]


def streams_of(seeds: Seeds) -> list[np.random.Generator]:
    """Return a generator for each slice, whose numbers have nothing to do with the noise fields of its seed."""
    return [np.random.default_rng((1, int(seed))) for seed in seeds]


def normal(streams: Sequence[np.random.Generator], template: Tensor) -> Tensor:
    """Draw a standard normal vector from each stream. template: (B, D), of which type and device are taken, too."""
    vectors = [stream.standard_normal(template.shape[1], dtype=np.float32) for stream in streams]
    return torch.from_numpy(np.stack(vectors)).to(template)


@dataclass(frozen=True)
class Donor:
    """A model that was trained before, and that training starts from, or from parts of it."""

    path: str
    config: Any
    weights: dict[str, Tensor]

    def check_contrasts(self, recipe: Settings) -> None:
        """Raise UadError where either sees several contrasts, and the other one does not see the same, in order."""
        there, here = self.config.contrasts, recipe.contrasts
        if there != here and max(self.config.channels, recipe.channels) > 1:
            names = [", ".join(contrasts) or "one contrast" for contrasts in (there, here)]
            raise UadError(
                f"{self.path}: sees {names[0]}, and the recipe {names[1]} (--set 'contrasts={json.dumps(there)}')"
            )

    def check_alike(self, recipe: Settings, names: Sequence[str]) -> None:
        """Raise UadError where a setting of these names, or one in a table of these, is another than the recipe's."""
        for name in names:
            theirs, ours = (_by_key(name, getattr(config, name)) for config in (self.config, recipe))
            for key in theirs | ours:
                there, here = theirs.get(key), ours.get(key)
                if there != here:
                    raise UadError(f"{self.path}: {key} is {there} there, {here} in the recipe (--set {key}=...)")

    def check(self, kind: str, part: str, table: str, ours: Config, sizes: Sequence[str]) -> None:
        """Raise UadError unless it is of a kind, and a part of it has the sizes that the recipe has in a table."""
        if self.config.kind != kind:
            raise UadError(
                f"{self.path}: a model of kind '{self.config.kind}', not '{kind}' (uad-train --recipe {kind} makes one)"
            )
        for name in sizes:
            there, here = getattr(getattr(self.config, part), name), getattr(ours, name)
            if there != here:
                hint = f"(--set {table}.{name}=...)"
                raise UadError(f"{self.path}: other sizes: {name} is {there} there, {here} in the recipe {hint}")


def _by_key(name: str, setting: Any) -> dict[str, Any]:
    """Return the settings of a table by the keys that they are set with, or the one that is no table."""
    if not hasattr(setting, "model_dump"):
        return {name: setting}
    return {f"{name}.{key}": value for key, value in setting.model_dump(mode="json").items()}
