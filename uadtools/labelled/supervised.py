"""Supervised segmentation: a plain U-Net that learns lesions from masks, as the baseline of all that learns from these.

Source: Ronneberger et al. 2015 (U-Net); Bercea et al. 2024 (survey), 5.1, which holds segmentation by diffusion against
it. Ours is the U-Net that the other methods here have, without a t, and sees a slab.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from uadtools.interface import recipe as base
from uadtools.labelled._lesions import Marking, distance, marked
from uadtools.models import settings
from uadtools.models.networks import UNetConfig

if TYPE_CHECKING:
    from uadtools.interface.healing import Healing
    from uadtools.interface.types import Batch, Network, Noise, Tensor, nn

Options = Marking


class Settings(settings.Settings):
    """network: a U-Net that is not told a t, and sees `reach` slices on either side of the one it marks."""

    NEIGHBOURS: ClassVar[bool] = True
    SEVERAL: ClassVar[bool] = True

    kind: Literal["supervised"] = "supervised"
    network: UNetConfig = UNetConfig()


class Recipe(base.Recipe, Settings):
    """Nothing beyond what is common to all recipes."""

    LABELLED: ClassVar[bool] = True


def heal(model: Network, x: Tensor, options: Marking, noise: Noise) -> Healing:
    """Tell the probability of a lesion at each pixel; nothing is healed. x: (B, C (2 reach + 1), H, W) in [-1, 1]."""
    return marked(probe(model, x).sigmoid())


def probe(model: Network, x: Tensor) -> Tensor:
    """Return the logits of slices. x: (B, C (2 reach + 1), H, W) in [-1, 1]."""
    return model.ask(x)


def build(settings: Settings) -> nn.Module:
    from uadtools.interface.learning import unet

    return unet(settings.network, in_channels=settings.seen)


def loss(recipe: Recipe, net: nn.Module, batch: Batch, step: int) -> Tensor:
    """Tell lesions: balanced BCE and soft Dice."""
    from uadtools.nets.layout import middle

    assert batch.labels is not None
    return distance(net(batch.x0).float(), middle(batch.x0, recipe.channels), batch.labels)
