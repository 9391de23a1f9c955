"""How the papers prepared their scans, as far as they say, which the methods' files hold."""

from __future__ import annotations

from uadtools import methods
from uadtools.errors import Misuse
from uadtools.preparing.preparation import Preparation


def names() -> list[str]:
    """List the methods whose papers say how scans are prepared."""
    return [name for name in methods.glances() if hasattr(methods.file(name), "PREPARATION")]


def preset(name: str) -> Preparation:
    """Return a paper's preparation. Raises Misuse for an unknown name."""
    if name not in names():
        raise Misuse(f"--like: {name!r} is not one of {', '.join(map(repr, names()))}")
    return Preparation(**methods.file(name).PREPARATION)


def template_of(name: str) -> str | None:
    """Return the template that a paper registers to, which users have to fetch; none where it does not."""
    template: str | None = getattr(methods.file(name), "TEMPLATE", None)
    return template
