"""Reading recipes: a TOML file for each published set-up, and a few changes to it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from uadtools.errors import UadError, near
from uadtools.files import parse_toml, read_json, read_toml
from uadtools.interface.recipe import Recipe
from uadtools.models.config import parse

FOLDER = Path(str(files("uadtools.training") / "recipes"))


def names() -> list[str]:
    """List the recipes that ship with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_recipe(name: str, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or from a .toml or .json file, and apply changes such as "training.steps=100".

    Raises UadError for an unknown name or key, or a value that does not fit.
    """
    path = Path(name) if name.endswith((".toml", ".json")) else FOLDER / f"{name}.toml"
    if not path.exists():
        known = ", ".join(names())
        raise UadError(f"no recipe '{name}'{near(name, names())} (there are: {known}; or name a .toml or .json file)")
    read = read_json if path.suffix == ".json" else read_toml
    data = read(path, "not a readable recipe")
    if not isinstance(data, dict):
        raise UadError(f"{path}: not a recipe (a table is expected, as uad-train --dry-run prints)")
    for change in changes:
        apply_change(data, change)
    return parse(Recipe, data, f"recipe {name}")


def apply_change(data: dict[str, Any], change: str) -> None:
    """Set one value in tables: "network.base=64". Raises UadError for what is no KEY=VALUE, or a key in no table."""
    key, equals, text = change.partition("=")
    if not equals:
        raise UadError(f"--set {change}: expected KEY=VALUE, such as training.steps=1000")
    *tables, last = key.strip().split(".")
    for table in tables:
        data = data.setdefault(table, {})
        if not isinstance(data, dict):
            raise UadError(f"--set {change}: {table} is no table")
    try:
        data[last] = parse_toml(f"value = {text}")["value"]
    except ValueError:
        if text.lstrip().startswith(("[", "{")):
            raise UadError(f"--set {change}: no value (words want quotes in it: '{key}=[\"...\"]')") from None
        data[last] = text
