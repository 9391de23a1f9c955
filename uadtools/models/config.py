"""What a model file says about itself. No torch here: `uad-preprocess` reads the grid of a model without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

import numpy as np
from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from uadtools.errors import UadError
from uadtools.models.defaults import DefaultsConfig, ReferenceConfig
from uadtools.models.likeness import LikenessConfig
from uadtools.models.networks import CodebookConfig, EncoderConfig, NetworkConfig, SequenceConfig, UNetConfig
from uadtools.settings import Config, PositiveFloat, PositiveInt
from uadtools.volume.grid import Grid

Kind = Literal[
    "diffusion", "pddpm", "cddpm", "ldm", "restoration", "spark", "vqvae", "ae", "dae", "vae", "svae", "fanogan"
]
NETWORKS = {
    "diffusion": "unet", "pddpm": "unet", "cddpm": "unet", "ldm": "unet", "restoration": "unet", "dae": "unet",
    "spark": "masked", "vqvae": "codebook",
    "ae": "dense", "vae": "dense", "svae": "sequence", "fanogan": "dense",
}  # fmt: skip
"""The kind of network that each kind of model has."""
DIFFUSIONS = ("diffusion", "pddpm", "cddpm", "ldm")
"""The kinds of models that remove noise of a schedule."""
DIALLED = (*DIFFUSIONS, "restoration")
"""The kinds of models that are asked at a t: a step of the noise, or the highest severity to be expected."""
DEFAULT_METHODS = {"diffusion": "sss", "restoration": "restore"}
"""Of the kinds that have several methods, or one of another name."""


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


class PatchesConfig(Config):
    """The squares in which pDDPM noises and heals an image: their sides in pixels, of which one is drawn per item in
    training and all are used in healing, and how far apart they are (none: as far as covers the image).
    """

    sizes: tuple[PositiveInt, ...] = Field(default=(48,), min_length=1)
    stride: PositiveInt | None = None


class RegionConfig(Config):
    """Where a latent diffusion model finds a lesion: where the bound, averaged over steps, is above what is healthy.

    steps: from which the bound is taken, [low, high); percentile: of healthy scans, at each position.
    """

    steps: tuple[PositiveInt, PositiveInt] = (400, 600)
    percentile: Annotated[float, Field(gt=0, le=100)] = 97.5

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.steps[0] >= self.steps[1]:
            raise ValueError(f"steps {self.steps}: the first must be below the second")
        return self


class GridConfig(Config):
    """The grid a model works on: voxels and their size in mm; slices are axial, and axes run to RAS.

    A grid of one slice is that of a 2-D model: it takes any number of slices, of any thickness, one by one, turned as
    pictures are (LPS: from the front of the head down, the patient's right side on the left).
    """

    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (96, 96, 96)
    spacing: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (2.0, 2.0, 2.0)

    @property
    def flat(self) -> bool:
        return self.shape[2] == 1

    @property
    def orientation(self) -> str:
        return "LPS" if self.flat else "RAS"

    def misfit(self, grid: Grid) -> bool:
        """Tell whether an image on this grid has to be brought to the model's first."""
        axes = 2 if self.flat else 3
        off = np.abs(np.array(grid.spacing) - self.spacing)[:axes].max()
        return bool(grid.shape[:axes] != self.shape[:axes] or off > 0.01 or grid.orientation != self.orientation)

    def __str__(self) -> str:
        shape = "x".join(map(str, self.shape[:2] if self.flat else self.shape))
        return f"{shape} voxels of {' x '.join(f'{s:g}' for s in self.spacing)} mm, {self.orientation}"


class IntensityConfig(Config):
    """How raw intensities become [0, 1].

    percentile: low and high inside the brain; zscore: 3 standard deviations around the mean inside the brain; ct: a
    window of Hounsfield units, from center - width / 2 to center + width / 2; none: they already are in [0, 1].
    """

    kind: Literal["percentile", "zscore", "ct", "none"] = "percentile"
    low: Annotated[float, Field(ge=0, le=100)] = 1.0
    high: Annotated[float, Field(ge=0, le=100)] = 99.0
    center: float = 40.0
    width: PositiveFloat = 80.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low = {self.low} must be below high = {self.high}")
        return self

    def __str__(self) -> str:
        said = {"percentile": f":{self.low:g},{self.high:g}", "ct": f":{self.center:g},{self.width:g}"}
        return self.kind + said.get(self.kind, "")


class Settings(Config):
    """What a recipe says about the model it makes, and the model about itself.

    What has no meaning for the kind of model, such as the schedule of one that knows no diffusion, is refused when it
    is read, and left out when it is written.
    """

    ONLY_FOR: ClassVar[dict[str, tuple[str, ...]]] = {
        **{name: DIFFUSIONS for name in ("schedule", "target", "noise")},
        "patches": ("pddpm",),
        "encoder": ("cddpm", "spark"),
        "autoencoder": ("ldm",),
        "region": ("ldm",),
    }

    name: str
    kind: Kind = "diffusion"
    network: NetworkConfig = UNetConfig()
    encoder: EncoderConfig = EncoderConfig()
    autoencoder: CodebookConfig = CodebookConfig()
    region: RegionConfig = RegionConfig()
    patches: PatchesConfig = PatchesConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    target: Literal["eps", "x0"] = "eps"
    noise: NoiseConfig = NoiseConfig()
    grid: GridConfig = GridConfig()
    intensity: IntensityConfig = IntensityConfig()
    defaults: DefaultsConfig = DefaultsConfig()
    licence: str = "not stated"

    @property
    def reach(self) -> int:
        """How many slices on either side of a slice the network sees with it."""
        return self.network.reach if isinstance(self.network, SequenceConfig | UNetConfig) else 0

    @property
    def solid(self) -> bool:
        """Whether the network sees whole volumes, not slices."""
        return isinstance(self.network, UNetConfig | CodebookConfig) and self.network.axes == 3

    def _means(self, name: str) -> bool:
        return self.kind in self.ONLY_FOR.get(name, (self.kind,))

    @model_validator(mode="before")
    @classmethod
    def _of_its_kind(cls, data: Any) -> Any:
        """Fill in what follows from the kind of model: that of its network, and the method where there is but one."""
        if not isinstance(data, dict):
            return data
        kind = str(data.get("kind", "diffusion"))
        method = {"method": DEFAULT_METHODS.get(kind, kind)}
        noise = {"noise": {"kind": "gaussian"}} if kind == "ldm" else {}
        follow = {"network": {"kind": NETWORKS.get(kind, "unet")}, "defaults": method, **noise}
        for name, follows in follow.items():
            if isinstance(given := data.get(name, {}), dict):
                data = {**data, name: {**follows, **given}}
        return data

    @model_validator(mode="after")
    def _with_a_meaning(self) -> Self:
        idle = [name for name in self.ONLY_FOR if name in self.model_fields_set and not self._means(name)]
        idle += ["defaults.t"] if self.defaults.t and self.kind not in DIALLED else []
        idle += ["defaults.samples"] if self.defaults.samples > 1 and self.kind not in DIFFUSIONS else []
        if self.reach and self.kind not in ("restoration", "svae"):
            idle.append("network.reach")
        if idle:
            raise ValueError(f"{', '.join(idle)}: without a meaning for models of kind '{self.kind}' (leave it out)")
        if self.network.kind != NETWORKS[self.kind]:
            raise ValueError(
                f"network.kind {self.network.kind}: not that of models of kind '{self.kind}' (leave it out)"
            )
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        divisor = self.encoder.divisor if self.kind == "spark" else self.network.divisor
        divisor *= self.autoencoder.divisor if self.kind == "ldm" else 1
        for size in self.grid.shape if self.solid else self.grid.shape[:2]:
            if size % divisor:
                raise ValueError(f"grid.shape {self.grid.shape}: {size} is no multiple of {divisor}")
        if self.solid and self.kind not in ("vqvae", "ldm"):
            raise ValueError(f"network.axes 3: models of kind '{self.kind}' see slices (2)")
        if self.kind == "ldm" and self.solid != (self.autoencoder.axes == 3):
            raise ValueError(f"autoencoder.axes {self.autoencoder.axes}: other than network.axes")
        if self.kind == "ldm" and self.region.steps[1] > self.schedule.steps:
            raise ValueError(f"region.steps {self.region.steps}: beyond schedule.steps = {self.schedule.steps}")
        if self.kind == "ldm" and self.noise.kind != "gaussian":
            raise ValueError(f"noise.kind {self.noise.kind}: latents are noised with gaussian")
        if self.reach and self.grid.flat:
            raise ValueError(f"grid.shape {self.grid.shape}: models of kind '{self.kind}' need neighbouring slices")
        if max(self.defaults.t, default=0) >= self.schedule.steps:
            raise ValueError(f"defaults.t {self.defaults.t} must be below schedule.steps = {self.schedule.steps}")
        return self

    @model_validator(mode="after")
    def _with_patches_that_fit(self) -> Self:
        if self.kind == "pddpm" and max(self.patches.sizes) > min(self.grid.shape[:2]):
            raise ValueError(f"patches.sizes {self.patches.sizes}: larger than the slices of {self.grid}")
        if self.kind == "pddpm" and (self.patches.stride or 1) > min(self.patches.sizes):
            raise ValueError(
                f"patches.stride {self.patches.stride}: leaves gaps between patches of {self.patches.sizes}"
            )
        if self.kind == "pddpm" and len(set(self.patches.sizes)) < len(self.patches.sizes):
            raise ValueError(f"patches.sizes {self.patches.sizes}: the same size twice")
        if self.kind == "pddpm" and self.target != "x0":
            raise ValueError("target eps: what is not noised has no noise to tell; patches need x0")
        return self

    @model_serializer(mode="wrap")
    def _what_has_a_meaning(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if self._means(name)}


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
        faults = [f"{_key(e['loc'])}: {_plain(e)}" for e in error.errors()]
        raise UadError(f"{where}: {'; '.join(faults)}") from None


def _key(place: Sequence[Any]) -> str:
    """Name a key by its place, in which the kind of the network stands below `network`."""
    keys = [str(key) for key in place if key not in NETWORKS.values()]
    return ".".join(keys) or "settings"


def _plain(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return "unknown key"
    message: str = fault["msg"]
    return message.removeprefix("Value error, ")
