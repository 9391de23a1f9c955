"""What a frozen U-Net knows of each pixel, and a small classifier that reads a label from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uadtools.nets.unet import UNet


class Readout(nn.Module):
    """A frozen U-Net, asked about a slice once or several times, and 1x1 convolutions on all that it makes of it.

    channels: of its levels, as UNet.looked_into returns them, none where these are not read; shown: channels of the
    slice and of the network's answer to it; looks: how often it is asked; width, depth, dropout: of the classifier.
    What the network makes is brought to mean 0 and deviation 1 in each channel by `centre` and `scale`, which
    `statistics` finds.

    The first convolution works on each level before that is brought to the size of the slice: both are linear, so the
    order is no matter, and 1,000 channels of full size need not be held.

    Source: Baranchuk et al. 2022, section 3.2, whose perceptrons see the levels brought to the size of the slice.
    """

    def __init__(
        self, frozen: UNet, channels: Sequence[int], shown: int, *, looks: int, width: int, depth: int, dropout: float
    ) -> None:
        super().__init__()
        self.frozen = frozen.requires_grad_(False)
        sizes = [looks * size for size in (*channels, shown)]
        self.first = nn.ModuleList(nn.Conv2d(size, width, 1, bias=False) for size in sizes)
        self.bias = nn.Parameter(torch.zeros(width))
        hidden = (nn.Sequential(nn.Dropout(dropout), nn.Conv2d(width, width, 1), nn.SiLU()) for _ in range(depth - 1))
        self.rest = nn.Sequential(nn.SiLU(), *hidden, nn.Dropout(dropout), nn.Conv2d(width, 1, 1))
        self.looks = looks
        self.register_buffer("centre", torch.zeros(sum(sizes)))
        self.register_buffer("scale", torch.ones(sum(sizes)))
        self.centre: Tensor
        self.scale: Tensor

    def forward(self, x: Tensor, t: Tensor, middle: Tensor) -> Tensor:
        """Return logits of "this is a lesion", (B, 1, H, W) float32.

        x: (B looks, C, H, W) what the frozen network is asked about, the looks at a slice one after the other; t: (B
        looks,) what it is told; middle: (B, C, H, W), the slice as it is, in all its contrasts.
        """
        summed = torch.zeros((), device=x.device)
        for part, convolution in zip(self.known(x, t, middle), self.first, strict=True):
            read = convolution(part)
            summed = summed + F.interpolate(read, size=middle.shape[2:], mode="bilinear", align_corners=False).float()
        logit: Tensor = self.rest(summed + self.bias[:, None, None])
        return logit.float()

    def train(self, mode: bool = True) -> Self:
        """Set what is trained to training; the frozen network stays as it heals."""
        super().train(mode)
        self.frozen.eval()
        return self

    @torch.no_grad()
    def known(self, x: Tensor, t: Tensor, middle: Tensor) -> list[Tensor]:
        """Return what the network makes of slices, normalised: (B, looks channels, h, w) of each level, answer last."""
        parts, sizes = self.raw(x, t, middle), [convolution.in_channels for convolution in self._firsts]
        scales = zip(torch.split(self.centre, sizes), torch.split(self.scale, sizes), strict=True)
        return [(part - c[:, None, None]) / s[:, None, None] for part, (c, s) in zip(parts, scales, strict=True)]

    @torch.no_grad()
    def raw(self, x: Tensor, t: Tensor, middle: Tensor) -> list[Tensor]:
        """Return the same as the network makes it."""
        answer, levels = self.frozen.looked_into(x, t)
        shown = torch.cat([answer.float(), middle.repeat_interleave(self.looks, dim=0)], dim=1)
        parts = (*levels, shown)[-len(self.first) :]
        return [p.float().reshape(-1, self.looks * p.shape[1], *p.shape[2:]) for p in parts]

    @property
    def _firsts(self) -> list[nn.Conv2d]:
        return [part for part in self.first if isinstance(part, nn.Conv2d)]


def statistics(levels: Sequence[Tensor], brain: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation, inside the brain, of each channel of what `raw` made of slices, level after level.

    brain: (B, 1, H, W) in [0, 1]. A channel that is the same everywhere has the deviation 1.
    """
    means, deviations = [], []
    for level in levels:
        inside = F.interpolate(brain, size=level.shape[2:], mode="area")[:, 0] > 0.5
        values = level.movedim(1, -1)[inside]
        means.append(values.mean(dim=0))
        deviations.append(values.std(dim=0))
    scale = torch.cat(deviations)
    return torch.cat(means), torch.where(scale > 1e-4, scale, 1)
