"""The U-Net of the guided-diffusion family, with the choices in which the published networks differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


def _resampled(x: Tensor, how: Resample) -> Tensor:
    if how == "up":
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
    return _POOLS[x.ndim - 2](x, 2) if how == "down" else x


def _zeroed(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> nn.Module:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def _silu(x: Tensor) -> Tensor:
    """Return x sigmoid(x), in the place of x where no gradient asks for it: memory is what a CPU waits for."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


def _mlp(into: int, out: int) -> nn.Module:
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
        self.embedding, self.resample, self.dropout = embedding, resample, dropout
        self.in_norm = norm(into)
        self.in_conv = conv(into, out, 3, padding=1)
        self.embed = nn.Linear(embed_width, 2 * out if embedding == "scale_shift" else out)
        self.out_norm = norm(out)
        self.out_conv = _zeroed(conv(out, out, 3, padding=1))
        self.skip: nn.Module = nn.Identity() if into == out else conv(into, out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.in_conv(_resampled(_silu(self.in_norm(x)), self.resample))
        e = self.embed(F.silu(embedding)).to(h.dtype)
        e = e.view(*e.shape, *[1] * (h.ndim - 2))
        if self.embedding == "scale_shift":
            scale, shift = e.chunk(2, dim=1)
            h = self.out_norm(h) * (1 + scale) + shift
        else:
            h = self.out_norm(h + e)
        h = self.out_conv(F.dropout(_silu(h), self.dropout, self.training))
        return torch.add(self.skip(_resampled(x, self.resample)), h)


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
        self.proj = _zeroed(nn.Conv1d(channels, channels, 1))

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
        return torch.add(flat, self.proj(mixed)).view(x.shape)


class Resampling(nn.Module):
    """Plain halving or doubling, with a 3x3 convolution (strided when halving) or without."""

    def __init__(self, channels: int, how: Resample, *, convolve: bool, axes: Axes = 2) -> None:
        super().__init__()
        self.how: Resample = "none" if how == "down" and convolve else how
        stride, conv = 2 if how == "down" else 1, CONVOLUTIONS[axes]
        self.conv: nn.Module = conv(channels, channels, 3, stride, padding=1) if convolve else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        out: Tensor = self.conv(_resampled(x, self.how))
        return out


class Stage(nn.ModuleList):
    """Layers in a row, all given the embedding."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for layer in self:
            x = layer(x, embedding)
        return x


@dataclass(frozen=True)
class _Parts:
    """Makes the layers of one network, which differ in their channels only."""

    width: int
    norm: Norm
    embedding: Literal["add", "scale_shift"]
    dropout: float
    heads: Callable[[int], int]
    attention: Sequence[int]
    attention_order: Literal["heads_first", "qkv_first"]
    resample: Literal["residual", "conv", "pool"]
    patch: int
    axes: Axes

    def block(self, into: int, out: int, how: Resample = "none") -> nn.Module:
        return ResBlock(
            (into, out), self.width, norm=self.norm, embedding=self.embedding, dropout=self.dropout, resample=how,
            axes=self.axes,
        )  # fmt: skip

    def attend(self, channels: int) -> nn.Module:
        return Attention(channels, self.heads(channels), norm=self.norm, order=self.attention_order)

    def stage(self, into: int, out: int, level: int) -> Stage:
        """A residual block, and attention where this level has it."""
        return Stage([self.block(into, out), *([self.attend(out)] if self.patch * 2**level in self.attention else [])])

    def change(self, channels: int, how: Resample) -> nn.Module:
        if self.resample == "residual":
            return self.block(channels, channels, how)
        return Resampling(channels, how, convolve=self.resample == "conv", axes=self.axes)


class UNet(nn.Module):
    """Predicts eps or x0 from a noisy image and its step.

    base: channels of the first level, times `multipliers` at each further one, each at half the resolution;
    res_blocks: per level (one more on the way up); attention: downsampling factors at which attention runs, besides the
    middle (on 256 pixels, 8 means 32x32); resample: residual (inside a residual block), conv or pool (plain); patch:
    squares of patch x patch pixels are seen as channels, so that the first level is that much coarser, and cheaper;
    heads: of attention, or as many as have head_channels channels each; condition: length of a vector that the network
    is given beside the step (0: none), and condition_mlp: whether it passes that through two layers first; axes: 2 for
    slices, 3 for volumes, (B, C, D, H, W), which have no patch.
    AnoDDPM: embedding add, sinusoid sin_cos, 2 heads. pDDPM: scale_shift, cos_sin, heads of 64 channels.

    Source: Dhariwal & Nichol 2021, section 3, and the published code of the papers.
    """

    def __init__(  # noqa: PLR0913  a network is its list of sizes
        self,
        *,
        in_channels: int = 1,
        out_channels: int = 1,
        base: int = 128,
        multipliers: Sequence[int] = (1, 1, 2, 3, 4),
        res_blocks: int = 2,
        attention: Sequence[int] = (8, 16),
        middle_attention: bool = True,
        heads: int = 2,
        head_channels: int | None = None,
        attention_order: Literal["heads_first", "qkv_first"] = "heads_first",
        embedding: Literal["add", "scale_shift"] = "add",
        sinusoid: Literal["cos_sin", "sin_cos"] = "cos_sin",
        resample: Literal["residual", "conv", "pool"] = "residual",
        groups: int = 32,
        eps: float = 1e-5,
        dropout: float = 0.0,
        patch: int = 1,
        condition: int = 0,
        condition_mlp: bool = False,
        axes: Axes = 2,
    ) -> None:
        super().__init__()
        width = 4 * base
        self.base, self.sinusoid, self.patch = base, sinusoid, patch
        self.time_embed = _mlp(base, width)
        self.condition_embed = _mlp(condition, width) if condition_mlp else nn.Identity()
        told = width + (width if condition_mlp else condition)

        def norm(channels: int) -> nn.Module:
            return nn.GroupNorm(groups, channels, eps=eps)

        def heads_of(channels: int) -> int:
            return channels // head_channels if head_channels else heads

        conv = CONVOLUTIONS[axes]
        make = _Parts(told, norm, embedding, dropout, heads_of, attention, attention_order, resample, patch, axes)
        levels = list(enumerate(base * multiplier for multiplier in multipliers))

        here = levels[0][1]
        self.first = conv(in_channels * patch**2, here, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips = [here]
        for level, out in levels:
            for _ in range(res_blocks):
                self.down.append(make.stage(here, out, level))
                here = out
                skips.append(here)
            if level < len(levels) - 1:
                self.down.append(Stage([make.change(here, "down")]))
                skips.append(here)
        middle = [make.attend(here)] if middle_attention else []
        self.middle = Stage([make.block(here, here), *middle, make.block(here, here)])
        for level, out in reversed(levels):
            for i in range(res_blocks + 1):
                stage = make.stage(here + skips.pop(), out, level)
                here = out
                if level > 0 and i == res_blocks:
                    stage.append(make.change(here, "up"))
                self.up.append(stage)
        self.out_norm = norm(here)
        self.out_conv = _zeroed(conv(here, out_channels * patch**2, 3, padding=1))

    def halve(self, dtype: torch.dtype) -> None:
        """Keep the weights in a type of half precision, but for the first and last layers, which see the image."""
        self.to(dtype)
        for layer in (self.first, self.out_norm, self.out_conv):
            layer.float()

    def forward(self, x: Tensor, t: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H, W); H, W: multiples of patch 2^(levels - 1).

        t: (B,) int64; none, where there is no diffusion: 0. condition: (B, D), where the network is made for one.
        """
        t = x.new_zeros(len(x)) if t is None else t
        dtype = next(self.time_embed.parameters()).dtype
        halved = dtype != torch.float32
        embedding = self.time_embed(sinusoid(t, self.base, self.sinusoid).to(dtype))
        if condition is not None:
            embedding = torch.cat([embedding, self.condition_embed(condition.to(dtype))], dim=1)
        h = self.first(F.pixel_unshuffle(x, self.patch) if self.patch > 1 else x)
        h = h.to(dtype) if halved else h
        kept = [h]
        for stage in self.down:
            h = stage(h, embedding)
            kept.append(h)
        h = self.middle(h, embedding)
        for stage in self.up:
            h = stage(torch.cat([h, kept.pop()], dim=1), embedding)
        out: Tensor = self.out_conv(_silu(self.out_norm(h.float() if halved else h)))
        return F.pixel_shuffle(out, self.patch) if self.patch > 1 else out
