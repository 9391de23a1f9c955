"""Masks that are shifted and turned until they have left the image: how cold diffusion degrades a mask.

Source: Bansal et al. 2022 (Cold Diffusion), whose degradations need no noise; Zaman et al. 2023 (Surf-CDM).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from uadtools.diffusion.process import Timesteps
from uadtools.diffusion.schedule import Schedule

TURN = math.pi
"""The largest turn, either way, at the end of the schedule."""


def moved(mask: Tensor, t: Timesteps, eps: Tensor, schedule: Schedule) -> Tensor:
    """Turn a mask about the middle of the image and shift it, each by the share 1 - abar_t of where that ends.

    mask: (B, 1, H, W), 0 where there is nothing, as beyond the image; between pixels it is linear, and so is this in
    the mask. t: one step for all, or (B,) int64; -1 leaves it in its place. eps: standard normal, shaped like the mask,
    of which the first three pixels say where each goes: a direction, in which it is shifted by the image's diagonal, so
    that in the end nothing of it is left, and a turn of up to TURN. An empty mask stays one.
    """
    share = 1 - schedule.alpha_bars(torch.as_tensor(t, device=mask.device).expand(len(mask)))
    height, width = mask.shape[2:]
    along, down, turn = eps.flatten(1)[:, :3].float().unbind(dim=1)
    angle = share * TURN * (2 * torch.special.ndtr(turn) - 1)
    length = share * math.hypot(height, width) / torch.hypot(along, down).clamp(min=1e-6)
    across, below, cos, sin = length * along, length * down, angle.cos(), angle.sin()
    rows = [  # from where a pixel is to where it comes from, in [-1, 1]
        [cos, sin * (height / width), -2 / width * (cos * across + sin * below)],
        [-sin * (width / height), cos, 2 / height * (sin * across - cos * below)],
    ]
    matrices = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    places = F.affine_grid(matrices.to(mask.dtype), list(mask.shape), align_corners=False)
    return F.grid_sample(mask, places, mode="bilinear", padding_mode="zeros", align_corners=False)
