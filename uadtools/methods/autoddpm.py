"""Mask, stitch, resample: what a first walk finds unlike is replaced, the rest is kept. Source: Bercea et al. 2023.

AutoDDPM. Its map is the perceptual distance times the residual over its 95th percentile. Theirs is LPIPS of natural
images; ours is that of the model's own features (uadtools.nets.perceptual), or LPIPS by file, so that the limit of the
mask is another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from uadtools.interface.healing import Healing, Option, Perceiving, end

if TYPE_CHECKING:
    from uadtools.interface.types import Denoiser, Model, Noise, Tensor
    from uadtools.models.config import NoisedSettings

KINDS = ("diffusion",)
SHARE, SIDE = 0.95, 3
"""The percentile of the residual in a slice's brain that counts as 1; of the square that the mask is dilated with."""
EMPTY = -1.0
"""What is no brain, in the units of [-1, 1]."""


@dataclass(frozen=True)
class Options(Perceiving):
    """t: how far the scan is noised for the first walk."""

    t: int = 200
    mask: Annotated[
        float,
        Option("What the first walk's map is above is replaced, the rest is kept. Default: 0.33.", "X", 0),
    ] = 0.33
    again: Annotated[
        int,
        Option("How far what is to be replaced is noised again, in steps. Default: 50, of 1000.", least=0),
    ] = 50
    repeats: Annotated[
        int,
        Option(
            "How often each step back is taken, its noise added again in between: of autoddpm's second walk (default "
            "5), of ldm's variants a to c (default 1).",
            least=1,
        ),
    ] = 5

    @property
    def maps(self) -> tuple[str, ...]:
        return ("anomaly", "perceptual")

    def evaluations(self, shape: tuple[int, int]) -> int:
        return self.t + 1 + self.again * self.repeats + 1


def settle(config: NoisedSettings, given: dict[str, Any]) -> list[dict[str, Any]]:
    """Take `again` as far along as the paper has it, where the model has other steps. Raises UadError beyond these."""
    from uadtools.errors import UadError

    again = given.get("again", Options.again * config.levels // 1000)
    if again >= config.levels:
        raise UadError(f"--again {again}: outside 0 to {config.levels - 1}, the model's steps")
    return [{"again": again}]


def heal(model: Model, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Walk back from t, mask what that changed, stitch, and walk back from `again`. x: (B, C, H, W) in [-1, 1].

    Maps: anomaly |x - x2| times the map of the first walk, |x - x2| in the units of [0, 1]; perceptual, of scan and x2.
    Each slice is masked by itself, alike in all contrasts, of which residuals are the mean.
    """
    from uadtools.diffusion.process import add_noise
    from uadtools.diffusion.samplers import ddpm
    from uadtools.nets.layout import apart

    first = end(ddpm(model, add_noise(x, options.t, noise(), model.schedule), options.t, noise, clamp=True))
    found = first_map(x, first, model.perceive(x, first))
    healed = replaced(model, x, first, masked(found, options.mask), options, noise)
    return Healing(healed, {"anomaly": found * apart(x, healed), "perceptual": model.perceive(x, healed)})


def first_map(x: Tensor, first: Tensor, perceptual: Tensor) -> Tensor:
    """Weigh the perceptual distance by the residual over its 95th percentile, at most 1; 0 outside the brain.

    The percentile is that of the pixels of the slice's brain; the paper's, of all pixels, would change with the margin.
    """
    from uadtools.interface.maps import over_quantile
    from uadtools.nets.layout import apart

    brain = x[:, :1] > EMPTY
    return perceptual * over_quantile(apart(x, first), brain, SHARE).clamp(0, 1) * brain


def masked(found: Tensor, limit: float) -> Tensor:
    """Tell where a map is above a limit, and next to that. Returns booleans, shaped like it."""
    from uadtools.interface.maps import dilated

    return dilated((found > limit).to(found), SIDE) > 0


def replaced(model: Denoiser, x: Tensor, first: Tensor, mask: Tensor, options: Options, noise: Noise) -> Tensor:
    """Noise the first walk's tissue in the scan's surroundings, and walk back, with the scan put back at each step.

    Outside the mask this is the scan, bit for bit; with all masked, what ddpm makes of the first walk's image.
    """
    import torch

    from uadtools.diffusion.process import add_noise
    from uadtools.diffusion.samplers import ddpm

    def keep(made: Tensor, t: int) -> Tensor:
        return torch.where(mask, made, add_noise(x, t, noise(), model.schedule) if t >= 0 else x)

    stitched = add_noise(torch.where(mask, first, x), options.again, noise(), model.schedule)
    return end(ddpm(model, stitched, options.again, noise, clamp=True, keep=keep, repeats=options.repeats))
