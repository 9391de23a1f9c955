"""What methods do with maps of slices, (B, 1, H, W), each slice by itself."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def dilated(maps: Tensor, size: int) -> Tensor:
    """Return the largest value in a square of size x size pixels, odd, around each pixel, of the image alone."""
    return F.max_pool2d(maps, size, stride=1, padding=size // 2)


def closed(maps: Tensor, size: int) -> Tensor:
    """Fill what is darker and narrower than a square of size x size pixels: dilated, then eroded."""
    return -dilated(-dilated(maps, size), size)


def smoothed(maps: Tensor, sigma: float) -> Tensor:
    """Smooth with a Gaussian of a deviation in pixels, cut at four of them; beyond the image its border goes on."""
    reach = math.ceil(4 * sigma)
    weights = torch.exp(-torch.arange(-reach, reach + 1, device=maps.device, dtype=maps.dtype).square() / 2 / sigma**2)
    weights = weights / weights.sum()
    padded = F.pad(maps, (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(padded, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))


def over_quantile(maps: Tensor, inside: Tensor, share: float) -> Tensor:
    """Divide each slice by a quantile of its values inside; where that is 0, or nothing is inside, it stays.

    inside: boolean, shaped like maps; share: 1 for the largest value.
    """
    level = quantiles(maps, inside, share)
    return maps / torch.where(level > 0, level, 1)


def quantiles(maps: Tensor, inside: Tensor, share: float) -> Tensor:
    """Return a quantile of each slice's values inside, (B, 1, 1, 1); 0 where nothing is inside. As over_quantile."""
    levels = [
        values[within].quantile(share) if within.any() else values.new_zeros(())
        for values, within in zip(maps, inside, strict=True)
    ]
    return torch.stack(levels).view(-1, 1, 1, 1)
