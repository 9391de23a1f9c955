"""Conditioned diffusion: the network also knows a code of the clean scan. Source: Behrendt et al. 2023 (cDDPM)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from uadtools.methods.healing import Healing, Single, end

if TYPE_CHECKING:
    from torch import Tensor

    from uadtools.diffusion.process import ConditionalDenoiser
    from uadtools.diffusion.samplers import Noise


@dataclass(frozen=True)
class Options(Single):
    """t: how far the scan is noised; the paper also averages 250, 500 and 750."""

    t: int = 500


def heal(
    model: ConditionalDenoiser, x: Tensor, options: Options, noise: Noise, *, condition: Tensor | None = None
) -> Healing:
    """Noise the slices to t, and take the x0 that the model sees behind the noise, given the clean slices' code.

    x: (B, 1, H, W) in [-1, 1]; condition: other slices to take the code from, shaped like x (the paper's figure 2).
    """
    from uadtools.diffusion.process import Given, add_noise
    from uadtools.diffusion.samplers import single

    code = model.encode(x if condition is None else condition)
    x_t = add_noise(x, options.t, noise(), model.schedule)
    return Healing(end(single(Given(model, code), x_t, options.t)))
