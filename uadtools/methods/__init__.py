"""The published ways to heal. Each module has heal(), Options (the paper's defaults) and KINDS of models it is for.

Modules are imported when asked for, so that listing the names never loads torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

from uadtools.errors import UadError

NAMES = ("ddim", "ddpm", "sss")


class Method(Protocol):
    """What a module in this folder offers."""

    Options: type[Any]
    KINDS: tuple[str, ...]

    @staticmethod
    def heal(model: Any, x: Any, options: Any, noise: Any) -> Any: ...


def get(name: str) -> Method:
    """Return the method of this name. Raises UadError for another name."""
    if name not in NAMES:
        raise UadError(f"no method '{name}' (there are: {', '.join(NAMES)})")
    return import_module(f"uadtools.methods.{name}")  # type: ignore[return-value]


def able(kind: str) -> list[str]:
    """List the methods that heal with models of a kind."""
    return [name for name in NAMES if kind in get(name).KINDS]
