"""Diffusion on the latents of an autoencoder with a codebook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from uadtools.nets.unet import UNet
from uadtools.nets.vqvae import VQVAE


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
