"""The region of a latent that is healed: what is beyond a percentile of healthy slices, and grown from there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from uadtools.interface.types import Healthy, Tensor

MOST, BATCH = 1000, 32
"""Healthy slices that are asked about at most, and how many at a time."""


def healthy_percentile(
    made: Callable[[Tensor, int], Tensor], slices: Healthy, percentile: float, device: torch.device
) -> Tensor:
    """Return the percentile, at each position, of what is made of healthy slices, (K, h, w) or (K, d, h, w).

    made: of slices as a network sees them, (B, C, H, W), and the number of the first one, (B, K, h, w); of whole
    volumes, one at a time, with one more axis in front of h.
    """
    import torch

    from uadtools.interface.learning import spread_out

    chosen, batch = spread_out(slices, MOST), 1 if slices.solid else BATCH
    with torch.inference_mode():
        parts = [
            made(slices.seen(slices.windows(chosen[first : first + batch], 0, device)), first).cpu()
            for first in range(0, len(chosen), batch)
        ]
        return torch.cat(parts).quantile(percentile / 100, dim=0)


def grown(region: Tensor, cells: int) -> Tensor:
    """Return a region, (B, 1, h, w) or (B, 1, d, h, w), with all cells at most so many away, corners among them."""
    from torch.nn.functional import max_pool2d, max_pool3d

    if not cells:
        return region
    pool = max_pool2d if region.ndim == 4 else max_pool3d
    return pool(region.float(), 2 * cells + 1, stride=1, padding=cells) > 0
