"""Codes told one after the other: those that are unlikely after the ones before are drawn anew. Source: Pinaya et al.
2022 (Unsupervised brain imaging 3D anomaly detection and segmentation with transformers), as summed up by Pinaya et al.
2022 (Fast unsupervised brain anomaly detection and segmentation with diffusion models).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import model_validator

from uadtools.errors import UadError
from uadtools.interface import recipe as base
from uadtools.interface.healing import Grow, Healing, Option
from uadtools.latents import vqvae
from uadtools.latents._region import grown, healthy_percentile
from uadtools.models import settings
from uadtools.models.networks import CodebookConfig, TransformerConfig, UnlikelyConfig
from uadtools.noise.config import NoiseConfig

if TYPE_CHECKING:
    from uadtools.interface.types import Batch, Donor, Healthy, Model, Noise, Tensor
    from uadtools.nets.transformer import LatentTransformer


class Settings(settings.Settings):
    """autoencoder: makes codes of slices; network: tells these; region: which of them are unlikely."""

    SEVERAL: ClassVar[bool] = True
    DRAWS: ClassVar[bool] = True

    kind: Literal["transformer"] = "transformer"
    network: TransformerConfig = TransformerConfig()
    autoencoder: CodebookConfig = CodebookConfig()
    region: UnlikelyConfig = UnlikelyConfig()

    @property
    def divisor(self) -> int:
        return self.autoencoder.divisor

    @property
    def latent_shape(self) -> tuple[int, int]:
        """(h, w)."""
        columns, rows, _ = self.grid.shape
        return rows // self.divisor, columns // self.divisor

    @property
    def noise(self) -> NoiseConfig:
        """Of which the share of luck in drawing each code follows."""
        return NoiseConfig(kind="gaussian")

    def noise_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return 1, *self.latent_shape

    def held(self, shape: Sequence[int]) -> int:
        """A sixteenth of the keys and values, as others hold sixteen such maps at once."""
        return 2 * self.network.layers * self.network.width * math.prod(shape) // self.divisor**2 // 16

    @model_validator(mode="after")
    def _of_slices(self) -> Self:
        if self.autoencoder.axes != 2:
            raise ValueError(f"autoencoder.axes {self.autoencoder.axes}: models of kind '{self.kind}' see slices (2)")
        return self


class Recipe(base.Recipe, Settings):
    """autoencoder: comes from a model of kind vqvae."""

    FREE: ClassVar[tuple[str, ...]] = ("defaults", "region")

    autoencoder: vqvae.StartedCodebook = vqvae.StartedCodebook()

    @property
    def donor(self) -> str:
        return base.needed(self.name, "autoencoder", self.autoencoder.pretrained, "vqvae")

    @model_validator(mode="after")
    def _by_cross_entropy(self) -> Self:
        if self.training.loss != "l2":
            raise ValueError(f"training.loss {self.training.loss}: codes are told by cross-entropy (leave it out)")
        return self


@dataclass(frozen=True)
class Options:
    """The first orders are the most different ones."""

    NOISY: ClassVar[bool] = True

    orders: Annotated[
        int,
        Option(
            "Raster orders in which codes are judged and drawn, each by itself, from 1 to all 8 (from each corner, "
            "along rows and columns); the score is that of all of them together. Default: 1.",
            least=1,
            most=8,
        ),
    ] = 1
    grow: Grow = 0

    @property
    def maps(self) -> tuple[str, ...]:
        return "nll", "region"

    def evaluations(self, shape: tuple[int, int]) -> int:
        """Each order tells all codes twice: to judge them, and step by step to draw some anew."""
        return 2 * self.orders


def heal(model: Model, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Encode, judge codes, draw those beyond the limits anew, decode; in several orders.

    x: (B, C, H, W) in [-1, 1]. A place is healed to the mean of those orders that drew its code anew, or of all where
    none did. Maps of the size of x: nll, the codes' negative log-likelihood in nats, and region, the share of the
    orders that drew a place anew; means over the orders. Raises UadError when the model does not know what is healthy.
    """
    import torch
    from torch.nn.functional import interpolate

    net: LatentTransformer = model.net
    if not net.limits.isfinite().all():
        raise UadError(
            "the model does not know how unlikely a healthy code may be, which the end of its training tells "
            "(uad-train --resume)"
        )
    codes = net.encode(x)
    judged = [_in_order(model, codes, order, options.grow, noise()[:, 0]) for order in range(options.orders)]
    nll, regions, images = (torch.stack(parts) for parts in zip(*judged, strict=True))
    found = regions[:, :, None].to(x)
    weights = torch.stack([interpolate(part, x.shape[2:]) for part in torch.where(found.any(dim=0), found, 1.0)])
    maps = {"nll": nll[:, :, None].mean(dim=0), "region": found.mean(dim=0)}
    return Healing(
        (weights * images).sum(dim=0) / weights.sum(dim=0),
        {role: interpolate(latent, x.shape[2:]) for role, latent in maps.items()},
    )


def _in_order(model: Model, codes: Tensor, order: int, grow: int, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return, of one order, how unlikely codes are, which of them are drawn anew, (B, h, w), and the image then."""
    nll = unlikeliness(model, codes, order)
    region = grown((nll > model.net.limits[order])[:, None], grow)[:, 0]
    return nll, region, model.net.decode(resampled(model, codes, order, region, noise))


def unlikeliness(model: Model, codes: Tensor, order: int) -> Tensor:
    """Return -log p of each code, given those before it in the order, in nats. codes, returned: (B, h, w)."""
    net = model.net.transformer
    orders = codes.new_full((len(codes),), order)
    sequence = net.in_order(codes, orders)
    told = model.ask(sequence, orders).log_softmax(dim=-1)
    nll: Tensor = net.on_grid(-told.gather(2, sequence[..., None])[..., 0], orders)
    return nll


def resampled(model: Model, codes: Tensor, order: int, region: Tensor, noise: Tensor) -> Tensor:
    """Draw the codes of a region anew, one after the other, each by those before it, drawn ones among them.

    codes: (B, h, w); region: where; noise: standard normal, by which each is drawn; all are shaped alike. What is
    outside of the region stays. The slices' steps are told together, and none twice.
    """
    import torch

    from uadtools.nets.transformer import Cache

    net = model.net.transformer
    orders = codes.new_full((len(codes),), order)
    sequence, inside, luck = (net.in_order(grid, orders) for grid in (codes, region, torch.special.ndtr(noise)))
    cache = Cache(sequence.shape[1])
    for step in inside.any(dim=0).nonzero()[:, 0].tolist():
        told = model.ask(sequence, orders, cache, step + 1, of=net)[:, -1].softmax(dim=-1)
        drawn = (told.cumsum(dim=-1) < luck[:, step, None]).sum(dim=-1).clamp(max=told.shape[-1] - 1)
        sequence[:, step] = torch.where(inside[:, step], drawn, sequence[:, step])
    model.asked(len(codes))
    drawn_anew: Tensor = net.on_grid(sequence, orders)
    return drawn_anew


def build(settings: Settings) -> LatentTransformer:
    from uadtools.nets.transformer import CodeTransformer, LatentTransformer

    codes, sizes = settings.autoencoder.codes, settings.network.model_dump(exclude={"kind"})
    transformer = CodeTransformer(settings.latent_shape, codes, **sizes)
    return LatentTransformer(vqvae.network_of(settings.autoencoder, settings.channels), transformer)


def loss(recipe: Recipe, net: LatentTransformer, batch: Batch, step: int) -> Tensor:
    """Tell the codes of each slice in an order of its own: the mean of their -log p."""
    import torch
    from torch.nn.functional import cross_entropy

    from uadtools.interface.learning import streams_of
    from uadtools.nets.transformer import ORDERS

    drawn = [stream.integers(ORDERS) for stream in streams_of(batch.seeds)]
    orders = torch.tensor(drawn, device=batch.x0.device)
    sequence = net.transformer.in_order(net.encode(batch.x0), orders)
    return cross_entropy(net(sequence, orders).flatten(0, 1).float(), sequence.flatten())


def start(recipe: Recipe, nets: Sequence[LatentTransformer], donor: Donor, slices: Healthy) -> None:
    """Take the autoencoder."""
    vqvae.take(donor, recipe.autoencoder, [net.autoencoder for net in nets])


def finish(model: Model, slices: Healthy, seed: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Measure how unlikely the codes of healthy slices are, at each position in each order."""
    import torch

    from uadtools.nets.transformer import ORDERS

    def told(x: Tensor, first: int) -> Tensor:
        codes = model.net.encode(x)
        return torch.stack([unlikeliness(model, codes, order) for order in range(ORDERS)], dim=1)

    return {"limits": healthy_percentile(told, slices, model.config.region.percentile, model.device)}, {}
