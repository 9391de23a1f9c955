"""A table of uad-bench beside the one in print, as Markdown.

    python examples/bench/beside.py results/NAME.csv examples/bench/printed/NAME.csv

For each set and figure a row for each method: what was found, its interval, what is printed, its deviation over folds.
"""

import csv
import sys
from pathlib import Path


def rows(path):
    with Path(path).open(newline="") as file:
        return {(row["set"], row["figure"], row["method"]): row for row in csv.DictReader(file)}


def number(text, digits=4):
    return f"{float(text):.{digits}g}" if text else ""


def beside(ours, printed):
    """Return the lines of a table of all figures that are printed."""
    yield "| set | figure | method | ours | 95% interval | printed | deviation |"
    yield "|---|---|---|---|---|---|---|"
    for key, row in sorted(printed.items(), key=lambda item: item[0][:2]):
        found = ours.get(key, {})
        interval = " to ".join(filter(None, (number(found.get(end, "")) for end in ("low", "high"))))
        cells = [*key, number(found.get("value", "")), interval, number(row["value"]), number(row["deviation"])]
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print("\n".join(beside(*map(rows, sys.argv[1:]))))
