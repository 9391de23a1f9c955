"""Plain diffusion models: a U-Net that tells noise and image apart. sss, ddim and ddpm heal with them.

Source: Ho et al. 2020 (DDPM); with simplex noise Wyatt et al. 2022 (AnoDDPM).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from uadtools.interface import recipe as base
from uadtools.models.networks import UNetConfig
from uadtools.models.settings import NoisedSettings

if TYPE_CHECKING:
    from uadtools.interface.types import Batch, Tensor, nn


class Settings(NoisedSettings):
    """network: a U-Net that is told the step."""

    METHOD: ClassVar[str] = "sss"

    kind: Literal["diffusion"] = "diffusion"
    network: UNetConfig = UNetConfig()


class Recipe(base.NoisedRecipe, Settings):
    """Nothing beyond what is common to models of noise."""


def build(settings: Settings) -> nn.Module:
    from uadtools.interface.learning import unet

    return unet(settings.network)


def loss(recipe: Recipe, net: nn.Module, batch: Batch, step: int) -> Tensor:
    """Noise each slice to a t of its own, and tell x0 or the noise from that. Source: Ho et al. 2020, eq. 14."""
    from uadtools.interface.learning import distance, noised

    noisy = noised(recipe, batch.x0, batch.seeds)
    return distance(recipe, net(noisy.x_t, noisy.t), noisy.target)
