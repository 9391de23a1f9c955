"""Partial diffusion, every step of the way back. Source: Wyatt et al. 2022 (AnoDDPM); baseline of all later papers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from uadtools.errors import UadError
from uadtools.interface.healing import Healing, Option, Perceptive, end

if TYPE_CHECKING:
    from uadtools.interface.types import Model, Noise, Tensor
    from uadtools.models.config import NoisedSettings

KINDS = ("diffusion",)
Variance = Literal["small", "large", "learned"]


@dataclass(frozen=True)
class Options(Perceptive):
    """t: how far the scan is noised; variance: large is that of Wyatt et al.'s and of Damudi & Kini's programs."""

    t: int = 250
    variance: Annotated[
        Variance,
        Option(
            "Of the noise of each step back: small is the posterior's, large is beta, as in AnoDDPM; learned is what "
            "the network says, the default of those that do. Default: small."
        ),
    ] = "small"

    def evaluations(self, shape: tuple[int, int]) -> int:
        return self.t + 1


def settle(config: NoisedSettings, given: dict[str, Any]) -> list[dict[str, Any]]:
    """Take the variance that the model learnt, where it did. Raises UadError when it is asked for one that did not."""
    learned = config.network.variance == "learned"
    if given.get("variance") == "learned" and not learned:
        raise UadError(f"--variance learned: model {config.name} did not learn it (small or large)")
    return [{"variance": "learned"} if learned and "variance" not in given else {}]


def heal(model: Model, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Noise the slices to t and walk back every step; x0 is limited to [-1, 1] on the way. x: (B, C, H, W)."""
    from uadtools.diffusion.process import add_noise
    from uadtools.diffusion.samplers import ddpm

    x_t = add_noise(x, options.t, noise(), model.schedule)
    return options.compared(model, x, end(ddpm(model, x_t, options.t, noise, clamp=True, variance=options.variance)))
