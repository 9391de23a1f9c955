"""Restoration: a network takes out what does not belong into a healthy brain, and says where. restore, disyre ask it.

It learns to mend anomalies that were put into healthy slabs (`corruption`). Source: Naval Marimont et al. 2023 (DISYRE)
and 2024 (v2), Baugh et al. 2023; ours sees 2.5-D slabs, and is told the highest severity that is to be expected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import model_validator

from uadtools.corrupting.config import CorruptionConfig
from uadtools.errors import UadError
from uadtools.interface import recipe as base
from uadtools.models import settings
from uadtools.models.networks import UNetConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from uadtools.interface.types import Batch, Donor, Healthy, Network, Tensor, Timesteps, nn
    from uadtools.nets.restored import Restored

SEVERITIES = 1000


class Settings(settings.Settings):
    """network: a U-Net that sees `reach` slices on either side of the one it mends."""

    METHOD: ClassVar[str] = "restore"
    NEIGHBOURS: ClassVar[bool] = True
    SEVERAL: ClassVar[bool] = True

    kind: Literal["restoration"] = "restoration"
    network: UNetConfig = UNetConfig()

    @property
    def levels(self) -> int:
        return SEVERITIES


class Recipe(base.Recipe, Settings):
    """corruption: what is to be mended, and what is not, in the place of `augment`; start: a model of this kind and of
    these sizes, whose weights training starts from.
    """

    corruption: CorruptionConfig = CorruptionConfig()
    start: str | None = None

    @property
    def corrupting(self) -> CorruptionConfig:
        return self.corruption

    @property
    def donor(self) -> str | None:
        return self.start

    @model_validator(mode="after")
    def _contrasts_as_they_are(self) -> Self:
        if self.channels > 1 and self.corruption.domains.contrast:
            raise ValueError("corruption.domains.contrast: drawn from T1 alone, and contrasts has several (0)")
        return self

    @model_validator(mode="after")
    def _not_augmented(self) -> Self:
        if self.augment != base.AugmentConfig():
            raise ValueError("augment: restoration has corruption.domains in its place (leave it out)")
        return self


def build(settings: Settings) -> nn.Module:
    from uadtools.interface.learning import unet

    return unet(settings.network, in_channels=settings.seen, out_channels=settings.channels + 1)


def loss(recipe: Recipe, net: nn.Module, batch: Batch, step: int) -> Tensor:
    """Mend corrupted slabs, and tell where: 2 l1 + BCE + 1/2 soft Dice, all inside the brain.

    Where something was changed, l1 counts five times; how much BCE counts there, the visible change says. Soft Dice is
    taken over the whole batch. Each part alone is common; together they learn faster here.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    from uadtools.nets.layout import packed
    from uadtools.nets.restored import restored

    items = batch.corrupted
    assert items is not None
    x0, logit = restored(items.seen, net(packed(items.seen), items.ceiling))
    changed, weight = (items.changed > 0).float(), torch.where(items.changed > 0, items.changed, 1) * items.brain
    count = items.brain.sum().clamp(min=1)
    apart = (x0 - items.healthy).abs().mean(dim=1, keepdim=True) / 2  # in units of [0, 1]
    l1 = (apart * (1 + 4 * changed) * items.brain).sum() / count
    bce = (binary_cross_entropy_with_logits(logit, changed, reduction="none") * weight).sum() / count
    probability = logit.sigmoid() * items.brain
    dice = 1 - (2 * (probability * items.changed).sum() + 1) / (probability.sum() + items.changed.sum() + 1)
    return 2 * l1 + bce + dice / 2


def start(recipe: Recipe, nets: Sequence[nn.Module], donor: Donor, slices: Healthy) -> None:
    """Take all weights."""
    if donor.config.kind != recipe.kind or donor.config.network != recipe.network:
        raise UadError(f"{donor.path}: not of the recipe's kind and sizes (start needs a model of the same recipe)")
    for net in nets:
        net.load_state_dict({name: weight.float() for name, weight in donor.weights.items()})


def ask(model: Network, x: Tensor, t: Timesteps) -> Restored:
    """Return the healthy middle slices, and where they were changed.

    x: (B, C (2 reach + 1), H, W) in [-1, 1]; t: the highest severity to be expected, below SEVERITIES, one for all or
    (B,) int64.
    """
    import torch

    from uadtools.nets.restored import restored

    return restored(x, model.ask(x, torch.as_tensor(t, device=x.device).expand(x.shape[0])))
