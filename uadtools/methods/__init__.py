"""The published ways to heal. Each module has heal(), Options (the paper's defaults) and KINDS of models it is for.

heal(model, x, options, noise) heals slices with a model. Where KINDS is empty there is no model, and
heal(scan, brain, options) heals a volume. Modules are imported when asked for, so that listing the names never loads
torch.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

from uadtools.errors import UadError

NAMES = ("ae", "blur", "cddpm", "dae", "ddim", "ddpm", "fanogan", "pddpm", "sss", "svae", "threshold", "vae")


class Method(Protocol):
    """What a module in this folder offers."""

    Options: type[Any]
    KINDS: tuple[str, ...]

    heal: Callable[..., Any]


def get(name: str) -> Method:
    """Return the method of this name. Raises UadError for another name."""
    if name not in NAMES:
        raise UadError(f"no method '{name}' (there are: {', '.join(NAMES)})")
    return import_module(f"uadtools.methods.{name}")


def needs_model(name: str) -> bool:
    """Tell whether a method heals with a model, or a scan by itself. Raises UadError for another name."""
    return bool(get(name).KINDS)


def able(kind: str) -> list[str]:
    """List the methods that heal with models of a kind."""
    return [name for name in NAMES if kind in get(name).KINDS]
