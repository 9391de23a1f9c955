"""Which of the bundled models does what is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uadtools import methods
from uadtools.errors import UadError
from uadtools.models.checkpoint import bundled, default_path, read_config


def bundled_for(method: str | None = None) -> Path:
    """Return the bundled model for a method: the default if it can do it, else the first that can.

    No method, or one that needs no model: the default. Raises UadError, saying how to train one, where none can.
    """
    kinds = methods.kinds(method) if method else ()
    able = [path for path in bundled() if not kinds or read_config(path).kind in kinds]
    if able:
        return able[0]
    recipe, kind = _recipe(str(method), kinds), " or ".join(f"'{kind}'" for kind in kinds)
    raise UadError(
        f"--method {method} needs a model of kind {kind}, and none is bundled "
        f"(uad-train DATA --recipe {recipe} -o {recipe}.safetensors, then --model {recipe}.safetensors)"
    )


def _recipe(method: str, kinds: Sequence[str]) -> str:
    """Return the recipe for a method: its own, else one for the grid that scans are prepared for by default."""
    from uadtools.training.recipe import load_recipe, names

    if method in names():
        return method
    grid = read_config(default_path()).grid
    found = {name: recipe for name in names() if (recipe := load_recipe(name)).kind in kinds}
    return min(found, key=lambda name: (found[name].grid != grid, name), default="NAME")
