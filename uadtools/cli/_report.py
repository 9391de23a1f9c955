"""Showing an evaluation to a person, and writing it as CSV."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from uadtools.files import written

_HEADS = {"auprc": "AUPRC", "auroc": "AUROC", "best_dice": "best Dice", "best_threshold": "at", "iou": "IoU"}


def show(report: dict[str, Any]) -> None:
    """Print the table on standard output: a row per scan, then their mean and the pooled figures."""
    from rich.console import Console
    from rich.table import Table

    figures = [key for key in report["pooled"] if not key.endswith(("voxels", "outside"))]
    table = Table(box=None, pad_edge=False)
    table.add_column("scan")
    for key in figures:
        table.add_column(_HEADS.get(key, key.capitalize()), justify="right")
    table.add_column("lesion voxels", justify="right")
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
    console = Console()
    console.print(table)
    if lost := report["pooled"]["lesion_voxels_outside"]:
        console.print(f"{lost:,} lesion voxels lie outside the brain mask and are not counted.")
    if "best_dice" in figures:
        console.print("Best Dice is a ceiling: its threshold was chosen with the truth.")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def write_csv(report: dict[str, Any], path: Path, *, force: bool) -> None:
    """Write a row per scan."""
    with written(path, force=force) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(report["scans"][0]))
        writer.writeheader()
        writer.writerows(report["scans"])
