"""Pages of many studies in one call, and the index of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from uadtools import __version__
from uadtools.cohort.results import Result, carried
from uadtools.concerns import Tell, silent
from uadtools.datasets.beside import grouped, read_group
from uadtools.datasets.pairs import Names, by_order
from uadtools.datasets.sink import may_be_folder
from uadtools.datasets.sources import Sources, image_beside, listed, some_words, studies
from uadtools.errors import Misuse, UadError
from uadtools.files import written
from uadtools.grids.placement import Form
from uadtools.report.contents import gather, index_row
from uadtools.report.index import Row, index_html
from uadtools.report.layers import COLOURS
from uadtools.report.page import SUFFIXES as PAGES
from uadtools.report.page import check_page, write_page
from uadtools.volume.io import SUFFIXES, Image
from uadtools.volume.reading import Reading
from uadtools.volume.stream import Study

INDEX = "index.html"


def report_all(  # noqa: PLR0913  one parameter per option
    sources: Sources,
    output: Path | str | None = None,
    *,
    truth: Sources = (),
    match: bool = False,
    keep_names: bool = False,
    volume: int | None = None,
    geometry: Form | None = None,
    force: bool = False,
    tell: Tell = silent,
    fail: Tell = silent,
) -> list[Result]:
    """Write a page for each study as uad-report does; returns, for each, what `uad-report --json` says of it.

    sources: what the tools made of scans, or "-" for a stream on standard input; files of one scan are one study, and
    those that lie beside them are found; a folder stands for the detections in it. output: a file in .html, or a
    folder, which gets an index, too; none: report.html. truth: an expert's mask for each study, in their order or, with
    match, by their names. keep_names: call scans by the names of their files. tell: gets a line for what is left out.
    Of several studies in a folder, one that fails does not stop the others: fail gets the line, and its result an
    `error`. Raises UadError for an only one, and for what is wrong with all of them.
    """
    inputs, truths = some_words(sources, "detection"), Truths(listed(truth), match)
    shelf, reading = Shelf(Path(output or "report.html"), keep_names, force), Reading(volume, geometry)
    if "-" in inputs and len(inputs) > 1:
        raise Misuse("STUDY: files, or one stream")
    groups = [] if "-" in inputs else grouped(map(Path, inputs))
    truths.check(len(groups))
    shelf.check(len(groups))
    results: list[Result] = []
    for number, study in enumerate(_read(groups, reading, tell)):
        try:
            if isinstance(study, UadError):
                raise study
            results.append(shelf.add(study, truths.of(study, number, reading, tell)) | carried(study, tell))
        except UadError as error:
            if not shelf.folder or isinstance(error, Misuse):
                raise
            fail(str(error))
            results.append({"name": getattr(study, "name", ""), "error": str(error)})
        else:
            for what in results[-1]["missing"]:
                tell(f"{study.name}: not shown: {what}")
    truths.close(tell)
    shelf.close(sum("error" in one for one in results))
    return results


@dataclass
class Truths:
    """The experts' masks, one for each study by order, or by name. paired: the studies and files so far."""

    files: list[str]
    match: bool
    paired: list[tuple[str, str]] = field(default_factory=list)

    def check(self, count: int) -> None:
        """Refuse what cannot be. count: of the studies, 0 where it is not known."""
        if self.match and not self.files:
            raise Misuse("--match: pairs files, and there is no --truth")
        if count and self.files and len(self.files) != count:
            raise Misuse(f"--truth: {len(self.files)} masks for {count} studies")
        self.names = Names("--truth", self.files)

    def of(self, study: Study, number: int, reading: Reading, tell: Tell) -> Image | None:
        """Read the mask of a study; None where none are given. Raises UadError."""
        if not self.files:
            return None
        if number >= len(self.files):
            raise Misuse(f"--truth: {len(self.files)} masks, and the stream holds more studies")
        file = self.names.take(study.name) if self.match else self.files[number]
        self.paired.append((study.name, file))
        return image_beside(file, reading.beside, tell)

    def close(self, tell: Tell) -> None:
        """Tell of pairs that may be none."""
        for concern in () if self.match else by_order("--truth", self.paired):
            tell(str(concern))


def _read(groups: list[list[Path]], reading: Reading, tell: Tell) -> Iterator[Study | UadError]:
    """Read the studies of groups of files, or of the stream where there are none; a broken one's fault in its place."""
    if not groups:
        yield from studies(["-"], reading, tell)
    for group in groups:
        try:
            yield from read_group(group, [role for role in COLOURS if role != "hit"], reading, tell)
        except UadError as error:
            yield error


@dataclass
class Shelf:
    """Where pages go: one file, or a folder of them with an index.

    keep_names: call scans by the names of their files, else by their number. written: the names of the pages so far.
    """

    target: Path
    keep_names: bool
    force: bool
    written: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    @property
    def folder(self) -> bool:
        return self.target.suffix.lower() not in PAGES

    def check(self, count: int) -> None:
        """Refuse what cannot be written before any work is done. count: of the studies, 0 where it is not known."""
        wrong = self.target.name.lower().endswith(SUFFIXES) or (self.folder and not may_be_folder(self.target))
        if wrong or str(self.target) == "-":
            raise Misuse(f"--output: {self.target}: pages go to a file in .html, or to a folder")
        if not self.folder and count > 1:
            raise Misuse(f"--output: {self.target} is one file, and there are {count} studies (name a folder)")
        if self.folder and self.target.exists() and not self.target.is_dir():
            raise UadError(f"{self.target}: is no folder (pages have names in .html)")
        if not self.folder or self.target.is_dir():
            check_page(self.target / INDEX if self.folder else self.target, force=self.force)

    def add(self, study: Study, truth: Image | None) -> Result:
        """Write the page of a study. Raises UadError."""
        if self.written and not self.folder:
            raise UadError(f"{self.target}: is one file, and there are several studies (name a folder)")
        number = len(self.written) + 1
        title = study.name if self.keep_names else f"Scan {number}" if self.folder else "Scan"
        path = self.target / f"{Path(title).name.replace(' ', '-')}.html" if self.folder else self.target
        if path.name in self.written:
            raise UadError(f"{path}: would be written twice: two studies have this name")
        page = gather(study, truth, title=title)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_page(page, path, force=self.force)
        self.written.append(path.name)
        self.rows += [index_row(page, study, path.name)] if self.folder else []
        return {
            "name": study.name,
            "output": str(path),
            "layers": [layer.role for layer in page.layers],
            "findings": None if page.findings is None else len(page.findings),
            "missing": list(page.missing),
        }

    def close(self, lost: int) -> None:
        """Write the index of a folder, where there is a page. lost: how many studies failed."""
        if self.rows:
            with written(self.target / INDEX, force=self.force) as part:
                part.write_text(index_html(self.rows, __version__, lost), encoding="utf-8")
