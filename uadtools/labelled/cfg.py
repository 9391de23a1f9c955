"""Classifier-free guidance: a diffusion model that knows healthy from sick leads a scan from the one to the other.

Source: Ho & Salimans 2022; Sanchez et al. 2022; Bercea et al. 2024 (survey), 2.3 and 5.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import model_validator

from uadtools.interface import recipe as base
from uadtools.interface.healing import Guidance, Healing, Option
from uadtools.labelled import _donors
from uadtools.methods import diffusion
from uadtools.methods.diffusion import DenoiserConfig
from uadtools.models.settings import NoisedSettings
from uadtools.settings import Config, Fraction, Width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from uadtools.diffusion.guidance import ClassifierFree
    from uadtools.diffusion.process import ConditionedDenoiser
    from uadtools.interface.types import Batch, Donor, Healthy, Model, Noise, Tensor
    from uadtools.nets.classifier import ClassConditioned


class ClassesConfig(Config):
    """width: of the embedding of a class, which stands beside that of the step."""

    width: Width = 64


class Settings(NoisedSettings):
    """network: a U-Net that is told the step, and healthy, sick, or nothing of that."""

    SEVERAL: ClassVar[bool] = True

    kind: Literal["cfg"] = "cfg"
    network: DenoiserConfig = DenoiserConfig()
    classes: ClassesConfig = ClassesConfig()


class Recipe(base.WeakRecipe, Settings):
    """network: may come from another model; p_drop: of slices, of how many the network is told nothing."""

    network: _donors.StartedDenoiser = _donors.StartedDenoiser()
    p_drop: Fraction = 0.35

    @property
    def donor(self) -> str | None:
        return _donors.file_of(self.network)

    @model_validator(mode="before")
    @classmethod
    def _like_its_network(cls, data: Any) -> Any:
        return _donors.like_its_network(data)

    @model_validator(mode="after")
    def _of_fixed_variance(self) -> Self:
        diffusion.check_fixed(self.network)
        return self


@dataclass(frozen=True)
class Told:
    """The options of methods whose model is told two things at each step back, and led by how its answers differ.

    t: how far the scan is walked up; steps: of the way up, and of the way back, each of which asks twice.
    """

    NOISY: ClassVar[bool] = False

    t: int = 500
    steps: int = 50

    def evaluations(self, shape: tuple[int, int]) -> int:
        from uadtools.methods.encode import way_up

        return 2 * self.steps + len(way_up(self.t, self.steps)) - 1


@dataclass(frozen=True)
class Options(Told):
    guidance: Guidance = 3.0
    percentile: Annotated[
        float,
        Option(
            "Of x0's intensities in a slice: on the way back what is above it is cut, and all scaled back to 1 where "
            "it is more than that. Default: 99.",
            "P",
            0,
            100,
        ),
    ] = 99.0


def heal(model: Model, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Walk up, told of no class, and back, led towards healthy: u + guidance (c - u). x: (B, C, H, W) in [-1, 1]."""
    from dataclasses import replace
    from functools import partial

    from uadtools.diffusion.guidance import scaled_back
    from uadtools.methods.encode import there_and_back

    limit = partial(scaled_back, share=options.percentile / 100)
    up, back = unled(model, len(x)), replace(led(model, len(x), options.guidance), limit=limit)
    return Healing(there_and_back(up, back, x, options.t, options.steps, noise))


def unled(model: Model, count: int) -> ConditionedDenoiser:
    """Return the model for so many slices, told of no class."""
    from uadtools.diffusion.process import ConditionedDenoiser
    from uadtools.nets.classifier import NONE

    return ConditionedDenoiser(model, model.net.code(NONE, count))


def led(model: Model, count: int, guidance: float) -> ClassifierFree:
    """Return the model for so many slices, led towards healthy."""
    from uadtools.diffusion.guidance import ClassifierFree
    from uadtools.nets.classifier import HEALTHY, NONE

    return ClassifierFree(model, model.net.code(HEALTHY, count), model.net.code(NONE, count), guidance)


def build(settings: Settings) -> ClassConditioned:
    from uadtools.interface.learning import denoiser
    from uadtools.nets.classifier import ClassConditioned

    width = settings.classes.width
    return ClassConditioned(denoiser(settings, condition=width), width)


def loss(recipe: Recipe, net: ClassConditioned, batch: Batch, step: int) -> Tensor:
    """Noise each slice, and tell x0 or the noise from that and its class, of which p_drop are told none."""
    import torch

    from uadtools.interface.learning import distance, noised, streams_of
    from uadtools.nets.classifier import NONE

    assert batch.sick is not None
    streams = streams_of(batch.seeds)
    noisy = noised(recipe, batch.x0, batch.seeds, streams)
    dropped = torch.tensor([stream.random() < recipe.p_drop for stream in streams], device=batch.sick.device)
    kinds = torch.where(dropped, NONE, batch.sick.long())
    return distance(recipe, net(noisy.x_t, noisy.t, kinds), noisy.target)


def start(recipe: Recipe, nets: Sequence[ClassConditioned], donor: Donor, slices: Healthy) -> None:
    """Take the network, which is told of no class yet. Raises UadError where it is another than was said."""
    donor.check_alike(recipe.model({}), _donors.ALIKE)
    for net in nets:
        net.start(donor.weights)
