"""How unlike two images are to a network: the distance of its features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uadtools.nets.unet import UNet


class Perceptual(nn.Module):
    """Compares images by what the way down of a U-Net makes of them.

    At each level the features of a place are scaled to unit length, and their squared distance is summed over the
    channels, 0 to 4; that is spread over the image, linearly, and averaged over the levels. Zhang et al. 2018 (LPIPS),
    eq. 1, with all weights 1, and with the network at hand in place of one that knows natural images.
    """

    def __init__(self, unet: UNet) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, other: Tensor, t: Tensor) -> Tensor:
        """Return (B, 1, H, W). x, other: (B, C, H, W); t: (B,) the step that the network is told for both."""
        levels = self.unet.features(torch.cat([x, other]), torch.cat([t, t]))
        return torch.stack([distance(level, x.shape[2:]) for level in levels]).mean(dim=0)

    def describe(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the mean over places of the coarsest features, (B, D)."""
        return self.unet.features(x, t)[-1].float().mean(dim=(2, 3))


def distance(features: Tensor, shape: Sequence[int], weights: Tensor | None = None) -> Tensor:
    """Return how far the directions of features are from one another, squared, spread over images (H, W).

    features: (2 B, C, h, w), those of both; weights: (C,), of the channels; none: all 1. Returns (B, 1, H, W).
    """
    one, two = F.normalize(features.float(), dim=1).chunk(2)
    squared = (one - two).square()
    squared = squared if weights is None else squared * weights.view(-1, 1, 1)
    return F.interpolate(squared.sum(dim=1, keepdim=True), size=list(shape), mode="bilinear", align_corners=False)
