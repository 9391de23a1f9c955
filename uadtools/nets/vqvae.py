"""An autoencoder whose latent is made of the vectors of a codebook, and the codebook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from uadtools.nets.blocks import CONVOLUTIONS, Axes

SMOOTHING = 1e-5
"""Keeps a code that is never used from a division by nothing."""


class Quantised(NamedTuple):
    """codes: the nearest vectors, shaped like the latent; indices: (B, h, w) int64."""

    codes: Tensor
    indices: Tensor


class Codebook(nn.Module):
    """K vectors of D numbers, which follow the latents that they are nearest to.

    Learns by exponential moving averages, not by gradients. A code that is used less than `DEAD` times a batch, on
    average, is put where a latent of the batch is.

    Source: van den Oord et al. 2017, appendix A.1; reviving as in Dhariwal et al. 2020 (Jukebox), section 3.
    """

    DEAD = 0.03

    def __init__(self, size: int, dimension: int, *, decay: float = 0.99) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("codes", torch.randn(size, dimension))
        self.register_buffer("counts", torch.ones(size))
        self.register_buffer("sums", self.codes.clone())
        self.codes: Tensor
        self.counts: Tensor
        self.sums: Tensor

    def forward(self, z: Tensor) -> Quantised:
        """Return the nearest codes. z: (B, D, h, w)."""
        rows = z.movedim(1, -1)
        flat = rows.reshape(-1, rows.shape[-1]).float()
        with torch.autocast(z.device.type, enabled=False):  # half precision takes another code where two are near
            distances = (self.codes**2).sum(dim=1) - 2 * flat @ self.codes.T
        indices = distances.argmin(dim=1).view(rows.shape[:-1])
        return Quantised(self.look_up(indices), indices)

    def look_up(self, indices: Tensor) -> Tensor:
        """Return the codes of indices. indices: (B, h, w). Returns (B, D, h, w)."""
        return F.embedding(indices, self.codes).movedim(-1, 1)

    @torch.no_grad()
    def follow(self, z: Tensor, indices: Tensor) -> None:
        """Move the codes towards the latents that they stand for, and revive the dead. Shapes as in forward."""
        rows = z.detach().movedim(1, -1)
        flat, flat_indices = rows.reshape(-1, rows.shape[-1]).float(), indices.flatten()
        counts = torch.bincount(flat_indices, minlength=len(self.counts)).to(flat)
        sums = torch.zeros_like(self.sums).index_add_(0, flat_indices, flat)
        picked = flat[torch.randint(len(flat), (len(self.counts),), device=flat.device)]
        if dist.is_initialized():  # what all processes saw together; the dead are revived by the first
            dist.all_reduce(counts)
            dist.all_reduce(sums)
            dist.broadcast(picked, 0)
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        dead = self.counts < self.DEAD
        self.counts.copy_(torch.where(dead, torch.ones_like(self.counts), self.counts))
        self.sums.copy_(torch.where(dead[:, None], picked, self.sums))
        self.codes.copy_(self.sums / (self.counts + SMOOTHING)[:, None])


class Residual(nn.Module):
    """Two 3x3 convolutions, plus the input."""

    def __init__(self, channels: int, axes: Axes) -> None:
        super().__init__()
        self.conv1 = CONVOLUTIONS[axes](channels, channels, 3, padding=1)
        self.conv2 = CONVOLUTIONS[axes](channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.conv2(F.relu(self.conv1(x))))


def encoder(widths: Sequence[int], residuals: int, dimension: int, axes: Axes = 2, channels: int = 1) -> nn.Sequential:
    """Make what turns (B, C, H, W) into (B, D, H / f, W / f). Each width halves the image, and has residual blocks."""
    conv = CONVOLUTIONS[axes]
    down: list[nn.Module] = []
    for into, out in zip([channels, *widths], widths, strict=False):
        down += [conv(into, out, 4, stride=2, padding=1), nn.ReLU(), *(Residual(out, axes) for _ in range(residuals))]
    return nn.Sequential(*down, conv(widths[-1], dimension, 3, padding=1))


def decoder(widths: Sequence[int], residuals: int, dimension: int, axes: Axes = 2, channels: int = 1) -> nn.Sequential:
    """Make what turns (B, D, h, w) into (B, C, f h, f w): the same sizes, the other way round."""
    rising = nn.ConvTranspose2d if axes == 2 else nn.ConvTranspose3d
    up: list[nn.Module] = [CONVOLUTIONS[axes](dimension, widths[-1], 3, padding=1)]
    for into, out in zip(reversed(widths), [*reversed(widths[:-1]), channels], strict=True):
        up += [*(Residual(into, axes) for _ in range(residuals)), rising(into, out, 4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*up[:-1])


class VQVAE(nn.Module):
    """Encoder, codebook, decoder. Each of `widths` halves the image, and has `residuals` residual blocks.

    codes: vectors in the codebook, of `dimension` numbers; channels: of the image; axes: 2 for slices, 3 for volumes,
    which have one more axis, in front of the others, in all shapes. Laid out as MONAI's, whose weights can be taken
    over.

    Source: van den Oord et al. 2017.
    """

    def __init__(
        self, *, widths: Sequence[int], residuals: int, codes: int, dimension: int, axes: Axes = 2, channels: int = 1
    ) -> None:
        super().__init__()
        self.encoder = encoder(widths, residuals, dimension, axes, channels)
        self.codebook = Codebook(codes, dimension)
        self.decoder = decoder(widths, residuals, dimension, axes, channels)

    def encode(self, x: Tensor) -> Tensor:
        """Return the latent before quantisation, (B, D, H / f, W / f). x: (B, C, H, W) in [-1, 1]."""
        z: Tensor = self.encoder(x)
        return z

    def quantise(self, x: Tensor) -> Quantised:
        """Return the codes and indices of an image."""
        quantised: Quantised = self.codebook(self.encode(x))
        return quantised

    def decode(self, z: Tensor) -> Tensor:
        """Return the image of a latent. z: (B, D, h, w), which need not be of codes. Returns (B, C, H, W)."""
        image: Tensor = self.decoder(z)
        return image

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct (B, C, H, W)."""
        return self.decode(self.quantise(x).codes)
