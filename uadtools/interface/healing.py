"""What a method gives back, and what those without noise have in common."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from uadtools.diffusion.samplers import Noise, Step


@dataclass(frozen=True)
class Option:
    """What users are told of an option, beside its name and type: a field of a method's Options.

    metavar: of its value; least, most: its range; several: it may be repeated, to heal with each value and combine.
    """

    help: str
    metavar: str = "N"
    least: float | None = None
    most: float | None = None
    several: bool = False


@dataclass(frozen=True)
class Healing:
    """healed: (B, C, H, W) in the units of [-1, 1], a channel for each contrast; maps: what else the method made, by
    name, (B, 1, H, W), of all contrasts together.

    None is healed by a method whose Options say `HEALS: ClassVar[bool] = False`: the first of its `maps` is what it
    makes, above 0 inside the brain.
    """

    healed: Tensor | None
    maps: dict[str, Tensor] = field(default_factory=dict)


class Network(Protocol):
    """All that a method without noise needs of a model. channels: of how many contrasts the images are."""

    @property
    def channels(self) -> int: ...
    def ask(self, x: Tensor, *more: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Single:
    """The options of a method that asks the network once; by itself there are none.

    ONE_GRAPH: what it does is the same whatever the network answers, so that it can be exported as one graph.
    """

    ONE_GRAPH: ClassVar[bool] = True

    def evaluations(self, shape: tuple[int, int]) -> int:
        """Return how often the network is asked about a slice (H, W)."""
        return 1


class Perceiver(Protocol):
    """A model that tells how unlike two clean images are in its features, as models.model.Model does."""

    def perceive(self, x: Tensor, other: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Perceptive:
    """The option of a method whose healed slices may be compared with the scan in the network's features."""

    perceptual: Annotated[
        bool | None,
        Option("Make the map of uad-score --metric perceptual, too: the distance in the model's features.", ""),
    ] = None

    @property
    def maps(self) -> tuple[str, ...]:
        return ("perceptual",) if self.perceptual else ()

    def compared(self, model: Perceiver, x: Tensor, healed: Tensor) -> Healing:
        """Give healed slices, where it is wanted with the map of how unlike they are. x: (B, C, H, W)."""
        return Healing(healed, {role: model.perceive(x, healed) for role in self.maps})


@dataclass(frozen=True)
class Unhealed:
    """The options of a method that heals nothing, and makes a map of how anomalous each voxel is."""

    HEALS: ClassVar[bool] = False

    @property
    def maps(self) -> tuple[str, ...]:
        return ("anomaly",)


Guidance = Annotated[
    float,
    Option(
        "How strongly the way back is led towards healthy; 0: not at all, or no further than told. Default: 100 of "
        "guided, 3 of anofpdm, cfg and derivative.",
        "X",
        0,
    ),
]
"""The option of methods whose model leads a scan towards healthy ones, each with a default of its own."""


def end(walk: Iterable[Step]) -> Tensor:
    """Walk to the last step and return where it arrived."""
    return deque(walk, maxlen=1)[0].x_t


def reconstruct(model: Network, x: Tensor, options: Single, noise: Noise) -> Healing:
    """Heal slices to what a network makes of them. x: (B, C, H, W) in [-1, 1], the slice to heal in the middle."""
    return Healing(model.ask(x))
