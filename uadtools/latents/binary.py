"""The autoencoder of bits, by itself: what its bits cannot say is lost.

Source: Wang et al. 2023 (Binary Latent Diffusion).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from uadtools.interface.healing import Single, reconstruct
from uadtools.models import settings
from uadtools.models.networks import BitsConfig

if TYPE_CHECKING:
    import torch

    from uadtools.interface.recipe import Recipe
    from uadtools.interface.types import Batch, Healthy, Model, Tensor
    from uadtools.nets.bits import BitAutoencoder

Options = Single
heal = reconstruct
MOST = 256
"""Slices by which the use of the bits is measured, at most."""


class Settings(settings.Settings):
    """network: encoder, bits and decoder, of slices."""

    SEVERAL: ClassVar[bool] = True

    kind: Literal["binary"] = "binary"
    network: BitsConfig = BitsConfig()


def build(settings: Settings) -> BitAutoencoder:
    return network_of(settings.network, settings.channels)


def network_of(sizes: BitsConfig, channels: int) -> BitAutoencoder:
    """Make the autoencoder of images of so many channels, with fresh weights."""
    from uadtools.nets.bits import BitAutoencoder

    return BitAutoencoder(**sizes.model_dump(include={"widths", "residuals", "bits"}), channels=channels)


def loss(recipe: Recipe, net: BitAutoencoder, batch: Batch, step: int) -> Tensor:
    """Reconstruct the slices from bits; gradients pass these by, to the probabilities that they are rounded from.

    Source: Wang et al. 2023, who draw the bits by these probabilities. Then the likelier bits, with which scans are
    healed, would be strange to the decoder for as long as the probabilities are not sure.
    """
    from uadtools.interface.learning import distance

    chance = net.logits(batch.x0).float().sigmoid()
    bits = (chance > 0.5).to(chance)
    return distance(recipe, net.decode(bits + chance - chance.detach()), batch.x0)


class Use(NamedTuple):
    """used: the share of the channels whose bits are not all the same; entropy: of a bit, in bits, in the mean over
    the channels.
    """

    used: float
    entropy: float

    def __str__(self) -> str:
        return f"{self.used:.0%} of the channels used, {self.entropy:.2f} bits a bit"


def measure(net: BitAutoencoder, slices: Healthy, device: torch.device) -> Use:
    """Count the ones in each channel, over evenly spaced slices."""
    import torch

    from uadtools.interface.learning import spread_out

    with torch.no_grad():
        windows = (slices.windows(place[None], 0, device) for place in spread_out(slices, MOST))
        share = torch.cat([net.encode(slices.seen(x)).mean(dim=(2, 3)) for x in windows]).mean(dim=0)
    nats = -torch.xlogy(share, share) - torch.xlogy(1 - share, 1 - share)
    return Use(float(((share > 0) & (share < 1)).float().mean()), float((nats / torch.log(torch.tensor(2.0))).mean()))


def finish(model: Model, slices: Healthy, seed: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tell how much of its bits the model uses."""
    return {}, {"bits": measure(model.net, slices, model.device)._asdict()}
