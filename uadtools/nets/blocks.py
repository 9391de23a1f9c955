"""The layers of U-Nets, with the choices in which the published networks differ."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Resample = Literal["none", "up", "down"]
Norm = Callable[[int], nn.Module]
"""Makes the normalisation of so many channels."""
Axes = Literal[2, 3]
"""Of the images: slices, or volumes."""
CONVOLUTIONS: dict[int, Callable[..., Any]] = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, Callable[..., Any]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_POOLS = {2: F.avg_pool2d, 3: F.avg_pool3d}


def sinusoid(t: Tensor, width: int, order: Literal["cos_sin", "sin_cos"]) -> Tensor:
    """Embed steps as width/2 frequencies from 1 down to 1/10000. t: (B,). Returns (B, width) float32.

    cos_sin is guided-diffusion's, pDDPM's and MONAI's order; sin_cos is AnoDDPM's. Width must be even.
    """
    half = width // 2
    frequencies = torch.exp(-math.log(10000) / half * torch.arange(half, dtype=torch.float32, device=t.device))
    angles = t.float()[:, None] * frequencies
    parts = [angles.cos(), angles.sin()]
    return torch.cat(parts if order == "cos_sin" else parts[::-1], dim=1)


def _resampled(x: Tensor, resample: Resample) -> Tensor:
    if resample == "up":
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
    return _POOLS[x.ndim - 2](x, 2) if resample == "down" else x


def zeroed(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> nn.Module:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def silu(x: Tensor) -> Tensor:
    """Return x sigmoid(x), in the place of x where no gradient asks for it: memory is what a CPU waits for."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


def _sum(h: Tensor, other: Tensor) -> Tensor:
    """Return h + other, in the place of h where no gradient asks for it. h: fresh, of the same shape as the sum."""
    return h + other if torch.is_grad_enabled() or h.dtype != other.dtype else h.add_(other)


def _doubling(conv: nn.Module) -> nn.Module:
    """Make one transposed convolution of a nearest doubling and the 3x3 (or 3x3x3) convolution after it.

    Each pixel it makes sees 2x2 of the small image, some of them through several of the 9 weights: these are summed,
    so that there are 4 products, not 9 (8, not 27).
    """
    assert isinstance(conv, nn.Conv2d | nn.Conv3d)
    axes = range(2, conv.weight.ndim)
    weight = conv.weight.transpose(0, 1).flip(*axes)
    for axis in axes:
        before = (0, 0) * (conv.weight.ndim - 1 - axis)
        weight = F.pad(weight, (*before, 0, 1)) + F.pad(weight, (*before, 1, 0))
    transposed, (into, out) = _TRANSPOSED[len(axes)], (conv.in_channels, conv.out_channels)
    layer: nn.Module = transposed(into, out, 4, stride=2, padding=1, device="meta")
    layer.load_state_dict({"weight": weight, "bias": conv.bias}, assign=True)
    return layer.requires_grad_(False)


def mlp(into: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(into, out), nn.SiLU(), nn.Linear(out, out))


class ResBlock(nn.Module):
    """norm, SiLU, convolution; add or scale by the embedding; norm, SiLU, convolution; plus the input.

    embedding: add (h + e) or scale_shift (norm(h) (1 + s) + b). resample: halves or doubles both branches in between.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        embed_width: int,
        *,
        norm: Norm,
        embedding: Literal["add", "scale_shift"],
        dropout: float,
        resample: Resample = "none",
        axes: Axes = 2,
    ) -> None:
        super().__init__()
        (into, out), conv = channels, CONVOLUTIONS[axes]
        self.embedding, self.dropout = embedding, dropout
        self.resample = self.resample_in = resample
        self.in_norm = norm(into)
        self.in_conv = conv(into, out, 3, padding=1)
        self.embed = nn.Linear(embed_width, 2 * out if embedding == "scale_shift" else out)
        self.out_norm = norm(out)
        self.out_conv = zeroed(conv(out, out, 3, padding=1))
        self.skip: nn.Module = nn.Identity() if into == out else conv(into, out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.in_conv(_resampled(silu(self.in_norm(x)), self.resample_in))
        e = self.embed(F.silu(embedding)).to(h.dtype)
        e = e.view(*e.shape, *[1] * (h.ndim - 2))
        if self.embedding == "scale_shift":
            scale, shift = e.chunk(2, dim=1)
            h = self.out_norm(h) * (1 + scale) + shift
        else:
            h = self.out_norm(_sum(h, e))
        h = self.out_conv(F.dropout(silu(h), self.dropout, self.training))
        return _sum(h, self.skip(_resampled(x, self.resample)))

    def fold(self) -> None:
        if self.resample_in == "up":
            self.in_conv, self.resample_in = _doubling(self.in_conv), "none"


class Attention(nn.Module):
    """Self-attention over the pixels, plus the input.

    order: how the 3C channels of qkv are cut; heads_first (guided-diffusion's legacy order, AnoDDPM) keeps q, k and v
    of one head together, qkv_first (pDDPM) keeps all heads of q together.
    """

    def __init__(self, channels: int, heads: int, *, norm: Norm, order: Literal["heads_first", "qkv_first"]) -> None:
        super().__init__()
        self.heads, self.order = heads, order
        self.norm = norm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj = zeroed(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        flat = x.flatten(2)
        b, c, n = flat.shape
        parts = self.qkv(self.norm(flat))
        if self.order == "heads_first":
            parts = parts.view(b, self.heads, 3, c // self.heads, n).transpose(1, 2)
        else:
            parts = parts.view(b, 3, self.heads, c // self.heads, n)
        q, k, v = parts.transpose(-1, -2).contiguous().unbind(1)  # (B, heads, pixels, C / heads)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(b, c, n)
        return _sum(self.proj(mixed), flat).view(x.shape)


class Resampling(nn.Module):
    """Plain halving or doubling, with a 3x3 convolution (strided when halving) or without."""

    def __init__(self, channels: int, resample: Resample, *, convolve: bool, axes: Axes = 2) -> None:
        super().__init__()
        self.resample: Resample = "none" if resample == "down" and convolve else resample
        stride, conv = 2 if resample == "down" else 1, CONVOLUTIONS[axes]
        self.conv: nn.Module = conv(channels, channels, 3, stride, padding=1) if convolve else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        out: Tensor = self.conv(_resampled(x, self.resample))
        return out

    def fold(self) -> None:
        if self.resample == "up" and not isinstance(self.conv, nn.Identity):
            self.conv, self.resample = _doubling(self.conv), "none"


class Stage(nn.ModuleList):
    """Layers in a row, all given the embedding."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for layer in self:
            x = layer(x, embedding)
        return x
