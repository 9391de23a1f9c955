"""How images and weights lie in memory."""

from __future__ import annotations

import torch
from torch import Tensor


def layout(axes: int) -> torch.memory_format:
    """Return the format for slices (2 axes), in which convolutions are fastest; volumes (3) stay as they are."""
    return torch.channels_last if axes == 2 else torch.contiguous_format


def packed(x: Tensor) -> Tensor:
    """Lay out a batch in that format. x: (B, C, H, W) or (B, C, D, H, W)."""
    return x.contiguous(memory_format=layout(x.ndim - 2))
