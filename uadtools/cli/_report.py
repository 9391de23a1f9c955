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
    pooled = report["pooled"]
    figures = [key for key in pooled if not key.endswith(("voxels", "outside"))]
    rows = [["scan", *(_HEADS.get(key, key.capitalize()) for key in figures), "lesion voxels"]]
    named = [(row["name"], row) for row in report["scans"]]
    if len(named) > 1:
        named += [("mean of scans", report["mean"]), ("pooled voxels", pooled)]
    for name, row in named:
        count = f"{row['lesion_voxels']:,}" if "lesion_voxels" in row else ""
        rows.append([name, *(_number(key, row.get(key)) for key in figures), count])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for name, *cells in rows:
        line = [name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))]
        print("  ".join(line).rstrip())
    if lost := pooled["lesion_voxels_outside"]:
        print(f"{lost:,} lesion voxels lie outside the brain mask and are not counted.")
    if "best_dice" in figures:
        print("Best Dice is a ceiling: its threshold was chosen with the truth.")


def _number(key: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if key == "best_threshold" else f"{value:.3f}"


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
        with written(as_csv, force=force) as part, part.open("w", newline="", errors="surrogateescape") as file:
            writer = csv.DictWriter(file, list(report["scans"][0]))
            writer.writeheader()
            writer.writerows(report["scans"])
