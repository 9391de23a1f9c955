"""What a method's file declares, read without running it.

Settings are made of packages that take a while to load, and the help of a command needs none of them.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from uadtools.interface import healing
from uadtools.interface.healing import Option


@dataclass(frozen=True)
class Glance:
    """heals, trains: whether it has a method of healing, and a kind of model; kinds: of models that it heals with;
    options: by name, the type of the value and what is said of it, of those that the method alone has.
    """

    heals: bool
    trains: bool
    kinds: tuple[str, ...]
    options: dict[str, tuple[Any, Option]]

    @classmethod
    def at(cls, path: Path) -> Glance:
        """Read a file."""
        body = ast.parse(path.read_text()).body
        values = {name: value for node in body for name, value in _assigned(node)}
        parts = values.keys() | {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        trains = "Settings" in parts
        kinds = ast.literal_eval(values["KINDS"]) if "KINDS" in values else (path.stem,) * trains
        types = {"Annotated": Annotated, "Literal": Literal, "Option": Option}
        types |= {name: _value(value, types) for name, value in values.items() if _is_choice(value)}
        declared = next((node for node in body if isinstance(node, ast.ClassDef) and node.name == "Options"), None)
        options = {}
        for field in declared.body if declared else ():
            if isinstance(field, ast.AnnAssign) and (known := _option(field.annotation, types)):
                options[ast.unparse(field.target)] = known
        options |= _inherited(declared) if declared else {}
        return cls("heal" in parts, trains, tuple(kinds), options)


def _option(annotation: ast.expr, types: dict[str, Any]) -> tuple[Any, Option] | None:
    """Return the type and the option of a field, written there or named after one of interface.healing."""
    shared = getattr(healing, annotation.id, None) if isinstance(annotation, ast.Name) else None
    hint = shared or (_value(annotation, types) if "Option(" in ast.unparse(annotation) else None)
    return get_args(hint) if get_origin(hint) is Annotated else None


def _inherited(declared: ast.ClassDef) -> dict[str, tuple[Any, Option]]:
    """Return the options that a class of options has from those of interface.healing."""
    bases = (getattr(healing, base.id, None) for base in declared.bases if isinstance(base, ast.Name))
    hints = [get_type_hints(base, include_extras=True) for base in bases if base]
    return {
        name: get_args(hint) for by_name in hints for name, hint in by_name.items() if get_origin(hint) is Annotated
    }


def _assigned(node: ast.stmt) -> list[tuple[str, ast.expr]]:
    """List the names that a statement gives a value, with the value's expression."""
    if isinstance(node, ast.Assign):
        return [(target.id, node.value) for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign) and node.value and isinstance(node.target, ast.Name):
        return [(node.target.id, node.value)]
    return []


def _is_choice(value: ast.expr) -> bool:
    return isinstance(value, ast.Subscript) and ast.unparse(value.value) == "Literal"


def _value(expression: ast.expr, types: dict[str, Any]) -> Any:
    """Evaluate a type, such as those of options are, that is made of named types."""
    return eval(compile(ast.Expression(expression), "", "eval"), dict(types))
