"""Distillation: a student heals in few steps as its teacher, a diffusion model, does in many.

Progressive: each of the student's steps of DDIM leads where two of its teacher's lead, and the student is the next
one's teacher. Consistency: from anywhere on the teacher's walk the student sees its end. Source: Salimans & Ho 2022,
algorithm 2; Song et al. 2023, algorithms 1 and 2. Theirs walk from pure noise; here from a t that heals.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from uadtools.diffusion.steps import spaced
from uadtools.errors import UadError
from uadtools.interface import recipe as base
from uadtools.interface.healing import Healing, end
from uadtools.methods import diffusion
from uadtools.methods.diffusion import DenoiserConfig
from uadtools.models.settings import NoisedSettings
from uadtools.settings import Config, PositiveInt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from uadtools.interface.types import Batch, Donor, Healthy, Model, Noise, Tensor, nn

build = diffusion.build


class WalkConfig(Config):
    """What is learnt: steps, evenly spaced, of a walk from t = top to the clean image, and with which goal.

    progressive: to take each of them as the teacher takes two; consistency: to see the end from each of them.
    """

    goal: Literal["progressive", "consistency"] = "progressive"
    steps: PositiveInt = 8
    top: Annotated[int, Field(ge=0)] = 300

    @cached_property
    def learnt(self) -> tuple[int, ...]:
        """The t at which the network is asked, the largest first."""
        return tuple(spaced(self.top, self.steps))

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.steps > self.top + 1:
            raise ValueError(f"steps {self.steps}: from top = {self.top} there are 1 to {self.top + 1}")
        return self


class Settings(NoisedSettings):
    """network: a U-Net that is told the step; walk: the steps that it knows."""

    SEVERAL: ClassVar[bool] = True

    kind: Literal["distilled"] = "distilled"
    network: DenoiserConfig = DenoiserConfig()
    walk: WalkConfig = WalkConfig()

    @model_validator(mode="before")
    @classmethod
    def _from_the_top(cls, data: Any) -> Any:
        """Heal from the top of the walk where nothing else is said."""
        walk, defaults = (data.get(name, {}) if isinstance(data, dict) else None for name in ("walk", "defaults"))
        if isinstance(walk, dict) and isinstance(defaults, dict) and not defaults.get("t"):
            top = walk.get("top", cls.model_fields["walk"].default.top)
            return {**data, "defaults": {**defaults, "t": [top]}}
        return data

    @model_validator(mode="after")
    def _on_the_walk(self) -> Self:
        if self.walk.top >= self.levels:
            raise ValueError(f"walk.top {self.walk.top} must be below schedule.steps = {self.levels}")
        if other := [t for t in self.defaults.t if t not in self.walk.learnt]:
            raise ValueError(f"defaults.t {other[0]}: not on the walk ({_listed(self.walk.learnt)})")
        return self


class Recipe(base.Recipe, Settings):
    """teacher: the file of a model of kind diffusion, or of this one with twice the steps, or a bundled one's name."""

    teacher: str | None = None

    @model_validator(mode="after")
    def _of_fixed_variance(self) -> Self:
        diffusion.check_fixed(self.network)
        return self

    @property
    def taught(self) -> bool:
        return True

    @property
    def donor(self) -> str:
        if self.teacher is None:
            raise UadError(
                f"recipe {self.name}: teacher is needed: a model of kind diffusion, or one of kind {self.kind} that "
                "walks in twice as many steps (--set teacher=FILE)"
            )
        return self.teacher

    @property
    def t_range(self) -> tuple[int, int]:
        return self.walk.learnt[-1], self.walk.top + 1


@dataclass(frozen=True)
class Options:
    """t: how far the scan is noised; steps: of the way back, evenly chosen of those from t on (none: all of these; one
    where the model's goal is consistency); learnt: the t that the model knows, the largest first.
    """

    t: int = 300
    steps: int | None = None
    learnt: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.learnt and self.t not in self.learnt:
            raise UadError(f"-t {self.t}: the model learnt other steps ({_listed(self.learnt)})")
        if self.steps and self.steps > len(self.below):
            raise UadError(f"--steps {self.steps}: from -t {self.t} the model learnt {len(self.below)}, at most")

    @property
    def below(self) -> tuple[int, ...]:
        return tuple(t for t in self.learnt if t <= self.t) or (self.t,)

    @property
    def timesteps(self) -> tuple[int, ...]:
        """The t at which the model is asked, the largest first."""
        count, below = self.steps or len(self.below), self.below
        return tuple(below[i * len(below) // count] for i in range(count))

    def evaluations(self, shape: tuple[int, int]) -> int:
        return len(self.timesteps)


def settle(config: Settings, given: dict[str, Any]) -> list[dict[str, Any]]:
    """Take the steps that the model learnt; of a consistency model one, where no more are asked for."""
    usual = {"steps": 1} if config.walk.goal == "consistency" else {}
    return [{**usual, **given, "learnt": config.walk.learnt}]


def heal(model: Model, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Noise the slices to t and walk back in the model's steps; x0 is not limited. x: (B, C, H, W) in [-1, 1].

    Consistency: jump to the end, and noise that to the next step before each jump but the first.
    """
    from uadtools.diffusion.process import add_noise
    from uadtools.diffusion.samplers import consistency, ddim

    x_t = add_noise(x, options.t, noise(), model.schedule)
    walk = consistency if model.config.walk.goal == "consistency" else ddim
    return Healing(end(walk(model, x_t, options.timesteps, noise)))


class Lesson(NamedTuple):
    """What the student makes of x_t, what it is to make of it, and what that weighs, (B,)."""

    made: Tensor
    target: Tensor
    weight: Tensor


def loss(recipe: Recipe, net: nn.Module, batch: Batch, step: int, teacher: Model) -> Tensor:
    """Noise each slice to one of the steps, and learn from there what the teacher's walk says."""
    import torch

    from uadtools.diffusion.process import add_noise
    from uadtools.interface.learning import measure, streams_of
    from uadtools.nets.layout import packed
    from uadtools.noise.source import fields_on

    x0, learnt = batch.x0, recipe.walk.learnt
    place = torch.tensor([stream.integers(len(learnt)) for stream in streams_of(batch.seeds)], device=x0.device)
    t = torch.tensor(learnt, device=x0.device)[place]
    eps = fields_on(recipe.noise, tuple(x0.shape[1:]), batch.seeds, x0.device)
    x_t = packed(add_noise(x0, t, eps, teacher.schedule))
    lesson = (towards if recipe.walk.goal == "consistency" else in_one)(recipe, net, teacher, x_t, place)
    apart = measure(recipe)(lesson.made, lesson.target, reduction="none").flatten(1).mean(dim=1)
    return (lesson.weight * apart).mean()


def in_one(recipe: Recipe, net: nn.Module, teacher: Model, x_t: Tensor, place: Tensor) -> Lesson:
    """Take one step for two of the teacher's. place: (B,) of the slices' t among those learnt.

    Source: Salimans & Ho 2022, algorithm 2.
    """
    import torch

    from uadtools.diffusion.distillation import halved, truncated_snr

    finer = torch.tensor([*spaced(recipe.walk.top, 2 * recipe.walk.steps), -1], device=x_t.device)
    t, between, to = (finer[2 * place + i] for i in range(3))
    target = halved(teacher, x_t, t, between, to)
    return Lesson(seen(recipe, net, teacher, x_t, t), target, truncated_snr(t, teacher.schedule))


def towards(recipe: Recipe, net: nn.Module, teacher: Model, x_t: Tensor, place: Tensor) -> Lesson:
    """See from t what is seen from where the teacher's step leads, by the student as it is. place: as for `in_one`.

    The paper sees it by an average of the student; without one (its rate at 0) there is nothing more to keep. The
    weight is 1, as there. Source: Song et al. 2023, algorithm 2.
    """
    import torch

    from uadtools.diffusion.distillation import carried, consistent

    steps = torch.tensor([*recipe.walk.learnt, -1], device=x_t.device)
    t, to = steps[place], steps[place + 1]
    there = carried(teacher, x_t, t, to)
    with torch.no_grad():  # of the clean image, to = -1, the network is told 0, and its answer counts for nothing
        target = consistent(there, to, seen(recipe, net, teacher, there, to.clamp(min=0)), teacher.schedule)
    made = consistent(x_t, t, seen(recipe, net, teacher, x_t, t), teacher.schedule)
    return Lesson(made, target, torch.ones_like(made[:, 0, 0, 0]))


def seen(recipe: Recipe, net: nn.Module, teacher: Model, x_t: Tensor, t: Tensor) -> Tensor:
    """Return the x0 that the student sees."""
    from uadtools.diffusion.process import both
    from uadtools.nets.layout import packed

    return both(net(packed(x_t), t).float(), recipe.target, x_t, t, teacher.schedule).x0


def start(recipe: Recipe, nets: Sequence[nn.Module], donor: Donor, slices: Healthy) -> None:
    """Take all weights of the teacher. Raises UadError unless it can teach this."""
    check_teacher(recipe, donor)
    for net in nets:
        net.load_state_dict({name: weight.float() for name, weight in donor.weights.items()})


def check_teacher(recipe: Recipe, donor: Donor) -> None:
    """Raise UadError for a model of another kind, other steps, or trained on anything else."""
    there, walk = donor.config, recipe.walk
    own = walk.goal == "progressive" and there.kind == recipe.kind
    if not own and there.kind != "diffusion":
        able = f"'diffusion' or '{recipe.kind}'" if walk.goal == "progressive" else "'diffusion'"
        raise UadError(f"{donor.path}: a model of kind '{there.kind}', not {able}, of which a teacher is")
    if own and there.walk != walk.model_copy(update={"steps": 2 * walk.steps}):
        raise UadError(
            f"{donor.path}: its walk is {there.walk.goal}, {there.walk.steps} steps from {there.walk.top}; the teacher "
            f"of {walk.steps} steps from {walk.top} is progressive and takes {2 * walk.steps} "
            "(--set walk.steps=..., --set walk.top=...)"
        )
    donor.check_alike(recipe, ("network", "target", "schedule", "noise", "grid", "intensity"))


def _listed(steps: Sequence[int]) -> str:
    return f"there are {', '.join(map(str, steps))}"
