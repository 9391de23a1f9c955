"""The table of a comparison, as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from uadtools.evaluation.reports import Row
from uadtools.files import write_json, written
from uadtools.report.tables import harmless

ALPHA = 0.05
COLUMNS: dict[str, str] = {
    "auprc": "AUPRC",
    "auprc_pooled": "AUPRC, pooled",
    "best_dice_pooled": "best Dice, pooled",
    "dice": "Dice",
    "lesion_recall": "lesions found",
    "untouched_detected": "healthy brain detected",
    "image_auroc_top": "image AUROC",
    "image_f1_top": "image F1",
    "image_auroc_bound": "by the bound",
    "image_auroc_chain": "by the whole chain",
    "image_auroc_nll": "by the likelihood",
    "healthy_l1": "healthy l1",
    "healthy_ssim": "healthy SSIM",
    "healthy_psnr": "healthy PSNR",
    "l1_ratio": "l1 ratio",
    "healthy_kld": "healthy KLD",
    "seconds_per_scan": "seconds",
}
"""Those of the figures that are shown; all of them are in the JSON and CSV."""
LOWER = ("healthy_l1", "healthy_kld")
"""Better when they are lower."""
SHARES = ("lesion_recall", "untouched_detected")
NOTE = (
    "Means over scans unless pooled over voxels, with 95% bootstrap intervals; Dice and lesions found at the threshold "
    "from validation. Best Dice is a ceiling: its threshold was chosen with the truth. * and † differ from *{against}* "
    "with p < 0.05 (permutation test, Holm; in AUPRC, Dice, l1 and KLD): * better, † worse."
)

FOLDS = "± is the standard deviation over folds; intervals and tests are over the scans of all folds."


class SetTable(TypedDict):
    """Of a test set: the number of scans, the method that the others are tested against, a row for each method,
    and what speaks against the scans. cases, curves, histograms: of each method, what boxes and, in each fold, curves
    and histograms are drawn from.
    """

    set: str
    scans: int
    against: str
    rows: list[Row]
    cases: dict[str, list[Row]]
    curves: dict[str, list[Row | None]]
    histograms: NotRequired[dict[str, list[Row | None]]]
    concerns: list[Row]


class Table(TypedDict):
    """What docs/bench.md explains. config: the plan; folds: those that are in it, from 1; training: of each method that
    was trained; methods: what each is; manifest: hashes of all that it was made of.
    """

    schema: int
    name: str
    version: str
    config: dict[str, Any]
    folds: list[int]
    training: dict[str, Row]
    methods: dict[str, Row]
    manifest: Row
    sets: list[SetTable]


def markdown(table: Table) -> str:
    """Write a table for each test set."""
    parts = []
    for part in table["sets"]:
        cells = cells_of(part)
        head, *rows = (f"| {' | '.join(line)} |" for line in cells)
        body = "\n".join([head, f"|{'---|' * len(cells[0])}", *rows])
        notes = "\n\n".join(notes_of(table, part))
        parts.append(f"### {part['set']} ({part['scans']} scans)\n\n{body}\n\n{notes}\n")
    return "\n".join(parts)


def notes_of(table: Table, part: SetTable) -> list[str]:
    """Say below the table of a test set what its figures are, and which differ."""
    folds = f" {FOLDS}" if len(table.get("folds", ())) > 1 else ""
    return [NOTE.format(against=part["against"]) + folds, surviving(part)]


def surviving(part: SetTable) -> str:
    """Say which differences from the reference survive Holm's correction."""
    found = []
    for figure in dict.fromkeys(figure for row in part["rows"] for figure in row["tests"]):
        tests = {row["method"]: row["tests"].get(figure) for row in part["rows"]}
        sure = {name: test for name, test in tests.items() if test and test["p_holm"] < ALPHA}
        told = [f"{name} ({test['difference']:+.3g}, p = {test['p_holm']:.2g})" for name, test in sure.items()]
        found += [f"{COLUMNS.get(figure, figure)} of {', '.join(told)}"] if told else []
    return f"Differences from {part['against']} that survive Holm's correction: {'; '.join(found) or 'none'}."


def latex(table: Table) -> str:
    """Write a tabular for each test set, for the package booktabs."""
    parts = []
    for part in table["sets"]:
        cells = cells_of(part)
        head, *body = (" & ".join(map(_escaped, line)) + r" \\" for line in cells)
        comment = f"% {part['set']}, {part['scans']} scans"
        begin, end = r"\begin{tabular}{l" + "r" * (len(cells[0]) - 1) + "}", r"\end{tabular}"
        parts.append("\n".join([comment, begin, r"\toprule", head, r"\midrule", *body, r"\bottomrule", end]))
    return "\n\n".join(parts) + "\n"


def as_csv(table: Table) -> str:
    """Write one line per test set, method and figure: value, interval, and the test against the reference."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["set", "method", "figure", "value", "low", "high", "p_holm", "deviation"])
    for part in table["sets"]:
        for row in part["rows"]:
            for figure, value in row.items():
                if figure in ("method", "tests"):
                    continue
                cell = value if isinstance(value, dict) else {"value": value}
                low, high = cell.get("interval") or (None, None)
                p = row["tests"].get(figure, {}).get("p_holm")
                names = harmless(part["set"]), harmless(row["method"])
                writer.writerow([*names, figure, cell.get("value"), low, high, p, cell.get("deviation")])
    return out.getvalue()


WRITERS: dict[str, Callable[[Table], str]] = {"md": markdown, "tex": latex, "csv": as_csv}


def write_table(table: Table, out: Path) -> list[Path]:
    """Write a comparison's table into a folder: JSON, Markdown, LaTeX and CSV, replacing those of an earlier run.

    That of a fold alone goes into the folder folds/ there.
    """
    name, alone = table["name"], len(table["folds"]) == 1
    if alone:
        out, name = out / "folds", f"{name}-{table['folds'][0]}"
        out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"{name}.{ending}" for ending in ("json", *WRITERS)]
    write_json(paths[0], table, force=True)
    for path, writer in zip(paths[1:], WRITERS.values(), strict=True):
        with written(path, force=True) as part:
            part.write_text(writer(table))
    return paths


def cells_of(part: SetTable) -> list[list[str]]:
    """Return a line of titles and one for each method, of the columns in which any method has a figure."""
    columns = [c for c in COLUMNS if any(value_of(row.get(c)) is not None for row in part["rows"])]
    titles = ["method", *(COLUMNS[c] for c in columns)]
    return [titles, *([row["method"], *(_text(row, c) for c in columns)] for row in part["rows"])]


def value_of(cell: Any) -> float | None:
    value: float | None = cell["value"] if isinstance(cell, dict) else cell
    return value


def _text(row: Row, column: str) -> str:
    value = value_of(row.get(column))
    if value is None:
        return "-"
    digits = 2 if column == "seconds_per_scan" else 4 if column == "healthy_l1" else 3
    share = column in SHARES
    text = f"{value:.2%}" if share else f"{value:.{digits}f}"
    cell = row[column] if isinstance(row[column], dict) else {}
    interval, deviation = cell.get("interval"), cell.get("deviation")
    if deviation is not None:
        text += f" ± {deviation:.2%}" if share else f" ± {deviation:.{digits}f}"
    if interval and column in ("auprc", "dice"):
        text += f" [{interval[0]:.3f}, {interval[1]:.3f}]"
    return text + _mark(row["tests"].get(column), lower=column in LOWER)


def _mark(test: Row | None, *, lower: bool) -> str:
    if test is None or test["p_holm"] >= ALPHA:
        return ""
    return " *" if (test["difference"] > 0) != lower else " †"


def _escaped(text: str) -> str:
    for sign in "&%_#":
        text = text.replace(sign, "\\" + sign)
    return text.replace("†", r"$\dagger$").replace("*", r"$^*$").replace("±", r"$\pm$")
