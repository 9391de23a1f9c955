"""The settings that all kinds of models have, and how those of one kind are found. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field, ValidationError, create_model, model_validator
from pydantic_core import InitErrorDetails

from uadtools.models import kinds
from uadtools.models.defaults import DefaultsConfig
from uadtools.models.images import GridConfig, IntensityConfig
from uadtools.noise.config import NoiseConfig
from uadtools.settings import Config


class ScheduleConfig(Config):
    kind: Literal["linear", "cosine", "quadratic"] = "linear"
    steps: Annotated[int, Field(ge=2, le=1_000_000)] = 1000

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.kind in ("linear", "quadratic") and self.steps <= 20:
            raise ValueError(f"steps = {self.steps}: a {self.kind} schedule needs more than 20, or beta reaches 1")
        return self


class Settings(Config):
    """What a recipe says about the model it makes, and the model about itself.

    Each kind of model has a subclass in its file, with `kind`, `network` and what else it needs; data are checked by
    that of the kind they name. What has no meaning for that kind, such as the schedule of one that knows no diffusion,
    is refused.

    METHOD: the default method, where it is not called as the kind; FOLLOWS: defaults inside of tables that are given in
    part; NEIGHBOURS, VOLUMES, SEVERAL, DRAWS: whether the network may see neighbouring slices, or whole volumes, or
    several contrasts, and whether healing with it draws noise.

    contrasts: of which the images that it sees are, where they are of several, as channels; none: one, which may be
    any. The first is that of the scan, the others are called by these names beside it.
    """

    METHOD: ClassVar[str] = ""
    FOLLOWS: ClassVar[dict[str, dict[str, Any]]] = {}
    NEIGHBOURS: ClassVar[bool] = False
    VOLUMES: ClassVar[bool] = False
    SEVERAL: ClassVar[bool] = False
    DRAWS: ClassVar[bool] = False
    if TYPE_CHECKING:
        kind: str
        network: Any

    name: str
    grid: GridConfig = GridConfig()
    intensity: IntensityConfig = IntensityConfig()
    contrasts: tuple[Annotated[str, Field(pattern="^[A-Za-z0-9]{1,8}$")], ...] = Field(default=(), max_length=16)
    defaults: DefaultsConfig = DefaultsConfig()
    licence: str = "not stated"

    @property
    def reach(self) -> int:
        """How many slices on either side of a slice the network sees with it."""
        return int(getattr(self.network, "reach", 0))

    @property
    def solid(self) -> bool:
        """Whether the network sees whole volumes, not slices."""
        return bool(getattr(self.network, "axes", 2) == 3)

    @property
    def channels(self) -> int:
        """How many contrasts the network sees."""
        return max(1, len(self.contrasts))

    @property
    def seen(self) -> int:
        """How many channels a network's input has: of each contrast a slice, and its neighbours."""
        return self.channels * (2 * self.reach + 1)

    @property
    def levels(self) -> int:
        """How many t the model may be asked at, from 0 on: steps of its noise, or severities. 0: it knows no t."""
        return 0

    @property
    def divisor(self) -> int:
        """Slices must be multiples of this many pixels in height and width."""
        return int(self.network.divisor)

    def held(self, shape: Sequence[int]) -> int:
        """Return how many numbers of a slice (H, W) the network's first level holds in a map; 0: it is no matter."""
        return int(self.network.held(shape))

    @classmethod
    def of_kind(cls, kind: str) -> type[Self]:
        """Return this class as it is for a kind of model. Raises UadError for another name."""
        return _of_kind(cls, kind)

    @classmethod
    def model_validate(cls, obj: Any, **more: Any) -> Self:
        """Check data by the class of the kind that they name."""
        if "kind" in cls.model_fields:
            return super().model_validate(obj, **more)
        registry = kinds.registry()
        kind = obj.get("kind", registry.DEFAULT) if isinstance(obj, dict) else registry.DEFAULT
        if kind not in registry.all_kinds():
            names = sorted(map(repr, registry.all_kinds()), key=lambda name: name != repr(registry.DEFAULT))
            expected = f"{', '.join(names[:-1])} or {names[-1]}"
            fault = InitErrorDetails(type="literal_error", loc=("kind",), input=kind, ctx={"expected": expected})
            raise ValidationError.from_exception_data(cls.__name__, [fault])
        return cls.of_kind(kind).model_validate(obj, **more)

    @model_validator(mode="before")
    @classmethod
    def _of_its_kind(cls, data: Any) -> Any:
        """Fill in what follows from the kind, and refuse what has no meaning for it."""
        if not isinstance(data, dict):
            return data
        kind = cls.model_fields["kind"].default
        data = _with_a_meaning(cls, kind, data)
        network, wanted = data.get("network"), cls.model_fields["network"].default.kind
        if isinstance(network, dict) and (other := network.get("kind", wanted)) != wanted:
            raise ValueError(f"network.kind {other}: not that of models of kind '{kind}' (leave it out)")
        for name, follows in ({"defaults": {"method": cls.METHOD or kind}} | cls.FOLLOWS).items():
            if isinstance(given := data.get(name, {}), dict):
                data = {**data, name: {**follows, **given}}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        idle = ["defaults.t"] if self.defaults.t and not self.levels else []
        idle += ["defaults.samples"] if self.defaults.samples > 1 and not self.DRAWS else []
        idle += ["network.reach"] if self.reach and not self.NEIGHBOURS else []
        idle += ["contrasts"] if self.channels > 1 and not self.SEVERAL else []
        if idle:
            raise ValueError(f"{', '.join(idle)}: {_no_meaning(self.kind)}")
        if len({*self.contrasts}) < len(self.contrasts):
            raise ValueError(f"contrasts {', '.join(self.contrasts)}: one is named twice")
        if self.solid and self.channels > 1:
            raise ValueError(f"contrasts {', '.join(self.contrasts)}: networks of volumes see one (network.axes 2)")
        for size in self.grid.shape if self.solid else self.grid.shape[:2]:
            if size % self.divisor:
                raise ValueError(f"grid.shape {self.grid.shape}: {size} is no multiple of {self.divisor}")
        if self.solid and not self.VOLUMES:
            raise ValueError(f"network.axes 3: models of kind '{self.kind}' see slices (2)")
        if self.reach and self.grid.flat:
            raise ValueError(f"grid.shape {self.grid.shape}: models of kind '{self.kind}' need neighbouring slices")
        if self.levels and max(self.defaults.t, default=0) >= self.levels:
            raise ValueError(f"defaults.t {self.defaults.t} must be below schedule.steps = {self.levels}")
        return self


class NoisedSettings(Settings):
    """What models that remove the noise of a schedule have in common."""

    DRAWS: ClassVar[bool] = True

    schedule: ScheduleConfig = ScheduleConfig()
    target: Literal["eps", "x0"] = "eps"
    noise: NoiseConfig = NoiseConfig()

    @property
    def levels(self) -> int:
        return self.schedule.steps

    def noise_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of the noise for a slice (H, W)."""
        return self.channels, *shape


S = TypeVar("S", bound=Settings)


@cache
def _of_kind(base: type[S], kind: str) -> type[S]:
    """Return a kind's own settings with those of a base class, such as ModelConfig."""
    file = kinds.kind(kind)
    kind_class: type[S] | None = getattr(file, base.__name__, None)
    if kind_class and issubclass(kind_class, base):
        return kind_class
    return create_model(base.__name__, __base__=(base, file.Settings), __doc__=base.__doc__)


def _no_meaning(kind: str) -> str:
    return f"without a meaning for models of kind '{kind}' (leave it out)"


def _with_a_meaning(cls: type[Settings], kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """Leave out what another kind of model has and this one not, in its tables, too, where it is as if never said.

    Raises ValueError where it says anything. A key that no kind has is left to be found unknown.
    """
    recipes = "source" in cls.model_fields

    def others() -> list[type[Settings]]:
        return list(kinds.registry().settings(recipes=recipes))

    refused = [name for name in data if name not in cls.model_fields and any(name in o.model_fields for o in others())]
    kept = dict(data)
    for name, table in data.items():
        schema = _table(cls, name)
        if schema is None or not isinstance(table, dict) or not (idle := table.keys() - schema.model_fields.keys()):
            continue
        richer = [other for one in others() if (other := _table(one, name)) and issubclass(other, schema)]
        fields = {key: field for other in richer for key, field in other.model_fields.items() if key in idle}
        refused += [f"{name}.{key}" for key, field in fields.items() if table[key] != field.default]
        kept[name] = {key: value for key, value in table.items() if key not in fields}
    if refused:
        raise ValueError(f"{', '.join(refused)}: {_no_meaning(kind)}")
    return kept


def _table(cls: type[Settings], name: str) -> type[Config] | None:
    """Return the class of a table of settings; None where there is no such table."""
    kind = cls.model_fields[name].annotation if name in cls.model_fields else None
    return kind if isinstance(kind, type) and issubclass(kind, Config) else None
