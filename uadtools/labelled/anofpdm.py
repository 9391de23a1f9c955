"""AnoFPDM: nothing is healed; on the way up it is watched where being led towards healthy changes what is seen.

Source: Che et al. 2024 (AnoFPDM), and its published code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from uadtools.interface.healing import Guidance, Healing, Unhealed, end

if TYPE_CHECKING:
    from uadtools.diffusion.guidance import ClassifierFree
    from uadtools.diffusion.process import Prediction, Timesteps
    from uadtools.diffusion.schedule import Schedule
    from uadtools.interface.types import Model, Noise, Tensor

KINDS = ("cfg",)
LOWEST = 1e-6
"""The least value of the map, which is above 0 in the brain."""


@dataclass(frozen=True)
class Options(Unhealed):
    """t: how far the scan is walked up at most; steps: of that, each of which asks twice."""

    NOISY: ClassVar[bool] = False

    t: int = 500
    steps: int = 50
    guidance: Guidance = 3.0

    def evaluations(self, shape: tuple[int, int]) -> int:
        from uadtools.methods.encode import way_up

        return 2 * max(len(way_up(self.t, self.steps)) - 1, 1)


def heal(model: Model, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Walk up, told of no class, and map how far what it is led to see lies from the scan.

    x: (B, C, H, W) in [-1, 1]. Map: anomaly, the root of the mean square over these steps and the contrasts, (B, 1, H,
    W), in the units of [0, 1]. Each slice has a t of its own: where led and plain x0 are furthest apart.
    """
    from uadtools.diffusion.samplers import ddim_encode
    from uadtools.labelled.cfg import led
    from uadtools.methods.encode import way_up

    watching = Watching(led(model, len(x), options.guidance))
    up = way_up(options.t, options.steps)
    if len(up) > 1:
        end(ddim_encode(watching, x, up, clamp=True))
    else:
        watching.predict(x, up[0], clamp=True)
    return Healing(None, {"anomaly": aggregated(x, watching.led, watching.plain)})


@dataclass(frozen=True)
class Watching:
    """A denoiser that goes by what it sees without a class, and notes that and what it would be led to see instead."""

    model: ClassifierFree
    led: list[Tensor] = field(default_factory=list)
    plain: list[Tensor] = field(default_factory=list)

    @property
    def schedule(self) -> Schedule:
        return self.model.schedule

    def predict(self, x_t: Tensor, t: Timesteps, *, clamp: bool = False) -> Prediction:
        led, plain = self.model.both(x_t, t, clamp=clamp)
        self.led.append(led.x0)
        self.plain.append(plain.x0)
        return plain


def aggregated(x: Tensor, led: list[Tensor], plain: list[Tensor]) -> Tensor:
    """Return the root mean square of (led - x) / 2 over the steps, up to the one where led is furthest from plain.

    led, plain: what was seen at each step, shaped like x, of whose channels it is the mean, too: (B, 1, H, W).
    """
    import torch

    seen = torch.stack(led)
    apart = (seen - torch.stack(plain)).square().flatten(2).mean(dim=2)
    counted = torch.arange(len(seen), device=x.device)[:, None] <= apart.argmax(dim=0)
    weights = (counted / counted.sum(dim=0)).view(*counted.shape, *[1] * (x.ndim - 1))
    return ((weights * (seen - x).square().mean(dim=2, keepdim=True)).sum(dim=0).sqrt() / 2).clamp(min=LOWEST)
