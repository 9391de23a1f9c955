"""Masks of lesions: which is whose, and where their voxels lie on a scan, for models that learn from labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uadtools.concerns import Concern
from uadtools.datasets.pairs import Names, are_of_others
from uadtools.datasets.sources import listed
from uadtools.errors import Misuse, UadError
from uadtools.files import parse_json, read_lines, read_rows
from uadtools.interface.recipe import Recipe, WeakRecipe
from uadtools.volume.chain import labels_on
from uadtools.volume.flat import is_flat, read_flat
from uadtools.volume.io import Image
from uadtools.volume.labels import BY_THEMSELVES, LESION, Choice, Labels, looks_unlike, read_labels
from uadtools.volume.listing import files_of, is_many
from uadtools.volume.stream import base_name, read_image

COLUMN = "truth"
"""Of a list, that of each scan's mask, as lists of uad-bench have it."""
OPTION = "--labels"
MOST = 0.5
"""Share of the brain that is more than lesions take, and less than what a mask with its labels swapped marks."""


@dataclass(frozen=True)
class Masks:
    """The masks of scans, by the files of both. choice: which of their labels count; option: by which they came."""

    files: Mapping[str, str]
    choice: Choice = BY_THEMSELVES
    option: str = OPTION
    concerns: list[Concern] = field(default_factory=list)

    def on(self, file: str, scan: Image) -> Labels:
        """Return the labels of a scan on its grid: LESION, IGNORED and 0, uint8; what is a guess is noted in concerns.

        They lie there, or on the grid of the scan before it was prepared. Raises UadError where they do neither, for an
        image that is no mask, and for one of which most of the brain is lesion.
        """
        mask = self.files[file]
        image = read_flat(Path(mask)) if is_flat(Path(mask)) else read_image(Path(mask))
        labels, guesses = read_labels(image, "truth", f"{mask}: mask", self.choice)
        if self.choice == BY_THEMSELVES and looks_unlike(image, "prediction", mask):
            raise UadError(f"{mask}: looks like a scan, not like a mask of lesions ({self.option} takes masks)")
        self.concerns.extend(guesses)
        where = "a mask lies on the grid of its scan, or of the raw one"
        placed = labels_on(labels, scan, f"{mask}: mask", file, where)
        if (share := (placed[scan.data > 0] == LESION).mean()) > MOST:
            raise UadError(
                f"{mask}: mask: {share:.0%} of the brain is lesion, so its labels seem to be swapped (--label chooses)"
            )
        return placed


def masks_of(
    recipe: Recipe, scans: Sequence[str], labels: Sequence[str], label: Sequence[int], ignore: Sequence[int]
) -> Masks | None:
    """Find the masks of all scans that a recipe learns from, or is judged on; none for one that takes none.

    scans: files, folders and lists; labels: the same of masks, which belong to the scans by their names, or none, where
    lists of the scans have a column COLUMN. Raises UadError where a scan has no mask, or a mask no scan.
    """
    choice = Choice(tuple(label), tuple(ignore))
    if not recipe.LABELLED:
        if labels or (choice != BY_THEMSELVES and not isinstance(recipe, WeakRecipe)):
            option = OPTION if labels else "--label" if label else "--ignore"
            raise UadError(f"{option}: recipe {recipe.name} takes no masks of lesions (leave it out)")
        return None
    files = list(dict.fromkeys(file for source in scans for file in files_of(source)))
    beside = by_name(OPTION, files, labels) if labels else masks_in(scans)
    if missing := [file for file in files if file not in beside]:
        what = f"the column {COLUMN} is empty" if beside else "there are none"
        raise Misuse(f"{OPTION}: recipe {recipe.name} learns from masks of lesions, and for {missing[0]} {what}")
    return Masks(beside, choice)


def by_name(option: str, scans: Sequence[str], sources: Sequence[str]) -> dict[str, str]:
    """Pair scans and masks; an only pair need not be named after one another. sources: of masks, given by an option.

    Raises UadError where a scan has no mask, or a mask no scan.
    """
    masks = listed(sources)
    if missing := [mask for mask in masks if not (is_flat(Path(mask)) or Path(mask).exists())]:
        raise UadError(f"{option}: {missing[0]}: No such file or directory")
    if len(scans) == len(masks) == 1 and not are_of_others(*(base_name(Path(file)) for file in (*scans, *masks))):
        return {scans[0]: masks[0]}
    names = Names(option, masks, by_order=False)
    pairs = {scan: names.take(base_name(Path(scan))) for scan in scans}
    if left := names.left():
        raise UadError(f"{option}: {left[0]} belongs to no scan by its name (leave it out)")
    return pairs


def masks_in(scans: Sequence[str]) -> dict[str, str]:
    """Find the masks that lists of scans, and lists in these, have in their column; paths are relative to the list."""
    lines = [(Path(source).parent, scan, line) for source in scans for source, scan, line in lines_of(source)]
    return {scan: str(folder / str(line[COLUMN])) for folder, scan, line in lines if line.get(COLUMN)}


def lines_of(source: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the lines of a list, and of lists in it: the list, the path of what a line is about, and the line."""
    path = Path(source)
    if path.is_dir() or not is_many(source) or path.suffix == ".txt":
        return
    lines = (
        read_rows(path) if path.suffix == ".csv" else [parse_json(line) for line in read_lines(path) if line.strip()]
    )
    for line in lines:
        scan = str(path.parent / line["path"])
        yield source, scan, line
        yield from lines_of(scan)
