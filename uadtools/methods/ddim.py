"""Partial diffusion with a shorter way back. Source: Song et al. 2021; Bercea et al. 2024 (survey), eq. 5."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from uadtools.diffusion.process import Denoiser, add_noise
from uadtools.diffusion.samplers import Noise, ddim, spaced
from uadtools.methods.healing import Healing, end


@dataclass(frozen=True)
class Options:
    """t: how far the scan is noised; steps: evaluations on the way back; eta: 0 no fresh noise, 1 as much as ddpm."""

    t: int = 250
    steps: int = 25
    eta: float = 0.0

    def evaluations(self, shape: tuple[int, int]) -> int:
        return self.steps


def heal(model: Denoiser, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Noise the slices to t and walk back in evenly spaced steps, x0 limited to [-1, 1]. x: (B, 1, H, W)."""
    x_t = add_noise(x, options.t, noise(), model.schedule)
    way = spaced(options.t, options.steps)
    return Healing(end(ddim(model, x_t, way, noise, eta=options.eta, clamp=True)))
