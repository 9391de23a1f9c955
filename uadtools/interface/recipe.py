"""Recipes: the full set-up of one training run. What a kind of model needs beyond, its own file adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from uadtools.corrupting.config import CorruptionConfig
from uadtools.errors import UadError
from uadtools.models.settings import NoisedSettings, Settings
from uadtools.settings import Config, Fraction, PositiveFloat, PositiveInt

if TYPE_CHECKING:
    from uadtools.models.config import ModelConfig

Decay = Annotated[float, Field(ge=0, lt=1)]


class DataConfig(Config):
    """Which slices of a scan are learnt from.

    min_brain: the least share of their pixels that is brain; lesions: of a batch, how many are drawn from those that
    hold a lesion, where there are labels. The others are drawn from all of them.
    """

    min_brain: Fraction = 0.05
    lesions: Fraction = 0.0


class WeakDataConfig(DataConfig):
    """The same of scans that are healthy or sick.

    sick: of a batch, how many are sick; the others are healthy. apart: in a sick scan of which a mask tells the
    lesions, slices at least so many mm away from any are healthy; those between are left out.
    """

    sick: Annotated[float, Field(gt=0, lt=1)] = 0.5
    apart: Annotated[float, Field(ge=0)] = 10.0


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


class TrainingConfig(Config):
    """Length, batch, the distance that is made small, and how often things happen."""

    steps: PositiveInt
    batch: PositiveInt = 16
    loss: Literal["l1", "l2"] = "l2"
    log_every: PositiveInt = 20
    validate_every: PositiveInt = 200
    validation_slices: PositiveInt = 256


class Started(Config):
    """A part of a network that may come from a model that was trained before. pretrained: its file."""

    pretrained: str | None = None


def needed(recipe: str, part: str, path: str | None, kind: str) -> str:
    """Return the file that a part of a network comes from. kind: of that model. Raises UadError where there is none."""
    if path is None:
        raise UadError(
            f"recipe {recipe}: {part}.pretrained is needed: a model of kind {kind} "
            f"(uad-train --recipe {kind} -o FILE, then --set {part}.pretrained=FILE)"
        )
    return path


class Recipe(Settings):
    """A published set-up: the model it makes and how that is trained.

    FREE: the tables that no weight depends on, which may change when a run goes on; LABELLED: whether it learns from
    masks of lesions, which then every scan has.
    """

    FREE: ClassVar[tuple[str, ...]] = ("defaults",)
    LABELLED: ClassVar[bool] = False

    source: str
    licence: str = "as the training data"
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    training: TrainingConfig

    @property
    def first_usable(self) -> int:
        """The step from which on the weights can heal anything at all."""
        return 0

    @property
    def corrupting(self) -> CorruptionConfig | None:
        """What is put into healthy slices to be mended, in the place of `augment`; none: nothing."""
        return None

    @property
    def donor(self) -> str | None:
        """The file of a model that training starts from, or from parts of it. Raises UadError when one is needed."""
        return None

    @property
    def taught(self) -> bool:
        """Whether the donor is asked at every step, too, so that a run goes on with the same one alone."""
        return False

    @model_validator(mode="after")
    def _labelled(self) -> Self:
        if self.data.lesions and not self.LABELLED:
            raise ValueError(
                f"data.lesions: models of kind '{self.kind}' learn without masks of lesions (leave it out)"
            )
        return self

    def model(self, training: dict[str, Any], quantiles: Sequence[float] = ()) -> ModelConfig:
        """Return the settings of the model this recipe makes.

        training: what is to be said about how it came about; quantiles: of the intensities it learnt from.
        """
        from uadtools.models.config import ModelConfig

        config = ModelConfig.of_kind(self.kind)
        shared = {name: getattr(self, name) for name in type(self).model_fields if name in config.model_fields}
        started = {name: part for name, part in shared.items() if isinstance(part, Started)}
        shared |= {name: part.model_dump(exclude={"pretrained"}) for name, part in started.items()}
        return config.model_validate({**shared, "quantiles": tuple(quantiles), "training": training})


class NoisedTraining(TrainingConfig):
    """t_range: from which t is drawn uniformly, [low, high); none: from all steps of the schedule."""

    t_range: tuple[Annotated[int, Field(ge=0)], PositiveInt] | None = None


class NoisedRecipe(Recipe, NoisedSettings):
    """Of models that remove the noise of a schedule."""

    training: NoisedTraining

    @property
    def t_range(self) -> tuple[int, int]:
        return self.training.t_range or (0, self.schedule.steps)

    @model_validator(mode="after")
    def _within_the_schedule(self) -> Self:
        low, high = self.t_range
        if not low < high <= self.schedule.steps:
            raise ValueError(
                f"training.t_range [{low}, {high}) must lie in [0, schedule.steps = {self.schedule.steps})"
            )
        return self


class WeakRecipe(NoisedRecipe):
    """Of those among these that are told of scans, or slices, whether they are healthy or sick."""

    data: WeakDataConfig = WeakDataConfig()
