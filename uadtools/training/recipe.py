"""Recipes: the full set-up of one training run, from a TOML file and a few changes to it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from uadtools.errors import UadError
from uadtools.models.config import (
    Config,
    DefaultsConfig,
    GridConfig,
    IntensityConfig,
    ModelConfig,
    NetworkConfig,
    NoiseConfig,
    PositiveFloat,
    PositiveInt,
    ScheduleConfig,
    parse,
)

Fraction = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class DataConfig(Config):
    """Which slices of a scan are learnt from: those in which at least this share of the pixels is brain."""

    min_brain: Fraction = 0.05


class AugmentConfig(Config):
    """Random changes to each slice. affine: the share of slices turned, scaled and shifted at all."""

    flip: Fraction = 0.0
    affine: Fraction = 0.0
    degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    shift: Annotated[float, Field(ge=0)] = 0.0
    gamma: Annotated[float, Field(ge=0)] = 0.0


class OptimiserConfig(Config):
    """AdamW, gradient clipping (0: off) and the rate of the averaged weights.

    The learning rate rises over the first `warmup` steps and falls to 0 over the last `decay` ones, linearly.
    """

    learning_rate: PositiveFloat = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    warmup: Annotated[int, Field(ge=0)] = 0
    decay: Annotated[int, Field(ge=0)] = 0
    clip: Annotated[float, Field(ge=0)] = 0.0
    ema: Decay = 0.9999


class TrainingConfig(Config):
    """Length, batch, loss, the range [low, high) from which t is drawn uniformly, and how often things happen."""

    steps: PositiveInt
    batch: PositiveInt = 16
    loss: Literal["l1", "l2"] = "l2"
    t_range: tuple[Annotated[int, Field(ge=0)], PositiveInt] = (0, 1000)
    log_every: PositiveInt = 20
    validate_every: PositiveInt = 200
    validation_slices: PositiveInt = 256


class Recipe(Config):
    """A published set-up: the model it makes and how that is trained."""

    name: str
    source: str
    licence: str = "as the training data"
    network: NetworkConfig = NetworkConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    target: Literal["eps", "x0"] = "eps"
    noise: NoiseConfig = NoiseConfig()
    grid: GridConfig = GridConfig()
    intensity: IntensityConfig = IntensityConfig()
    defaults: DefaultsConfig = DefaultsConfig()
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    training: TrainingConfig

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        low, high = self.training.t_range
        if not low < high <= self.schedule.steps:
            raise ValueError(
                f"training.t_range [{low}, {high}) must lie in [0, schedule.steps = {self.schedule.steps})"
            )
        self.model({})
        return self

    def model(self, training: dict[str, Any], quantiles: Sequence[float] = ()) -> ModelConfig:
        """Return the settings of the model this recipe makes.

        training: what is to be said about how it came about; quantiles: of the intensities it learnt from.
        """
        shared = {name: getattr(self, name) for name in ModelConfig.model_fields if name in type(self).model_fields}
        return ModelConfig.model_validate({**shared, "quantiles": tuple(quantiles), "training": training})


def names() -> list[str]:
    """List the recipes that ship with the package."""
    folder = Path(str(files("uadtools.training") / "recipes"))
    return sorted(path.stem for path in folder.glob("*.toml"))


def load_recipe(name: str, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or from a .toml file, and apply changes such as "training.steps=100".

    Raises UadError for an unknown name or key, or a value that does not fit.
    """
    path = Path(name) if name.endswith(".toml") else Path(str(files("uadtools.training") / "recipes" / f"{name}.toml"))
    try:
        data = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise UadError(f"no recipe '{name}' (there are: {', '.join(names())}; or name a .toml file)") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UadError(f"{path}: not a readable recipe ({error})") from None
    for change in changes:
        _apply(data, change)
    return parse(Recipe, data, f"recipe {name}")


def _apply(data: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals:
        raise UadError(f"--set {change}: expected KEY=VALUE, such as training.steps=1000")
    *tables, last = key.strip().split(".")
    for table in tables:
        data = data.setdefault(table, {})
        if not isinstance(data, dict):
            raise UadError(f"--set {change}: {table} is no table")
    try:
        data[last] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        data[last] = text
