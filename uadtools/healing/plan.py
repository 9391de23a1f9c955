"""How a scan is to be healed: the options of uad-heal, settled for a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from uadtools import methods
from uadtools.errors import UadError
from uadtools.healing.combine import Rule
from uadtools.models.config import ModelConfig
from uadtools.models.defaults import DefaultsConfig

Watch = Callable[[int, int], None]
"""Is told the network evaluations done and to do."""


@dataclass(frozen=True)
class Plan:
    """How to heal: the method's options for each t and patch, the draws, and how all these are combined.

    expected: whether the model knows how far healthy scans are from their healed selves, which becomes a map.
    """

    method: str
    options: tuple[Any, ...]
    samples: int = 1
    combine: Rule = "mean"
    expected: bool = False

    @property
    def noisy(self) -> bool:
        """Whether the method adds noise, so that there are draws."""
        return _noisy(type(self.options[0]))

    def evaluations(self, shape: tuple[int, int]) -> int:
        """Network evaluations for a slice (H, W)."""
        return self.samples * sum(int(o.evaluations(shape)) for o in self.options)

    def each(self, name: str) -> list[int]:
        """List the different values of an option; none where the method does not have it."""
        return list(dict.fromkeys(getattr(o, name) for o in self.options if hasattr(o, name)))

    @property
    def way(self) -> str:
        """The method, its t, patches and draws, such as "ae", "sss 300 x4" or "pddpm 500 p48": a threshold's key."""
        several = [f"x{self.samples}"] if self.samples > 1 else []
        listed = [(letter, ",".join(map(str, self.each(name)))) for letter, name in (("", "t"), ("p", "patch"))]
        return " ".join([self.method, *(letter + values for letter, values in listed if values), *several])

    @property
    def maps(self) -> tuple[str, ...]:
        """The roles of what is made beside the healed scan."""
        own: tuple[str, ...] = getattr(self.options[0], "maps", ())
        own = (*own, "expected") if self.expected else own
        return (*own, "spread") if len(self.options) * self.samples > 1 else own

    @property
    def scored_with(self) -> tuple[str, ...]:
        """The roles among these that the score needs where no metric is named."""
        return tuple(role for role in self.maps if role in ("probability", "expected"))

    @property
    def arguments(self) -> dict[str, Any]:
        first = {f.name: getattr(self.options[0], f.name) for f in fields(self.options[0])}
        made: dict[str, Any] = {"method": self.method, **first}
        if self.noisy:
            made |= {"samples": self.samples}
        if "t" in first:
            made |= {"t": self.each("t"), "combine": self.combine}
        return made | ({"patch": self.each("patch")} if "patch" in first else {})


def plan(
    config: ModelConfig | None = None,
    *,
    method: str | None = None,
    t: int | Sequence[int] = (),
    patch: int | Sequence[int] = (),
    samples: int | None = None,
    combine: Rule = "mean",
    **options: Any,
) -> Plan:
    """Settle how to heal; what is not given is the model's default, or the paper's where the model has none.

    config: the model's, for methods that need one; options: the method's own, such as steps and eta. Raises UadError
    when they do not fit the method or the model.
    """
    t, patch = ((value,) if isinstance(value, int) else tuple(value) for value in (t, patch))
    name = _method(config, method)
    module = methods.get(name)
    known = {f.name for f in fields(module.Options)}
    given = {key: value for key, value in options.items() if value is not None}
    idle = given.keys() - known
    needs = {"t": ("t" in known, t), "samples": (_noisy(module.Options), samples), "patch": ("patch" in known, patch)}
    idle |= {name for name, (able, value) in needs.items() if value and not able}
    if idle:
        named = ", ".join(sorted(f"--{key}" if len(key) > 1 else f"-{key}" for key in idle))
        raise UadError(f"{named} has no effect with --method {name} (leave it out)")
    expected = config is not None and config.reference is not None and name == config.defaults.method
    if config is None or "t" not in known:
        return Plan(name, (module.Options(**given),), expected=expected)
    steps = _steps(config, name, t)
    count = samples if samples is not None else _own(config, name, t).samples
    if count < 1:
        raise UadError(f"--samples {count}: at least 1 is needed")
    squares = _squares(config, patch, given) if "patch" in known else [{}]
    chosen = tuple(module.Options(t=s, **given | square) for s in steps for square in squares)
    walked = given.get("steps", getattr(chosen[0], "steps", None))
    if walked is not None and (bad := [o.t for o in chosen if not 1 <= walked <= o.t + 1]):
        raise UadError(f"--steps {walked}: from -t {bad[0]} there are 1 to {bad[0] + 1}")
    _check_bound(config, given)
    return Plan(name, chosen, count, combine, expected)


def _noisy(options: type[Any]) -> bool:
    """Tell whether a method's options are those of one that adds noise."""
    return "t" in {f.name for f in fields(options)} and bool(getattr(options, "NOISY", True))


def _check_bound(config: ModelConfig, given: dict[str, Any]) -> None:
    """Raise UadError when the bound is wanted at more steps than there are."""
    low, high = config.region.steps
    for name, most in (("bounds", high - low), ("chain", config.schedule.steps - 1)):
        if given.get(name, 0) > most:
            raise UadError(f"--{name} {given[name]}: there are {most} steps, at most")


def _method(config: ModelConfig | None, method: str | None) -> str:
    """Return the method to use. Raises UadError for one that there is not, or not for this model."""
    name = method or (config.defaults.method if config else "")
    if config and not methods.able(config.kind):
        raise UadError(
            f"models of kind '{config.kind}' heal nothing: cddpm starts from them "
            "(uad-train --recipe cddpm --set encoder.pretrained=FILE)"
        )
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
    steps = tuple(t) or _own(config, name, t).t or (methods.get(name).Options().t,)
    if bad := [s for s in steps if not 0 <= s < config.schedule.steps]:
        raise UadError(f"-t {bad[0]}: outside 0 to {config.schedule.steps - 1}, the model's steps")
    if len(set(steps)) < len(steps):
        raise UadError(f"-t {' -t '.join(map(str, steps))}: the same step twice (--samples draws a step several times)")
    return steps


def _squares(config: ModelConfig, patch: Sequence[int], given: dict[str, Any]) -> list[dict[str, Any]]:
    """Settle the patches. Raises UadError when they do not cover the model's slices."""
    sides, stride = tuple(patch) or config.patches.sizes, given.get("stride", config.patches.stride)
    columns, rows, _ = config.grid.shape
    if bad := [side for side in sides if not 1 <= side <= min(rows, columns)]:
        raise UadError(f"--patch {bad[0]}: outside 1 to {min(rows, columns)}, the shorter side of the model's slices")
    if stride is not None and stride > min(sides):
        raise UadError(f"--stride {stride}: leaves gaps between patches of {min(sides)} pixels")
    if len(set(sides)) < len(sides):
        raise UadError(f"--patch {' --patch '.join(map(str, sides))}: the same size twice")
    return [{"patch": side, "stride": stride} for side in sides]
