"""The published methods, one file each: what it is called, it is called everywhere. docs/architecture.md shows one.

A method that heals has `Options`, a frozen dataclass of the paper's defaults, and heal(model, x, options, noise), which
heals slices with a model. KINDS names the kinds of models it is for: by default the one that its own file describes, as
uadtools.models.kinds explains; without any there is no model, and heal(scan, brain, options) heals a volume. Where
options depend on the model, settle(config, given) lists those to heal with. Torch is imported where it is used, so that
asking for a file never loads it. Files that begin with _, and folders, are no methods. What heals in a latent lies in
latents/, what learns from labels in labelled/, what methods are compared with in baselines/; all are methods alike.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from uadtools.errors import UadError, near
from uadtools.interface.glance import Glance

DEFAULT = "diffusion"
"""The kind of a model or recipe that names none."""


ROOMS = ("methods", "latents", "labelled", "baselines")


@cache
def _paths() -> dict[str, Path]:
    """Return the files of these rooms, by the names of what they hold."""
    house = Path(__file__).parent.parent
    paths = (path for room in ROOMS for path in house.joinpath(room).glob("*.py") if not path.stem.startswith("_"))
    return {path.stem: path for path in sorted(paths, key=lambda path: path.stem)}


@cache
def glances() -> dict[str, Glance]:
    """Return what the files declare, by their names, without running them."""
    return {name: Glance.at(path) for name, path in _paths().items()}


def file(name: str) -> Any:
    """Import the file of a method or of a kind of model, and no other."""
    return import_module(f"uadtools.{_paths()[name].parent.name}.{name}")


def names() -> list[str]:
    """List the methods of healing."""
    return [name for name, glance in glances().items() if glance.heals]


def all_kinds() -> list[str]:
    """List the kinds of models."""
    return [name for name, glance in glances().items() if glance.trains]


def settings(*, recipes: bool) -> list[Any]:
    """List the settings of all kinds of models; recipes: with those of their training."""
    files = map(file, all_kinds())
    return [(recipes and getattr(found, "Recipe", None)) or found.Settings for found in files]


def check(name: str) -> None:
    """Raise UadError for what is no method of healing."""
    if name not in names():
        raise UadError(f"no method '{name}'{near(name, names())} (there are: {', '.join(names())})")


def get(name: str) -> Any:
    """Return the file of a method of healing. Raises UadError for another name."""
    check(name)
    return file(name)


def kind(name: str) -> Any:
    """Return the file of a kind of model. Raises UadError for another name."""
    if name not in all_kinds():
        raise UadError(f"no kind of model '{name}'{near(name, all_kinds())} (there are: {', '.join(all_kinds())})")
    return file(name)


def kinds(name: str) -> tuple[str, ...]:
    """Return the kinds of models that a method is for. Raises UadError for another name."""
    check(name)
    return glances()[name].kinds


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
