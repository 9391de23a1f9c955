"""An evaluation as tables: of text, for a terminal, and as CSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from uadtools.evaluation import measures as m
from uadtools.evaluation.cases import LIKENESS
from uadtools.files import written

_HEADS = {
    "iou": "IoU",
    "fpr": "FPR",
    "auprc": "AUPRC",
    "auroc": "AUROC",
    "fpr_at_95_tpr": "FPR95",
    "fpr_at_80_tpr": "FPR80",
    "best_dice": "best Dice",
    "best_f1": "best F1",
    "best_threshold": "at",
    "lesions_found": "found",
    "false_lesions": "false",
    "truth_ml": "true mL",
    "detected_ml": "detected mL",
    "volume_error_ml": "error mL",
    "relative_volume_error": "error/true",
    "hd95": "HD95 mm",
    "lesion_hd95": "HD95 mm",
    "box_iou": "IoU",
    "boxes_detected": "detected",
    "response_inside": "inside",
    "response_outside": "outside",
    "response_ratio": "ratio",
    "ssim": "SSIM",
    "psnr": "PSNR dB",
    "l1_lesion": "L1 lesion",
    "l1_healthy": "L1 healthy",
    "l1_ratio": "ratio",
    "kld": "KLD",
    "ssim_lesion": "SSIM lesion",
    "ssim_healthy": "SSIM healthy",
    "conservation_correction": "correction",
    "restoration_quality": "quality",
}
_VOXELS = (*m.OVERLAPS, "fpr")
_RANKED = (*m.RANKINGS, *m.BEST)
_OF_PEOPLE = (*m.RANKINGS, "best_f1", "best_threshold", "f1", "precision", "recall", "fpr")
_OF_LESIONS, _OF_BOXES = (*m.LESIONS, *m.COUNTS), (*m.BOXES, *m.BOX_COUNTS, *m.RESPONSES)
_OF_SCANS = {
    _VOXELS: "scan",
    _RANKED: "scan",
    _OF_LESIONS: "lesions",
    m.VOLUMES: "volumes",
    _OF_BOXES: "boxes",
    LIKENESS: "healed scans",
}
_POOLED = {_OF_LESIONS: "lesions", _OF_BOXES: "boxes"}

Row = Mapping[str, Any]
_Line = tuple[str, Row]


class Table(NamedTuple):
    title: str
    rows: list[list[str]]
    """Of which the first is the head."""


def text(report: Row) -> str:
    """Lay out a report as aligned text, so that it can be read in a log and cut by other tools."""
    return "\n".join(["\n\n".join(map(_plain, tables(report))), *notes(report)])


def headline(report: Row) -> str | None:
    """Say in a line what is detected, where something could be."""
    rows = report.get("scans", [])
    if not all("detected_ml" in row for row in rows) or not rows:
        return None
    detected, lesion, findings = (sum(row[key] for row in rows) for key in ("detected_ml", "truth_ml", "findings"))
    name = rows[0]["name"] if len(rows) == 1 else f"{len(rows):,} scans"
    return f"{name}: {found(detected, findings)}, and {lesion:.2f} mL are lesion"


def found(ml: float, findings: int) -> str:
    """Say what is detected."""
    return f"{ml:.2f} mL detected in {findings:,} finding{'' if findings == 1 else 's'}"


def notes(report: Row, *, intervals: bool = False) -> Iterator[str]:
    """Say what one should know of the figures; intervals: and why these are missing."""
    why = report.get("intervals", {}).get("why")
    if intervals and why and len(report["scans"]) > 1:
        yield f"No intervals: {why}."
    if lost := report.get("pooled", {}).get("lesion_voxels_outside"):
        yield f"{lost:,} lesion voxels lie outside the brain mask and are not counted."
    if "best_dice" in report.get("pooled", {}):
        yield "Best Dice is a ceiling: its threshold was chosen with the truth."
    if {"lesions", "boxes"} <= report.get("pooled", {}).keys():
        yield "Lesions are those above 50 mm3, and one where they touch when grown by 3 voxels; boxes are those of"
        yield "every connected piece, of any size, or of --truth-boxes, so that their numbers differ."


def tables(report: Row, *, intervals: bool = False) -> Iterator[Table]:
    """Lay out what there is in a report: a row per scan, then their mean and the pooled figures.

    intervals: with the ends of the intervals below means and pooled figures.
    """
    if report["kind"] == "cases":
        yield _of_cases(report, intervals)
    for keys in _OF_SCANS:
        told = ("hd95",) if keys is m.VOLUMES else keys
        if any(key in report.get("mean", {}) for key in told):
            yield _of_scans(keys, report, intervals)
    if "anomaly_to_healthy" in report.get("normative", {}):
        yield _of_set(report["normative"])
    if "by_size" in report:
        yield _by_size(report["by_size"])
    for column, groups in report.get("groups", {}).items():
        shown = [key for key in (*_VOXELS, *_RANKED, *LIKENESS) if key in report["mean"]]
        rows = [[column, "scans", *map(_head, shown)]]
        for group in groups:
            first, *ends = _lines(group["group"], group["mean"], group["intervals"] if intervals else {}, shown)
            rows += [[first[0], f"{group['scans']:,}", *_cells(shown, first[1])]]
            rows += [[name, "", *_cells(shown, row)] for name, row in ends]
        yield Table(f"by {column}: means of scans", rows)
    if "comparison" in report:
        yield _of_comparison(report["comparison"])


def _of_scans(keys: tuple[str, ...], report: Row, intervals: bool) -> Table:
    """Lay out a line per scan, then means and pooled figures, then those of the baseline."""
    lines: list[_Line] = [(row["name"], row) for row in report["scans"]]
    several = len(lines) > 1
    if several:
        lines += _sums(report, keys, intervals, ("mean of scans", f"pooled {_POOLED.get(keys, 'voxels')}"))
    if keys is _RANKED and "baseline" in report:
        base = report["baseline"]
        names = (f"{base['name']}, mean", f"{base['name']}, pooled")
        lines += _sums(base, keys, intervals, names) if several else [(base["name"], base["pooled"])]
    shown = [key for key in keys if any(key in row for _, row in lines)]
    counted = _OF_SCANS[keys] == "scan"
    rows = [[_OF_SCANS[keys], *map(_head, shown), *(["lesion voxels"] if counted else [])]]
    for name, row in lines:
        count = [f"{row['lesion_voxels']:,}" if "lesion_voxels" in row else ""] if counted else []
        rows.append([name, *_cells(shown, row), *count])
    return Table("", rows)


def _sums(of: Row, keys: Sequence[str], intervals: bool, names: tuple[str, str]) -> list[_Line]:
    """Return the lines of the means and of what is pooled, where there is such a thing."""
    lines = []
    for name, part in zip(names, ("mean", "pooled"), strict=True):
        if any(key in of[part] for key in keys):
            lines += _lines(name, of[part], of["intervals"][part] if intervals else {}, keys)
    return lines


def _lines(name: str, row: Row, intervals: Row, keys: Sequence[str]) -> list[_Line]:
    """Return a line of figures, and below it the low and the high ends of their intervals, if there are any."""
    if not any(intervals.get(key) for key in keys):
        return [(name, row)]
    ends = [{key: intervals[key][end] if intervals.get(key) else "" for key in keys} for end in (0, 1)]
    return [(name, row), ("  95% from", ends[0]), ("  to", ends[1])]


def _of_cases(report: Row, intervals: bool) -> Table:
    keys = [key for key in _OF_PEOPLE if any(key in figures for figures in report["figures"].values())]
    rows = [[f"{report['sick']:,} sick, {report['healthy']:,} healthy", *map(_head, keys)]]
    for key, figures in report["figures"].items():
        lines = _lines(key, figures, report["intervals"][key] if intervals else {}, keys)
        rows += [[name, *_cells(keys, row)] for name, row in lines]
    return Table("", rows)


def _of_set(figures: Row) -> Table:
    """Lay out how far scans and healed scans are from healthy ones."""
    keys = ("scans_to_healthy", "healed_to_healthy", "anomaly_to_healthy")
    head = ["healed scans as a set", "slices", "healthy slices", "from healthy", "healed", "nearer"]
    return Table("", [head, ["all", *_cells(("slices", "healthy_slices", *keys), figures)]])


def _by_size(sizes: Sequence[Row]) -> Table:
    rows = [["size", "lesions", "found", "recall", "95% interval"]]
    for size in sizes:
        upper = "mL and more" if size["to_ml"] is None else f"to {size['to_ml']:g} mL"
        counts = [f"{size[key]:,}" for key in ("lesions", "lesions_found")]
        recall = _number("recall", size["lesion_recall"])
        rows.append([f"{size['from_ml']:g} {upper}", *counts, recall, _range("recall", size["interval"])])
    return Table("", rows)


def _of_comparison(comparison: Row) -> Table:
    rows = [["figure", "method", "scans", "mean", "against", "difference", "95% interval", "p", "p (Holm)"]]
    for row in comparison["rows"]:
        key, scans = (
            row["figure"],
            f"{row['scans'][1]} pairs" if row["paired"] else " and ".join(map(str, row["scans"])),
        )
        means = [_number(key, row[name]) for name in ("mean", "mean_against")]
        difference = f"{row['difference']:+.3f}"
        ps = [f"{row[name]:.4f}" for name in ("p", "p_holm")]
        rows.append([_head(key), row["method"], scans, *means, difference, _range(key, row["interval"]), *ps])
    return Table(f"compared with {comparison['against']}", rows)


def _head(key: str) -> str:
    if named := re.fullmatch(r"box_(\w)\w+_at_(\d+)_iou", key):
        return f"{named[1].upper()}{named[2]}"
    return _HEADS.get(key) or key.removeprefix("lesion_").capitalize()


def _cells(keys: Sequence[str], row: Row) -> list[str]:
    return [_number(key, row.get(key)) for key in keys]


def _range(key: str, ends: Sequence[float] | None) -> str:
    return " to ".join(_number(key, end) for end in ends) if ends else ""


def _number(key: str, value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return "-" if value is None else value
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if key == "best_threshold" else f"{value:.3f}"


def _plain(table: Table) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(*table.rows, strict=True)]
    lines = [table.title] if table.title else []
    for name, *cells in table.rows:
        line = [name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))]
        lines.append("  ".join(line).rstrip())
    return "\n".join(lines)


def harmless(cell: Any) -> Any:
    """Return what goes into a cell so that no spreadsheet takes text for a formula: with ' before it."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def write_csv(path: Path, report: Row, *, force: bool = False) -> None:
    """Write a table with a row per scan, or per comparison. Raises UadError."""
    rows = report["scans"] if "scans" in report else report["comparison"]["rows"]
    rows = [{key: harmless(value) for key, value in row.items()} for row in rows]
    columns = dict.fromkeys(key for row in rows for key in row)
    with written(path, force=force) as part, part.open("w", newline="", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
