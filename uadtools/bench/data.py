"""The scans of a comparison: which there are, what is drawn into them, and what tells that they have changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from uadtools.bench.folds import Folds, Part, parted
from uadtools.bench.plan import BenchConfig, SetConfig, Sources
from uadtools.errors import UadError
from uadtools.evaluation.subgroups import read_participants
from uadtools.files import read_rows
from uadtools.grids.grid import cropped_grid
from uadtools.simulation.plan import Simulation
from uadtools.simulation.simulate import read_masks, simulate
from uadtools.volume.io import Image
from uadtools.volume.labels import read_labels
from uadtools.volume.listing import files_of
from uadtools.volume.stream import Study, noting, read_image, read_path


@dataclass(frozen=True)
class Item:
    """One file to be judged, and its truth or, of a simulation in the test set `drawn`, the number of the copy.

    With neither it is healthy and left as it is, but for its contrast.
    """

    file: str
    truth: str | None = None
    drawn: str = ""
    copy: int = 0
    contrast: float = 1.0

    @property
    def untouched(self) -> Item:
        return Item(self.file, contrast=self.contrast)


@dataclass(frozen=True)
class Scans:
    """Where a comparison's scans are. base: the folder that sources are relative to; fold: the one that counts."""

    config: BenchConfig
    base: Path
    fold: int | None = None

    def files(self, sources: Sources) -> list[str]:
        """List the files of sources. Raises UadError when one is missing."""
        files = [file for source in sources for file in files_of(str(self.base / source))]
        if missing := [file for file in files if not bare(file).is_file()]:
            raise UadError(f"{missing[0]}: no such file (--data names the folder that paths are relative to)")
        return files

    @property
    def learnt(self) -> list[str]:
        """The files to learn from. Raises UadError as files."""
        return self._kept(self.files(self.config.data.train), "learn")

    @property
    def tuned(self) -> list[str]:
        """The files to choose weights by. Raises UadError as files."""
        return self._kept(self.files(self.config.data.val), "tune")

    def masks(self) -> dict[str, Any]:
        """Return the masks of what is learnt from, in the words of training.train.train. Raises UadError as files."""
        data = self.config.data
        labels = self._kept(self.files(data.labels), "learn", "tune")
        return {"labels": labels, "label": data.label, "ignore": data.ignore}

    def all_files(self) -> list[str]:
        """List all that a result depends on: scans, truths and masks. Raises UadError as files."""
        data, drawn = self.config.data, [part.simulate for part in self.config.sets if part.simulate]
        tables = [str(self.base / data.participants)] if data.participants else []
        named = [data.train, data.val, data.labels, *(lesions.masks for lesions in drawn)]
        items = [item for part in self.config.sets for split in ("val", "test") for item in self.items(part, split)]
        judged = [file for item in items for file in (item.file, item.truth) if file]
        return sorted({*tables, *(file for sources in named for file in self.files(sources)), *judged})

    def _kept(self, files: list[str], *parts: Part) -> list[str]:
        """Return the files that are for something in this fold; all where there are no folds."""
        fold = self.fold
        return files if fold is None else [file for file in files if {*parts} & {*self._folds.parts(file, fold)}]

    @cached_property
    def _folds(self) -> Folds:
        data = self.config.data
        people = read_participants(self.base / data.participants) if data.participants else None
        return parted(self.files(data.train), self.config.folds, people, data.stratify, self.config.seed)

    def items(self, part: SetConfig, split: str) -> list[Item]:
        """List the scans of a test set: split "val" or "test". Raises UadError when some are missing."""
        sources: Sources = getattr(part, split)
        if part.simulate is None:
            items = [item for source in sources for item in _listed(self.base / source)]
        else:
            copies = range(part.simulate.copies)
            items = [Item(file, drawn=part.name, copy=copy) for file in self.files(sources) for copy in copies]
        kept = {*self._kept([item.file for item in items], "judge" if split == "test" else "tune")}
        if self.fold is not None and not kept:
            raise UadError(f"[[set]] {part.name}: in fold {self.fold + 1}, nobody is in {split} (name more people)")
        items = [item for item in items if item.file in kept]
        return [replace(item, contrast=part.contrast) for item in items] if split == "test" else items

    def check(self, part: SetConfig) -> None:
        """Raise UadError when scans are missing, or when what is judged on was learnt from or tuned on."""
        judged = {_place(item.file) for item in self.items(part, "test")}
        others = {
            "its val": [item.file for item in self.items(part, "val")],
            "data.train": self.learnt,
            "data.val": self.tuned,
        }
        for name, files in others.items():
            if shared := judged & {_place(file) for file in files}:
                raise UadError(f"[[set]] {part.name}: test and {name} share {min(shared)} (judge on other scans)")

    def study(self, item: Item) -> Study:
        """Read a scan, draw lesions into it or read its truth, and change its contrast. Raises UadError."""
        study = self._with_lesions(item)
        return study if item.contrast == 1 else simulate(study, Simulation("contrast", level=item.contrast))

    def _with_lesions(self, item: Item) -> Study:
        study = next(read_path(Path(item.file)))
        if item.drawn:
            drawn = simulate(study, self._plans[item.drawn], seed=self.config.seed, copy=item.copy)
            return replace(drawn, name=f"{study.name}_{item.copy + 1}") if item.copy else drawn
        if item.truth:
            truth, guesses = read_labels(read_image(Path(item.truth)), "truth", item.truth)
            known = replace(truth, provenance=truth.provenance | noting(truth, guesses))
            return study.adding(study.product, known.derive(known.data, "truth"))
        return study

    def stamp(self, item: Item) -> list[Any]:
        """Return what changes when the file, its truth, what is drawn into it or its contrast does."""
        files = [stamp(file) for file in (item.file, item.truth) if file]
        contrast = [] if item.contrast == 1 else [item.contrast]
        return [files, item.copy, self._drawings[item.drawn] if item.drawn else None, *contrast]

    @cached_property
    def _drawings(self) -> dict[str, list[Any]]:
        """What decides a drawing, by test set."""
        return {
            part.name: [lesions.drawing, self.config.seed, [stamp(mask) for mask in self.files(lesions.masks)]]
            for part in self.config.sets
            if (lesions := part.simulate)
        }

    @cached_property
    def _plans(self) -> dict[str, Simulation]:
        return {
            part.name: Simulation(
                **lesions.model_dump(exclude={"copies", "masks"}, exclude_none=True),
                masks=read_masks([str(self.base / mask) for mask in lesions.masks]),
            )
            for part in self.config.sets
            if (lesions := part.simulate)
        }


def singles(study: Study) -> list[Study]:
    """Make a study of each slice of a stack, along the third axis."""
    depth = range(study.product.grid.shape[2])
    return [Study(f"{study.name}_{z}", {r: _single(image, z) for r, image in study.images.items()}) for z in depth]


def _single(image: Image, z: int) -> Image:
    x, y, _ = image.grid.shape
    grid = cropped_grid(image.grid, (x, y, 1), np.array([(x - 1) / 2, (y - 1) / 2, z]))
    return image.derive(image.data[:, :, z : z + 1], image.role, grid)


def spread(study: Study, count: int | None) -> list[int]:
    """Return the slices of a stack that are cases: all, or count of those with lesions, evenly spaced.

    Without a lesion they are of those with a score. They are the middles of as many equal parts, so that none is the
    first or last slice of a large lesion. Source: the protocol of Damudi & Kini 2024, four slices of each tumour.
    """
    if count is None:
        return list(range(study.product.grid.shape[2]))
    images = (study.images.get("truth"), study.product)
    shown = (np.flatnonzero((image.data > 0).any(axis=(0, 1))) for image in images if image is not None)
    places = next((places for places in shown if len(places)), np.arange(0))
    parts = range(count if len(places) else 0)
    return sorted({int(places[int((part + 0.5) * len(places) / count)]) for part in parts})


def stacked(image: Image, parts: Sequence[Image]) -> Image:
    """Put what was made of the slices of a stack together again, on the grid of an image of it."""
    return parts[0].derive(np.concatenate([part.data for part in parts], axis=2), parts[0].role, image.grid)


def slice_by_slice(study: Study, work: Callable[[Study], Study]) -> Study:
    """Do something to every slice of a stack by itself; returns its images after the products, put together.

    Slices that show nothing, as volumes have them above and below the head, stay so.
    """
    parts = singles(study)
    made = {z: work(part).product for z, part in enumerate(parts) if part.product.data.any()}
    made = made or {0: work(parts[0]).product}
    nothing = next(iter(made.values()))
    nothing = nothing.derive(np.zeros_like(nothing.data), nothing.role)
    return study.adding(stacked(study.product, [made.get(z, nothing) for z in range(len(parts))]))


def _listed(path: Path) -> list[Item]:
    """Read a list of scans and truths; paths are relative to it. Raises UadError."""
    rows = read_rows(path, ("path", "truth"), "a .csv with the columns path and truth is needed")
    items = [Item(str(path.parent / row["path"]), str(path.parent / row["truth"])) for row in rows]
    if missing := [file for item in items for file in (item.file, str(item.truth)) if not Path(file).is_file()]:
        raise UadError(f"{path}: names {missing[0]}, and there is no such file")
    return items


def stamp(file: str) -> list[Any]:
    """Return what changes when a file does: name, size and time. Raises UadError when there is none."""
    try:
        status = bare(file).stat()
    except OSError as error:
        raise UadError(f"{file}: {error.strerror or error}") from None
    return [Path(file).name, status.st_size, status.st_mtime_ns]


def _place(file: str) -> str:
    """Return a file's absolute path, links followed, with the key of FILE.npz:KEY."""
    path = bare(file)
    return str(path.resolve()) + file[len(str(path)) :] if file.startswith(str(path)) else file


def bare(file: str) -> Path:
    """Return the path of FILE.npz:KEY without the key."""
    head, mark, _ = file.rpartition(".npz:")
    return Path(f"{head}.npz" if mark else file)
