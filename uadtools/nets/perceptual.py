"""How unlike two images are to a network: the distance of its features."""

from __future__ import annotations

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
        return torch.stack([self._distance(level, x) for level in levels]).mean(dim=0)

    @staticmethod
    def _distance(level: Tensor, x: Tensor) -> Tensor:
        one, two = F.normalize(level.float(), dim=1).chunk(2)
        squared = (one - two).square().sum(dim=1, keepdim=True)
        return F.interpolate(squared, size=x.shape[2:], mode="bilinear", align_corners=False)
