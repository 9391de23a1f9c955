"""The image encoder of a conditioned network: a residual network that can also look at a part of an image only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uadtools.nets.unet import UNet

EXPANSION = 4
"""How many times wider a bottleneck block is outside than inside."""


class Norm(nn.BatchNorm2d):
    """Batch normalisation; of an image that is seen in part, over what is seen, and the rest stays empty."""

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Normalise (B, C, H, W). seen: (B, 1, h, w) boolean, of any size that divides that of x."""
        if seen is None:
            return super().forward(x)
        visible = seen_at(x, seen)[:, 0]
        rows = x.permute(0, 2, 3, 1)
        normal = super().forward(rows[visible][:, :, None, None])[:, :, 0, 0]
        return torch.zeros_like(rows, dtype=normal.dtype).index_put((visible,), normal).permute(0, 3, 1, 2)


def seen_at(x: Tensor, seen: Tensor) -> Tensor:
    """Bring a mask to the size of features. x: (B, C, H, W); seen: (B, 1, h, w). Returns (B, 1, H, W) boolean."""
    return F.interpolate(seen.float(), size=x.shape[2:], mode="nearest") > 0


class Bottleneck(nn.Module):
    """1x1, 3x3 (strided) and 1x1 convolutions, each normalised, plus the input. Source: He et al. 2016, figure 5."""

    def __init__(self, into: int, inner: int, stride: int) -> None:
        super().__init__()
        out = EXPANSION * inner
        self.conv1, self.norm1 = nn.Conv2d(into, inner, 1, bias=False), Norm(inner)
        self.conv2, self.norm2 = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False), Norm(inner)
        self.conv3, self.norm3 = nn.Conv2d(inner, out, 1, bias=False), Norm(out)
        changed = stride > 1 or into != out
        self.skip_conv: nn.Module = nn.Conv2d(into, out, 1, stride, bias=False) if changed else nn.Identity()
        self.skip_norm = Norm(out) if changed else None

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        h = F.relu(self.norm1(self.conv1(x), seen))
        h = F.relu(self.norm2(self.conv2(h), seen))
        h = self.norm3(self.conv3(h), seen)
        skip = self.skip_conv(x)
        return F.relu(h + (skip if self.skip_norm is None else self.skip_norm(skip, seen)))


class ResNet(nn.Module):
    """From an image to a vector of length `dimension`: a strided stem, stages of blocks, a mean and a layer.

    base: channels inside the first stage's blocks, twice as many in each further one; blocks: their number in each
    stage, which halves the image (but the first); channels: of the image. base 64, blocks (3, 4, 6, 3) is ResNet-50.

    Source: He et al. 2016, with the stride in the 3x3 convolution, as is usual since.
    """

    def __init__(self, *, base: int, blocks: Sequence[int], dimension: int, channels: int = 1) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, base, 7, stride=2, padding=3, bias=False)
        self.norm = Norm(base)
        here, self.stages, self.widths = base, nn.ModuleList(), list[int]()
        for level, count in enumerate(blocks):
            stage = nn.ModuleList()
            for i in range(count):
                stage.append(Bottleneck(here, base * 2**level, 2 if i == 0 and level > 0 else 1))
                here = EXPANSION * base * 2**level
            self.stages.append(stage)
            self.widths.append(here)
        self.head = nn.Linear(here, dimension)

    def features(self, x: Tensor, seen: Tensor | None = None) -> list[Tensor]:
        """Return what each stage makes of an image, (B, widths[i], H / 4 / 2^i, W / 4 / 2^i).

        x: (B, C, H, W); seen: (B, 1, h, w) boolean, in the size of the last features or a smaller one: where an image
        is to be looked at. The rest has no influence, and stays 0 in all features (submanifold convolution).
        """
        if seen is not None:
            x = x * seen_at(x, seen)
        h = F.max_pool2d(F.relu(self.norm(self.stem(x), seen)), 3, stride=2, padding=1)
        h = h if seen is None else h * seen_at(h, seen)
        stages = []
        for stage in self.stages:
            assert isinstance(stage, nn.ModuleList)
            for block in stage:
                h = block(h, seen)
            stages.append(h)
        return stages

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, dimension)."""
        vector: Tensor = self.head(self.features(x)[-1].mean(dim=(2, 3)))
        return vector


class Conditioned(nn.Module):
    """A U-Net that is told what an encoder says of an image."""

    def __init__(self, unet: UNet, encoder: ResNet) -> None:
        super().__init__()
        self.unet, self.encoder = unet, encoder

    def forward(self, x: Tensor, t: Tensor, code: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape. t: (B,); code: (B, D), by the encoder."""
        out: Tensor = self.unet(x, t, code)
        return out
