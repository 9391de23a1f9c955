"""What a model file says about itself. No torch here: `uad-preprocess` reads the grid of a model without it."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import Field, ValidationError

from uadtools.errors import UadError
from uadtools.models.defaults import DefaultsConfig, ReferenceConfig
from uadtools.models.images import GridConfig, IntensityConfig
from uadtools.models.likeness import LikenessConfig
from uadtools.models.settings import NoisedSettings, ScheduleConfig, Settings
from uadtools.noise.config import NoiseConfig
from uadtools.settings import Config, faults

__all__ = [
    "DefaultsConfig", "GridConfig", "IntensityConfig", "ModelConfig", "NoiseConfig", "NoisedSettings", "ScheduleConfig",
    "Settings", "parse",
]  # fmt: skip


class ModelConfig(Settings):
    """Everything that belongs to a model, and is therefore never an option of `uad-heal`.

    quantiles: of the intensities inside the brain that it was trained on, at evenly spaced levels from 0 to 1.
    likeness: what healthy inputs look like; none: nothing is said of a scan that looks otherwise. reference: what the
    tensors REFERENCE beside the weights are from; none: there is none.
    """

    quantiles: tuple[float, ...] = ()
    likeness: LikenessConfig | None = None
    reference: ReferenceConfig | None = None
    training: dict[str, Any] = Field(default_factory=dict)


C = TypeVar("C", bound=Config)


def parse(kind: type[C], data: object, where: str) -> C:
    """Check data against a Config class. Raises UadError that names `where`, the key and what is wrong with it."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise UadError(f"{where}: {faults(error, data)}") from None
