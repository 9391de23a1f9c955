"""f-AnoGAN: the image that a generator of healthy slices makes of what an encoder saw. Source: Schlegl et al. 2019."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from uadtools.interface import recipe as base
from uadtools.interface.healing import Single, reconstruct
from uadtools.models import settings
from uadtools.models.networks import DenseConfig
from uadtools.settings import Config, PositiveFloat, PositiveInt

if TYPE_CHECKING:
    from uadtools.interface.types import Batch, Tensor, nn
    from uadtools.nets.dense import FAnoGAN

Options = Single
heal = reconstruct
"""The slices are encoded and generated anew."""


class Settings(settings.Settings):
    """network: of encoder, generator and critic."""

    SEVERAL: ClassVar[bool] = True

    kind: Literal["fanogan"] = "fanogan"
    network: DenseConfig = DenseConfig()


class GanConfig(Config):
    """The share of the steps that train critic and generator; the rest train the encoder.

    critic: steps of the critic for each of the generator; penalty: weight of its gradient penalty; features: weight of
    the critic's features in the encoder's loss.
    """

    share: Annotated[float, Field(gt=0, lt=1)] = 0.7
    critic: PositiveInt = 5
    penalty: PositiveFloat = 10.0
    features: Annotated[float, Field(ge=0)] = 1.0


class Recipe(base.Recipe, Settings):
    """gan: how the steps are shared out."""

    gan: GanConfig = GanConfig()

    @property
    def first_usable(self) -> int:
        """Where the encoder's training begins: before, nothing can be reconstructed."""
        return round(self.gan.share * self.training.steps)


def build(settings: Settings) -> nn.Module:
    from uadtools.interface.learning import dense
    from uadtools.nets.dense import FAnoGAN

    return FAnoGAN(**dense(settings))


def loss(recipe: Recipe, net: FAnoGAN, batch: Batch, step: int) -> Tensor:
    """Train critic and generator in turn, and for the rest of the steps the encoder; the other parts get no gradients.

    Source: WGAN-GP (Gulrajani et al. 2017), then the encoder by eq. 4 (izi_f).
    """
    import torch

    from uadtools.interface.learning import normal, streams_of

    x0 = batch.x0
    if step >= recipe.first_usable:
        return _encoder_loss(recipe, net, x0)
    streams = streams_of(batch.seeds)
    z = normal(streams, x0.new_empty(len(x0), net.latent))
    if step % (recipe.gan.critic + 1) == recipe.gan.critic:
        return -_frozen(net.critic, net.generator(z)).float().mean()
    with torch.no_grad():
        fake = net.generator(z).float()
    mix = x0.new_tensor([stream.random() for stream in streams])[:, None, None, None]
    between = (mix * x0 + (1 - mix) * fake).requires_grad_()
    with torch.autocast(x0.device.type, enabled=False):  # half precision is too rough for a second derivative
        (slope,) = torch.autograd.grad(net.critic(between).sum(), between, create_graph=True)
    penalty: Tensor = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
    wasserstein: Tensor = (net.critic(fake) - net.critic(x0)).float().mean()
    return wasserstein + recipe.gan.penalty * penalty


def _encoder_loss(recipe: Recipe, net: FAnoGAN, x0: Tensor) -> Tensor:
    from uadtools.interface.learning import distance

    reconstruction = _frozen(net.generator, net.encoder(x0))
    features, target = (_frozen(net.critic.features, x) for x in (reconstruction, x0))
    return distance(recipe, reconstruction, x0) + recipe.gan.features * distance(recipe, features, target.float())


def _frozen(part: nn.Module, x: Tensor) -> Tensor:
    """Ask a part of a network without teaching it; gradients pass through to x alone."""
    from torch.func import functional_call

    weights = {name: weight.detach() for name, weight in part.named_parameters()}
    answer: Tensor = functional_call(part, weights, (x,))
    return answer
