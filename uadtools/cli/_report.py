"""Showing an evaluation to a person, and writing it to files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from uadtools.files import check_free, written

_HEADS = {"auprc": "AUPRC", "auroc": "AUROC", "best_dice": "best Dice", "best_threshold": "at", "iou": "IoU"}


def show(report: dict[str, Any]) -> None:
    """Print the table on standard output: a row per scan, then their mean and the pooled figures."""
    from rich.console import Console  # noqa: PLC0415  heavy
    from rich.table import Table  # noqa: PLC0415

    figures = [key for key in report["pooled"] if not key.endswith(("voxels", "outside"))]
    table = Table(box=None, pad_edge=False)
    table.add_column("scan", no_wrap=True)
    for key in figures:
        table.add_column(_HEADS.get(key, key.capitalize()), justify="right", no_wrap=True)
    table.add_column("lesion voxels", justify="right", no_wrap=True)
    for row in report["scans"]:
        table.add_row(row["name"], *(_number(row[key]) for key in figures), f"{row['lesion_voxels']:,}")
    if len(report["scans"]) > 1:
        table.add_section()
        table.add_row("mean of scans", *(_number(report["mean"].get(key)) for key in figures), "")
        table.add_row(
            "pooled voxels",
            *(_number(report["pooled"][key]) for key in figures),
            f"{report['pooled']['lesion_voxels']:,}",
        )
    console = Console(markup=False, highlight=False, emoji=False)
    # a row that the terminal wraps can be read, one that is cut off cannot
    console.print(table, width=max(console.width, console.measure(table).maximum), crop=False, no_wrap=True)
    if lost := report["pooled"]["lesion_voxels_outside"]:
        console.print(f"{lost:,} lesion voxels lie outside the brain mask and are not counted.")
    if "best_dice" in figures:
        console.print("Best Dice is a ceiling: its threshold was chosen with the truth.")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def check_targets(*paths: Path | None, force: bool) -> None:
    """Refuse files that could not be written, before any work is done."""
    for path in paths:
        if path is not None:
            check_free(path, force=force)


def write(report: dict[str, Any], as_json: Path | None, as_csv: Path | None, *, force: bool) -> None:
    """Write the report, and a table with a row per scan, where they are wanted."""
    if as_json is not None:
        with written(as_json, force=force) as part:
            part.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    if as_csv is not None:
        with written(as_csv, force=force) as part, part.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(report["scans"][0]))
            writer.writeheader()
            writer.writerows(report["scans"])
