"""How a scan is to be healed: the options of uad-heal, settled for a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import product
from typing import Any, Literal, get_args, get_type_hints

from uadtools import methods
from uadtools.errors import UadError
from uadtools.healing.combine import Rule
from uadtools.models.config import ModelConfig
from uadtools.models.defaults import DefaultsConfig
from uadtools.models.kinds import kind
from uadtools.volume.roles import ROLES

LEVELS = 1000
"""Of which the t of methods are; a model of fewer steps has its own t as far along."""
Adapted = Literal["curve", "all"]
"""What of a model is fitted to a scan: the curve of intensities that it sees it by, or its layers, too."""
Watch = Callable[[int, int], None]
"""Is told the network evaluations done and to do."""


@dataclass(frozen=True)
class Plan:
    """How to heal: the method's options for each t and patch, the draws, and how all these are combined.

    expected: whether the model knows how far healthy scans are from their healed selves, which becomes a map. adapt:
    what of it is fitted to the scan first, see healing.adapt.
    """

    method: str
    options: tuple[Any, ...]
    samples: int = 1
    combine: Rule = "mean"
    expected: bool = False
    adapt: Adapted | None = None

    def evaluations(self, shape: tuple[int, int]) -> int:
        """Network evaluations for a slice (H, W)."""
        return self.samples * sum(int(o.evaluations(shape)) for o in self.options)

    def values_of(self, name: str) -> list[int]:
        """List the different values of an option; none where the method does not have it."""
        return list(dict.fromkeys(getattr(o, name) for o in self.options if hasattr(o, name)))

    @property
    def threshold_key(self) -> str:
        """The method, its t, what else may be repeated, and its draws: a threshold's key.

        A method by itself is its name; at t = 300, with four draws, "NAME 300 x4"; with patches of 48, "NAME 500 p48".
        """
        samples = [f"x{self.samples}"] if self.samples > 1 else []
        named = [("", "t"), *((name[0], name) for name in repeated(type(self.options[0])))]
        listed = [(letter, ",".join(map(str, self.values_of(name)))) for letter, name in named]
        return " ".join([self.method, *(letter + values for letter, values in listed if values), *samples])

    def noise_key(self, options: Any) -> tuple[int, ...]:
        """Return the numbers by which the noise of some of the options differs from that of the others, beside t."""
        return tuple(getattr(options, name) for name in repeated(type(options)))

    def as_settled(self, config: ModelConfig) -> bool:
        """Tell whether a model would be healed with in this way where no more is said than t, draws and patches."""
        first = type(self.options[0])
        values = {name: self.values_of(name) for name in repeated(first)}
        plain = _listed(config, self.method, self.values_of("t"), values)
        return self == Plan(self.method, plain, self.samples, expected=self.expected)

    @property
    def heals(self) -> bool:
        """Whether the method makes a healed scan, and not a map alone."""
        return _heals(type(self.options[0]))

    @property
    def product(self) -> str:
        """The role of what is made first of all."""
        return "healed" if self.heals else str(self.options[0].maps[0])

    @property
    def maps(self) -> tuple[str, ...]:
        """The roles of what is made beside the product."""
        roles: tuple[str, ...] = getattr(self.options[0], "maps", ())
        roles = roles if self.heals else roles[1:]
        roles = (*roles, "expected") if self.expected else roles
        return (*roles, "spread") if len(self.options) * self.samples > 1 else roles

    @property
    def made(self) -> tuple[str, ...]:
        """The roles of all that is made."""
        return (self.product, *self.maps)

    @property
    def scored_with(self) -> tuple[str, ...]:
        """The roles among these that the score needs where no metric is named."""
        return tuple(role for role in self.maps if role in ROLES and ROLES[role].scored)

    @property
    def arguments(self) -> dict[str, Any]:
        """What is noted of it; options without a value are not, so that a new one changes no older note."""
        first = {f.name: getattr(self.options[0], f.name) for f in fields(self.options[0])}
        first = {name: value for name, value in first.items() if value is not None}
        if len(steps := self.values_of("steps")) > 1:
            first["steps"] = steps
        arguments: dict[str, Any] = {"method": self.method, **first}
        if is_noisy(type(self.options[0])):
            arguments |= {"samples": self.samples}
        if "t" in first:
            arguments |= {"t": self.values_of("t"), "combine": self.combine}
        if self.adapt:
            arguments |= {"adapt": self.adapt}
        return arguments | {name: self.values_of(name) for name in repeated(type(self.options[0]))}


def plan(
    config: ModelConfig | None = None,
    *,
    method: str | None = None,
    t: int | Sequence[int] = (),
    samples: int | None = None,
    combine: Rule = "mean",
    adapt: Adapted | None = None,
    **options: Any,
) -> Plan:
    """Settle how to heal; what is not given is the model's default, or the paper's where the model has none.

    config: the model's, for methods that need one; options: the method's own, such as steps and eta; those that may be
    repeated are a value or several. Raises UadError when they do not fit the method or the model.
    """
    t = (t,) if isinstance(t, int) else tuple(t)
    name = _method(config, method)
    options_class = methods.get(name).Options
    names, several = {f.name for f in fields(options_class)}, repeated(options_class)
    given = {key: value for key, value in options.items() if value is not None and value != ()}
    idle = given.keys() - names
    needs = {"t": ("t" in names, t), "samples": (is_noisy(options_class), samples)}
    idle |= {name for name, (able, value) in needs.items() if value not in (None, ()) and not able}
    if idle:
        named = ", ".join(sorted(f"--{key}" if len(key) > 1 else f"-{key}" for key in idle))
        raise UadError(f"{named} has no effect with --method {name} (leave it out)")
    given |= {
        key: (given[key],) if isinstance(given[key], int) else tuple(given[key]) for key in several if key in given
    }
    heals = _heals(options_class)
    if combine == "vote" and not heals:
        raise UadError(f"--combine vote: --method {name} heals nothing that could be voted on (leave it out)")
    expected = heals and config is not None and config.reference is not None and name == config.defaults.method
    if config is None or not ("t" in names or is_noisy(options_class)):
        return _adapting(config, Plan(name, _listed(config, name, (), given), expected=expected, adapt=adapt))
    steps = _steps(config, name, t) if "t" in names else ()
    count = samples if samples is not None else _own(config, name, t).samples
    if count < 1:
        raise UadError(f"--samples {count}: at least 1 is needed")
    if "steps" in given and (bad := [s for s in steps if not 1 <= given["steps"] <= s + 1]):
        raise UadError(f"--steps {given['steps']}: from -t {bad[0]} there are 1 to {bad[0] + 1}")
    return _adapting(config, Plan(name, _listed(config, name, steps, given), count, combine, expected, adapt))


def _adapting(config: ModelConfig | None, how: Plan) -> Plan:
    """Raise UadError where a model is to be fitted by a method that heals with none, or asks it again and again."""
    if how.adapt is None:
        return how
    if how.adapt not in get_args(Adapted):
        raise UadError(f"--adapt {how.adapt}: there are {' and '.join(get_args(Adapted))}")
    if config and config.channels > 1:
        raise UadError("--adapt: a model is fitted to scans of one contrast, and this one sees several (leave it out)")
    asked = how.evaluations(config.grid.shape[1::-1]) if config and methods.needs_model(how.method) else 0
    if asked != how.samples or not how.heals:
        raise UadError(
            f"--adapt: fits a model to what it heals in one evaluation of a slice, at one -t, as --method {how.method} "
            "does not here (leave it out)"
        )
    return how


def repeated(options: type[Any]) -> list[str]:
    """List a method's options that may have several values, each of which is healed with, as they are declared."""
    hints = get_type_hints(options, include_extras=True)
    notes = {field.name: getattr(hints[field.name], "__metadata__", ()) for field in fields(options)}
    return [name for name, metadata in notes.items() if any(getattr(note, "several", False) for note in metadata)]


def _listed(config: ModelConfig | None, name: str, steps: Sequence[int], given: dict[str, Any]) -> tuple[Any, ...]:
    """List the options for each t, and for each of what else the method settles with the model."""
    file = methods.get(name)
    usual = getattr(file.Options(), "steps", None)  # of which a small t does not have as many
    by_t = [{"t": t} | ({"steps": min(usual, t + 1)} if usual else {}) for t in steps] or [{}]
    variants = file.settle(config, given) if hasattr(file, "settle") else _each_of(given, repeated(file.Options))
    return tuple(file.Options(**{**t, **given, **variant}) for t in by_t for variant in variants)


def _each_of(given: dict[str, Any], several: Sequence[str]) -> list[dict[str, Any]]:
    """List what is given with one value of each option that has several."""
    names = [name for name in several if name in given]
    return [dict(zip(names, values, strict=True)) for values in product(*(given[name] for name in names))]


def is_noisy(options: type[Any]) -> bool:
    """Tell whether a method's options are those of one that adds noise."""
    return bool(getattr(options, "NOISY", "t" in {f.name for f in fields(options)}))


def one_graph(options: Any) -> bool:
    """Tell whether a method does the same whatever the network answers, so that it can be exported as one graph."""
    return bool(getattr(options, "ONE_GRAPH", False))


def settled(options: Any) -> dict[str, Any]:
    """Return a method's options but for t, by name."""
    return {name: value for name, value in asdict(options).items() if name != "t"}


def _heals(options: type[Any]) -> bool:
    """Tell whether a method's options are those of one that makes a healed scan."""
    return bool(getattr(options, "HEALS", True))


def _method(config: ModelConfig | None, method: str | None) -> str:
    """Return the method to use. Raises UadError for one that there is not, or not for this model."""
    name = method or (config.defaults.method if config else "")
    if config and (use := getattr(kind(config.kind), "USE", None)):
        raise UadError(f"models of kind '{config.kind}' heal nothing: {use}")
    kinds = methods.kinds(name)
    if kinds and config is None:
        raise UadError(f"--method {name} needs a model (--model M)")
    if config and kinds and config.kind not in kinds:
        able = ", ".join(methods.able(config.kind))
        raise UadError(f"--method {name} does not work with models of kind '{config.kind}' (this one can do: {able})")
    return name


def _own(config: ModelConfig, name: str, t: Sequence[int]) -> DefaultsConfig:
    """Return the defaults for a method: the model's, where they are for this one and the user names no other t."""
    return config.defaults if name == config.defaults.method and not t else DefaultsConfig()


def _steps(config: ModelConfig, name: str, t: Sequence[int]) -> tuple[int, ...]:
    """Settle t. Raises UadError when the schedule does not have these steps, or one is named twice."""
    usual = methods.get(name).Options().t * config.levels // LEVELS
    steps = tuple(t) or _own(config, name, t).t or (usual,)
    if bad := [s for s in steps if not 0 <= s < config.levels]:
        raise UadError(f"-t {bad[0]}: outside 0 to {config.levels - 1}, the model's steps")
    if len(set(steps)) < len(steps):
        raise UadError(f"-t {' -t '.join(map(str, steps))}: the same step twice (--samples draws a step several times)")
    return steps
