"""Healing and masks joined: a small supervised network sees the scan, what a frozen model heals it to, and the score.

Source: Behrendt et al. 2024, as the survey has it in 5.2 (Bercea et al. 2024): reconstruction-based detection combined
with supervised segmentation. Ours heals with a model of restoration, bundled or any other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from uadtools.errors import UadError
from uadtools.interface import recipe as base
from uadtools.labelled._donors import config_of
from uadtools.labelled._lesions import Marking, distance, marked
from uadtools.methods import restoration
from uadtools.models import settings
from uadtools.models.checkpoint import located
from uadtools.models.networks import UNetConfig

if TYPE_CHECKING:
    from uadtools.interface.healing import Healing
    from uadtools.interface.types import Batch, Donor, Healthy, Network, Noise, Tensor
    from uadtools.nets.joined import Joined

Options = Marking
HEALERS = ("restoration",)
MEASURED = 32
"""Slices by which the score is brought to the size of the other channels."""


class Settings(settings.Settings):
    """network: what learns; healer: the frozen network of restoration, which says how many neighbours are seen."""

    NEIGHBOURS: ClassVar[bool] = True
    SEVERAL: ClassVar[bool] = True

    kind: Literal["joined"] = "joined"
    network: UNetConfig = UNetConfig()
    healer: UNetConfig = UNetConfig()

    @property
    def reach(self) -> int:
        return self.healer.reach

    @property
    def divisor(self) -> int:
        return math.lcm(self.network.divisor, self.healer.divisor)

    def held(self, shape: Sequence[int]) -> int:
        return max(self.network.held(shape), self.healer.held(shape))

    @model_validator(mode="after")
    def _as_the_healer_sees(self) -> Self:
        if self.network.reach:
            raise ValueError("network.reach: the slab is that of the healer (leave it out)")
        return self


class StartedHealer(UNetConfig, base.Started):
    """pretrained: a model of kind restoration, a file or a bundled one's name."""


class Recipe(base.Recipe, Settings):
    """healer: comes from another model, which tells its sizes, and the contrasts."""

    LABELLED: ClassVar[bool] = True

    healer: StartedHealer = StartedHealer()

    @property
    def donor(self) -> str:
        if self.healer.pretrained is None:
            raise UadError(
                f"recipe {self.name}: healer.pretrained is needed: a model of kind {HEALERS[0]} "
                "(--set healer.pretrained=any-small or FILE)"
            )
        return str(located(Path(self.healer.pretrained)))

    @model_validator(mode="before")
    @classmethod
    def _like_its_healer(cls, data: Any) -> Any:
        """Take the sizes of the healer, and the contrasts, from its model, where that can be read: else training tells.

        Raises UadError for a model that heals in another way.
        """
        healer = data.get("healer") if isinstance(data, dict) else None
        if not isinstance(healer, dict):
            return data
        config = config_of("healer", healer.get("pretrained"), HEALERS, "which does not heal in one look")
        if config is None:
            return data
        return {"contrasts": config.contrasts, **data, "healer": {**config.network.model_dump(), **healer}}


def heal(model: Network, x: Tensor, options: Marking, noise: Noise) -> Healing:
    """Tell the probability of a lesion at each pixel. x: (B, C (2 reach + 1), H, W) in [-1, 1]."""
    return marked(probe(model, x).sigmoid())


def probe(model: Network, x: Tensor) -> Tensor:
    """Return the logits of slices. x: (B, C (2 reach + 1), H, W) in [-1, 1]."""
    return model.ask(x)


def build(settings: Settings) -> Joined:
    from uadtools.interface.learning import unet
    from uadtools.nets.joined import Joined

    sizes = UNetConfig(**settings.healer.model_dump(include=set(UNetConfig.model_fields)))
    seen, healed = settings.seen, settings.channels
    frozen = unet(sizes, in_channels=seen, out_channels=healed + 1)
    return Joined(frozen, unet(settings.network, in_channels=seen + healed + 1), restoration.SEVERITIES - 1)


def loss(recipe: Recipe, net: Joined, batch: Batch, step: int) -> Tensor:
    """Tell lesions: balanced BCE and soft Dice."""
    from uadtools.nets.layout import middle

    assert batch.labels is not None
    return distance(net(batch.x0), middle(batch.x0, recipe.channels), batch.labels)


def start(recipe: Recipe, nets: Sequence[Joined], donor: Donor, slices: Healthy) -> None:
    """Take the frozen network, and measure the score of some slices. Raises UadError where it has other sizes."""
    from uadtools.interface.learning import spread_out
    from uadtools.nets.layout import middle

    donor.check_alike(recipe, ("grid", "intensity"))
    donor.check(HEALERS[0], "network", "healer", recipe.healer, tuple(UNetConfig.model_fields))
    for net in nets:
        net.frozen.load_state_dict({name: weight.float() for name, weight in donor.weights.items()})
    first = nets[0]
    x = slices.seen(slices.windows(spread_out(slices, MEASURED), recipe.reach, first.scale.device))
    score = first.known(x)[1][middle(x, recipe.channels)[:, :1] > -1]
    for net in nets:
        net.scale.copy_(score.std())
