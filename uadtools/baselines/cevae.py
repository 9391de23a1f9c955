"""The variational autoencoder that also learns what was where squares are painted over, from what is around them.
Source: Zimmerer et al. 2019 (ceVAE).

Their score also multiplies with the gradient of the divergence; ours is the distance from the reconstruction alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from uadtools.baselines import vae
from uadtools.interface.healing import Single, reconstruct
from uadtools.models import settings
from uadtools.models.networks import DenseConfig
from uadtools.settings import Config, Count

if TYPE_CHECKING:
    from uadtools.interface.learning import Seeds
    from uadtools.interface.types import Batch, Tensor
    from uadtools.nets.dense import VAE

Options = Single
heal = reconstruct
"""Slices are reconstructed as vae does it: nothing is painted over at test time."""
build = vae.build


class Settings(settings.Settings):
    """network: that of vae."""

    SEVERAL: ClassVar[bool] = True

    kind: Literal["cevae"] = "cevae"
    network: DenseConfig = DenseConfig()


class SquaresConfig(Config):
    """What is painted over a slice: how many squares at least and at most, and their sides as shares of its shorter
    side, from and to.
    """

    count: tuple[Count, Count] = (1, 3)
    side: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] = (0.1, 0.5)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.count[0] > self.count[1] or self.side[0] > self.side[1]:
            raise ValueError("count and side go from the smaller number to the larger")
        return self


class Recipe(vae.Learning, Settings):
    """context: the weight of the slices that are painted over, beside 1 - context for those that are whole."""

    context: Annotated[float, Field(ge=0, le=1)] = 0.5
    squares: SquaresConfig = SquaresConfig()


def loss(recipe: Recipe, net: VAE, batch: Batch, step: int) -> Tensor:
    """Learn as vae does, and to reconstruct whole slices from the mean of painted ones: (1 - context) L + context d.

    Of the painted ones the mean alone is decoded, without a draw or a divergence.
    """
    from uadtools.interface.learning import distance

    mean, _ = net.encode(painted(recipe.squares, batch.x0, batch.seeds))
    of_context = distance(recipe, net.decoder(mean.float()), batch.x0)
    return (1 - recipe.context) * vae.loss(recipe, net, batch, step) + recipe.context * of_context


def painted(squares: SquaresConfig, x0: Tensor, seeds: Seeds) -> Tensor:
    """Paint squares over slices, each of one value of [-1, 1], or one in each contrast, from seeds. x0: (B, C, H, W).

    Returns the same shape.
    """
    import numpy as np
    import torch

    from uadtools.interface.learning import shape_of

    shape, x = shape_of(x0), x0.clone()
    for image, seed in zip(x, seeds, strict=True):
        rng = np.random.default_rng((4, int(seed)))
        for _ in range(rng.integers(squares.count[0], squares.count[1] + 1)):
            side = max(1, round(rng.uniform(*squares.side) * min(shape)))
            top, left = (int(rng.integers(length - side + 1)) for length in shape)
            values = torch.from_numpy(rng.uniform(-1, 1, len(image))).to(x)
            image[:, top : top + side, left : left + side] = values[:, None, None]
    return x
