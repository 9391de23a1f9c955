"""Gradient guidance: the scan is walked up, and back towards what a classifier has for healthy.

Source: Wolleb et al. 2022; Bercea et al. 2024 (survey), 2.3 and 5.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from uadtools.interface.healing import Guidance, Healing

if TYPE_CHECKING:
    from uadtools.diffusion.guidance import Gradient
    from uadtools.interface.types import Model, Noise, Tensor, nn

KINDS = ("classifier",)


@dataclass(frozen=True)
class Options:
    """t: how far the scan is walked up; steps: of the way up, and of the way back, at each of which the classifier is
    asked, too.
    """

    NOISY: ClassVar[bool] = False

    t: int = 500
    steps: int = 50
    guidance: Guidance = 100.0

    def evaluations(self, shape: tuple[int, int]) -> int:
        from uadtools.methods.encode import way_up

        return self.steps + len(way_up(self.t, self.steps)) - 1


def heal(model: Model, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Walk up as encode does, and back with eps - guidance sqrt(1 - abar) grad log C(healthy | x_t).

    x: (B, C, H, W) in [-1, 1]; x0 is limited to that both ways.
    """
    from uadtools.diffusion.guidance import GradientGuided
    from uadtools.methods.encode import there_and_back

    back = GradientGuided(model, log_healthy(model.net.classifier), options.guidance)
    return Healing(there_and_back(model, back, x, options.t, options.steps, noise))


def log_healthy(classifier: nn.Module) -> Gradient:
    """Return the gradient of log C(healthy | x_t) by x_t, of each slice by itself, in float32.

    classifier: gives the logits of "this is sick", (B,), for x_t and t, (B,).
    """
    import torch
    from torch.nn.functional import logsigmoid

    from uadtools.diffusion.process import Timesteps
    from uadtools.nets.layout import packed

    def gradient(x_t: Tensor, t: Timesteps) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            seen = packed(x_t.clone()).requires_grad_()
            steps = torch.as_tensor(t, device=x_t.device).expand(len(x_t))
            (found,) = torch.autograd.grad(logsigmoid(-classifier(seen, steps)).sum(), seen)
        return found

    return gradient
