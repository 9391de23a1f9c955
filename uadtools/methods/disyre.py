"""The walk of DISYRE: changes are taken back step by step, from the most severe to none.

Source: Naval Marimont et al. 2023 (DISYRE), algorithm 2, and 2024 (v2), whose score is the mean of single steps; the
sampler is that of cold diffusion (Bansal et al. 2022). Theirs sees patches of one slice; ours sees a slab, of which the
middle slice walks and its neighbours stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from uadtools.interface.healing import Healing, Option
from uadtools.methods.restore import Restoring, as_healing, mended

if TYPE_CHECKING:
    from uadtools.interface.types import Network, Noise, Tensor

KINDS = ("restoration",)


@dataclass(frozen=True)
class Options(Restoring):
    """t: the highest severity to begin with; steps: evaluations down from there, evenly spaced; accumulate: mean is the
    score of v2.
    """

    steps: int = 5
    accumulate: Annotated[
        Literal["walk", "mean"],
        Option("Where the walk arrived, or the mean of what the scan is restored to at each severity. Default: walk."),
    ] = "walk"

    def evaluations(self, shape: tuple[int, int]) -> int:
        return self.steps


def heal(model: Network, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Walk the middle slices of slabs back to health. x: (B, C (2 reach + 1), H, W) in [-1, 1]."""
    import torch

    from uadtools.diffusion.samplers import blended, cold
    from uadtools.diffusion.steps import spaced
    from uadtools.nets.layout import middle, with_middle

    probabilities = list[torch.Tensor]()

    def predict(x_t: Tensor, t: int) -> Tensor:
        x0, probability = mended(model, with_middle(x, x_t), t, flips=False)
        probabilities.append(probability)
        return x0

    start, severities = middle(x, model.channels), spaced(options.t, options.steps)
    if options.accumulate == "walk":
        *_, last = cold(predict, start, severities, blended(start, severities[0]))
        x0 = last.x_t
    else:  # of the scan itself: the mean of what a walk sees on its way is where it arrives
        x0 = torch.stack([predict(start, severity) for severity in severities]).mean(dim=0)
    return as_healing(x0, torch.stack(probabilities).amax(dim=0))
