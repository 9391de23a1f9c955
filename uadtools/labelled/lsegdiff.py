"""Segmentation by diffusion in the latent of masks: a small one is drawn from noise beside the scan, and decoded.

Source: Vu Quoc et al. 2023 (LSegDiff). Theirs trains a variational autoencoder of masks first; ours trains both
together, each by its own loss alone, and keeps latents in (-1, 1), with noise, in place of a divergence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from uadtools.interface import recipe as base
from uadtools.interface.healing import Drawing
from uadtools.labelled import segment
from uadtools.labelled._lesions import distance, marked
from uadtools.models.networks import MaskCodeConfig, UNetConfig
from uadtools.models.settings import NoisedSettings

if TYPE_CHECKING:
    from uadtools.interface.healing import Healing
    from uadtools.interface.types import Batch, Model, Noise, Tensor
    from uadtools.nets.latent import MaskDiffusion

SPREAD = 0.2
"""The deviation of the noise on latents from which the decoder learns, as those that are drawn are not exact."""


class Settings(NoisedSettings):
    """autoencoder: makes latents of masks; network: sees the slab, and the noisy latent of the mask of its middle."""

    FOLLOWS: ClassVar[dict[str, dict[str, Any]]] = {"noise": {"kind": "gaussian"}}
    NEIGHBOURS: ClassVar[bool] = True
    SEVERAL: ClassVar[bool] = True

    kind: Literal["lsegdiff"] = "lsegdiff"
    network: UNetConfig = UNetConfig()
    autoencoder: MaskCodeConfig = MaskCodeConfig()

    @property
    def divisor(self) -> int:
        return self.network.divisor * self.autoencoder.divisor

    def noise_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self.autoencoder.dimension, *(size // self.autoencoder.divisor for size in shape)

    def held(self, shape: Sequence[int]) -> int:
        return 0

    @model_validator(mode="after")
    def _of_latents(self) -> Self:
        if self.defaults.t:
            raise ValueError(f"defaults.t {list(self.defaults.t)}: masks are drawn from noise alone (leave it out)")
        if self.noise.kind != "gaussian":
            raise ValueError(f"noise.kind {self.noise.kind}: latents are noised with gaussian")
        return self


class Recipe(base.NoisedRecipe, Settings):
    """Nothing beyond what is common to models of noise."""

    LABELLED: ClassVar[bool] = True


@dataclass(frozen=True)
class Options(Drawing):
    """steps: of the walk, from noise alone to the latent; top: where that begins, the last step of the schedule."""


def settle(config: Settings, given: dict[str, Any]) -> list[dict[str, Any]]:
    """Begin where the model's schedule ends."""
    return [{**given, "top": config.levels - 1}]


def heal(model: Model, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Draw the latent of a mask for each slice, from noise alone, and decode it; nothing is healed.

    x: (B, C (2 reach + 1), H, W) in [-1, 1]. The map is the probability of a lesion, as the decoder has it.
    """
    from uadtools.diffusion.samplers import ddim
    from uadtools.diffusion.steps import spaced

    net: MaskDiffusion = model.net
    beside = segment.Beside(model, net.beside(x))
    walk = ddim(beside, noise(), spaced(options.top, options.steps), noise, eta=options.eta, clamp=True)
    return marked(net.decode(segment.last(walk)).sigmoid())


def probe(model: Model, x: Tensor) -> Tensor:
    """Return the logits that follow of slices and of a latent in the middle of all, at t = 0.

    x: (B, C (2 reach + 1), H, W) in [-1, 1].
    """
    net, (height, width) = model.net, x.shape[2:]
    z = x.new_zeros(len(x), *model.config.noise_shape((height, width)))
    logits: Tensor = net.decode(segment.Beside(model, net.beside(x)).predict(z, 0).x0)
    return logits


def build(settings: Settings) -> MaskDiffusion:
    from uadtools.interface.learning import unet
    from uadtools.nets.latent import MaskDiffusion

    sizes = settings.autoencoder
    seen = settings.seen * sizes.divisor**2 + sizes.dimension
    return MaskDiffusion(
        unet(settings.network, in_channels=seen, out_channels=sizes.dimension),
        **sizes.model_dump(include={"widths", "residuals", "dimension"}),
    )


def loss(recipe: Recipe, net: MaskDiffusion, batch: Batch, step: int) -> Tensor:
    """Tell the mask from its latent: balanced BCE and soft Dice; and noise that to a t of its own, and tell either.

    By BCE alone the latent of a small lesion is that of none. The second part leaves the autoencoder as it is. What is
    IGNORED counts in neither, a place of the latent as soon as any of its pixels is, and is no lesion where it is seen.
    """
    import torch
    from torch.nn.functional import max_pool2d

    from uadtools.diffusion.process import add_noise
    from uadtools.interface.learning import drawn, measure
    from uadtools.nets.layout import middle, packed
    from uadtools.volume.labels import IGNORED, LESION

    assert batch.labels is not None
    lesion, ignored = ((batch.labels == which).to(batch.x0) for which in (LESION, IGNORED))
    z = net.encode(2 * lesion - 1).float()
    t, eps, schedule = drawn(recipe, z, batch.seeds)
    told = distance(net.decode(z + SPREAD * eps).float(), middle(batch.x0, recipe.channels), batch.labels)
    clean = z.detach()
    target = clean if recipe.target == "x0" else eps
    output = net(packed(torch.cat([net.beside(batch.x0), add_noise(clean, t, eps, schedule)], dim=1)), t)
    apart = measure(recipe)(output.float(), target, reduction="none").mean(dim=1, keepdim=True)
    counted = 1 - max_pool2d(ignored, net.factor)
    return told + (apart * counted).sum() / counted.sum().clamp(min=1)
