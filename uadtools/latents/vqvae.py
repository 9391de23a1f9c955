"""The autoencoder with a codebook, by itself: what its codes cannot say is lost. Source: van den Oord et al. 2017."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from uadtools.interface import recipe as base
from uadtools.interface.healing import Single, reconstruct
from uadtools.models import settings
from uadtools.models.networks import CodebookConfig

if TYPE_CHECKING:
    import torch

    from uadtools.interface.types import Batch, Donor, Healthy, Model, Tensor
    from uadtools.nets.vqvae import VQVAE

Options = Single
heal = reconstruct
SIZES = ("widths", "residuals", "codes", "dimension", "axes")
MOST = 256
"""Slices by which the use of the codebook is measured, at most."""


class Settings(settings.Settings):
    """network: encoder, codebook and decoder, of slices, or of whole volumes, which have one contrast."""

    VOLUMES: ClassVar[bool] = True
    SEVERAL: ClassVar[bool] = True

    kind: Literal["vqvae"] = "vqvae"
    network: CodebookConfig = CodebookConfig()


class StartedCodebook(CodebookConfig, base.Started):
    """pretrained: a model of this kind, whose latents another model learns."""


class Recipe(base.Recipe, Settings):
    """commitment: the weight of the latent's distance from its code."""

    commitment: Annotated[float, Field(ge=0)] = 0.25


def build(settings: Settings) -> VQVAE:
    return network_of(settings.network, settings.channels)


def network_of(sizes: CodebookConfig, channels: int) -> VQVAE:
    """Make the autoencoder of images of so many channels, with fresh weights."""
    from uadtools.nets.vqvae import VQVAE

    return VQVAE(**sizes.model_dump(include={*SIZES}), channels=channels)


def take(donor: Donor, sizes: CodebookConfig, autoencoders: Sequence[VQVAE]) -> None:
    """Give autoencoders the weights of a trained one. Raises UadError where that is of another kind or other sizes."""
    donor.check("vqvae", "network", "autoencoder", sizes, SIZES)
    for autoencoder in autoencoders:
        autoencoder.load_state_dict(donor.weights)


def loss(recipe: Recipe, net: VQVAE, batch: Batch, step: int) -> Tensor:
    """Reconstruct the slices from codes: distance + commitment |z - code|^2; the codes follow by themselves.

    Source: eq. 3, the codebook by moving averages (appendix A.1).
    """
    from torch.nn.functional import mse_loss

    from uadtools.interface.learning import distance

    z = net.encode(batch.x0).float()
    nearest = net.codebook(z)
    if net.training:
        net.codebook.follow(z, nearest.indices)
    reconstruction = net.decode(z + (nearest.codes - z).detach())  # gradients pass the codes by
    return distance(recipe, reconstruction, batch.x0) + recipe.commitment * mse_loss(z, nearest.codes)


class Use(NamedTuple):
    """used: the share of the codes that stand for anything; perplexity: as many codes, equally often used, would tell
    as much.
    """

    used: float
    perplexity: float

    def __str__(self) -> str:
        return f"{self.used:.0%} of the codes used, perplexity {self.perplexity:.0f}"


def measure(net: VQVAE, slices: Healthy, device: torch.device) -> Use:
    """Count the codes of evenly spaced slices. Source: section 4."""
    import torch

    from uadtools.interface.learning import spread_out

    counts = torch.zeros(len(net.codebook.codes), device=device)
    with torch.no_grad():
        for place in spread_out(slices, MOST):
            x = slices.seen(slices.windows(place[None], 0, device))
            counts += torch.bincount(net.quantise(x).indices.flatten(), minlength=len(counts))
    share = counts / counts.sum()
    entropy = -torch.xlogy(share, share).sum()
    return Use(float((counts > 0).float().mean()), float(entropy.exp()))


def finish(model: Model, slices: Healthy, seed: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tell how much of its codebook the model uses."""
    return {}, {"codebook": measure(model.net, slices, model.device)._asdict()}
