"""Plain diffusion models: a U-Net that tells noise and image apart. sss, ddim and ddpm heal with them.

Source: Ho et al. 2020 (DDPM); with simplex noise Wyatt et al. 2022 (AnoDDPM).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import model_validator

from uadtools.interface import recipe as base
from uadtools.models.networks import UNetConfig
from uadtools.models.settings import NoisedSettings

if TYPE_CHECKING:
    from uadtools.interface.types import Batch, Tensor, nn


class DenoiserConfig(UNetConfig):
    """variance: learned by networks that came from guided-diffusion, which tell that of each step back, too."""

    variance: Literal["fixed", "learned"] = "fixed"

    @property
    def outputs(self) -> int:
        return 2 if self.variance == "learned" else 1


class Settings(NoisedSettings):
    """network: a U-Net that is told the step."""

    METHOD: ClassVar[str] = "sss"
    SEVERAL: ClassVar[bool] = True

    kind: Literal["diffusion"] = "diffusion"
    network: DenoiserConfig = DenoiserConfig()


class Recipe(base.NoisedRecipe, Settings):
    """Nothing beyond what is common to models of noise."""

    @model_validator(mode="after")
    def _of_fixed_variance(self) -> Self:
        check_fixed(self.network)
        return self


def check_fixed(network: DenoiserConfig) -> None:
    """Raise ValueError for a network that tells its variance, which no training here teaches."""
    if network.variance == "learned":
        raise ValueError(
            "network.variance learned: comes with networks of guided-diffusion (uad-models import), not from here"
        )


def build(settings: Settings) -> nn.Module:
    from uadtools.interface.learning import denoiser

    return denoiser(settings)


def loss(recipe: Recipe, net: nn.Module, batch: Batch, step: int) -> Tensor:
    """Noise each slice to a t of its own, and tell x0 or the noise from that. Source: Ho et al. 2020, eq. 14."""
    from uadtools.interface.learning import distance, noised

    noisy = noised(recipe, batch.x0, batch.seeds)
    return distance(recipe, net(noisy.x_t, noisy.t), noisy.target)
