"""Partial diffusion, every step of the way back. Source: Wyatt et al. 2022 (AnoDDPM); baseline of all later papers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from uadtools.interface.healing import Healing, end

if TYPE_CHECKING:
    from uadtools.interface.types import Denoiser, Noise, Tensor

KINDS = ("diffusion",)


@dataclass(frozen=True)
class Options:
    """t: how far the scan is noised."""

    t: int = 250

    def evaluations(self, shape: tuple[int, int]) -> int:
        return self.t + 1


def heal(model: Denoiser, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Noise the slices to t and walk back every step; x0 is limited to [-1, 1] on the way. x: (B, 1, H, W)."""
    from uadtools.diffusion.process import add_noise
    from uadtools.diffusion.samplers import ddpm

    x_t = add_noise(x, options.t, noise(), model.schedule)
    return Healing(end(ddpm(model, x_t, options.t, noise, clamp=True)))
