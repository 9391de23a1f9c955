"""Training an encoder on masked images: a light decoder tells what was hidden, and is thrown away."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uadtools.nets.resnet import ResNet, seen_at

NARROWEST = 8
"""Channels that the decoder does not go below."""


class MaskedAutoencoder(nn.Module):
    """An encoder that looks at the visible squares of an image, and a decoder that paints the rest.

    The decoder goes up from the encoder's last features, `width` channels wide and half as wide after each doubling. At
    each of the encoder's stages it is given the features, with a learnt vector where nothing was seen. It paints as
    many channels as the encoder sees.

    Source: Tian et al. 2023 (SparK), section 3.
    """

    def __init__(self, encoder: ResNet, *, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        count = len(encoder.widths)
        widths = [max(width // 2**i, NARROWEST) for i in range(count + 2)]
        features = encoder.widths[::-1]
        self.project = nn.ModuleList(nn.Conv2d(into, out, 1) for into, out in zip(features, widths, strict=False))
        self.hidden = nn.ParameterList(nn.Parameter(0.02 * torch.randn(1, into, 1, 1)) for into in features)
        self.up = nn.ModuleList(_doubled(widths[i], widths[i + 1]) for i in range(count + 1))
        self.out = nn.Conv2d(widths[-1], encoder.stem.in_channels, 1)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """Paint images from what is seen of them. x: (B, C, H, W); seen: (B, 1, H / d, W / d), d the encoder's divisor.

        Returns (B, C, H, W); what the decoder says of the visible squares means nothing.
        """
        stages = self.encoder.features(x, seen)[::-1]
        h: Tensor | None = None
        for features, project, hidden, up in zip(stages, self.project, self.hidden, self.up, strict=False):
            dense = project(torch.where(seen_at(features, seen), features, hidden.to(features.dtype)))
            h = up(dense if h is None else h + dense)
        painted: Tensor = self.out(self.up[-1](h))
        return painted


def _doubled(into: int, out: int) -> nn.Module:
    """Double the resolution, and convolve twice."""
    return nn.Sequential(
        nn.ConvTranspose2d(into, into, 4, stride=2, padding=1),
        nn.Conv2d(into, into, 3, padding=1, bias=False),
        nn.BatchNorm2d(into),
        nn.ReLU(),
        nn.Conv2d(into, out, 3, padding=1, bias=False),
        nn.BatchNorm2d(out),
    )
