"""The variational autoencoder that also sees the slices above and below. Source: Behrendt et al. 2022 (SVAE)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uadtools.methods.healing import Healing, Reconstructor, Single

if TYPE_CHECKING:
    from torch import Tensor

    from uadtools.diffusion.samplers import Noise

Options = Single


def heal(model: Reconstructor, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Reconstruct the middle slice of each window from its mean. x: (B, 2 reach + 1, H, W) in [-1, 1]."""
    return Healing(model.reconstruct(x))
