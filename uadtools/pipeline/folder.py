"""The folder that is filled: what lies in it of each scan, what an earlier run did, its index and its table."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from uadtools import __version__
from uadtools.cohort.results import Result
from uadtools.concerns import read_concerns
from uadtools.datasets.bids import sibling
from uadtools.datasets.scan_jobs import ScanJob
from uadtools.datasets.sink import Sink, beside
from uadtools.errors import Misuse, UadError
from uadtools.files import check_free, read_json, write_json, written
from uadtools.report.index import Row, index_html
from uadtools.report.page import Page, check_page, write_page
from uadtools.report.tables import write_csv
from uadtools.volume.io import stem
from uadtools.volume.stream import Study, base_name

ENDING, INDEX, TABLE = "_run.json", "index.html", "results.csv"
FILES = ("output", "score", "report", "dicom_seg")
"""What a result names."""


@dataclass(frozen=True)
class Place:
    """Where what is made of a scan lies. record: a file of what was asked for and what became of it."""

    detection: Path
    page: Path

    @property
    def score(self) -> Path:
        return beside(self.detection, "score")

    @property
    def folders(self) -> set[Path]:
        return {self.detection.parent, self.page.parent}

    @property
    def dicom_seg(self) -> Path:
        return self.detection.with_name(f"{stem(self.detection)}.dcm")

    @property
    def record(self) -> Path:
        return self.page.with_name(f"{self.page.stem}{ENDING}")


@dataclass(frozen=True)
class Record:
    """What a run wrote down of a scan: how it was to be worked on, and, in the end, what became of it.

    scan: changes when a voxel does; None where it could not be read. row: of the index; none of a scan that failed.
    """

    settings: dict[str, Any]
    scan: str | None
    result: Result = field(default_factory=dict)
    row: Row | None = None

    def keep(self, path: Path) -> None:
        """Write it. Raises UadError."""
        row = self.row and {**asdict(self.row), "thumbnail": base64.b64encode(self.row.thumbnail).decode()}
        data = {"uadtools": __version__, "settings": self.settings, "scan": self.scan, "result": self.result}
        write_json(path, {**data, "row": row}, force=True)


def read_record(path: Path) -> Record:
    """Read what a run wrote down; files are named as seen from the current folder. Raises UadError."""
    data = read_json(path)
    try:
        row = data["row"] and Row(
            **{**data["row"], "thumbnail": base64.b64decode(data["row"]["thumbnail"], validate=True)}
        )
        if row and not all(value is None or isinstance(value, int | float) for value in row.numbers):
            raise ValueError
        return Record(dict(data["settings"]), data["scan"], _seen_from_here(dict(data["result"]), path.parent), row)
    except (KeyError, TypeError, ValueError):
        raise UadError(f"{path}: uad-run did not write it (name another folder)") from None


def _seen_from_here(result: Result, folder: Path) -> Result:
    """Name the files of a result where they lie beside its page, which is in this folder, and not where it was made."""
    then = Path(result.get("report", "")).parent
    named = {name: Path(result[name]) for name in FILES if name in result}
    return result | {name: str(folder / file.relative_to(then)) for name, file in named.items()}


@dataclass(frozen=True)
class Folder:
    """A folder, or a data set of derivatives, that is filled.

    roles: of the images that lie beside detections; dicom_seg: whether each detection is written as DICOM-SEG, too.
    made: folders that were not there before.
    """

    sink: Sink
    force: bool
    roles: Sequence[str]
    dicom_seg: bool = False
    made: list[Path] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        jobs: Sequence[ScanJob],
        output: Path | str | None,
        *,
        force: bool,
        roles: Sequence[str] = (),
        dicom_seg: bool = False,
    ) -> Folder:
        """Settle where all goes. Raises UadError where that cannot be."""
        if str(output) == "-":
            raise Misuse("--output: several files are written for each scan (name a folder)")
        writing: dict[str, Any] = {"force": force, "provenance": True, "as_json": False, "resumed": True}
        sink = Sink.of("detection", [job.source for job in jobs], output or ".", **writing)
        if sink.is_file:
            raise Misuse(f"--output: {output}: several files are written for each scan (name a folder)")
        return cls(sink, force, ("score", *roles), dicom_seg)

    @property
    def path(self) -> Path:
        assert self.sink.target is not None
        return self.sink.target

    def place(self, name: str, job: ScanJob) -> Place:
        """Say where what is made of a study of this name goes."""
        if job.output:
            mask = job.output.with_name(sibling(job.output.name, "detection"))
            return Place(mask, self.path / f"{base_name(Path(job.source))}.html")
        detection = self.sink.path(name)
        assert detection is not None
        return Place(detection, detection.with_name(f"{base_name(detection)}.html"))

    def claim(self, study: Study, place: Place, record: Record) -> Record | None:
        """Begin with a scan, or return what an earlier run wrote down of it; what one left half done is replaced.

        Raises UadError where something else is in the way.
        """
        before = self._before(place, record)
        if before and before.row:
            beside_it = [self.sink.beside(place.detection, role) for role in self.roles]
            beside_it += [place.dicom_seg] if self.dicom_seg else []
            if all(path.is_file() for path in (place.detection, *beside_it, place.page)):
                return replace(before, result={**before.result, "skipped": True})
        for folder in place.folders:
            self.made.extend(path for path in (folder, *folder.parents) if not path.exists())
            make_folder(folder)
        self._check(study, place, force=self.force or before is not None)
        record.keep(place.record)
        return None

    def check(self, study: Study, place: Place, settings: dict[str, Any]) -> None:
        """Raise UadError as `claim` does, as far as that shows without the scan, and write nothing."""
        before = self._before(place, Record(settings, None))
        for folder in place.folders:
            check_folder(folder)
        self._check(study, place, force=self.force or before is not None)

    def _before(self, place: Place, record: Record) -> Record | None:
        """Return what an earlier run wrote down. Raises UadError where that is of another scan, or made otherwise."""
        before = read_record(place.record) if place.record.exists() and not self.force else None
        if before and before.row:
            if record.scan and before.scan != record.scan:
                raise UadError(
                    f"{place.record}: exists, and is of another scan, or of another state of it (--force replaces it)"
                )
            if before.settings != record.settings:
                other = _difference(before.settings, record.settings)
                raise UadError(f"{place.record}: exists, and was made with another {other} (--force replaces it)")
        return before

    def _check(self, study: Study, place: Place, *, force: bool) -> None:
        """Refuse what is in the way; a folder that is still to be made has nothing in it."""
        if place.page.name == INDEX:
            raise UadError(f"{study.name}: its page would be {INDEX}, which is that of all scans (rename the scan)")
        replace(self.sink, force=force).claim(study, place.detection, more=self.roles)
        if place.page.parent.is_dir():
            check_page(place.page, force=force)
        if self.dicom_seg and place.dicom_seg.parent.is_dir():
            check_free(place.dicom_seg, force=force)

    def write(self, detected: Study, page: Page, place: Place) -> str:
        """Write what was made of a scan that was claimed; returns the name of the detection's file."""
        write_page(page, place.page, force=True)
        sink = replace(self.sink, force=True)
        return str(sink.write(detected, place.detection, more=self.roles))

    def lose(self, place: Place, lost: Record | None) -> None:
        """Write down of a scan that it failed, or, for no record, leave nothing of it; what was done before stays."""
        with suppress(UadError, OSError):
            if place.record.exists() and read_record(place.record).row:
                return
            if lost:
                make_folder(place.record.parent)
                lost.keep(place.record)
            else:
                place.record.unlink(missing_ok=True)
                for folder in sorted(self.made, reverse=True):  # a folder is sorted before those in it
                    folder.rmdir()


def check_summary(folder: Path, *, force: bool = False) -> None:
    """Refuse to put an index where another program's is. Raises UadError."""
    path = folder / INDEX
    if not force and path.is_file() and b"uadtools" not in path.read_bytes():
        raise UadError(f"{path}: exists, and is no index of reports (--force replaces it)")


def summarise(folder: Path, records: Sequence[Record]) -> None:
    """Write the index of the reports in a folder, and a table of the scans. Raises UadError."""
    make_folder(folder)
    with written(folder / INDEX, force=True) as part:
        rows, lost = [record.row for record in records if record.row], sum("error" in one.result for one in records)
        part.write_text(index_html(rows, __version__, lost, TABLE), encoding="utf-8")
    cells = [_cells(record.result) for record in records]
    longest = max(cells, key=len, default={})  # of a scan that was done, so that no failed one decides the order
    write_csv(folder / TABLE, {"scans": [{**dict.fromkeys(longest), **row} for row in cells]}, force=True)


def group(output: Path | str, *, force: bool = False) -> list[Result]:
    """Write the index and the table of all scans that were run into a folder; returns what is known of each.

    Raises UadError where there are none.
    """
    folder = Path(output)
    records = [record for path in sorted(folder.glob(f"*{ENDING}")) if (record := read_record(path)).result]
    if not records:
        raise UadError(f"{folder}: no scan was run into it (the level participant comes first)")
    check_summary(folder, force=force)
    summarise(folder, records)
    return [record.result for record in records]


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Name the first setting that is another."""
    name = next((name for name in {**before, **now} if before.get(name) != now.get(name)), "setting")
    ours, theirs = before.get(name), now.get(name)
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return f"{name}.{_difference(ours, theirs)}"
    return name


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made, as one of those above it is none. Raises UadError."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise UadError(f"{there}: is no folder (name another)")


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UadError(f"{folder}: {error.strerror or error}") from None


def _cells(result: Result) -> dict[str, Any]:
    """Lay out what is known of a scan in a line of a table: codes of concerns, and no tables in it."""
    codes = " ".join(concern.code for concern in read_concerns(result.get("concerns")))
    plain = {name: value for name, value in result.items() if name != "skipped" and not isinstance(value, dict | list)}
    return plain | {"concerns": codes, "error": result.get("error", "")}
