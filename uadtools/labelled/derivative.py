"""Guidance by a derivative: how what a diffusion model sees changes with the class it is told leads towards healthy.

Source: Hu et al. 2023, after one sentence of Bercea et al. 2024 (survey), 5.3: it "locates the desired class by
approximating the derivative of the output of a class-conditional diffusion model with respect to the desired label".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from uadtools.interface.healing import Guidance, Healing, Option
from uadtools.labelled.cfg import Told, unled

if TYPE_CHECKING:
    from uadtools.diffusion.guidance import ClassifierFree
    from uadtools.interface.types import Model, Noise, Tensor

KINDS = ("cfg",)


@dataclass(frozen=True)
class Options(Told):
    guidance: Guidance = 3.0
    difference: Annotated[
        float,
        Option(
            "Of the way from sick to healthy in the class's embedding, the last part over which the derivative is "
            "taken as a difference; 1: all of it. Default: 0.5.",
            "X",
            0.01,
            1,
        ),
    ] = 0.5


def heal(model: Model, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Walk up, told of no class, and back, told healthy and led on along the derivative. x: (B, C, H, W) in [-1, 1]."""
    from uadtools.methods.encode import there_and_back

    back = led(model, len(x), options.guidance, options.difference)
    return Healing(there_and_back(unled(model, len(x)), back, x, options.t, options.steps, noise))


def led(model: Model, count: int, guidance: float, difference: float) -> ClassifierFree:
    """Return the model for so many slices, with f(H) + guidance (f(H) - f(H - d (H - S))) / d in place of f(H).

    f: its x0, and its eps, by what it is told; H, S: the embeddings of healthy and sick; d: the difference. With u =
    f(H - d (H - S)) that is u + (1 + guidance / d) (f(H) - u).
    """
    from uadtools.diffusion.guidance import ClassifierFree
    from uadtools.nets.classifier import HEALTHY, SICK

    healthy, sick = (model.net.code(kind, count) for kind in (HEALTHY, SICK))
    return ClassifierFree(model, healthy, healthy - difference * (healthy - sick), 1 + guidance / difference)
