"""Bernoulli diffusion of a binary latent: bits that were flipped, as the network has it, are healed, the rest is kept.

Source: Wolleb et al. 2024 (Binary Noise for Binary Tasks).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import model_validator

from uadtools.interface import recipe as base
from uadtools.interface.healing import Healing, Option, end
from uadtools.latents import binary
from uadtools.models.networks import BitsConfig, UNetConfig
from uadtools.models.settings import NoisedSettings

if TYPE_CHECKING:
    from uadtools.interface.types import Batch, Donor, Healthy, Model, Noise, Tensor
    from uadtools.nets.bits import BitDiffusion


class Settings(NoisedSettings):
    """autoencoder: what makes bits of slices; network: tells which of these were flipped.

    Of noise and target there is one kind alone: flips, of which Gaussian noise says which they are.
    """

    FOLLOWS: ClassVar[dict[str, dict[str, Any]]] = {"noise": {"kind": "gaussian"}}
    SEVERAL: ClassVar[bool] = True

    kind: Literal["bernoulli"] = "bernoulli"
    network: UNetConfig = UNetConfig()
    autoencoder: BitsConfig = BitsConfig()

    @property
    def divisor(self) -> int:
        return self.network.divisor * self.autoencoder.divisor

    def noise_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self.autoencoder.bits, *(size // self.autoencoder.divisor for size in shape)

    def held(self, shape: Sequence[int]) -> int:
        return 0

    @model_validator(mode="after")
    def _of_bits(self) -> Self:
        if self.noise.kind != "gaussian":
            raise ValueError(f"noise.kind {self.noise.kind}: bits are flipped by gaussian")
        if self.target != "eps":
            raise ValueError(f"target {self.target}: the network tells what was flipped (eps)")
        return self


class StartedBits(BitsConfig, base.Started):
    """pretrained: a model of kind binary, on whose bits the diffusion model is trained."""


class Recipe(base.NoisedRecipe, Settings):
    """autoencoder: comes from a model of kind binary."""

    autoencoder: StartedBits = StartedBits()

    @property
    def donor(self) -> str:
        return base.needed(self.name, "autoencoder", self.autoencoder.pretrained, "binary")

    @model_validator(mode="after")
    def _by_cross_entropy(self) -> Self:
        if self.training.loss != "l2":
            raise ValueError(f"training.loss {self.training.loss}: flips are told by cross-entropy (leave it out)")
        return self


@dataclass(frozen=True)
class Options:
    """t: how far the bits are flipped; steps: of the way back (none: every step)."""

    t: int = 200
    steps: int | None = None
    sure: Annotated[
        float,
        Option(
            "Bits that were flipped with a higher probability than this, as the network has it at any step, are "
            "healed from there on; all others stay the scan's. Default: 0.5.",
            "X",
            0,
            1,
        ),
    ] = 0.5

    @property
    def maps(self) -> tuple[str, ...]:
        return ("flipped",)

    def evaluations(self, shape: tuple[int, int]) -> int:
        return self.steps or self.t + 1


def heal(model: Model, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Encode, flip bits and walk back with all bits kept that never were flipped for sure, decode.

    x: (B, C, H, W) in [-1, 1]. Map: flipped, of the size of x, the share of the bits of a place that were healed.
    """
    import torch
    from torch.nn.functional import interpolate

    from uadtools.diffusion.bits import flip, unflip
    from uadtools.diffusion.steps import spaced

    net: BitDiffusion = model.net
    z = net.encode(x)
    healed = torch.zeros_like(z, dtype=torch.bool)

    def told(z_t: Tensor, t: int) -> Tensor:
        return model.ask(z_t, torch.full((len(z_t),), t, device=z_t.device)).sigmoid()

    def keep(z0: Tensor, flips: Tensor) -> Tensor:
        return torch.where(healed.logical_or_(flips > options.sure), z0, z)

    z_t = flip(z, options.t, noise(), model.schedule)
    timesteps = spaced(options.t, options.steps or options.t + 1)
    made = net.decode(end(unflip(told, z_t, timesteps, model.schedule, noise, keep=keep)))
    share = healed.to(x).mean(dim=1, keepdim=True)
    return Healing(made, {"flipped": interpolate(share, x.shape[2:])})


def build(settings: Settings) -> BitDiffusion:
    from uadtools.interface.learning import unet
    from uadtools.nets.bits import BitDiffusion

    bits = settings.autoencoder.bits
    autoencoder = binary.network_of(settings.autoencoder, settings.channels)
    return BitDiffusion(autoencoder, unet(settings.network, in_channels=bits, out_channels=bits))


def loss(recipe: Recipe, net: BitDiffusion, batch: Batch, step: int) -> Tensor:
    """Flip bits of each slice to a t of its own, and tell which: binary cross-entropy."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    from uadtools.diffusion.bits import flip
    from uadtools.interface.learning import drawn
    from uadtools.nets.layout import packed

    z = net.encode(batch.x0)
    t, eps, schedule = drawn(recipe, z, batch.seeds)
    z_t = flip(z, t, eps, schedule)
    return binary_cross_entropy_with_logits(net(packed(z_t), t).float(), (z_t - z).abs())


def start(recipe: Recipe, nets: Sequence[BitDiffusion], donor: Donor, slices: Healthy) -> None:
    """Take the autoencoder."""
    donor.check("binary", "network", "autoencoder", recipe.autoencoder, ("widths", "residuals", "bits"))
    for net in nets:
        net.autoencoder.load_state_dict(donor.weights)
