"""Partial diffusion with a shorter way back. Source: Song et al. 2021; Bercea et al. 2024 (survey), eq. 5 and 6.5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from uadtools.errors import UadError
from uadtools.interface.healing import Healing, Option, Perceptive, end

if TYPE_CHECKING:
    from uadtools.interface.types import Model, Noise, Tensor

KINDS = ("diffusion",)
Solver = Literal["ddim", "dpm", "heun", "pndm"]


@dataclass(frozen=True)
class Options(Perceptive):
    """t: how far the scan is noised; steps: of the way back; solver: ddim is of first order, dpm and heun of second,
    pndm of up to fourth.
    """

    t: int = 250
    steps: int = 10
    eta: Annotated[float, Option("Fresh noise on the way back: 0 none, 1 as ddpm.", "X", 0, 1)] = 0.0
    solver: Annotated[
        Solver,
        Option(
            "How steps are taken: dpm is DPM-Solver++(2M), pndm pseudo linear multistep, heun asks twice a step. "
            "Default: ddim."
        ),
    ] = "ddim"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eta and self.solver != "ddim":
            raise UadError(f"--eta has no effect with --solver {self.solver}, which adds no noise (leave it out)")

    def evaluations(self, shape: tuple[int, int]) -> int:
        return 2 * self.steps - 1 if self.solver == "heun" else self.steps


def heal(model: Model, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Noise the slices to t and walk back in evenly spaced steps, x0 limited to [-1, 1]. x: (B, C, H, W)."""
    from uadtools.diffusion.process import add_noise
    from uadtools.diffusion.samplers import ddim, dpm_solver, heun, pndm
    from uadtools.diffusion.steps import spaced

    x_t = add_noise(x, options.t, noise(), model.schedule)
    timesteps = spaced(options.t, options.steps)
    if options.solver == "ddim":
        healed = end(ddim(model, x_t, timesteps, noise, eta=options.eta, clamp=True))
    else:
        walk = {"dpm": dpm_solver, "heun": heun, "pndm": pndm}[options.solver]
        healed = end(walk(model, x_t, timesteps, clamp=True))
    return options.compared(model, x, healed)
