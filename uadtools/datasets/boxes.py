"""Tables of boxes of fastMRI+, as masks of scans."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uadtools.errors import UadError
from uadtools.files import read_lines, read_rows
from uadtools.metrics.boxes import filled
from uadtools.volume.io import Image

COLUMNS = ("file", "slice", "study_level", "x", "y", "width", "height", "label")
REVIEWED = "brain_file_list.csv"
"""Beside the table: all that was looked at; what is in it, and not in the table, is without findings."""


@dataclass(frozen=True)
class Annotations:
    """The boxes of scans, by their names. table: the file, for errors; reviewed: who has none, as somebody looked."""

    table: Path
    rows: Mapping[str, Sequence[Mapping[str, str]]]
    reviewed: Collection[str]

    @classmethod
    def read(cls, table: Path) -> Annotations:
        """Read a table, and the list beside it. Raises UadError."""
        rows: dict[str, list[dict[str, str]]] = {}
        for row in read_rows(table, COLUMNS, "no table of boxes as fastMRI+ has it"):
            rows.setdefault(row["file"], []).append(row)
        beside = table.with_name(REVIEWED)
        return cls(table, rows, {line.strip() for line in read_lines(beside)} if beside.is_file() else ())

    def mask(self, name: str, scan: Image) -> Image | None:
        """Return the mask of what lies in a scan's boxes, of nothing where it has none; None where nobody has looked.

        x, y: the first column and row of a box, counted from 0 in the array (X, Y, slices) of the scan, whose rows are
        those of the pictures that were annotated: the reconstruction of fastMRI, flipped up and down. What is said of
        the whole study has no box. Raises UadError for a box that leaves the scan.
        """
        if name not in self.rows and name not in self.reviewed:
            return None
        boxes = [self._box(name, row) for row in self.rows.get(name, ()) if row["study_level"].lower() != "yes"]
        found, shape = np.array(boxes, dtype=np.intp).reshape(-1, 2, 3), scan.grid.shape
        if (found[:, 1] > shape).any():
            size = " x ".join(map(str, shape))
            raise UadError(f"{self.table}: {name}: a box leaves the scan's {size} voxels (is it cropped, or turned?)")
        return scan.derive(filled(found, shape).astype(np.uint8), "truth")

    def _box(self, name: str, row: Mapping[str, str]) -> list[list[int]]:
        words = [row[column] for column in ("x", "y", "slice", "width", "height")]
        if not all(word.isdecimal() for word in words):
            raise UadError(f"{self.table}: {name}: {', '.join(words)} is no box (x, y, slice, width, height)")
        x, y, z, width, height = map(int, words)
        return [[x, y, z], [x + width, y + height, z + 1]]
