"""The published ways to heal. Each module has heal() and Options (the paper's defaults).

heal(model, x, options, noise) heals slices with a model. Where there are no KINDS of models it is for, there is no
model, and heal(scan, brain, options) heals a volume. Modules are imported when asked for, so that listing the names
never loads torch.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

from uadtools.errors import UadError

KINDS: dict[str, tuple[str, ...]] = {
    "ae": ("ae",), "blur": (), "cddpm": ("cddpm",), "dae": ("dae",), "ddim": ("diffusion",), "ddpm": ("diffusion",),
    "disyre": ("restoration",), "fanogan": ("fanogan",), "ldm": ("ldm",), "pddpm": ("pddpm",),
    "restore": ("restoration",), "sss": ("diffusion",), "svae": ("svae",),
    "threshold": (), "vae": ("vae",), "vqvae": ("vqvae",),
}  # fmt: skip
"""The kinds of models that each method is for."""
NAMES = tuple(KINDS)


class Method(Protocol):
    """What a module in this folder offers."""

    Options: type[Any]

    heal: Callable[..., Any]


def kinds(name: str) -> tuple[str, ...]:
    """Return the kinds of models that a method is for, without loading it. Raises UadError for another name."""
    if name not in KINDS:
        raise UadError(f"no method '{name}' (there are: {', '.join(NAMES)})")
    return KINDS[name]


def get(name: str) -> Method:
    """Return the method of this name. Raises UadError for another name."""
    kinds(name)
    return import_module(f"uadtools.methods.{name}")


def needs_model(name: str) -> bool:
    """Tell whether a method heals with a model, or a scan by itself. Raises UadError for another name."""
    return bool(kinds(name))


def able(kind: str) -> list[str]:
    """List the methods that heal with models of a kind."""
    return [name for name in NAMES if kind in KINDS[name]]


def check_default(method: str, kind: str) -> None:
    """Raise UadError when models of a kind could not be healed with by a method that is to be their default."""
    if able(kind) and method not in able(kind):
        raise UadError(
            f"defaults.method {method}: does not heal with models of kind '{kind}' ({', '.join(able(kind))} can)"
        )
