"""f-AnoGAN: the image that a generator of healthy slices makes of what an encoder saw. Source: Schlegl et al. 2019."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uadtools.methods.healing import Healing, Reconstructor, Single

if TYPE_CHECKING:
    from torch import Tensor

    from uadtools.diffusion.samplers import Noise

Options = Single


def heal(model: Reconstructor, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Encode the slices and generate them anew. x: (B, 1, H, W) in [-1, 1]."""
    return Healing(model.reconstruct(x))
