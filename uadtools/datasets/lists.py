"""Lists of a data set's prepared scans, and the masks they name: what uad-bench, uad-train and uad-eval read."""

from __future__ import annotations

import csv
import os
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from uadtools.concerns import Tell
from uadtools.datasets.boxes import Annotations
from uadtools.datasets.layouts import Found, Layout, layout_of
from uadtools.datasets.scan_jobs import ScanJob
from uadtools.errors import Misuse, UadError
from uadtools.files import read_lines, written
from uadtools.volume.io import Image, save
from uadtools.volume.labels import Choice, read_labels
from uadtools.volume.stream import noting, read_image, record

ALL = "scans"
COLUMNS = ("path", "truth", "sick", "subject", "session", "site", "contrast", "scan")
"""Of a list: the prepared scan, its mask, 1 where its data set says that it is sick, and where it is from. A column
that would be empty is left out.
"""
Row = dict[str, str]


def split_of(text: str | None, layout: str | None) -> dict[str, int | None]:
    """Understand NAME=SUBJECTS,...,NAME, the last of which gets the rest. Raises Misuse, also without a layout."""
    if text and not layout:
        raise Misuse("--split: parts the subjects of a data set (name what it is with --layout)")
    parts: dict[str, int | None] = {}
    words = text.split(",") if text else []
    for i, word in enumerate(words):
        name, _, count = word.strip().partition("=")
        last = i == len(words) - 1 and not count
        if not name.isidentifier() or name in (*parts, ALL) or not (last or (count.isdecimal() and int(count))):
            raise Misuse(f"--split: {word}: expected NAME=SUBJECTS,...,NAME, such as val=100,test")
        parts[name] = None if last else int(count)
    return parts


def check_split(found: Sequence[Found], split: Mapping[str, int | None]) -> None:
    """Raise Misuse where a data set has fewer subjects than the parts of a split need, before scans are prepared."""
    _enough({one.subject for one in found if one.truth} or {one.subject for one in found}, split)


def write_lists(key: str, jobs: Sequence[ScanJob], split: Mapping[str, int | None], seed: int, tell: Tell) -> None:
    """Write masks NAME_truth.nii.gz of prepared scans, scans.csv with all of them, and a list for each part of a split.

    key: of the layout. jobs: of which those without an output could not be prepared. Where some have a mask, lists
    name no others. split: how many subjects, drawn at random, each part has; None: the rest. Raises UadError where
    something else is in the way, and where there are too few subjects.
    """
    layout, folder = layout_of(key), jobs[0].output.parent if jobs and jobs[0].output else Path()
    done = [(job.output, job.found) for job in jobs if job.output and job.found and job.output.is_file()]
    if not done:
        return
    table = done[0][1].truth if layout.boxes else None
    boxes = Annotations.read(table) if table else None
    rows = [_row(layout, boxes, path, found, tell) for path, found in done]
    rows = [row for row in rows if row["truth"]] or rows
    parts = {ALL: rows} | _parted(rows, split, seed)
    used = [column for column in COLUMNS if any(row[column] for row in rows)]
    for name, listed in parts.items():
        _write(folder / f"{name}.csv", [{column: row[column] for column in used} for row in listed])
    counts = [f"{name}.csv {len(listed)}" for name, listed in parts.items()]
    tell(f"{folder}: scans in {', '.join(counts)}")


def _row(layout: Layout, boxes: Annotations | None, path: Path, found: Found, tell: Tell) -> Row:
    truth = "" if found.truth is None else _truth(layout, boxes, path, found, tell)
    sick = "" if found.sick is None else _told(found.sick)
    others = {part: found.parts.get(part, "") for part in ("session", "site")}
    source = os.path.relpath(found.path, path.parent)
    named = {"path": path.name, "truth": truth, "sick": sick, "subject": found.subject}
    return {**named, **others, "contrast": found.contrast, "scan": source}


def _truth(layout: Layout, boxes: Annotations | None, path: Path, found: Found, tell: Tell) -> str:
    """Write the mask of a scan, on its grid, with no label that is a guess; returns its file's name, none where it has
    no mask, or one that does not lie on its grid, which is told.
    """
    scan, file = read_image(found.path), path.with_name(f"{found.name}_truth.nii.gz")
    read = boxes.mask(found.name, scan) if boxes else _read_mask(layout, found, scan, tell)
    if read is None:
        return ""
    settings = {"layout": layout.key, "label": list(layout.label), "ignore": list(layout.ignore)}
    made = replace(read, provenance=record(read, "uad-preprocess", settings) | {"study": found.name})
    if not file.exists():
        save(made, file)
    elif not _same(file, made):
        raise UadError(f"{file}: exists, and is not the mask of {found.path.name} (remove it)")
    return file.name


def _read_mask(layout: Layout, found: Found, scan: Image, tell: Tell) -> Image | None:
    assert found.truth is not None
    mask = read_image(found.truth)
    if not mask.grid.same(scan.grid):
        unlike = mask.grid.unlike(scan.grid)
        tell(f"{found.name}: {found.truth.name} lies on another grid, and no list names it ({unlike})")
        return None
    choice = Choice(layout.label, layout.ignore)
    read, guesses = read_labels(replace(mask, role="truth"), "truth", str(found.truth), choice)
    return replace(read, provenance=read.provenance | noting(read, guesses))


def _same(file: Path, made: Image) -> bool:
    there = read_image(file)
    return there.role == made.role and np.array_equal(there.data, made.data) and there.grid.same(made.grid)


def _told(path: Path) -> str:
    told = next(iter(read_lines(path)), "").strip()
    if told not in ("0", "1"):
        raise UadError(f"{path}: '{told[:20]}', where 0 or 1 says whether a scan is sick (is it another file?)")
    return told


def _parted(rows: Sequence[Row], split: Mapping[str, int | None], seed: int) -> dict[str, list[Row]]:
    """Draw subjects for each part of a split; all scans of a subject go together."""
    subjects = sorted({row["subject"] for row in rows})
    _enough(subjects, split)
    random.Random(seed).shuffle(subjects)
    parts, at = dict[str, list[Row]](), 0
    for name, count in split.items():
        end = len(subjects) if count is None else at + count
        drawn, at = {*subjects[at:end]}, end
        parts[name] = [row for row in rows if row["subject"] in drawn]
    return parts


def _enough(subjects: Collection[str], split: Mapping[str, int | None]) -> None:
    needed = sum(count or 1 for count in split.values())
    if needed > len(subjects):
        raise Misuse(f"--split: {needed} subjects are needed, and {len(subjects)} are there (take fewer)")


def _write(path: Path, rows: Sequence[Row]) -> None:
    """Write a list, in the place of one that an earlier run wrote. Raises UadError where another file is there."""
    ours = path.is_file() and {*read_lines(path)[0].split(",")} <= {*COLUMNS}
    with written(path, force=ours) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else list(COLUMNS), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
