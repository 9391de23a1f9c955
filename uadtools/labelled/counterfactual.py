"""Counterfactuals: tissue is drawn anew where a classifier looks for sickness, the rest is walked up and back.

Source: Fontanella et al. 2023, its abstract. Its saliency comes from an adversarial module (ACAT), ours from the
gradient of the classifier in the model's file; whatever else the abstract leaves open, we decided.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from uadtools.interface.healing import Healing, Option, end

if TYPE_CHECKING:
    from uadtools.interface.types import Denoiser, Model, Noise, Tensor

KINDS = ("classifier",)
LEVELS = (100, 200, 300)
"""The steps, of 1000, to which slices are noised for the classifier."""
WIDTH, SIDE = 2.0, 5
"""Deviation of the Gaussian on the saliency, and side of the square that the mask is dilated with, in pixels."""
EMPTY = -1.0
"""What is no brain, in the units of [-1, 1]."""


@dataclass(frozen=True)
class Options:
    """t: how far the scan is walked up, and noised in the mask; steps: of the way up, and of the way back."""

    t: int = 500
    steps: int = 50
    salient: Annotated[
        float,
        Option(
            "Tissue is drawn anew where the classifier's saliency is above this percentile of the slice's brain; 100: "
            "nowhere. Default: 90.",
            "P",
            0,
            100,
        ),
    ] = 90.0

    @property
    def maps(self) -> tuple[str, ...]:
        return ("anomaly",)

    def evaluations(self, shape: tuple[int, int]) -> int:
        from uadtools.methods.encode import way_up

        return self.steps + len(way_up(self.t, self.steps)) - 1


def heal(model: Model, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Mask what is salient, and walk back with noise inside of the mask and without outside. x: (B, C, H, W).

    Map: anomaly, |x - healed| in the units of [0, 1], the mean of all contrasts, times the saliency over its
    percentile, at most 1: (B, 1, H, W). Each slice is masked by itself, alike in all contrasts.
    """
    import torch

    from uadtools.interface.maps import dilated, quantiles
    from uadtools.nets.layout import apart

    found = saliency(model, x, noise)
    level = quantiles(found, x[:, :1] > EMPTY, options.salient / 100)
    mask = dilated((found > level).to(x), SIDE)
    healed = fused(model, x, mask, options, noise)
    weight = (found / level.clamp(min=torch.finfo(found.dtype).tiny)).clamp(max=1)
    return Healing(healed, {"anomaly": weight * apart(x, healed)})


def saliency(model: Model, x: Tensor, noise: Noise) -> Tensor:
    """Map where log C(healthy | x_t) depends on the slice: |gradient|, the mean of levels and contrasts, smoothed.

    x: (B, C, H, W) in [-1, 1], noised afresh at each level. Returns (B, 1, H, W), 0 outside the brain. Levels at which
    the classifier says "sick" count more: the gradient is that of the logit times C(sick | x_t).
    """
    import torch

    from uadtools.diffusion.process import add_noise
    from uadtools.interface.maps import smoothed
    from uadtools.labelled.guided import log_healthy

    gradient, steps = log_healthy(model.net.classifier), [t * model.schedule.steps // 1000 for t in LEVELS]
    found = torch.stack([gradient(add_noise(x, t, noise(), model.schedule), t).abs() for t in steps])
    return smoothed(found.mean(dim=(0, 2))[:, None], WIDTH) * (x[:, :1] > EMPTY)


def fused(model: Denoiser, x: Tensor, mask: Tensor, options: Options, noise: Noise) -> Tensor:
    """Walk back by DDPM where the mask is 1, from noise that is drawn, and by DDIM where it is 0, from what x encodes.

    mask: (B, 1, H, W). At each step the model sees both parts as one image, and both go on from what it sees there.
    With no mask this is encode; with all masked, and as many steps as there are up to t, it is ddpm.
    """
    import torch

    from uadtools.diffusion.process import add_noise
    from uadtools.diffusion.samplers import ddim
    from uadtools.diffusion.steps import spaced
    from uadtools.methods.encode import walked_up

    drawn = add_noise(x, options.t, noise(), model.schedule)
    x_t = torch.where(mask > 0, drawn, walked_up(model, x, options.t, options.steps))
    return end(ddim(model, x_t, spaced(options.t, options.steps), noise, eta=mask, clamp=True))
