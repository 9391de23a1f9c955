"""The index of many reports: a table with a picture of each, the worst first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from uadtools.report.page import document, image, part, shown

HEADS = ("scan", "", "detected, mL", "findings", "largest, mL", "peak", "mean score", "concerns")


@dataclass(frozen=True)
class Row:
    """What the index says of one report.

    file: of the page, beside the index. Numbers are None where they are not known.
    """

    title: str
    file: str
    thumbnail: bytes
    detected_ml: float | None
    findings: int | None
    largest_ml: float | None
    peak: float | None
    case_score: float | None
    concerns: int

    @property
    def numbers(self) -> tuple[float | None, ...]:
        return self.detected_ml, self.findings, self.largest_ml, self.peak, self.case_score, self.concerns


def index_html(rows: Sequence[Row], version: str, lost: int = 0, table_of_all: str = "") -> str:
    """Lay out the index; worst is what has most detected, then the highest peak.

    lost: how many scans failed, of which a file, table_of_all, says why, where there is one.
    """
    worst = sorted(rows, key=lambda row: (-(row.detected_ml or 0), -(row.peak or 0), row.title))
    head = "".join(_head(name) for name in HEADS)
    body = "\n".join(map(_row, worst))
    table = f'<table id="scans"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    about = {
        "title": f"{len(rows):,} scans",
        "summary": f"The worst first; a head sorts.{_failed(lost, table_of_all)}",
        "credits": f"Made by uadtools {version}.",
    }
    return document(about, table, script=part("sort.js"))


def _failed(lost: int, table: str) -> str:
    return f" {lost:,} more failed{f': {table}' if table else ''}." if lost else ""


def _head(name: str) -> str:
    return f'<th scope="col"><button type="button">{name}</button></th>' if name else "<td></td>"


def _row(row: Row) -> str:
    link = f'<a href="{quote(row.file)}">{shown(row.title)}</a>'
    picture = f'<td class="thumbnail">{image(row.thumbnail, f"A slice of {row.title}")}</td>'
    cells = "".join(_number(value) for value in row.numbers)
    return f"<tr><td>{link}</td>{picture}{cells}</tr>"


def _number(value: float | None) -> str:
    text = "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
    return f'<td data-value="{-1 if value is None else value:.6g}">{text}</td>'
