"""Tables of true bounding boxes, for data sets that have these and no masks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from uadtools.errors import UadError
from uadtools.files import read_rows
from uadtools.metrics.boxes import Boxes, filled
from uadtools.volume.io import Image

ENDS = ("x0", "y0", "z0", "x1", "y1", "z1")
"""Columns: the first and the last voxel of a box along each axis, both in it, counted from 0."""
DIGITS = 10
"""No grid has voxels with numbers of as many."""


@dataclass(frozen=True)
class BoxTable:
    """The boxes of scans, by their names. path: of the table, for errors; asked: the names that were looked up."""

    path: Path
    boxes: dict[str, Boxes]
    asked: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, path: Path) -> BoxTable:
        """Read a table (.csv, .tsv) with the columns name and ENDS. Raises UadError, also for a box that is none."""
        rows = read_rows(path, ("name", *ENDS), f"no table of boxes (columns name, {', '.join(ENDS)})")
        listed: dict[str, list[list[list[int]]]] = {}
        for row in rows:
            ends = [row[end] for end in ENDS]
            if not all(end.isdecimal() and len(end) < DIGITS for end in ends):
                raise UadError(f"{path}: {row['name']}: {', '.join(ends)} is no box (whole numbers of voxels, from 0)")
            low, high = [int(end) for end in ends[:3]], [int(end) + 1 for end in ends[3:]]
            if any(a >= b for a, b in zip(low, high, strict=True)):
                raise UadError(f"{path}: {row['name']}: {', '.join(ends)} is no box (it ends before it begins)")
            listed.setdefault(row["name"], []).append([low, high])
        return cls(path, {name: np.array(boxes, dtype=np.intp) for name, boxes in listed.items()})

    def truth(self, name: str, image: Image) -> tuple[Boxes, Image]:
        """Return the boxes of a scan, none where the table has none, and the mask of what lies in them, on its grid.

        Raises UadError where they leave the grid.
        """
        self.asked.add(name)
        boxes, shape = self.boxes.get(name, np.empty((0, 2, 3), dtype=np.intp)), image.grid.shape
        if (boxes[:, 1] > shape).any():
            size = " x ".join(map(str, shape))
            raise UadError(f"{self.path}: {name}: a box leaves the prediction's {size} voxels (boxes are in its grid)")
        return boxes, image.derive(filled(boxes, shape).astype(np.uint8), "truth")

    def left(self) -> list[str]:
        """List the names that no scan had."""
        return [name for name in self.boxes if name not in self.asked]


def table_of(path: Path | str | None) -> BoxTable | None:
    """Read a table of boxes, if there is one."""
    return None if path is None else BoxTable.read(Path(path))
