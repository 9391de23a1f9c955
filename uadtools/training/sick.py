"""Which scans are sick, and which of their slices, for models that learn from images as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.concerns import Concern
from uadtools.datasets.pairs import persons
from uadtools.errors import Misuse, UadError
from uadtools.grids.slices import to_slices
from uadtools.interface.recipe import Recipe, WeakRecipe
from uadtools.training.lesions import Masks, by_name, lines_of, masks_in
from uadtools.volume.flat import is_flat
from uadtools.volume.io import Image
from uadtools.volume.labels import BY_THEMSELVES, IGNORED, LESION, Choice
from uadtools.volume.listing import files_of
from uadtools.volume.stream import base_name

COLUMN = "sick"
"""Of a list, whether each scan is: one of _YES or of _NO."""
OPTION, BY_SLICE = "--sick", "--sick-slices"
_YES, _NO = ("1", "true", "yes"), ("0", "false", "no")


@dataclass(frozen=True)
class Sick:
    """The scans that are sick, by their files; all others are healthy.

    masks: of the lesions in some of them, by which their slices are told apart: those that a lesion touches are sick,
    those at least so many mm apart from any are healthy. The others are as their scans are.
    """

    files: frozenset[str]
    masks: Masks
    apart: float

    def slices_of(self, file: str, scan: Image) -> NDArray[np.uint8]:
        """Return what each slice of a scan is: LESION where it is sick, 0 healthy, IGNORED neither.

        Raises UadError for a sick scan without a lesion, and where its mask does not fit it.
        """
        count = scan.data.shape[2]
        if file not in self.masks.files:
            return np.full(count, LESION if file in self.files else 0, np.uint8)
        labels = to_slices(self.masks.on(file, scan))[:, 0]
        lesion, ignored = (np.flatnonzero((labels == value).any(axis=(1, 2))) for value in (LESION, IGNORED))
        if not len(lesion):
            mask = self.masks.files[file]
            raise UadError(f"{file}: is named as sick, and its mask {mask} holds no lesion (leave it out)")
        between = 0.0 if is_flat(Path(file)) else scan.grid.spacing[2]
        marked = np.concatenate([lesion, ignored])
        away = np.abs(np.arange(count)[:, None] - marked).min(axis=1)
        near = (away == 0) | (away * between < self.apart) & (between > 0)
        kinds = np.where(near, IGNORED, 0).astype(np.uint8)
        kinds[lesion] = LESION
        return kinds


def sick_of(
    recipe: Recipe,
    scans: Sequence[str],
    sick: Sequence[str],
    masks: Sequence[str],
    label: Sequence[int],
    ignore: Sequence[int],
) -> Sick | None:
    """Find which scans are sick that a recipe learns from, or is judged on; none for one that is told of no sickness.

    scans, sick: files, folders and lists; of the former those are sick, too, that their lists have in the column
    COLUMN. masks: of the lesions in all sick scans, or none, where lists of these have them in their column. label,
    ignore: of masks. Raises UadError where nothing is sick, and where a scan is named as both.
    """
    if not isinstance(recipe, WeakRecipe):
        if sick or masks:
            option = OPTION if sick else BY_SLICE
            takes = ", but takes masks of lesions, --labels" if recipe.LABELLED else ""
            raise UadError(f"{option}: recipe {recipe.name} is told of no sick scans{takes} (leave it out)")
        return None
    files, others = _files(sick), _files(scans)
    healthy = frozenset(others)
    told = {file: is_sick for source in (*scans, *sick) for file, is_sick in _told(source)}
    if both := [file for file in files if file in healthy or not told.get(file, True)]:
        raise UadError(f"{OPTION}: {both[0]} is named as healthy, too (leave it out of one of them)")
    files += [file for file in others if told.get(file)]
    if not files:
        raise Misuse(f"{OPTION}: recipe {recipe.name} learns from healthy and sick scans, and there are no sick ones")
    choice = Choice(tuple(label), tuple(ignore))
    beside = by_name(BY_SLICE, files, masks) if masks else masks_in([*scans, *sick])
    beside = {file: beside[file] for file in files if file in beside}
    if choice != BY_THEMSELVES and not beside:
        raise UadError(f"{'--label' if label else '--ignore'} has no effect without {BY_SLICE} (leave it out)")
    return Sick(frozenset(files), Masks(beside, choice, BY_SLICE), recipe.data.apart)


def of_one_person(sick: Sick, scans: Sequence[str]) -> list[Concern]:
    """Tell of persons who by the names of their scans are among the healthy and the sick ones. scans: all of them."""
    healthy, ill = dict[str, str](), dict[str, str]()
    for file in _files(scans):
        (ill if file in sick.files else healthy).setdefault(base_name(Path(file)), file)
    pairs = persons(list(ill), list(healthy))
    if not pairs:
        return []
    name, other = ill[pairs[0][0]], healthy[pairs[0][1]]
    more = f", and {len(pairs) - 1} more" if len(pairs) > 1 else ""
    told = f"{OPTION}: {name} is named as one person with {other}, among the healthy ones{more}"
    return [Concern("person", f"{told} (what tells persons apart may be learnt as sickness)", float(len(pairs)))]


def _files(sources: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(file for source in sources for file in files_of(source)))


def _told(source: str) -> Iterator[tuple[str, bool]]:
    """Yield the scans of which a list says whether they are sick. Raises UadError where it says anything else."""
    for where, scan, line in lines_of(source):
        if line.get(COLUMN) not in (None, ""):
            told = _truth(line[COLUMN], where)
            yield from ((file, told) for file in files_of(scan))


def _truth(value: Any, where: str) -> bool:
    word = str(value).strip().lower()
    if word not in (*_YES, *_NO):
        expected = f"{', '.join(_YES)} or {', '.join(_NO)}"
        raise UadError(f"{where}: {COLUMN} is '{value}' (expected: {expected})")
    return word in _YES
