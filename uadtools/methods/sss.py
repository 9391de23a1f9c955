"""Single-step sampling. Source: Damudi & Kini 2024.

Their algorithm 1 prints the mean of one reverse step where the text (section 3.4) removes all the noise; the text is
followed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from uadtools.interface.healing import Healing, Perceptive, Single, end
from uadtools.models.images import GridConfig

if TYPE_CHECKING:
    from uadtools.interface.types import Model, Noise, Tensor

KINDS = ("diffusion",)
PREPARATION = {"grid": GridConfig(shape=(256, 256, 60), spacing=(1.0, 1.0, 1.0))}
"""T1, skull-stripped, 256x256 pixels, the middle 60 slices or so; ours keeps 1 mm where the paper stretches.

Source: section 3.1.
"""


@dataclass(frozen=True)
class Options(Perceptive, Single):
    """t: how far the scan is noised; 200 to 350 works, small lesions ask for less and large ones for more."""

    t: int = 300


def heal(model: Model, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Noise the slices to t, and take the x0 that the model sees behind the noise. x: (B, C, H, W) in [-1, 1]."""
    from uadtools.diffusion.process import add_noise
    from uadtools.diffusion.samplers import single

    x_t = add_noise(x, options.t, noise(), model.schedule)
    return options.compared(model, x, end(single(model, x_t, options.t)))
