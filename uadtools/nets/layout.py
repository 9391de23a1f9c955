"""How images and weights lie in memory, and what the channels of images are."""

from __future__ import annotations

import torch
from torch import Tensor


def layout(axes: int) -> torch.memory_format:
    """Return the format for slices (2 axes), in which convolutions are fastest; volumes (3) stay as they are."""
    return torch.channels_last if axes == 2 else torch.contiguous_format


def packed(x: Tensor) -> Tensor:
    """Lay out a batch in that format. x: (B, C, H, W) or (B, C, D, H, W)."""
    return x.contiguous(memory_format=layout(x.ndim - 2))


def middle(x: Tensor, channels: int = 1) -> Tensor:
    """Return the slices in the middle of slabs, (B, C, H, W), and volumes as they are.

    x: (B, C (2 reach + 1), H, W), the slices of each channel in a row.
    """
    slabs = x.reshape(x.shape[0], channels, -1, *x.shape[2:])
    return slabs[:, :, slabs.shape[2] // 2]


def with_middle(x: Tensor, slices: Tensor) -> Tensor:
    """Return slabs as `middle` takes them, with other slices in their middle. slices: (B, C, H, W)."""
    slabs = x.reshape(len(x), slices.shape[1], -1, *x.shape[2:]).clone()
    slabs[:, :, slabs.shape[2] // 2] = slices
    return slabs.flatten(1, 2)


def apart(x: Tensor, other: Tensor) -> Tensor:
    """Return |x - other| / 2, the mean over the channels, (B, 1, H, W): of images in [-1, 1] in the units of [0, 1]."""
    return (x - other).abs().mean(dim=1, keepdim=True) / 2
