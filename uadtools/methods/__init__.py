"""The published methods, one file each: what it is called, it is called everywhere. docs/architecture.md shows one.

A method that heals has `Options`, a frozen dataclass of the paper's defaults, and heal(model, x, options, noise), which
heals slices with a model. KINDS names the kinds of models it is for: by default the one that its own file describes, as
uadtools.models.kinds explains; without any there is no model, and heal(scan, brain, options) heals a volume. Where
options depend on the model, settle(config, given) lists those to heal with. Torch is imported where it is used, so that
asking for a file never loads it. Files that begin with _, and folders, are no methods.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from typing import Any

from uadtools.errors import UadError

DEFAULT = "diffusion"
"""The kind of a model or recipe that names none."""


@cache
def files() -> dict[str, Any]:
    """Return the files of this folder by their names."""
    return {name: import_module(f"{__name__}.{name}") for name in _listed()}


def names() -> list[str]:
    """List the methods of healing."""
    return [name for name, file in files().items() if hasattr(file, "heal")]


def all_kinds() -> list[str]:
    """List the kinds of models."""
    return [name for name, file in files().items() if hasattr(file, "Settings")]


def settings() -> list[Any]:
    """List the settings of all kinds of models, with those of their training."""
    return [getattr(file, "Recipe", file.Settings) for file in files().values() if hasattr(file, "Settings")]


def get(name: str) -> Any:
    """Return the file of a method of healing. Raises UadError for another name."""
    if hasattr(file := _file(name), "heal"):
        return file
    raise UadError(f"no method '{name}' (there are: {', '.join(names())})")


def kind(name: str) -> Any:
    """Return the file of a kind of model. Raises UadError for another name."""
    if is_kind(name):
        return _file(name)
    raise UadError(f"no kind of model '{name}' (there are: {', '.join(all_kinds())})")


def is_kind(name: object) -> bool:
    """Tell whether there is such a kind of model."""
    return isinstance(name, str) and hasattr(_file(name), "Settings")


def _file(name: str) -> Any:
    """Import one file, and no other; None where there is none."""
    return import_module(f"{__name__}.{name}") if name in _listed() else None


@cache
def _listed() -> list[str]:
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)
    return [name for name in modules if not name.startswith("_")]


def kinds(name: str) -> tuple[str, ...]:
    """Return the kinds of models that a method is for. Raises UadError for another name."""
    file = get(name)
    own = (name,) if hasattr(file, "Settings") else ()
    return tuple(getattr(file, "KINDS", own))


def needs_model(name: str) -> bool:
    """Tell whether a method heals with a model, or a scan by itself. Raises UadError for another name."""
    return bool(kinds(name))


def able(kind: str) -> list[str]:
    """List the methods that heal with models of a kind."""
    return [name for name in names() if kind in kinds(name)]


def check_default(method: str, kind: str) -> None:
    """Raise UadError when models of a kind could not be healed with by a method that is to be their default."""
    if able(kind) and method not in able(kind):
        raise UadError(
            f"defaults.method {method}: does not heal with models of kind '{kind}' ({', '.join(able(kind))} can)"
        )
