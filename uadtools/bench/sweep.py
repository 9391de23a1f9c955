"""One method with several values of an option: a row for each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

SWEPT = "sweep"
OF_RECIPES = "changes"


def expanded(row: Any) -> list[Any]:
    """Make the rows of a method with a sweep, as a plan has them: one for each combination of values.

    The sweep has the shape of the row, with a list in each value's place: `sweep.heal.t = [100, 200]`; what is below
    `changes` are keys of the recipe: `sweep.changes.network.base = [32, 64]`. A row is called "NAME, t = 100"; its
    `family` is NAME, and `swept` what was put in. A method without a sweep is returned as it is. Raises ValueError.
    """
    if not isinstance(row, Mapping) or SWEPT not in row:
        return [row]
    axes = dict(_axes(row[SWEPT]))
    if not axes or () in axes or not all(isinstance(values, list) and values for values in axes.values()):
        raise ValueError(f"{SWEPT}: values to be tried are needed, in lists, such as {SWEPT}.heal.t = [100, 200]")
    names = [".".join(path[1:]) or path[0] for path in axes]
    made = []
    for values in product(*axes.values()):
        one = {key: value for key, value in row.items() if key != SWEPT}
        for path, value in zip(axes, values, strict=True):
            _put(one, path, value)
        told = ", ".join(f"{name} = {value}" for name, value in zip(names, values, strict=True))
        family = str(row.get("name", ""))
        made.append(
            {**one, "name": f"{family}, {told}", "family": family, "swept": dict(zip(names, values, strict=True))}
        )
    return made


def _axes(tables: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """List what is in tables of tables, with the way there."""
    if not isinstance(tables, Mapping):
        yield path, tables
        return
    for key, value in tables.items():
        yield from _axes(value, (*path, key))


def _put(row: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set a value of a row, of one of its tables, or of its recipe."""
    first, *rest = path
    held = row.get(first, [] if first == OF_RECIPES else {})
    if rest and not isinstance(held, list if first == OF_RECIPES else Mapping):
        raise ValueError(f"{first}: holds nothing that could be swept")
    if not rest:
        row[first] = value
    elif first == OF_RECIPES:
        row[first] = [*held, f"{'.'.join(rest)}={json.dumps(value)}"]
    else:
        row[first] = {**held, ".".join(rest): value}
