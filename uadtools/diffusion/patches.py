"""Squares on an image: where they lie."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Box(NamedTuple):
    """Rows from top to bottom, columns from left to right, the ends not included."""

    top: int
    left: int
    bottom: int
    right: int


def positions(size: int, patch: int, stride: int | None = None) -> list[int]:
    """Place patches evenly along an axis, from its first pixel to its last, at most `stride` (none: patch) apart.

    Raises ValueError when the patch is longer than the axis, or the stride leaves gaps.
    """
    stride = patch if stride is None else stride
    if not 1 <= stride <= patch <= size:
        raise ValueError(f"patches of {patch} pixels every {stride} do not cover {size} pixels")
    count = math.ceil((size - patch) / stride) + 1
    return [round(float(start)) for start in np.linspace(0, size - patch, count)]


def boxes(shape: tuple[int, int], patch: int, stride: int | None = None) -> list[Box]:
    """Cover an image (H, W) with squares on a grid, row by row. Raises ValueError as positions does.

    Source: Behrendt et al. 2023 (pDDPM), section 3.2; their formula for the number of patches adds up the numbers of
    rows and columns where it has to multiply them.
    """
    rows, columns = (positions(size, patch, stride) for size in shape)
    return [Box(top, left, top + patch, left + patch) for top in rows for left in columns]


def masks(boxes: list[Box], shape: tuple[int, int]) -> Tensor:
    """Tell which pixels lie in each box. Returns (len(drawn), 1, H, W), boolean."""
    masks = torch.zeros(len(boxes), 1, *shape, dtype=torch.bool)
    for mask, box in zip(masks, boxes, strict=True):
        mask[:, box.top : box.bottom, box.left : box.right] = True
    return masks
