"""docs/tutorial.ipynb: a notebook without outputs, which runs, cell after cell, and shows something in each."""

import ast
import json
from pathlib import Path

import uadtools

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tutorial.ipynb"
CELLS = json.loads(NOTEBOOK.read_text())["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


def shown(cell, names):
    """Run a cell as a notebook does: return what its last line is."""
    *before, last = ast.parse(cell).body
    exec(compile(ast.Module(before, []), "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def test_it_runs(monkeypatch):
    monkeypatch.chdir(NOTEBOOK.parent)
    names = {}
    *pictures, figures = [shown(cell, names) for cell in CODE]
    assert [len(picture._repr_html_()) > 5_000 for picture in pictures] == [True] * 4
    assert pictures[-1].startswith("<iframe")
    assert names["study"].product.grid.same(names["scan"].grid)
    assert figures["dice"] > 0.5


def test_it_is_kept_without_outputs():
    assert all(
        cell["outputs"] == [] and cell["execution_count"] is None for cell in CELLS if cell["cell_type"] == "code"
    )
    assert NOTEBOOK.stat().st_size < 10_000


def test_it_uses_the_package_alone():
    imported = [
        node for cell in CODE for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert [name.name for node in imported for name in node.names] == [uadtools.__name__]
