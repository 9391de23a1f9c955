"""Patched diffusion: noise one patch at a time, with clean context. Source: Behrendt et al. 2023 (pDDPM)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from uadtools.errors import UadError
from uadtools.interface import recipe as base
from uadtools.interface.healing import Healing, Option
from uadtools.methods import diffusion
from uadtools.models.images import GridConfig, IntensityConfig
from uadtools.models.networks import UNetConfig
from uadtools.models.settings import NoisedSettings
from uadtools.settings import Config, PositiveInt

if TYPE_CHECKING:
    import numpy as np

    from uadtools.diffusion.patches import Box
    from uadtools.interface.types import Batch, Denoiser, Noise, Tensor, nn

PREPARATION: dict[str, Any] = {
    "grid": GridConfig(shape=(96, 96, 50), spacing=(2.0, 2.0, 2.0)),
    "intensity": IntensityConfig(kind="percentile", low=1, high=99),
    "brain": "hd-bet",
    "bias_correct": True,
    "order": ("register", "brain", "bias"),
}
"""T2; registered to TEMPLATE, HD-BET, 192x192x160 voxels of 1 mm, N4, halved, 15 slices off the top and the bottom.

Source: section 4.1.
"""
TEMPLATE = "SRI24"
build = diffusion.build


class PatchesConfig(Config):
    """The squares in which an image is noised and healed: their sides in pixels, of which one is drawn per item in
    training and all are used in healing, and how far apart they are (none: as far as covers the image).
    """

    sizes: tuple[PositiveInt, ...] = Field(default=(48,), min_length=1)
    stride: PositiveInt | None = None


class Settings(NoisedSettings):
    """patches: which squares are noised."""

    SEVERAL: ClassVar[bool] = True

    kind: Literal["pddpm"] = "pddpm"
    network: UNetConfig = UNetConfig()
    patches: PatchesConfig = PatchesConfig()

    @model_validator(mode="after")
    def _with_patches_that_fit(self) -> Self:
        sizes, stride = self.patches.sizes, self.patches.stride
        if max(sizes) > min(self.grid.shape[:2]):
            raise ValueError(f"patches.sizes {sizes}: larger than the slices of {self.grid}")
        if (stride or 1) > min(sizes):
            raise ValueError(f"patches.stride {stride}: leaves gaps between patches of {sizes}")
        if len(set(sizes)) < len(sizes):
            raise ValueError(f"patches.sizes {sizes}: the same size twice")
        if self.target != "x0":
            raise ValueError("target eps: what is not noised has no noise to tell; patches need x0")
        return self


class Training(base.NoisedTraining):
    """positions, loss_on: whether a patch lies on the grid or at random, and what the loss is taken of."""

    positions: Literal["grid", "random"] = "grid"
    loss_on: Literal["patch", "image"] = "patch"


class Recipe(base.NoisedRecipe, Settings):
    """training: says where patches lie, too."""

    training: Training


@dataclass(frozen=True)
class Options:
    """t: how far a patch is noised."""

    t: int = 500
    patch: Annotated[
        int,
        Option(
            "Side of the patches in pixels; repeat it to heal with several sizes and combine. Default: the model's.",
            least=1,
            several=True,
        ),
    ] = 48
    stride: Annotated[
        int | None,
        Option(
            "From one patch to the next, at most; less than --patch makes them overlap. Default: the model's, or as "
            "far as covers the slice.",
            least=1,
        ),
    ] = None

    def evaluations(self, shape: tuple[int, int]) -> int:
        from uadtools.diffusion.patches import boxes

        return len(boxes(shape, self.patch, self.stride))


def settle(config: Settings, given: dict[str, Any]) -> list[dict[str, Any]]:
    """List the options to heal with, one for each size. Raises UadError when patches do not cover the model's slices.

    given: `patch` may be several.
    """
    sides, stride = tuple(given.get("patch", ())) or config.patches.sizes, given.get("stride")
    columns, rows, _ = config.grid.shape
    if bad := [side for side in sides if not 1 <= side <= min(rows, columns)]:
        raise UadError(f"--patch {bad[0]}: outside 1 to {min(rows, columns)}, the shorter side of the model's slices")
    if stride is not None and stride > min(sides):
        raise UadError(f"--stride {stride}: leaves gaps between patches of {min(sides)} pixels")
    if len(set(sides)) < len(sides):
        raise UadError(f"--patch {' --patch '.join(map(str, sides))}: the same size twice")
    usual = config.patches.stride
    return [{"patch": side, "stride": stride or (usual if usual and usual <= side else None)} for side in sides]


def heal(model: Denoiser, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Noise and heal every patch of the slices by itself, and stitch them, overlaps averaged. x: (B, C, H, W).

    Each patch of each slice has noise of its own, and is that of all contrasts. The network is asked about one patch of
    all slices at a time, and of its answer that patch counts.
    """
    import torch

    from uadtools.diffusion.patches import boxes, masks
    from uadtools.diffusion.process import add_noise

    shape = (x.shape[2], x.shape[3])
    within = masks(boxes(shape, options.patch, options.stride), shape).to(x.device)
    total = torch.zeros_like(x)
    for patch in within:
        x_t = torch.where(patch, add_noise(x, options.t, noise(), model.schedule), x)
        total += torch.where(patch, model.predict(x_t, options.t).x0, 0)
    return Healing(total / within.sum(dim=0))


def loss(recipe: Recipe, net: nn.Module, batch: Batch, step: int) -> Tensor:
    """Noise one patch of each slice, and tell what was there; the distance is that in the patch, or in all the slice.

    The patch has one of the recipe's sizes, and a place on their grid or anywhere. Source: section 3.2; the paper's
    code divides the distance in the patch by the pixels of the slice.
    """
    import torch

    from uadtools.diffusion.patches import masks
    from uadtools.interface.learning import distance, measure, noised, shape_of, streams_of
    from uadtools.nets.layout import packed

    x0, streams, shape = batch.x0, streams_of(batch.seeds), shape_of(batch.x0)
    noisy = noised(recipe, x0, batch.seeds, streams)
    within = masks([_box(recipe, shape, stream) for stream in streams], shape).to(x0.device)
    output = net(packed(torch.where(within, noisy.x_t, x0)), noisy.t)
    if recipe.training.loss_on == "image":
        return distance(recipe, output, x0)
    count = within.float().mean(dim=(1, 2, 3), keepdim=True)
    return (measure(recipe)(output.float(), x0, reduction="none") * within / count).mean()


def _box(recipe: Recipe, shape: tuple[int, int], stream: np.random.Generator) -> Box:
    """Draw a patch: its size, and its place on the grid or anywhere."""
    from uadtools.diffusion.patches import Box, boxes

    size = int(stream.choice(recipe.patches.sizes))
    if recipe.training.positions == "grid":
        grid = boxes(shape, size, recipe.patches.stride)
        return grid[stream.integers(len(grid))]
    top, left = (int(stream.integers(length - size + 1)) for length in shape)
    return Box(top, left, top + size, left + size)
