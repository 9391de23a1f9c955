"""Diffusion on the latents of an autoencoder: of images, with a codebook, or of masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uadtools.nets.unet import UNet
from uadtools.nets.vqvae import VQVAE, decoder, encoder


class LatentDiffusion(nn.Module):
    """A frozen autoencoder, and a U-Net that removes noise from its latents, scaled to unit variance.

    deviation: of the latents, by which they are divided; limits: (K, h, w) how much of the bound is still healthy at
    each position, for each of K ways to take it, infinite where nobody knows. Both networks are for slices, or for
    volumes, with one more axis in front of h.

    Source: Pinaya et al. 2022, sections 2 and 3.
    """

    def __init__(self, autoencoder: VQVAE, unet: UNet, limits: Sequence[int]) -> None:
        super().__init__()
        self.autoencoder, self.unet = autoencoder.requires_grad_(False), unet
        self.register_buffer("deviation", torch.ones(()))
        self.register_buffer("limits", torch.full(tuple(limits), torch.inf))
        self.deviation: Tensor
        self.limits: Tensor
        self.register_load_state_dict_pre_hook(_with_limits)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Return the scaled codes of an image. x: (B, C, H, W) in [-1, 1]. Returns (B, D, h, w)."""
        return self.autoencoder.quantise(x).codes / self.deviation

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Return the image of the codes nearest to scaled latents. z: (B, D, h, w)."""
        return self.autoencoder.decode(self.autoencoder.codebook(z * self.deviation).codes)

    def forward(self, z_t: Tensor, t: Tensor) -> Tensor:
        """Tell noise or latent behind z_t, (B, D, h, w). t: (B,)."""
        out: Tensor = self.unet(z_t, t)
        return out


def _with_limits(net: LatentDiffusion, weights: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Give limits for a single way the axis that several lie along; those for other ways are not known any more."""
    limits, wanted = weights.get(f"{prefix}limits"), net.limits.shape
    if limits is None or limits.shape == wanted or limits.shape[1 - len(wanted) :] != wanted[1:]:
        return
    single = limits.ndim < len(wanted) and wanted[0] == 1
    weights[f"{prefix}limits"] = limits[None] if single else limits.new_full(wanted, torch.inf)


class MaskDiffusion(nn.Module):
    """An autoencoder of masks whose latents lie in (-1, 1), and a U-Net that removes noise from these.

    Each of `widths` halves the mask, and has `residuals` residual blocks; dimension: channels of the latent. The U-Net
    sees an image beside the latent, of which f x f pixels are channels of one place, f pixels being one of the latent.
    """

    def __init__(self, unet: UNet, *, widths: Sequence[int], residuals: int, dimension: int) -> None:
        super().__init__()
        self.encoder, self.decoder = (make(widths, residuals, dimension) for make in (encoder, decoder))
        self.unet, self.factor = unet, 2 ** len(widths)

    def encode(self, mask: Tensor) -> Tensor:
        """Return the latent of a mask, (B, D, h, w). mask: (B, 1, H, W), -1 or 1."""
        z: Tensor = self.encoder(mask)
        return z.tanh()

    def decode(self, z: Tensor) -> Tensor:
        """Return the logits of a mask, (B, 1, H, W). z: (B, D, h, w)."""
        logits: Tensor = self.decoder(z)
        return logits

    def beside(self, x: Tensor) -> Tensor:
        """Return the image as the U-Net sees it beside a latent. x: (B, C, H, W). Returns (B, C f f, h, w)."""
        return F.pixel_unshuffle(x, self.factor)

    def forward(self, z_t: Tensor, t: Tensor) -> Tensor:
        """Return what the U-Net tells of image and latent, (B, D, h, w). z_t: (B, C f f + D, h, w); t: (B,)."""
        told: Tensor = self.unet(z_t, t)
        return told
