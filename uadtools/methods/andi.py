"""How far the network's steps back lie from those that lead to the scan itself, over a range of t; nothing is healed.
Source: Frotscher et al. 2024 (ANDi).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from uadtools.errors import UadError
from uadtools.interface.healing import Healing, Option, Unhealed

if TYPE_CHECKING:
    from uadtools.interface.types import Denoiser, Noise, Tensor

KINDS = ("diffusion",)
NEAREST = 1e-6
"""Distance that none counts less than, lest the one t at which a pixel is met exactly decides alone."""


@dataclass(frozen=True)
class Options(Unhealed):
    """t: the highest of the range; steps: how many of it, evenly spaced (none: all of them, as published)."""

    t: int = 200
    low: Annotated[
        int | None, Option("The lowest t of the range that ends with -t. Default: 3/8 of -t, 75 of 200.", least=0)
    ] = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.lowest <= self.t:
            raise UadError(f"--low {self.lowest}: outside 0 to {self.t}, the highest t of the range (-t)")

    @property
    def lowest(self) -> int:
        return 3 * self.t // 8 if self.low is None else self.low

    def evaluations(self, shape: tuple[int, int]) -> int:
        count = self.t - self.lowest + 1
        return min(self.steps or count, count)


def heal(model: Denoiser, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Noise the slices to every t of the range, and compare where the network's next step and the true one lead.

    The distance of the means of p(x_{t-1} | x_t) and q(x_{t-1} | x_t, x0 = scan), in all channels, per pixel; over t
    the geometric mean. Both means weigh x_t alike, so it is w_t |x0 - x|, w_t the posterior's weight of x0. x: (B, C,
    H, W) in [-1, 1], fresh noise at each t. The map is (B, 1, H, W).
    """
    import torch

    from uadtools.diffusion.bound import evenly
    from uadtools.diffusion.process import add_noise

    timesteps = evenly((options.lowest, options.t + 1), options.evaluations((0, 0)))
    logarithms = torch.zeros_like(x[:, :1])
    for t in timesteps:
        x_t = add_noise(x, t, noise(), model.schedule)
        apart = model.schedule.posterior(t).x0_weight * (model.predict(x_t, t).x0 - x)
        logarithms += apart.norm(dim=1, keepdim=True).clamp(min=NEAREST).log()
    return Healing(None, {"anomaly": (logarithms / len(timesteps)).exp()})
