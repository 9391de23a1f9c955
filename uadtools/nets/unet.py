"""The U-Net of the guided-diffusion family, and its way down alone, with the choices in which networks differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uadtools.nets.blocks import (
    CONVOLUTIONS,
    Attention,
    Axes,
    Norm,
    Resample,
    Resampling,
    ResBlock,
    Stage,
    mlp,
    silu,
    sinusoid,
    zeroed,
)


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

    def block(self, into: int, out: int, resample: Resample = "none") -> nn.Module:
        return ResBlock(
            (into, out), self.width, norm=self.norm, embedding=self.embedding, dropout=self.dropout, resample=resample,
            axes=self.axes,
        )  # fmt: skip

    def attend(self, channels: int) -> nn.Module:
        return Attention(channels, self.heads(channels), norm=self.norm, order=self.attention_order)

    def stage(self, into: int, out: int, level: int) -> Stage:
        """A residual block, and attention where this level has it."""
        return Stage([self.block(into, out), *([self.attend(out)] if self.patch * 2**level in self.attention else [])])

    def change(self, channels: int, resample: Resample) -> nn.Module:
        if self.resample == "residual":
            return self.block(channels, channels, resample)
        return Resampling(channels, resample, convolve=self.resample == "conv", axes=self.axes)


def _is_block(stage: nn.Module) -> bool:
    """Tell whether a stage keeps the resolution."""
    first = next(stage.children())
    return isinstance(first, ResBlock) and first.resample == "none"


def _doubles(stage: nn.Module) -> bool:
    """Tell whether a stage ends in what doubles the resolution."""
    *_, last = stage.children()
    return isinstance(last, Resampling) or (isinstance(last, ResBlock) and last.resample == "up")


class Encoder(nn.Module):
    """The way down of a U-Net, and its middle: features of a noisy image and its step.

    base: channels of the first level, times `multipliers` at each further one, each at half the resolution;
    res_blocks: per level (one more on the way up); attention: downsampling factors at which attention runs, besides the
    middle (on 256 pixels, 8 means 32x32); resample: residual (inside a residual block), conv or pool (plain); patch:
    squares of patch x patch pixels are seen as channels, so that the first level is that much coarser, and cheaper;
    heads: of attention, or as many as have head_channels channels each; condition: length of a vector that the network
    is given beside the step (0: none), and condition_mlp: whether it passes that through two layers first; width:
    length of what the step becomes (none: 4 base, as in the published programs); axes: 2 for
    slices, 3 for volumes, (B, C, D, H, W), which have no patch.
    AnoDDPM: embedding add, sinusoid sin_cos, 2 heads. pDDPM: scale_shift, cos_sin, heads of 64 channels.

    Source: Dhariwal & Nichol 2021, section 3, and the published code of the papers.
    """

    def __init__(  # noqa: PLR0913  a network is its list of sizes
        self,
        *,
        in_channels: int = 1,
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
        width: int | None = None,
        axes: Axes = 2,
    ) -> None:
        super().__init__()
        width = width or 4 * base
        self.base, self.sinusoid, self.patch = base, sinusoid, patch
        self.time_embed = mlp(base, width)
        self.condition_embed = mlp(condition, width) if condition_mlp else nn.Identity()
        embed = width + (width if condition_mlp else condition)

        def norm(channels: int) -> nn.Module:
            return nn.GroupNorm(groups, channels, eps=eps)

        def heads_of(channels: int) -> int:
            return channels // head_channels if head_channels else heads

        make = _Parts(embed, norm, embedding, dropout, heads_of, attention, attention_order, resample, patch, axes)
        self.parts, self.widths, self.res_blocks = make, [base * m for m in multipliers], res_blocks
        here = base * multipliers[0]
        self.first = CONVOLUTIONS[axes](in_channels * patch**2, here, 3, padding=1)
        self.down = nn.ModuleList()
        for level, out in enumerate(self.widths):
            for _ in range(res_blocks):
                self.down.append(make.stage(here, out, level))
                here = out
            if level < len(self.widths) - 1:
                self.down.append(Stage([make.change(here, "down")]))
        middle = [make.attend(here)] if middle_attention else []
        self.middle = Stage([make.block(here, here), *middle, make.block(here, here)])

    def fold(self) -> None:
        """Sum up weights that see the same pixels; what it predicts stays, but for rounding. For healing only."""
        for part in self.modules():
            if isinstance(part, ResBlock | Resampling):
                part.fold()

    def encode(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the features of the middle, (B, channels, h, w). x, t: as in UNet.forward."""
        h, embedding = self._begun(x, t)
        for stage in self.down:
            h = stage(h, embedding)
        features: Tensor = self.middle(h, embedding)
        return features

    def features(self, x: Tensor, t: Tensor) -> list[Tensor]:
        """Return what the way down makes of an image at each level, finest first: (B, channels, H, W) of the level.

        x, t: as in forward.
        """
        h, embedding = self._begun(x, t)
        levels = []
        for stage in self.down:
            levels += [] if _is_block(stage) else [h]
            h = stage(h, embedding)
        return [*levels, h]

    def _begun(self, x: Tensor, t: Tensor | None, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the first layer's features, and the embedding of step and condition."""
        t = x.new_zeros(x.shape[0]) if t is None else t
        embedding = self.time_embed(sinusoid(t, self.base, self.sinusoid).to(self._dtype))
        if condition is not None:
            embedding = torch.cat([embedding, self.condition_embed(condition.to(self._dtype))], dim=1)
        h = self.first(F.pixel_unshuffle(x, self.patch) if self.patch > 1 else x)
        return (h if self._dtype == torch.float32 else h.to(self._dtype)), embedding

    @property
    def _dtype(self) -> torch.dtype:
        """In which it computes but for the first and last layers: not float32 once it is halved."""
        return next(self.time_embed.parameters()).dtype


class UNet(Encoder):
    """Predicts eps or x0 from a noisy image and its step.

    skips: what the way up sees of the way down, all layers (as published: one block more a level) or the residual
    blocks alone, which takes two thirds of the time; sizes: of the way down, which Encoder explains.
    """

    def __init__(self, *, out_channels: int = 1, skips: Literal["all", "blocks"] = "all", **sizes: Any) -> None:
        super().__init__(**sizes)
        self.skips, make, widths = skips, self.parts, self.widths
        count, here = self.res_blocks + (skips == "all"), widths[-1]
        kept = [out for out in widths for _ in range(count)]
        kept = [widths[0], *kept[:-1]] if skips == "all" else kept
        self.up = nn.ModuleList()
        for level, out in reversed(list(enumerate(widths))):
            for i in range(count):
                stage = make.stage(here + kept.pop(), out, level)
                here = out
                if level > 0 and i == count - 1:
                    stage.append(make.change(here, "up"))
                self.up.append(stage)
        self.out_norm = make.norm(here)
        self.out_conv = zeroed(CONVOLUTIONS[make.axes](here, out_channels * self.patch**2, 3, padding=1))

    def halve(self, dtype: torch.dtype) -> None:
        """Keep the weights in a type of half precision, but for the first and last layers, which see the image."""
        self.to(dtype)
        for layer in (self.first, self.out_norm, self.out_conv):
            layer.float()

    def forward(self, x: Tensor, t: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H, W); H, W: multiples of patch 2^(levels - 1).

        t: (B,) int64; none, where there is no diffusion: 0. condition: (B, D), where the network is made for one.
        """
        return self._out(self._passed(x, t, condition))

    def looked_into(self, x: Tensor, t: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return what forward does, and the features of each level, way down and way up, finest first and finest last.

        Of the way up they are those after its levels, doubled already, (B, channels, H, W) of the next finer level.
        """
        levels: list[Tensor] = []
        return self._out(self._passed(x, t, levels=levels)), levels

    def _passed(
        self, x: Tensor, t: Tensor | None, condition: Tensor | None = None, levels: list[Tensor] | None = None
    ) -> Tensor:
        """Return the last features; levels: gets those of each level, as `looked_into` returns them."""
        h, embedding = self._begun(x, t, condition)
        kept = [h] if self.skips == "all" else []
        for stage in self.down:
            if levels is not None and not _is_block(stage):
                levels.append(h)
            h = stage(h, embedding)
            kept += [h] if self.skips == "all" or _is_block(stage) else []
        if levels is not None:
            levels.append(h)
        last: Tensor = self.middle(h, embedding)
        for stage in self.up:
            last = stage(torch.cat([last, kept.pop()], dim=1), embedding)
            if levels is not None and (stage is self.up[-1] or _doubles(stage)):
                levels.append(last)
        return last

    def _out(self, h: Tensor) -> Tensor:
        """Return the image of the last features."""
        out: Tensor = self.out_conv(silu(self.out_norm(h if self._dtype == torch.float32 else h.float())))
        return F.pixel_shuffle(out, self.patch) if self.patch > 1 else out
