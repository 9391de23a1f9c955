"""The settings of networks, by which a model file says how its network is built. No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from uadtools.errors import UadError
from uadtools.settings import Config, Count, PositiveFloat, PositiveInt, Width


def _divides(name: str, by: int, widths: Sequence[int]) -> None:
    if any(width % by for width in widths):
        raise ValueError(f"{name} = {by} must divide the channels of every level: {list(widths)}")


class NetworkConfig(Config):
    """What is asked of all networks' settings."""

    kind: str = ""

    @property
    def divisor(self) -> int:
        """Slices must be multiples of this many pixels in height and width."""
        return 1

    def held(self, shape: Sequence[int]) -> int:
        """Return how many numbers one map of the first level holds of a slice (H, W); 0 where that is no matter."""
        return 0


class UNetConfig(NetworkConfig):
    """The arguments of nets.unet.UNet, which explains them; reach: how many slices on either side it sees, too."""

    kind: Literal["unet"] = "unet"
    base: Width = 128
    multipliers: tuple[Width, ...] = Field(default=(1, 1, 2, 3, 4), min_length=1, max_length=16)
    res_blocks: Count = 2
    attention: tuple[Width, ...] = (8, 16)
    middle_attention: bool = True
    heads: Width = 2
    head_channels: Width | None = None
    attention_order: Literal["heads_first", "qkv_first"] = "heads_first"
    embedding: Literal["add", "scale_shift"] = "add"
    sinusoid: Literal["cos_sin", "sin_cos"] = "cos_sin"
    resample: Literal["residual", "conv", "pool"] = "residual"
    groups: Width = 32
    eps: PositiveFloat = 1e-5
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    patch: Width = 1
    width: Width | None = None
    axes: Literal[2, 3] = 2
    skips: Literal["all", "blocks"] = "all"
    reach: Annotated[int, Field(ge=0, le=256)] = 0

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        widths = [self.base * m for m in self.multipliers]
        _divides("groups", self.groups, widths)
        _divides("heads", self.heads, widths if self.head_channels is None else [])
        if self.head_channels:
            attentive = [w for level, w in enumerate(widths) if self.patch * 2**level in self.attention]
            attentive += widths[-1:] if self.middle_attention else []
            _divides("head_channels", self.head_channels, attentive)
        if self.base % 2:
            raise ValueError(f"base = {self.base} must be even")
        if self.axes == 3 and self.patch > 1:
            raise ValueError(f"patch = {self.patch}: volumes are not cut into squares (patch = 1)")
        return self

    @property
    def outputs(self) -> int:
        """How many channels it tells of an image's one."""
        return 1

    @property
    def divisor(self) -> int:
        return int(self.patch * 2 ** (len(self.multipliers) - 1))

    def held(self, shape: Sequence[int]) -> int:
        return self.base * math.prod(shape) // self.patch**2


class _DenseConfig(NetworkConfig):
    base: Width = 32
    multipliers: tuple[Width, ...] = Field(default=(1, 2, 4, 4), min_length=1, max_length=16)
    latent: Width = 128
    groups: Width = 8

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        _divides("groups", self.groups, [self.base * m for m in self.multipliers])
        return self

    @property
    def divisor(self) -> int:
        return int(2 ** len(self.multipliers))


class DenseConfig(_DenseConfig):
    """The sizes of encoder and decoder around a dense latent, which nets.dense explains."""

    kind: Literal["dense"] = "dense"


class BottleneckConfig(DenseConfig):
    """The same, and whether the latent is no vector but a map, of `latent` channels (spatial)."""

    spatial: bool = False


class SequenceConfig(_DenseConfig):
    """The same for a network that sees `reach` slices on either side of the one it reconstructs."""

    kind: Literal["sequence"] = "sequence"
    reach: Count = 2


class MaskedConfig(NetworkConfig):
    """The sizes of the light decoder with which an encoder is trained on masked images, which nets.masked explains."""

    kind: Literal["masked"] = "masked"
    width: Width = 64


class _HalvingConfig(NetworkConfig):
    widths: tuple[Width, ...] = Field(default=(64, 128), min_length=1, max_length=16)
    residuals: Count = 2

    @property
    def divisor(self) -> int:
        """How many pixels of the image, in height and width, are one of the latent."""
        return int(2 ** len(self.widths))


class CodebookConfig(_HalvingConfig):
    """The sizes of an autoencoder with a codebook, which nets.vqvae explains."""

    kind: Literal["codebook"] = "codebook"
    codes: Annotated[int, Field(ge=2, le=1 << 20)] = 256
    dimension: Width = 8
    axes: Literal[2, 3] = 2


class TransformerConfig(NetworkConfig):
    """The sizes of a network that tells codes one after the other, which nets.transformer explains."""

    kind: Literal["sequential"] = "sequential"
    width: Width = 256
    layers: Count = 8
    heads: Width = 8
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        _divides("heads", self.heads, [self.width])
        return self


class MaskCodeConfig(_HalvingConfig):
    """The sizes of an autoencoder of masks, which nets.latent explains."""

    kind: Literal["mask"] = "mask"
    widths: tuple[Width, ...] = Field(default=(16, 32), min_length=1, max_length=16)
    residuals: Count = 1
    dimension: Width = 4


class BitsConfig(_HalvingConfig):
    """The sizes of an autoencoder whose latent is made of bits, which nets.bits explains."""

    kind: Literal["bits"] = "bits"
    widths: tuple[Width, ...] = Field(default=(32, 64, 128), min_length=1, max_length=16)
    bits: Width = 128


class EncoderConfig(Config):
    """The image encoder of a conditioned model, which nets.resnet explains.

    dimension: length of the vector it makes of an image; mlp: whether the denoising network passes that through two
    layers of its own first, as cDDPM's code does.
    """

    base: Width = 64
    blocks: tuple[Count, ...] = Field(default=(3, 4, 6, 3), min_length=1, max_length=16)
    dimension: Width = 128
    mlp: bool = False

    @property
    def divisor(self) -> int:
        """How many pixels of the image, in height and width, are one of the last features."""
        return int(2 ** (len(self.blocks) + 1))


class UnlikelyConfig(Config):
    """Where a lesion is: where a latent is less likely than healthy ones. percentile: of healthy scans, at each
    position.
    """

    percentile: Annotated[float, Field(gt=0, le=100)] = 97.5


class RegionConfig(UnlikelyConfig):
    """The same by the bound, averaged over steps.

    steps: from which the bound is taken, [low, high); bounds: over how many of the steps the bound may be averaged, as
    fewer make it noisier and ask for limits of their own.
    """

    steps: tuple[PositiveInt, PositiveInt] = (400, 600)
    bounds: tuple[PositiveInt, ...] = Field(default=(50,), min_length=1)

    @property
    def counts(self) -> list[int]:
        """The numbers of steps that there are limits for, one after the other."""
        return sorted({min(count, self.steps[1] - self.steps[0]) for count in self.bounds})

    def place(self, count: int) -> int:
        """Return the place of a number of steps among the limits. Raises UadError where there are none for it."""
        if count not in self.counts:
            known = " or ".join(map(str, self.counts))
            raise UadError(
                f"--bounds {count}: the model knows how much is healthy over {known} steps alone "
                f"(leave it out, or uad-train --resume --set 'region.bounds=[{count}]')"
            )
        return self.counts.index(count)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.steps[0] >= self.steps[1]:
            raise ValueError(f"steps {self.steps}: the first must be below the second")
        return self
