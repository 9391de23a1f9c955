"""Patched diffusion: noise one patch at a time, with clean context. Source: Behrendt et al. 2023 (pDDPM)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from uadtools.methods.healing import Healing, Option

if TYPE_CHECKING:
    from torch import Tensor

    from uadtools.diffusion.process import Denoiser
    from uadtools.diffusion.samplers import Noise


@dataclass(frozen=True)
class Options:
    """t: how far a patch is noised."""

    t: int = 500
    patch: Annotated[
        int,
        Option(
            "Side of the patches in pixels; repeat it to heal with several sizes and combine. Default: the model's.",
            least=1,
            several=True,
        ),
    ] = 48
    stride: Annotated[
        int | None,
        Option(
            "From one patch to the next, at most; less than --patch makes them overlap. Default: the model's, or as "
            "far as covers the slice.",
            least=1,
        ),
    ] = None

    def evaluations(self, shape: tuple[int, int]) -> int:
        from uadtools.diffusion.patches import boxes

        return len(boxes(shape, self.patch, self.stride))


def heal(model: Denoiser, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Noise and heal every patch of the slices by itself, and stitch them, overlaps averaged. x: (B, 1, H, W).

    Each patch of each slice has noise of its own. The network is asked about one patch of all slices at a time, and of
    its answer that patch counts.
    """
    import torch

    from uadtools.diffusion.patches import boxes, masks
    from uadtools.diffusion.process import add_noise

    shape = (x.shape[2], x.shape[3])
    within = masks(boxes(shape, options.patch, options.stride), shape).to(x.device)
    total = torch.zeros_like(x)
    for patch in within:
        x_t = torch.where(patch, add_noise(x, options.t, noise(), model.schedule), x)
        total += torch.where(patch, model.predict(x_t, options.t).x0, 0)
    return Healing(total / within.sum(dim=0))
