"""A report as one page of HTML, which needs nothing else and asks nothing of the network."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from uadtools.errors import UadError
from uadtools.files import check_free, written
from uadtools.report.findings import Finding, said
from uadtools.report.layers import GREY, Layer
from uadtools.report.tables import Table
from uadtools.scoring.healthy import HealthyScores

NIIVUE = "0.69.0"
SUFFIXES = (".html", ".htm")
MOST_ROWS = 200
"""Findings in the table; a detection of more says little by any of them."""
CREDITS = f"Made by uadtools {{version}}. Viewer: NiiVue {NIIVUE} (BSD 2-Clause)."


class Picture(NamedTuple):
    """A PNG file. alt: what it shows, for those who do not see it."""

    title: str
    png: bytes
    alt: str


@dataclass(frozen=True)
class Page:
    """What a report shows of one scan.

    missing: what is left out, and why. findings: None where nothing was to be detected. places: heads of the columns
    that say where findings lie, in the world that is shown, and of the scan as it came where that is another. healthy:
    what healthy scans score, None where it is not known. commands: that repeat it all, '' where they are not known.
    """

    title: str
    summary: str
    concerns: Sequence[str]
    missing: Sequence[str]
    layers: Sequence[Layer]
    findings: Sequence[Finding] | None
    places: tuple[str, ...]
    healthy: HealthyScores | None
    tables: Sequence[Table]
    pictures: Sequence[Picture]
    methods: str
    commands: str
    version: str


def shown(text: object) -> str:
    """Escape text for HTML; what cannot be printed, such as a newline or a right-to-left mark, is shown by its code."""
    return html.escape("".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text)))


def check_page(path: Path, *, force: bool) -> None:
    """Raise UadError when a page cannot be written there."""
    if path.suffix.lower() not in SUFFIXES:
        raise UadError(f"{path}: pages are written as .html (change the name)")
    check_free(path, force=force)


def write_page(page: Page, path: Path, *, force: bool = False) -> None:
    """Write a report. Raises UadError."""
    with written(path, force=force) as part:
        part.write_text(page_html(page), encoding="utf-8")


def page_html(page: Page) -> str:
    """Lay out a report."""
    script = part("sort.js") + part("viewer.js")
    embedded = {
        "niivue": base64.b64encode(files(__package__).joinpath(f"web/niivue-{NIIVUE}.js.gz").read_bytes()).decode(),
        "report": _json({"layers": [_layer(layer) for layer in page.layers]}),
    }
    kinds = {"niivue": "text/plain", "report": "application/json"}
    data = "\n".join(f'<script type="{kinds[name]}" id="{name}">{text}</script>' for name, text in embedded.items())
    sections = [
        *(f'<p class="concern">{shown(concern)}</p>' for concern in page.concerns),
        _viewer(page),
        *(_note(f"Not shown: {what}.") for what in page.missing),
        *(_section(picture.title, image(picture.png, picture.alt)) for picture in page.pictures),
        *map(_table, page.tables),
        _section("Methods", f"<p>{shown(page.methods)}</p>"),
    ]
    if page.commands:
        sections.append(_section("To repeat it", f"<pre><code>{_lines(page.commands)}</code></pre>"))
    about = {"title": page.title, "summary": page.summary, "credits": CREDITS.format(version=page.version)}
    return document(about, "\n".join(sections), script=script, programs=(_niivue_hash(),), data=data)


def document(about: dict[str, str], content: str, *, script: str, programs: Sequence[str] = (), data: str = "") -> str:
    """Put content into the frame that all pages have: what they may load is nothing but what is in them.

    programs: hashes of further scripts, which the page unpacks.
    """
    style = part("page.css")
    scripts = " ".join(f"'{one}'" for one in (_hash(script.encode()), *programs))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style.encode())}'; script-src {scripts}; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {name: shown(text) for name, text in about.items()}
    return Template(part("page.html")).substitute(
        parts, policy=policy, style=style, content=content, data=data, script=script
    )


def _viewer(page: Page) -> str:
    rows = [_layer_row(layer) for layer in page.layers]
    roles = {layer.role for layer in page.layers}
    blend = part("blend.html") if {"scan", "healed"} <= roles else ""
    parts = {"blend": blend, "layers": "\n".join(rows), "findings": _findings(page)}
    return Template(part("viewer.html")).substitute(parts)


def _layer(layer: Layer) -> dict[str, Any]:
    return {
        "role": layer.mark,
        "colours": layer.colours,
        "grey": layer.colours == GREY,
        "low": layer.low,
        "high": layer.high,
        "opacity": layer.opacity,
        "shown": layer.shown,
        "nifti": base64.b64encode(layer.nifti).decode(),
    }


def _layer_row(layer: Layer) -> str:
    role, checked = layer.mark, " checked" if layer.shown else ""
    return (
        f'<div class="row"><label><input type="checkbox" id="show-{role}"{checked}>'
        f'<span class="swatch" id="swatch-{role}"></span>{shown(layer.title)}</label>'
        f'<input type="range" id="opacity-{role}" min="0" max="100" value="{100 * layer.opacity:.0f}" '
        f'aria-label="Opacity: {shown(layer.title)}"></div>'
    )


def _findings(page: Page) -> str:
    if page.findings is None:
        return ""
    if not page.findings:
        return '<p id="none">Nothing was detected.</p>'
    extra = [name for name, there in _columns(page).items() if there]
    heads = ["#", "mL", *(f"{place}, mm" for place in page.places), *extra]
    hints = {"healthy": f' title="{shown(_about(page.healthy))}"'} if page.healthy else {}
    cells = [
        f'<th scope="col"><button type="button"{hints.get(head, "")}>{shown(head)}</button></th>' for head in heads
    ]
    rows = [_finding(number, one, page, extra) for number, one in enumerate(page.findings[:MOST_ROWS], 1)]
    more = len(page.findings) - MOST_ROWS
    notes = [f"{more:,} smaller ones are not listed."] if more > 0 else []
    notes += [_about(page.healthy)] if "healthy" in extra and page.healthy else []
    return (
        '<section class="scroll" tabindex="0" aria-label="Findings"><table id="findings">'
        f"<caption>Findings, the largest first</caption><thead><tr>{''.join(cells)}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></section>"
        + "".join(f'<p class="quiet">{shown(note)}</p>' for note in notes)
    )


def _columns(page: Page) -> dict[str, bool]:
    """Tell which columns there is anything for."""
    first = (page.findings or ())[0]
    return {
        "mean": first.mean is not None,
        "peak": first.peak is not None,
        "healthy": page.healthy is not None and first.peak is not None,
        "truth": first.found is not None,
    }


def _finding(number: int, one: Finding, page: Page, extra: Sequence[str]) -> str:
    places = (one.shown, one.native)[: len(page.places)]
    known = {
        "mean": (f"{one.mean or 0:.3g}", one.mean),
        "peak": (f"{one.peak or 0:.3g}", one.peak),
        "healthy": _as_high(page.healthy, one.peak),
        "truth": ("hit", 1) if one.found else ("false", 0),
    }
    cells = [_cell(f'<button type="button">{number}</button>', number), _cell(f"{one.ml:.2f}", one.ml)]
    cells += [_cell(said(place), place[2]) for place in places]
    cells += [_cell(*known[name]) for name in extra]
    mm = " ".join(f"{value:.2f}" for value in one.shown)
    return f'<tr data-mm="{mm}">{"".join(cells)}</tr>'


def _as_high(healthy: HealthyScores | None, peak: float | None) -> tuple[str, float]:
    count = healthy.as_high("peak", peak or 0) if healthy else 0
    return str(count), count


def _about(healthy: HealthyScores) -> str:
    signs = (
        " In them what is brighter and what is darker was counted, in this scan one of the two, so that the true "
        "number may be smaller, never larger."
    )
    return (
        f"Healthy: how many of {len(healthy.case_scores['peak']):,} scans of healthy people have, anywhere in the "
        "brain, a score as high as the peak of this finding. Few: it is unusual. Many: healthy people have such peaks, "
        f"too.{signs if healthy.both else ''}"
    )


def _note(text: str) -> str:
    return f'<p class="quiet">{shown(text)}</p>'


def _cell(text: str, value: float | None) -> str:
    return f'<td data-value="{value:.6g}">{text}</td>'


def _table(table: Table) -> str:
    head, *rows = table.rows
    body = "".join(f"<tr>{''.join(f'<td>{shown(cell)}</td>' for cell in row)}</tr>" for row in rows)
    heads = "".join(f'<th scope="col">{shown(cell)}</th>' for cell in head)
    return _section(table.title, f'<table class="words"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>')


def _section(title: str, content: str) -> str:
    return f"<section><h2>{shown(title)}</h2>\n{content}</section>"


def image(png: bytes, alt: str) -> str:
    return f'<img alt="{shown(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _lines(text: str) -> str:
    return "\n".join(map(shown, text.split("\n")))


def _json(data: Any) -> str:
    """Write JSON that can stand in a script element."""
    return json.dumps(data, allow_nan=False).replace("<", "\\u003c")


@cache
def part(name: str) -> str:
    return files(__package__).joinpath(f"web/{name}").read_text(encoding="utf-8")


@cache
def _niivue_hash() -> str:
    return _hash(gzip.decompress(files(__package__).joinpath(f"web/niivue-{NIIVUE}.js.gz").read_bytes()))


def _hash(program: bytes) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(program).digest()).decode()}"
