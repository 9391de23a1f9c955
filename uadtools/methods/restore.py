"""Restoration: the network takes out what does not belong there, and says where. Source: Naval Marimont et al. 2024.

It learnt to mend anomalies that were put into healthy slabs. DISYRE v2 averages such restorations over the severities
it assumes; here one is the default, as the network is told the highest severity to be expected, not the severity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from uadtools.interface.healing import Healing, Option
from uadtools.methods import restoration

if TYPE_CHECKING:
    from uadtools.interface.types import Network, Noise, Tensor

KINDS = ("restoration",)


@dataclass(frozen=True)
class Restoring:
    """What the options of all methods that restore have. t: the highest severity to be expected, of 1000."""

    NOISY: ClassVar[bool] = False

    t: int = 999

    @property
    def maps(self) -> tuple[str, ...]:
        return ("probability",)


@dataclass(frozen=True)
class Options(Restoring):
    """t: less than all leaves strong and large changes as they are."""

    ONE_GRAPH: ClassVar[bool] = True

    flips: Annotated[bool, Option("The mean with what the mirrored scan is restored to.", "")] = False

    def evaluations(self, shape: tuple[int, int]) -> int:
        return 2 if self.flips else 1


def heal(model: Network, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Restore the middle slice of each slab; the map `probability` says where it was changed. x: (B, C, H, W)."""
    return as_healing(*mended(model, x, options.t, flips=options.flips))


def mended(model: Network, x: Tensor, t: int, *, flips: bool) -> tuple[Tensor, Tensor]:
    """Return the healthy middle slices, (B, C, H, W), and the probabilities of a change, (B, 1, H, W)."""
    import torch

    answers = [restoration.ask(model, x, t)]
    if flips:
        mirrored = restoration.ask(model, x.flip(-1), t)
        answers.append(type(mirrored)(*(part.flip(-1) for part in mirrored)))
    x0 = torch.stack([answer.x0 for answer in answers]).mean(dim=0)
    return x0, torch.stack([answer.logit.sigmoid() for answer in answers]).mean(dim=0)


def as_healing(x0: Tensor, probability: Tensor) -> Healing:
    """Return what was restored, within the range of images, with its map."""
    return Healing(x0.clamp(-1, 1), {"probability": probability})
