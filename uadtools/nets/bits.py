"""An autoencoder whose latent is made of bits, and diffusion on these bits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from uadtools.nets.unet import UNet
from uadtools.nets.vqvae import decoder, encoder


class BitAutoencoder(nn.Module):
    """Encoder, bits, decoder: those of an autoencoder with a codebook, around `bits` channels of zeros and ones.

    channels: of the image.

    Source: Wang et al. 2023 (Binary Latent Diffusion).
    """

    def __init__(self, *, widths: Sequence[int], residuals: int, bits: int, channels: int = 1) -> None:
        super().__init__()
        self.encoder = encoder(widths, residuals, bits, channels=channels)
        self.decoder = decoder(widths, residuals, bits, channels=channels)

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits of the bits being 1, (B, D, H / f, W / f). x: (B, C, H, W) in [-1, 1]."""
        z: Tensor = self.encoder(x)
        return z

    def encode(self, x: Tensor) -> Tensor:
        """Return the likelier bits, 0 and 1 in float32, shaped like the logits."""
        return (self.logits(x) > 0).float()

    def decode(self, z: Tensor) -> Tensor:
        """Return the image of bits. z: (B, D, h, w). Returns (B, C, H, W)."""
        image: Tensor = self.decoder(z)
        return image

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct (B, C, H, W)."""
        return self.decode(self.encode(x))


class BitDiffusion(nn.Module):
    """A frozen autoencoder of bits, and a U-Net that tells which of its bits were flipped.

    Source: Wolleb et al. 2024.
    """

    def __init__(self, autoencoder: BitAutoencoder, unet: UNet) -> None:
        super().__init__()
        self.autoencoder, self.unet = autoencoder.requires_grad_(False), unet

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Return the bits of an image. x: (B, C, H, W) in [-1, 1]. Returns (B, D, h, w)."""
        return self.autoencoder.encode(x)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Return the image of bits. z: (B, D, h, w)."""
        return self.autoencoder.decode(z)

    def forward(self, z_t: Tensor, t: Tensor) -> Tensor:
        """Return the logits of each bit of z_t, (B, D, h, w), having been flipped. t: (B,)."""
        out: Tensor = self.unet(z_t, t)
        return out
