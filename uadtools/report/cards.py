"""Models in words: a list of them, and the card of one."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from uadtools.models.config import GridConfig, IntensityConfig

Row = Mapping[str, Any]
_COLUMN, _WIDTH = 13, 110


def table(rows: Sequence[Row]) -> str:
    """Lay out what list_models() finds: a line for each."""
    cells = [("name", "", "kind", "method", "size", "licence")]
    for row in rows:
        size = "-" if row["bytes"] is None else _megabytes(row["bytes"])
        cells.append((row["name"], row["what"], row["kind"], row["method"] or "-", size, row["licence"]))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)) for line in cells]
    return "\n".join(line.rstrip() for line in lines)


def card(about: Row) -> str:
    """Lay out what info() says of a model: a line for each thing."""
    settings = {name: about[name] for name in ("encoder", "patches", "schedule", "target", "noise") if name in about}
    defaults = dict(about["defaults"])
    thresholds, floors, metric = (defaults.pop(name) for name in ("thresholds", "floors", "metric"))
    lines = {
        "name": about["name"],
        "file": f"{about['file']}, {_megabytes(about['bytes'])}, hash {about['hash']}",
        "kind": f"{about['kind']}; heals with: {', '.join(about['methods']) or 'nothing by itself'}",
        **({"contrasts": about["contrasts"]} if len(about["contrasts"]) > 1 else {}),
        "grid": GridConfig.model_validate(about["grid"]),
        "intensity": IntensityConfig.model_validate(about["intensity"]),
        "network": about["network"],
        "parameters": f"{about['parameters']:,}",
        **settings,
        "defaults": defaults,
        "score": f"{about['scored_by'] or 'none'}; uad-score --metric names another",
        "thresholds": f"{_text(thresholds)}; of metric {metric}" if thresholds else "none",
        "floors": floors or "none, so no threshold adapts to a scan's noise",
        "training": _trained(about["training"]),
        "healthy": _healthy(about["likeness"]),
        "reference": _reference(about["reference"]),
        "licence": about["licence"],
    }
    return "\n".join(_line(name, _text(value)) for name, value in lines.items())


def _healthy(table: Row | None) -> str:
    if table is None:
        return "inputs not described, so no scan is called unlike them (uad-models describe)"
    return (
        f"{', '.join(table['contrasts'])}, from {table['scans']} scans and versions of them; limit {table['limit']:g}"
    )


def _reference(about: Row | None) -> str:
    if about is None:
        return "none, so residuals are not measured by those of healthy scans (uad-models reference)"
    contrasts = "".join(f", {count} of {name}" for name, count in about["contrasts"].items())
    return f"residuals of {about['scans']} healthy scans{contrasts}"


def _trained(about: Row) -> Row | str:
    """Say with the steps that the weights have seen how many were planned, where the model knows."""
    if "planned" not in about:
        return about or "nothing is known"
    steps = f"{about['steps']:,} of {about['planned']:,}"
    return {name: steps if name == "steps" else value for name, value in about.items() if name != "planned"}


def _line(name: str, text: str) -> str:
    indent = " " * _COLUMN
    return textwrap.fill(text, _WIDTH, initial_indent=f"{name:<{_COLUMN}}", subsequent_indent=indent)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items() if part not in (None, [], ""))
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
