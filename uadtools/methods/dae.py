"""The denoising autoencoder takes a lesion for the coarse noise it learnt to remove. Source: Kascenas et al. 2022."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uadtools.methods.healing import Healing, Reconstructor, Single

if TYPE_CHECKING:
    from torch import Tensor

    from uadtools.diffusion.samplers import Noise

Options = Single


def heal(model: Reconstructor, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Denoise the slices as they are: noise is added in training only. x: (B, 1, H, W) in [-1, 1]."""
    return Healing(model.reconstruct(x))
