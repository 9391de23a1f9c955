"""The autoencoder: what does not fit through its bottleneck is lost. Source: Baur et al. 2021 (dense AE)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uadtools.methods.healing import Healing, Reconstructor, Single

if TYPE_CHECKING:
    from torch import Tensor

    from uadtools.diffusion.samplers import Noise

Options = Single


def heal(model: Reconstructor, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Reconstruct the slices from a few numbers each. x: (B, 1, H, W) in [-1, 1]."""
    return Healing(model.reconstruct(x))
