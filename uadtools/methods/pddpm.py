"""Patched diffusion: noise one patch at a time, with clean context. Source: Behrendt et al. 2023 (pDDPM)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from uadtools.diffusion.patches import boxes, masks
from uadtools.diffusion.process import Denoiser, add_noise
from uadtools.diffusion.samplers import Noise
from uadtools.methods.healing import Healing


@dataclass(frozen=True)
class Options:
    """t: how far a patch is noised; patch: its side in pixels; stride: at most so far to the next (none: patch)."""

    t: int = 500
    patch: int = 48
    stride: int | None = None

    def evaluations(self, shape: tuple[int, int]) -> int:
        return len(boxes(shape, self.patch, self.stride))


def heal(model: Denoiser, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Noise and heal every patch of the slices by itself, and stitch them, overlaps averaged. x: (B, 1, H, W).

    Each patch of each slice has noise of its own. The network is asked about one patch of all slices at a time, and of
    its answer that patch counts.
    """
    shape = (x.shape[2], x.shape[3])
    within = masks(boxes(shape, options.patch, options.stride), shape).to(x.device)
    total = torch.zeros_like(x)
    for patch in within:
        x_t = torch.where(patch, add_noise(x, options.t, noise(), model.schedule), x)
        total += torch.where(patch, model.predict(x_t, options.t).x0, 0)
    return Healing(total / within.sum(dim=0))
