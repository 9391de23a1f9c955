"""The variational autoencoder that also sees the slices above and below. Source: Behrendt et al. 2022 (SVAE)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from uadtools.baselines import vae
from uadtools.interface.healing import Single, reconstruct
from uadtools.models import settings
from uadtools.models.networks import SequenceConfig

if TYPE_CHECKING:
    from torch import nn

Options = Single
heal = reconstruct
loss = vae.loss


class Settings(settings.Settings):
    """network: that of vae for windows of 2 reach + 1 slices, of which the middle one is reconstructed."""

    NEIGHBOURS: ClassVar[bool] = True
    SEVERAL: ClassVar[bool] = True

    kind: Literal["svae"] = "svae"
    network: SequenceConfig = SequenceConfig()


class Recipe(vae.Learning, Settings):
    """As that of vae."""


def build(settings: Settings) -> nn.Module:
    from uadtools.interface.learning import dense
    from uadtools.nets.dense import SequenceVAE

    return SequenceVAE(**dense(settings))
