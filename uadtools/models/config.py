"""What a model file says about itself. No torch here: `uad-preprocess` reads the grid of a model without it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from uadtools.errors import UadError

PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]


class Config(BaseModel):
    """A frozen table of settings in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


class NetworkConfig(Config):
    """The arguments of nets.unet.UNet, which explains them."""

    kind: Literal["unet"] = "unet"
    base: PositiveInt = 128
    multipliers: tuple[PositiveInt, ...] = Field(default=(1, 1, 2, 3, 4), min_length=1)
    res_blocks: PositiveInt = 2
    attention: tuple[PositiveInt, ...] = (8, 16)
    middle_attention: bool = True
    heads: PositiveInt = 2
    attention_order: Literal["heads_first", "qkv_first"] = "heads_first"
    embedding: Literal["add", "scale_shift"] = "add"
    sinusoid: Literal["cos_sin", "sin_cos"] = "cos_sin"
    resample: Literal["residual", "conv", "pool"] = "residual"
    groups: PositiveInt = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        widths = [self.base * m for m in self.multipliers]
        for name, by in (("groups", self.groups), ("heads", self.heads)):
            if any(w % by for w in widths):
                raise ValueError(f"{name} = {by} must divide the channels of every level: {widths}")
        if self.base % 2:
            raise ValueError(f"base = {self.base} must be even")
        return self

    @property
    def divisor(self) -> int:
        """Slices must be multiples of this many pixels in height and width."""
        return int(2 ** (len(self.multipliers) - 1))


class ScheduleConfig(Config):
    kind: Literal["linear", "cosine"] = "linear"
    steps: Annotated[int, Field(ge=2)] = 1000

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.kind == "linear" and self.steps <= 20:
            raise ValueError(f"steps = {self.steps}: a linear schedule needs more than 20, or beta reaches 1")
        return self


class NoiseConfig(Config):
    """gaussian, or simplex with its octaves; scale: raw (as published) or unit variance per field."""

    kind: Literal["gaussian", "simplex"] = "simplex"
    octaves: PositiveInt = 6
    persistence: PositiveFloat = 0.8
    frequency: PositiveFloat = 2.0**-6
    scale: Literal["raw", "unit"] = "raw"


class GridConfig(Config):
    """The grid a model works on, in RAS orientation: voxels and their size in mm; slices are axial."""

    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (96, 96, 96)
    spacing: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (2.0, 2.0, 2.0)


class IntensityConfig(Config):
    """How raw intensities become [0, 1]: percentiles inside the brain, or none (they already are)."""

    kind: Literal["percentile", "none"] = "percentile"
    low: Annotated[float, Field(ge=0, le=100)] = 1.0
    high: Annotated[float, Field(ge=0, le=100)] = 99.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low = {self.low} must be below high = {self.high}")
        return self


class DefaultsConfig(Config):
    """How this model is used when the user says nothing: the method, its t and its draws.

    thresholds: of detection on the l1 score, by the way of healing they were found for: "sss 300", or "sss 300,400" for
    the mean of two, one draw each.
    """

    method: str = "sss"
    t: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(300,), min_length=1)
    samples: PositiveInt = 1
    thresholds: dict[str, PositiveFloat] = {}


class ModelConfig(Config):
    """Everything that belongs to a model, and is therefore never an option of `uad-heal`."""

    name: str
    kind: str = "diffusion"
    network: NetworkConfig = NetworkConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    target: Literal["eps", "x0"] = "eps"
    noise: NoiseConfig = NoiseConfig()
    grid: GridConfig = GridConfig()
    intensity: IntensityConfig = IntensityConfig()
    defaults: DefaultsConfig = DefaultsConfig()
    licence: str = "not stated"
    training: dict[str, Any] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for size in self.grid.shape[:2]:
            if size % self.network.divisor:
                raise ValueError(f"grid.shape {self.grid.shape}: {size} is no multiple of {self.network.divisor}")
        if max(self.defaults.t) >= self.schedule.steps:
            raise ValueError(f"defaults.t {self.defaults.t} must be below schedule.steps = {self.schedule.steps}")
        return self


C = TypeVar("C", bound=Config)


def parse(kind: type[C], data: object, where: str) -> C:
    """Check data against a Config class. Raises UadError that names `where`, the key and what is wrong with it."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, e['loc'])) or 'settings'}: {_plain(e)}" for e in error.errors()]
        raise UadError(f"{where}: {'; '.join(faults)}") from None


def _plain(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return "unknown key"
    message: str = fault["msg"]
    return message.removeprefix("Value error, ")
