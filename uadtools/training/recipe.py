"""Recipes: the full set-up of one training run, from a TOML file and a few changes to it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from uadtools.errors import UadError
from uadtools.models.config import DIFFUSIONS, ModelConfig, Settings, parse
from uadtools.models.networks import CodebookConfig, EncoderConfig
from uadtools.settings import Config, Fraction, PositiveFloat, PositiveInt
from uadtools.simulation.corruption import CorruptionConfig

Decay = Annotated[float, Field(ge=0, lt=1)]


class DataConfig(Config):
    """Which slices of a scan are learnt from: those in which at least this share of the pixels is brain."""

    min_brain: Fraction = 0.05


class AugmentConfig(Config):
    """Random changes to each slice, which training.augment explains.

    flip, affine, blur, bias, gamma_share, ghosting: the shares of slices that are mirrored; turned, scaled and shifted;
    blurred; given a drifting brightness; given another curve of brightness; given ghosts. degrees, scale, shift and
    blur_std (pixels), gamma (of the exponent's logarithm) and bias_size (of the polynomial's coefficients): how much
    at most. ghosts, dimmed: from and to.
    """

    flip: Fraction = 0.0
    affine: Fraction = 0.0
    degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    shift: Annotated[float, Field(ge=0)] = 0.0
    blur: Fraction = 0.0
    blur_std: Annotated[float, Field(ge=0, le=10)] = 1.0
    bias: Fraction = 0.0
    bias_size: Annotated[float, Field(ge=0, le=2)] = 0.5
    gamma: Annotated[float, Field(ge=0)] = 0.0
    gamma_share: Fraction = 1.0
    ghosting: Fraction = 0.0
    ghosts: tuple[PositiveInt, PositiveInt] = (4, 10)
    dimmed: tuple[Fraction, Fraction] = (0.5, 1.0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.ghosts[0] > self.ghosts[1] or self.dimmed[0] > self.dimmed[1]:
            raise ValueError("ghosts and dimmed go from the smaller number to the larger")
        return self


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


class CoarseConfig(Config):
    """The noise that a denoising autoencoder (dae) removes: of resolution x resolution values, std in image units."""

    resolution: Annotated[int, Field(ge=2)] = 16
    std: PositiveFloat = 0.2


class StartedEncoderConfig(EncoderConfig):
    """pretrained: a model of kind spark, whose encoder is where training starts from."""

    pretrained: str | None = None

    @property
    def sizes(self) -> EncoderConfig:
        return EncoderConfig.model_validate(self.model_dump(exclude={"pretrained"}))


class StartedCodebookConfig(CodebookConfig):
    """pretrained: a model of kind vqvae, on whose latents the diffusion model is trained."""

    pretrained: str | None = None

    @property
    def sizes(self) -> CodebookConfig:
        return CodebookConfig.model_validate(self.model_dump(exclude={"pretrained"}))


class GanConfig(Config):
    """f-AnoGAN: the share of the steps that train critic and generator; the rest train the encoder.

    critic: steps of the critic for each of the generator; penalty: weight of its gradient penalty; features: weight of
    the critic's features in the encoder's loss.
    """

    share: Annotated[float, Field(gt=0, lt=1)] = 0.7
    critic: PositiveInt = 5
    penalty: PositiveFloat = 10.0
    features: Annotated[float, Field(ge=0)] = 1.0


class TrainingConfig(Config):
    """Length, batch, the distance that is made small, and how often things happen.

    t_range: from which t is drawn uniformly, [low, high); none: from all steps of the schedule. positions, loss_on: of
    pDDPM, whether a patch lies on the grid or at random, and what its loss is taken of.
    """

    steps: PositiveInt
    batch: PositiveInt = 16
    loss: Literal["l1", "l2"] = "l2"
    positions: Literal["grid", "random"] = "grid"
    loss_on: Literal["patch", "image"] = "patch"
    t_range: tuple[Annotated[int, Field(ge=0)], PositiveInt] | None = None
    log_every: PositiveInt = 20
    validate_every: PositiveInt = 200
    validation_slices: PositiveInt = 256


class Recipe(Settings):
    """A published set-up: the model it makes and how that is trained.

    beta: the weight of the latent's divergence from a normal distribution (vae, svae); commitment: that of the latent's
    distance from its code (vqvae); hidden: the share of the slice that the encoder does not see (spark); corruption:
    what is to be mended, and what is not (restoration), in the place of `augment`; start: a model of the same kind and
    sizes, whose weights training starts from (restoration).
    """

    ONLY_FOR: ClassVar[dict[str, tuple[str, ...]]] = {
        **Settings.ONLY_FOR, "beta": ("vae", "svae"), "coarse": ("dae",), "gan": ("fanogan",), "hidden": ("spark",),
        "commitment": ("vqvae",), "corruption": ("restoration",), "start": ("restoration",),
    }  # fmt: skip

    source: str
    licence: str = "as the training data"
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    beta: Annotated[float, Field(ge=0)] = 0.001
    commitment: Annotated[float, Field(ge=0)] = 0.25
    hidden: Annotated[float, Field(gt=0, lt=1)] = 0.65
    encoder: StartedEncoderConfig = StartedEncoderConfig()
    autoencoder: StartedCodebookConfig = StartedCodebookConfig()
    coarse: CoarseConfig = CoarseConfig()
    corruption: CorruptionConfig = CorruptionConfig()
    start: str | None = None
    gan: GanConfig = GanConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    training: TrainingConfig

    @property
    def t_range(self) -> tuple[int, int]:
        return self.training.t_range or (0, self.schedule.steps)

    @property
    def gan_steps(self) -> int:
        """How many steps of the run train critic and generator; the weights before that cannot reconstruct anything."""
        return round(self.gan.share * self.training.steps) if self.kind == "fanogan" else 0

    @model_validator(mode="after")
    def _trainable(self) -> Self:
        only = {"t_range": DIFFUSIONS, "positions": ("pddpm",), "loss_on": ("pddpm",)}
        for name, kinds in only.items():
            plain = TrainingConfig.model_fields[name].default
            if self.kind not in kinds and getattr(self.training, name) != plain:
                raise ValueError(f"training.{name}: without a meaning for models of kind '{self.kind}' (leave it out)")
        if self.kind == "restoration" and self.augment != AugmentConfig():
            raise ValueError("augment: restoration has corruption.domains in its place (leave it out)")
        if self.kind == "spark" and self.encoder.pretrained:
            raise ValueError("encoder.pretrained: cddpm starts from an encoder, and spark makes one (leave it out)")
        low, high = self.t_range
        if not low < high <= self.schedule.steps:
            raise ValueError(
                f"training.t_range [{low}, {high}) must lie in [0, schedule.steps = {self.schedule.steps})"
            )
        return self

    def model(self, training: dict[str, Any], quantiles: Sequence[float] = ()) -> ModelConfig:
        """Return the settings of the model this recipe makes.

        training: what is to be said about how it came about; quantiles: of the intensities it learnt from.
        """
        shared = {name: getattr(self, name) for name in Settings.model_fields if name in self.model_fields_set}
        shared |= {name: getattr(self, name).sizes for name in ("encoder", "autoencoder") if name in shared}
        about = {"licence": self.licence, "quantiles": tuple(quantiles), "training": training}
        return ModelConfig.model_validate({**shared, **about})


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
        apply_change(data, change)
    return parse(Recipe, data, f"recipe {name}")


def apply_change(data: dict[str, Any], change: str) -> None:
    """Set one value in tables: "network.base=64". Raises UadError for what is no KEY=VALUE, or a key in no table."""
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
