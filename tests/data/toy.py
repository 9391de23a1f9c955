"""A toy: the slice seen through one convolution. Source: none; it is what a test writes as a method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from uadtools.interface import recipe as base
from uadtools.interface.healing import Healing, Network, Option, Single
from uadtools.models import settings
from uadtools.models.networks import NetworkConfig
from uadtools.settings import PositiveFloat, PositiveInt

if TYPE_CHECKING:
    from uadtools.interface.types import Batch, Noise, Tensor, nn


class ToyNetwork(NetworkConfig):
    """width: of the convolution, odd."""

    kind: Literal["toy"] = "toy"
    width: PositiveInt = 3


class Settings(settings.Settings):
    """brightest: to which values are limited."""

    kind: Literal["toy"] = "toy"
    network: ToyNetwork = ToyNetwork()
    brightest: PositiveFloat = 1.0


class Recipe(base.Recipe, Settings):
    """weight: of the loss."""

    weight: PositiveFloat = 1.0


@dataclass(frozen=True)
class Options(Single):
    """gain: what the answer is multiplied with."""

    gain: Annotated[float, Option("How much of the answer is taken.", "X", 0)] = 1.0

    @property
    def maps(self) -> tuple[str, ...]:
        return ("doubt",)


def heal(model: Network, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Ask once; the map is how much was changed. x: (B, 1, H, W) in [-1, 1]."""
    healed = (options.gain * model.ask(x)).clamp(-1, 1)
    return Healing(healed, {"doubt": (x - healed).abs()})


def build(settings: Settings) -> nn.Module:
    from torch import nn

    return nn.Conv2d(1, 1, settings.network.width, padding=settings.network.width // 2)


def loss(recipe: Recipe, net: nn.Module, batch: Batch, step: int) -> Tensor:
    """Return the slices as they are."""
    from uadtools.interface.learning import distance

    return recipe.weight * distance(recipe, net(batch.x0), batch.x0)
