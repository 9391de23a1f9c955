"""The variational autoencoder, whose latents are kept near a normal distribution. Source: Baur et al. 2021 (VAE)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from uadtools.interface import recipe as base
from uadtools.interface.healing import Single, reconstruct
from uadtools.models import settings
from uadtools.models.networks import DenseConfig

if TYPE_CHECKING:
    from uadtools.interface.types import Batch, Tensor, nn
    from uadtools.nets.dense import VAE

Options = Single
heal = reconstruct
"""Slices are reconstructed from the mean of their latents, without a draw."""


class Settings(settings.Settings):
    """network: encoder and decoder around a dense latent."""

    SEVERAL: ClassVar[bool] = True

    kind: Literal["vae"] = "vae"
    network: DenseConfig = DenseConfig()


class Learning(base.Recipe):
    """beta: the weight of the latent's divergence from a normal distribution."""

    beta: Annotated[float, Field(ge=0)] = 0.001


class Recipe(Learning, Settings):
    """Of this kind."""


def build(settings: Settings) -> nn.Module:
    from uadtools.interface.learning import dense
    from uadtools.nets.dense import VAE

    return VAE(**dense(settings))


def loss(recipe: Learning, net: VAE, batch: Batch, step: int) -> Tensor:
    """Reconstruct the (middle) slices from a draw, and keep the latent normal: distance + beta KL.

    Both are means, over the pixels and over the latent's numbers. Source: Kingma & Welling 2014, appendix B.
    """
    from uadtools.interface.learning import distance, normal, streams_of
    from uadtools.nets.layout import middle

    mean, log_variance = (part.float() for part in net.encode(batch.x0))
    z = mean + (log_variance / 2).exp() * normal(streams_of(batch.seeds), mean)
    divergence = (mean**2 + log_variance.exp() - log_variance - 1).mean() / 2
    return distance(recipe, net.decoder(z), middle(batch.x0, recipe.channels)) + recipe.beta * divergence
