"""The options of uad-heal that single methods have, as these declare them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from uadtools import methods
from uadtools.interface.healing import Option


def method_help() -> str:
    """List the methods: by the kind of model where one has several, those that a model is trained for, and the rest."""
    together = [methods.able(kind) for kind in methods.all_kinds()]
    several = "; ".join(", ".join(names) for names in together if len(names) > 1)
    alone = ", ".join(names[0] for names in together if len(names) == 1)
    without = ", ".join(name for name in methods.names() if not methods.needs_model(name))
    return (
        f"{several}; or what the model was trained for: {alone}; or {without}, which need no model. "
        "Default: the model's own."
    )


@dataclass
class _Declared:
    """An option, the type of its value, and the methods that have it."""

    option: Option
    kind: Any
    methods: list[str] = field(default_factory=list)


def with_options_of_methods(body: Callable[..., None]) -> Callable[..., None]:
    """Give a command, in place of its **keywords, every option that a method declares; what is not given is None."""
    of_methods = [_parameter(name, declared) for name, declared in _by_name().items()]
    plain = inspect.signature(body, eval_str=True).parameters.values()
    parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in plain if p.kind != p.VAR_KEYWORD] + of_methods

    @wraps(body)
    def command(**given: Any) -> None:
        body(**given)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _by_name() -> dict[str, _Declared]:
    """Collect the options of all methods by name; those of one name are one option."""
    options: dict[str, _Declared] = {}
    for method in methods.names():
        for name, (kind, option) in methods.glances()[method].options.items():
            options.setdefault(name, _Declared(option, kind)).methods.append(method)
    return options


def _parameter(name: str, declared: _Declared) -> inspect.Parameter:
    """Make the parameter that typer reads."""
    option, kind = declared.option, declared.kind
    if get_origin(kind) is not Literal:
        kind = next((part for part in get_args(kind) if part is not NoneType), kind)
    choices = "|".join(get_args(kind))
    value: Any = list[kind] if option.several else kind  # type: ignore[valid-type]
    annotation = Annotated[
        value | None,
        typer.Option(
            f"--{name}",
            metavar=choices or option.metavar or None,
            min=option.least,
            max=option.most,
            help=option.help,
            show_default=False,
            rich_help_panel=", ".join(declared.methods),
        ),
    ]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
