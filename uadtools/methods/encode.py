"""Noise encoding: the scan is walked up to the noise that the model itself sees in it, and back; nothing is drawn.

Source: Song et al. 2021; Bercea et al. 2024 (survey), eq. 6 and 5, which the guided methods of section 2.3 begin with.
With enough steps the walk back finds the way it came, and gives back the scan, lesions too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from uadtools.interface.healing import Healing, Perceptive, end

if TYPE_CHECKING:
    from uadtools.interface.types import Denoiser, Model, Noise, Tensor

KINDS = ("diffusion",)


@dataclass(frozen=True)
class Options(Perceptive):
    """t: how far the scan is walked up; steps: of the way up, and of the way back."""

    NOISY: ClassVar[bool] = False

    t: int = 500
    steps: int = 50

    def evaluations(self, shape: tuple[int, int]) -> int:
        return self.steps + len(way_up(self.t, self.steps)) - 1


def heal(model: Model, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Walk the slices up to t and back in evenly spaced steps, x0 limited to [-1, 1] both ways. x: (B, C, H, W)."""
    return options.compared(model, x, there_and_back(model, model, x, options.t, options.steps, noise))


def there_and_back(up: Denoiser, back: Denoiser, x: Tensor, t: int, steps: int, noise: Noise) -> Tensor:
    """Walk up to t by one denoiser, and back by another, which may be led elsewhere. x: (B, C, H, W) in [-1, 1]."""
    from uadtools.diffusion.samplers import ddim
    from uadtools.diffusion.steps import spaced

    return end(ddim(back, walked_up(up, x, t, steps), spaced(t, steps), noise, clamp=True))


def walked_up(model: Denoiser, x: Tensor, t: int, steps: int) -> Tensor:
    """Walk up to t. x: (B, C, H, W) in [-1, 1]."""
    from uadtools.diffusion.samplers import ddim_encode

    timesteps = way_up(t, steps)
    return end(ddim_encode(model, x, timesteps, clamp=True)) if len(timesteps) > 1 else x


def way_up(t: int, steps: int) -> list[int]:
    """List where the way up leads: from 0, where the scan is taken to be, over the steps of the way back to t."""
    from uadtools.diffusion.steps import spaced

    return sorted({0, *spaced(t, steps)})
