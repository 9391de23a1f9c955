"""The autoencoder: what does not fit through its bottleneck is lost. Source: Baur et al. 2021 (dense, spatial)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from uadtools.interface.healing import Single, reconstruct
from uadtools.models import settings
from uadtools.models.networks import BottleneckConfig

if TYPE_CHECKING:
    from uadtools.interface.recipe import Recipe
    from uadtools.interface.types import Batch, Tensor, nn

Options = Single
heal = reconstruct


class Settings(settings.Settings):
    """network: encoder and decoder around a latent, which is a vector or a map."""

    SEVERAL: ClassVar[bool] = True

    kind: Literal["ae"] = "ae"
    network: BottleneckConfig = BottleneckConfig()


def build(settings: Settings) -> nn.Module:
    from uadtools.interface.learning import dense
    from uadtools.nets.dense import Autoencoder

    return Autoencoder(**dense(settings))


def loss(recipe: Recipe, net: nn.Module, batch: Batch, step: int) -> Tensor:
    """Reconstruct the slices."""
    from uadtools.interface.learning import distance

    return distance(recipe, net(batch.x0), batch.x0)
