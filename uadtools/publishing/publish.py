"""What to publish of a finished comparison: its table, plots, a text of its methods, and what it was made of."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, TypeGuard

from uadtools.bench.manifest import differences
from uadtools.bench.table import Table, cells_of, latex, markdown, notes_of
from uadtools.errors import UadError
from uadtools.files import read_json, write_json, written
from uadtools.publishing.plots import figures
from uadtools.publishing.prose import methods_text

NO_TABLE = "no table of uad-bench with a manifest (do the comparison again; what is done is not computed anew)"


def publish(path: Path, out: Path | None = None, against: Path | None = None) -> Iterator[str]:
    """Write the report of a finished comparison, and say what was written and in what it differs from another.

    path, against: the folder that uad-bench wrote into, or a NAME.json there; out: a folder, report/ beside the table
    by default, whose files are replaced. Raises UadError for anything else.
    """
    place = _place(path)
    table = _read(place)
    other = _read(_place(against)) if against else None
    out = out or place.parent / "report"
    out.mkdir(parents=True, exist_ok=True)
    drawn = figures(table)
    for name, (_, figure) in drawn.items():
        with written(out / name, force=True) as part:
            figure.savefig(part)
    text = methods_text(table)
    pages = {"md": f"{markdown(table)}\n{text}", "tex": latex(table), "html": _page(table, text, drawn)}
    for ending, content in pages.items():
        with written(out / f"{table['name']}.{ending}", force=True) as part:
            part.write_text(content)
    write_json(out / "manifest.json", table["manifest"], force=True)
    names = [*(f"{table['name']}.{ending}" for ending in pages), "manifest.json", *drawn]
    yield f"{out}: {', '.join(names)}"
    if other:
        yield from differences(table["manifest"], other["manifest"]) or ["made of the same: nothing differs"]


def _place(path: Path) -> Path:
    """Return the file of a comparison's table. Raises UadError where there is none, or more than one."""
    if not path.exists():
        raise UadError(
            f"{path}: there is no such folder or table (name what uad-bench -o wrote into, or a .json there)"
        )
    if not path.is_dir():
        return path
    found = [file for file in sorted(path.glob("*.json")) if _is_table(read_json(file))]
    if len(found) != 1:
        raise UadError(f"{path}: {'several tables (name one of the .json files)' if found else NO_TABLE}")
    return found[0]


def _read(path: Path) -> Table:
    data = read_json(path, NO_TABLE)
    if not _is_table(data):
        raise UadError(f"{path}: {NO_TABLE}")
    return data


def _is_table(data: Any) -> TypeGuard[Table]:
    return isinstance(data, dict) and {"name", "config", "manifest", "methods", "sets"} <= data.keys()


def _page(table: Table, text: str, drawn: dict[str, tuple[str, Any]]) -> str:
    """Write the page: a table for each test set, the plots beside it, and the text."""
    body = []
    for part in table["sets"]:
        head, *rows = ([escape(cell) for cell in line] for line in cells_of(part))
        titles = "".join(f'<th scope="col">{cell}</th>' for cell in head)
        lines = [
            f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in rows
        ]
        body += [
            f"<h2>{escape(part['set'])} ({part['scans']} scans)</h2>",
            "<table>",
            f"<tr>{titles}</tr>",
            *lines,
            "</table>",
        ]
        body += [f"<p>{escape(note)}</p>" for note in notes_of(table, part)]
    body += [f'<figure><img src="{name}" alt="{escape(told)}"><figcaption>{escape(told)}</figcaption></figure>'
             for name, (told, _) in drawn.items()]  # fmt: skip
    body += [f"<h2>Methods</h2><pre>{escape(text)}</pre>", '<p><a href="manifest.json">What it was made of</a></p>']
    return PAGE.format(name=escape(table["name"]), body="\n".join(body))


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{name}</title>
<style>
body {{ font-family: sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em }}
table {{ border-collapse: collapse }}
th, td {{ padding: 0.2em 0.6em; text-align: right; border-bottom: 1px solid #ccc }}
th:first-child {{ text-align: left }}
figure {{ display: inline-block; margin: 1em }}
img {{ max-width: 100% }}
pre {{ white-space: pre-wrap }}
</style>
</head>
<body>
<h1>{name}</h1>
{body}
</body>
</html>
"""
