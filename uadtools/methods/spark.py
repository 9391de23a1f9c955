"""SparK: an encoder learns from squares that are hidden. It heals nothing; cddpm starts from it.

Source: Tian et al. 2023 (SparK), section 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from uadtools.interface import recipe as base
from uadtools.models import settings
from uadtools.models.networks import EncoderConfig, MaskedConfig

if TYPE_CHECKING:
    from uadtools.interface.types import Batch, Model, Tensor
    from uadtools.nets.masked import MaskedAutoencoder
    from uadtools.nets.resnet import ResNet

USE = "cddpm starts from them (uad-train --recipe cddpm --set encoder.pretrained=FILE)"


class Settings(settings.Settings):
    """network: a light decoder that is thrown away; encoder: what is kept."""

    SEVERAL: ClassVar[bool] = True

    kind: Literal["spark"] = "spark"
    network: MaskedConfig = MaskedConfig()
    encoder: EncoderConfig = EncoderConfig()

    @property
    def divisor(self) -> int:
        return self.encoder.divisor


class MadeEncoder(EncoderConfig, base.Started):
    """Has no `pretrained`, which is refused with a reason."""


class Recipe(base.Recipe, Settings):
    """hidden: the share of the slice that the encoder does not see."""

    encoder: MadeEncoder = MadeEncoder()
    hidden: Annotated[float, Field(gt=0, lt=1)] = 0.65

    @model_validator(mode="after")
    def _made_not_started(self) -> Self:
        if self.encoder.pretrained:
            raise ValueError("encoder.pretrained: cddpm starts from an encoder, and spark makes one (leave it out)")
        return self


def build(settings: Settings) -> MaskedAutoencoder:
    from uadtools.nets.masked import MaskedAutoencoder

    return MaskedAutoencoder(encoder_of(settings), **settings.network.model_dump(exclude={"kind"}))


def encoder_of(settings: Any) -> ResNet:
    """Make the encoder of a model that has one, with fresh weights; it sees all contrasts."""
    from uadtools.nets.resnet import ResNet

    sizes = settings.encoder.model_dump(include={"base", "blocks", "dimension"})
    return ResNet(**sizes, channels=settings.channels)


def loss(recipe: Recipe, net: MaskedAutoencoder, batch: Batch, step: int) -> Tensor:
    """Hide squares of each slice, and tell them from the rest: squared error, each hidden square normalised by itself.

    The same squares are hidden in all contrasts, and each contrast of one is normalised by itself.

    Source: section 3.3, and He et al. 2022 for the normalisation.
    """
    import numpy as np
    import torch
    from torch.nn.functional import pixel_unshuffle

    from uadtools.interface.learning import shape_of, streams_of

    x0, side = batch.x0, recipe.encoder.divisor
    rows, columns = (length // side for length in shape_of(x0))
    count = max(1, round((1 - recipe.hidden) * rows * columns))
    ranks = np.stack([stream.permutation(rows * columns) for stream in streams_of(batch.seeds)])
    visible = torch.from_numpy(ranks < count).view(len(x0), 1, rows, columns).to(x0.device)
    images = (net(x0, visible).float(), x0)
    painted, target = (pixel_unshuffle(image, side).view(*image.shape[:2], -1, rows, columns) for image in images)
    target = (target - target.mean(dim=2, keepdim=True)) / (target.var(dim=2, keepdim=True) + 1e-6).sqrt()
    hidden = ~visible
    return (((painted - target) ** 2).mean(dim=(1, 2))[:, None] * hidden).sum() / hidden.sum()


def probe(model: Model, x: Tensor) -> Tensor:
    """Return the code of slices. x: (B, C, H, W) in [-1, 1]."""
    return model.ask(x, of=model.net.encoder)
