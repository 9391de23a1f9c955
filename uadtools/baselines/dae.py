"""The denoising autoencoder takes a lesion for the coarse noise it learnt to remove. Source: Kascenas et al. 2022."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from uadtools.interface import recipe as base
from uadtools.interface.healing import Single, reconstruct
from uadtools.models import settings
from uadtools.models.networks import UNetConfig
from uadtools.settings import Config, PositiveFloat

if TYPE_CHECKING:
    from uadtools.interface.types import Batch, Tensor, nn

Options = Single
heal = reconstruct
"""The slices are denoised as they are: noise is added in training only."""


class Settings(settings.Settings):
    """network: a U-Net that is not told a t."""

    SEVERAL: ClassVar[bool] = True

    kind: Literal["dae"] = "dae"
    network: UNetConfig = UNetConfig()


class CoarseConfig(Config):
    """The noise that is to be removed: of resolution x resolution values, std in image units."""

    resolution: Annotated[int, Field(ge=2)] = 16
    std: PositiveFloat = 0.2


class Recipe(base.Recipe, Settings):
    """coarse: the noise that training adds."""

    coarse: CoarseConfig = CoarseConfig()


def build(settings: Settings) -> nn.Module:
    from uadtools.interface.learning import denoiser

    return denoiser(settings)


def loss(recipe: Recipe, net: nn.Module, batch: Batch, step: int) -> Tensor:
    """Remove coarse noise, drawn anew for each contrast, that lies inside the brain, which is all that counts."""
    import numpy as np
    import torch

    from uadtools.interface.learning import distance, shape_of
    from uadtools.noise.coarse import coarse_fields
    from uadtools.noise.source import of_channel

    x0, sizes = batch.x0, recipe.coarse.model_dump()
    of_channels = [of_channel(batch.seeds, channel) for channel in range(recipe.channels)]
    coarse = np.stack([coarse_fields(shape_of(x0), seeds, **sizes) for seeds in of_channels], axis=1)
    noise = 2 * torch.from_numpy(coarse).to(x0.device)  # images in [0, 1] are half as wide as [-1, 1]
    brain = (x0[:, :1] > -1).float()
    return distance(recipe, net(x0 + brain * noise) * brain, x0 * brain)
