"""Conditioned diffusion: the network also knows a code of the clean scan. Source: Behrendt et al. 2023 (cDDPM)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from uadtools.interface import recipe as base
from uadtools.interface.healing import Healing, Single, end
from uadtools.methods import pddpm, spark
from uadtools.models.networks import EncoderConfig, UNetConfig
from uadtools.models.settings import NoisedSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from uadtools.interface.types import Batch, Donor, Healthy, Model, Noise, Tensor
    from uadtools.nets.resnet import Conditioned

PREPARATION, TEMPLATE = pddpm.PREPARATION, pddpm.TEMPLATE
"""The same but for going to 1 mm first, where here everything is resampled once. Source: section 4.2."""


class Settings(NoisedSettings):
    """encoder: what makes the code, one of all contrasts."""

    SEVERAL: ClassVar[bool] = True

    kind: Literal["cddpm"] = "cddpm"
    network: UNetConfig = UNetConfig()
    encoder: EncoderConfig = EncoderConfig()


class StartedEncoder(EncoderConfig, base.Started):
    """pretrained: a model of kind spark, whose encoder is where training starts from."""


class Recipe(base.NoisedRecipe, Settings):
    """encoder: may come from a model of kind spark."""

    encoder: StartedEncoder = StartedEncoder()

    @property
    def donor(self) -> str | None:
        return self.encoder.pretrained


@dataclass(frozen=True)
class Options(Single):
    """t: how far the scan is noised; the paper also averages 250, 500 and 750."""

    t: int = 500


def heal(model: Model, x: Tensor, options: Options, noise: Noise, *, condition: Tensor | None = None) -> Healing:
    """Noise the slices to t, and take the x0 that the model sees behind the noise, given the clean slices' code.

    x: (B, C, H, W) in [-1, 1]; condition: other slices to take the code from, shaped like x (the paper's figure 2).
    """
    from uadtools.diffusion.process import ConditionedDenoiser, add_noise
    from uadtools.diffusion.samplers import single

    code = model.ask(x if condition is None else condition, of=model.net.encoder)
    x_t = add_noise(x, options.t, noise(), model.schedule)
    return Healing(end(single(ConditionedDenoiser(model, code), x_t, options.t)))


def build(settings: Settings) -> Conditioned:
    from uadtools.interface.learning import denoiser
    from uadtools.nets.resnet import Conditioned

    encoder = settings.encoder
    unet = denoiser(settings, condition=encoder.dimension, condition_mlp=encoder.mlp)
    return Conditioned(unet, spark.encoder_of(settings))


def loss(recipe: Recipe, net: Conditioned, batch: Batch, step: int) -> Tensor:
    """Noise each slice, and tell x0 or the noise with the help of the clean slice's code; both parts learn.

    Source: section 3.2.
    """
    from uadtools.interface.learning import distance, noised

    noisy = noised(recipe, batch.x0, batch.seeds)
    return distance(recipe, net(noisy.x_t, noisy.t, net.encoder(batch.x0)), noisy.target)


def start(recipe: Recipe, nets: Sequence[Conditioned], donor: Donor, slices: Healthy) -> None:
    """Take the encoder of a model of kind spark, but for its last layer, which makes the code."""
    donor.check("spark", "encoder", "encoder", recipe.encoder, ("base", "blocks"))
    encoder = {name.removeprefix("encoder."): w for name, w in donor.weights.items() if name.startswith("encoder.")}
    body = {name: weight for name, weight in encoder.items() if not name.startswith("head.")}
    for net in nets:
        net.encoder.load_state_dict(body, strict=False)
