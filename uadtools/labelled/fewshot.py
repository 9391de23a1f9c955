"""A few labels: what a frozen network makes of each pixel, and a small classifier that learnt lesions from that.

Source: Baranchuk et al. 2022 (label-efficient segmentation with diffusion models); Bercea et al. 2024 (survey), 5.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from uadtools.errors import UadError
from uadtools.interface import recipe as base
from uadtools.labelled._donors import config_of
from uadtools.labelled._lesions import Marking, distance, marked
from uadtools.methods import diffusion, restoration
from uadtools.models import settings
from uadtools.models.checkpoint import located
from uadtools.models.settings import ScheduleConfig
from uadtools.noise.config import NoiseConfig
from uadtools.settings import Config, Width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from uadtools.interface.healing import Healing
    from uadtools.interface.types import Batch, Donor, Healthy, Model, Noise, Tensor
    from uadtools.nets.readout import Readout

Engine = Literal["diffusion", "restoration"]
TOLD: dict[str, tuple[int, ...]] = {"diffusion": (50, 150, 250), "restoration": (999,)}
"""Of 1000: where the paper's networks know most of a pixel, and the severity that restoration is told by default."""
MEASURED = 32
"""Slices by which features are normalised."""


class FeaturesConfig(Config):
    """engine: the kind of the frozen network; t: that it is told, one look after the other; none: TOLD.

    levels: whether what it makes on the way is read, too; its answer alone is enough for one labelled scan or two.
    schedule, noise: of a network of diffusion. There is one field of noise, the same for all slices and t, as in the
    published program.
    """

    engine: Engine = "restoration"
    levels: bool = True
    t: tuple[Annotated[int, Field(ge=0)], ...] = ()
    schedule: ScheduleConfig = ScheduleConfig()
    noise: NoiseConfig = NoiseConfig()

    @property
    def steps(self) -> int:
        return self.schedule.steps if self.engine == "diffusion" else restoration.SEVERITIES

    @property
    def told(self) -> tuple[int, ...]:
        """The t of the looks at a slice."""
        return self.t or tuple(t * self.steps // 1000 for t in TOLD[self.engine])

    @model_validator(mode="after")
    def _within_the_schedule(self) -> Self:
        if max(self.told) >= self.steps:
            raise ValueError(f"t {list(self.told)}: must be below {self.steps}")
        return self


class HeadConfig(Config):
    """The classifier: depth convolutions of 1x1 with so many channels, and the share of these that is dropped."""

    width: Width = 64
    depth: Annotated[int, Field(ge=1, le=8)] = 2
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2


class Settings(settings.Settings):
    """network: the frozen one; features: what is asked of it; head: what reads these."""

    NEIGHBOURS: ClassVar[bool] = True
    SEVERAL: ClassVar[bool] = True

    kind: Literal["fewshot"] = "fewshot"
    network: diffusion.DenoiserConfig = diffusion.DenoiserConfig()
    features: FeaturesConfig = FeaturesConfig()
    head: HeadConfig = HeadConfig()

    @model_validator(mode="after")
    def _of_one_slice(self) -> Self:
        if self.reach and self.features.engine == "diffusion":
            raise ValueError("network.reach: a network of diffusion sees single slices (leave it out)")
        return self


class StartedFeatures(FeaturesConfig, base.Started):
    """pretrained: a model of kind diffusion or restoration, a file or a bundled one's name."""


class Recipe(base.Recipe, Settings):
    """features: come from another model, which tells network, contrasts, schedule and noise where none are given."""

    LABELLED: ClassVar[bool] = True

    features: StartedFeatures = StartedFeatures()

    @property
    def donor(self) -> str:
        if self.features.pretrained is None:
            raise UadError(
                f"recipe {self.name}: features.pretrained is needed: a model of kind diffusion or restoration "
                "(--set features.pretrained=any-small, t1-ddpm or FILE)"
            )
        return str(located(Path(self.features.pretrained)))

    @model_validator(mode="before")
    @classmethod
    def _like_its_features(cls, data: Any) -> Any:
        """Take from the model of the features what its network is like, where that can be read: else training tells.

        Raises UadError for one that has no features to be read.
        """
        features = data.get("features") if isinstance(data, dict) else None
        if not isinstance(features, dict) or "network" in data:
            return data
        config = config_of("features", features.get("pretrained"), TOLD, "whose features are not read")
        if config is None:
            return data
        noised = config.model_dump(include={"schedule", "noise"})
        return {
            "contrasts": config.contrasts,
            **data,
            "network": config.network.model_dump(),
            "features": {"engine": config.kind, **noised, **features},
        }


@dataclass(frozen=True)
class Options(Marking):
    """looks: how often the frozen network is asked about a slice, which the model decides."""

    looks: int = 1

    def evaluations(self, shape: tuple[int, int]) -> int:
        return self.looks


def settle(config: Settings, given: dict[str, Any]) -> list[dict[str, Any]]:
    """Look as often as the classifier learnt from."""
    return [{**given, "looks": len(config.features.told)}]


def heal(model: Model, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Tell the probability of a lesion at each pixel; nothing is healed. x: (B, C (2 reach + 1), H, W) in [-1, 1]."""
    return marked(probe(model, x).sigmoid())


def probe(model: Model, x: Tensor) -> Tensor:
    """Return the logits of slices. x: (B, C (2 reach + 1), H, W) in [-1, 1]."""
    return model.ask(*looks_at(model.config, x))


def looks_at(settings: Settings, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the frozen network is asked about slices, what it is told, and the slices, as nets.readout has them.

    x: (B, C (2 reach + 1), H, W) in [-1, 1].
    """
    import torch

    from uadtools.diffusion.process import add_noise
    from uadtools.diffusion.schedule import Schedule
    from uadtools.nets.layout import middle
    from uadtools.noise.source import fields_on

    features, slices = settings.features, middle(x, settings.channels)
    told, seen = features.told, [x] * len(features.told)
    if features.engine == "diffusion":
        schedule = Schedule.of(features.schedule.kind, features.schedule.steps)
        eps = fields_on(features.noise, tuple(slices.shape[1:]), np.zeros(1, np.int64), x.device)
        seen = [add_noise(slices, t, eps.expand_as(slices), schedule) for t in told]
    return torch.stack(seen, dim=1).flatten(0, 1), torch.tensor(told * len(x), device=x.device), slices


def build(settings: Settings) -> Readout:
    from uadtools.nets.readout import Readout

    engine, sizes = settings.features.engine, settings.network
    frozen: Any = (diffusion if engine == "diffusion" else restoration).build(settings)
    widths = [sizes.base * multiplier for multiplier in sizes.multipliers if settings.features.levels]
    answers = frozen.out_conv.out_channels // sizes.patch**2
    shown, looks = answers + settings.channels, len(settings.features.told)
    return Readout(frozen, [*widths, *widths[::-1]], shown, looks=looks, **settings.head.model_dump())


def loss(recipe: Recipe, net: Readout, batch: Batch, step: int) -> Tensor:
    """Tell lesions: balanced BCE and soft Dice."""
    assert batch.labels is not None
    looks = looks_at(recipe, batch.x0)
    return distance(net(*looks), looks[2], batch.labels)


def start(recipe: Recipe, nets: Sequence[Readout], donor: Donor, slices: Healthy) -> None:
    """Take the network, and measure what it makes of some slices. Raises UadError where it has other sizes."""
    import torch

    from uadtools.interface.learning import spread_out
    from uadtools.nets.layout import middle
    from uadtools.nets.readout import statistics

    theirs = donor.config
    donor.check_alike(recipe, ("grid", "intensity"))
    if theirs.kind != recipe.features.engine or theirs.network.model_dump() != recipe.network.model_dump(
        include=set(type(theirs.network).model_fields)
    ):
        raise UadError(
            f"{donor.path}: not of the kind and sizes that the recipe says (leave network and features.engine out)"
        )
    for net in nets:
        net.frozen.load_state_dict({name: weight.float() for name, weight in donor.weights.items()})
    first = nets[0]
    places = spread_out(slices, MEASURED)
    x = slices.seen(slices.windows(places, recipe.reach, first.centre.device))
    parts = [first.raw(*looks_at(recipe, x[i : i + 1])) for i in range(len(x))]
    levels = [torch.cat(level) for level in zip(*parts, strict=True)]
    brain = (middle(x, recipe.channels)[:, :1] > -1).float()
    centre, scale = statistics(levels, brain)
    for net in nets:
        net.centre.copy_(centre)
        net.scale.copy_(scale)
