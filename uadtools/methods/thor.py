"""A walk back that is guided by anomaly maps on its way: what is unlike is healed, the rest is drawn to the scan.

Source: Bercea et al. 2024 (THOR). Its perceptual distance is LPIPS of natural images; ours is that of the model's own
features (uadtools.nets.perceptual), or LPIPS by file. The published program walks freely from its last map on; here the
end of the walk gets a map, too, so that the scan stays as it is where nothing was found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from uadtools.interface.healing import Healing, Option, Perceiving, end

if TYPE_CHECKING:
    from uadtools.interface.types import Denoiser, Model, Noise, Tensor
    from uadtools.models.config import NoisedSettings

KINDS = ("diffusion",)
STOPS, EVERY = (300, 150, 50), 50
"""Where maps are made on the way back, of 1000: as the paper has it with Gaussian noise, and with simplex noise."""
WIDTH, SIDE = 2.0, 13
"""Deviation of the Gaussian on the perceptual distance, and side of the square of closing and dilation, in pixels."""
EMPTY = -1.0
"""What is no brain, in the units of [-1, 1]."""


@dataclass(frozen=True)
class Options(Perceiving):
    """t: how far the scan is noised; levels: steps of the model's schedule."""

    t: int = 350
    every: Annotated[
        int,
        Option(
            "Steps from one anomaly map to the next on the way back. Default: maps at 300, 150 and 50 with Gaussian "
            "noise, every 50 steps with simplex noise.",
            least=0,
        ),
    ] = 0
    levels: int = 1000

    @property
    def maps(self) -> tuple[str, ...]:
        return ("anomaly", "perceptual")

    @property
    def stops(self) -> list[int]:
        """The steps at which maps are made, below t."""
        usual = [stop * self.levels // 1000 for stop in STOPS]
        stops = range(self.every, self.t, self.every) if self.every else usual
        return sorted((stop for stop in stops if stop < self.t), reverse=True)

    def evaluations(self, shape: tuple[int, int]) -> int:
        return self.t + 1 + len(self.stops)


def settle(config: NoisedSettings, given: dict[str, Any]) -> list[dict[str, Any]]:
    """Take the maps' distance of simplex noise for models of that."""
    usual = EVERY * config.levels // 1000 if config.noise.kind == "simplex" else 0
    return [{"every": given.get("every", usual), "levels": config.levels}]


def heal(model: Model, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Walk back from t, and mix scan and x0 by a map of how unlike they are at each stop, and at the end.

    x: (B, C, H, W) in [-1, 1]. Maps: anomaly, the last map, and perceptual, of scan and healed. What was mixed is
    noised with the noise that the walk began with. Each slice has maps of its own, the same for all contrasts.
    """
    from uadtools.diffusion.process import add_noise
    from uadtools.diffusion.samplers import ddpm

    eps, at = noise(), options.t
    x_t = add_noise(x, at, eps, model.schedule)
    for stop in options.stops:
        x0 = seen_at(stop, model, x_t, at, noise)
        x_t, at = add_noise(mixed(x, x0, found(model, x, x0)), stop, eps, model.schedule), stop
    x0 = end(ddpm(model, x_t, at, noise, clamp=True))
    last = found(model, x, x0)
    healed = mixed(x, x0, last)
    return Healing(healed, {"anomaly": last, "perceptual": model.perceive(x, healed)})


def seen_at(stop: int, model: Denoiser, x_t: Tensor, t: int, noise: Noise) -> Tensor:
    """Walk back from t, and return the x0 that the model sees at a step."""
    from uadtools.diffusion.samplers import ddpm

    return next(step.x0_pred for step in ddpm(model, x_t, t, noise, clamp=True) if step.t == stop)


def found(model: Model, x: Tensor, x0: Tensor) -> Tensor:
    """Map how unlike scan and x0 are: the smoothed perceptual distance times |x - x0|, in the units of [0, 1]."""
    from uadtools.interface.maps import smoothed
    from uadtools.nets.layout import apart

    return smoothed(model.perceive(x, x0), WIDTH) * apart(x, x0) * (x[:, :1] > EMPTY)


def mixed(x: Tensor, x0: Tensor, found: Tensor) -> Tensor:
    """Mix scan and x0: r x0 + (1 - r) x, r the region of the map."""
    r = region(found)
    return r * x0 + (1 - r) * x


def region(found: Tensor) -> Tensor:
    """Spread a map over its surroundings: (dilate(close(map)) + map) / 2, of the map over its maximum in the slice."""
    from uadtools.interface.maps import closed, dilated, over_quantile

    relative = over_quantile(found, found >= 0, 1.0)
    return (dilated(closed(relative, SIDE), SIDE) + relative) / 2
