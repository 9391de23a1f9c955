"""Where studies go: files, a folder, or a stream on standard output."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from uadtools.datasets.anonymous import anonymous
from uadtools.datasets.bids import sibling
from uadtools.datasets.origin import Origin
from uadtools.datasets.sources import STDIN
from uadtools.errors import Misuse, UadError
from uadtools.files import check_free
from uadtools.volume.converters import FORMATS
from uadtools.volume.flat import is_flat
from uadtools.volume.foreign import FOREIGN
from uadtools.volume.io import SUFFIXES, Image, check_target, save, save_sidecar, sidecar
from uadtools.volume.stream import Study, base_name, is_image, read_image, write_study

NO_FOLDERS = (
    ".tmp", ".part", ".bak", ".gz", ".bz2", ".xz", ".zip", ".tar", ".tgz", ".7z", ".png", ".jpg", ".jpeg", ".tif",
    ".tiff", ".gif", ".bmp", ".svg", ".pdf", ".json", ".jsonl", ".csv", ".tsv", ".txt", ".toml", ".html", ".npy",
    ".npz", ".mat", ".h5", ".pkl", ".pt", ".pth", ".safetensors", ".log",
    *FOREIGN, *(end for each in FORMATS for end in each.ends),
)  # fmt: skip
"""Endings of files that nobody gives a folder; sub-01.v2 is one."""
NOTHING: Mapping[str, Origin] = {}
Done = Callable[[str | UadError | None], None]
"""Is told the file that was written, none for a stream, or why it was not."""


@dataclass
class Sink:
    """Takes each study's product to where the user wants it.

    suffix: what files are called after the study's name. target: a file, a folder, or None for no file at all.
    stream: write whole studies to stdout. maps: roles that get files of their own beside the product's. sources: the
    inputs, which are never replaced. places: files that studies of these names go to, wherever the others do. several:
    it is one of many, and one without history may be done already. ours: files that an earlier run of the same made,
    which may be replaced. anonymous: studies are called after the files they go to, and their history names no file;
    numbers: of those in a stream.
    """

    suffix: str
    target: Path | None
    stream: bool
    force: bool
    provenance: bool
    maps: Sequence[str] = ()
    sources: Sequence[Path] = ()
    places: Mapping[str, Path] = field(default_factory=dict)
    anonymous: bool = False
    several: bool = False
    ours: set[Path] = field(default_factory=set)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    taken: set[Path] = field(default_factory=set)

    @classmethod
    def of(  # noqa: PLR0913  one parameter per option
        cls,
        suffix: str,
        inputs: Sequence[str] | None,
        output: Path | str | None,
        *,
        force: bool,
        provenance: bool,
        as_json: bool,
        maps: Sequence[str] = (),
        resumed: bool = False,
        places: Mapping[str, Path] | None = None,
        anonymous: bool = False,
        several: bool = False,
    ) -> Sink:
        """Settle where the output goes, and refuse what cannot work before any work is done.

        resumed: files that exist are not in the way yet, as they may be what an earlier run made (see `done`).
        """
        piped = not inputs or list(inputs) == ["-"]
        stream = str(output) == "-" or (output is None and piped and not as_json)
        if output is not None and not may_be_folder(output):
            raise Misuse(f"--output: {output}: images are written as .nii or .nii.gz (a folder's name may end in /)")
        nowhere = stream or (output is None and piped)
        if stream and as_json:
            raise Misuse("--json: an image stream and JSON cannot share standard output (give -o FILE)")
        if stream and not sys.stdout:
            raise UadError("standard output is closed (-o FILE, or pipe it into the next command)")
        if stream and sys.stdout.isatty():
            raise UadError("images are not written to a terminal (-o FILE, or pipe it into the next command)")
        sources = [Path(source) for source in inputs or () if source != "-"]
        if missing := [source for source in sources if not (_there(source) or is_flat(source))]:
            raise UadError(f"{missing[0]}: No such file or directory")
        folder = None if nowhere else Path(output or "")
        sink = cls(suffix, folder, stream, force, provenance, maps, sources, places or {}, anonymous, several)
        if anonymous and sink.target is not None and not sink.is_file:
            raise Misuse("--anonymous: files in a folder are named after the scans (name a file: -o FILE.nii.gz)")
        sink._check([base_name(source) for source in sources], resumed)
        return sink

    def _check(self, names: Sequence[str], resumed: bool) -> None:
        """Refuse files of which it is known already that they cannot be written; names: of the inputs."""
        if self.target is None:
            return
        if self.is_file and len(names) > 1:
            raise Misuse(f"--output: {self.target} is one file, and there are {len(names)} inputs (name a folder)")
        if not self.is_file and self.target.exists() and not self.target.is_dir():
            raise UadError(f"{self.target}: is no folder (image files have names in .nii or .nii.gz)")
        if not self.places and (twice := [name for name, times in Counter(names).items() if times > 1]):
            raise UadError(f"{self._path(twice[0])}: would be written twice: two inputs have this name (rename one)")
        for path in () if resumed else [self.target] if self.is_file else map(self._path, names):
            self._check_files(path, self.maps)

    def _check_files(self, path: Path, roles: Sequence[str]) -> None:
        others = [self.beside(path, role) for role in roles]
        if path in others:
            raise UadError(f"{path}: the prepared scan gets this name (give the output another)")
        if path.parent.is_dir() or self.is_file:  # a folder that is still to be made has nothing in the way
            for file in (path, *others):
                check_target(file, force=self._replaces(file), provenance=self.provenance)
                if self.force and any(_same(source, file) for source in self.sources):
                    raise UadError(f"{file}: is an input, and would be replaced by what is made of it (name another)")

    @property
    def is_file(self) -> bool:
        return self.target is not None and self.target.name.lower().endswith(SUFFIXES) and not self.target.is_dir()

    def _path(self, name: str) -> Path:
        assert self.target is not None
        if name in self.places:
            return self.places[name]
        if self.is_file:
            return self.target
        return self.target / f"{'stdin' if name == STDIN else Path(name).name}_{self.suffix}.nii.gz"

    def beside(self, path: Path, role: str) -> Path:
        """Return the file of another image of the study whose product goes to this one."""
        return beside(path, role)

    def path(self, name: str) -> Path | None:
        """Return the file that a study of this name goes to, or None for the stream."""
        return None if self.target is None else self._path(name)

    def done(self, path: Path | None, origin: Origin, more: Mapping[str, Origin] = NOTHING) -> Image | None:
        """Return the product that an earlier run left at a path, if all is there that was written with it.

        more: what roles are made of that get files of their own, as maps do. What that run left otherwise may be
        replaced. Raises UadError for what was made by something else, of another study, or in another way.
        """
        if path is None or self.force or path in self.taken:
            return None
        origins = {path: origin} | {self.beside(path, role): origin for role in self.maps}
        origins |= {self.beside(path, role): other for role, other in more.items()}
        known = {file: o.nameless(base_name(path)) if self.anonymous else o for file, o in origins.items()}
        found = {file: image for file, o in known.items() if (image := self._earlier(file, o))}
        self.ours |= found.keys()
        if len(found) < len(origins):
            return None
        self.complete(*found)
        return found[path]

    def _earlier(self, path: Path, origin: Origin) -> Image | None:
        """Return what an earlier run made; None where there is nothing, and where nothing in it tells that it did."""
        if not (self.provenance or self.several):
            return None
        try:
            made = read_image(path)
        except UadError:
            return None
        origin.check(made, path, provenance=self.provenance)
        return made

    def complete(self, *files: Path) -> None:
        """Do the little that a killed run has left to do where all files are there."""
        for file in files:
            check_free(file, force=True)
            if self.provenance and is_image(file) and not sidecar(file).exists():
                save_sidecar(read_image(file), file, force=False)

    def _replaces(self, file: Path) -> bool:
        return self.force or file in self.ours

    def claim(self, study: Study, path: Path | None = None, more: Sequence[str] = ()) -> Path | None:
        """Return the file this study will go to, or None for the stream. Raises UadError if that cannot be.

        path: a file that was settled otherwise. more: roles that get files of their own, as maps do.
        """
        path = path or self.path(study.name)
        if path is None:
            return None
        if path in self.taken:
            reason = "there are several studies (name a folder)" if self.is_file else "two studies have this name"
            raise UadError(f"{path}: would be written twice: {reason}")
        self._check_files(path, (*self.maps, *more))
        self.taken.add(path)
        return path

    def called(self, study: Study, path: Path | None) -> Study:
        """Return a study as it is to be written to this file, or to the stream: without names, if it is anonymous."""
        if not self.anonymous:
            return study
        return anonymous(study, base_name(path) if path else f"scan-{next(self.numbers)}" if self.stream else "scan")

    def write(self, study: Study, path: Path | None, more: Sequence[str] = ()) -> str | None:
        """Write a study to the stream, or its product, maps and more to the files claimed. Returns the file's name."""
        study = self.called(study, path)
        if self.stream:
            with open(sys.stdout.fileno(), "wb", closefd=False) as out:
                write_study(study, out, provenance=self.provenance)
        if path is None:
            return None
        if not self.is_file:
            path.parent.mkdir(parents=True, exist_ok=True)
        for role in (*self.maps, *more):
            file = self.beside(path, role)
            save(study.need(role), file, force=self._replaces(file), provenance=self.provenance)
        force = self._replaces(path)
        product = study.in_channels(study.product.role)
        save(product[0], path, *product[1:], force=force, provenance=self.provenance)  # last: where it is, all is done
        return str(path)


def _there(source: Path) -> bool:
    """Tell whether a file is there, as far as one can see: why it cannot be read is told when it is read."""
    try:
        return source.exists()
    except OSError:
        return True


def _same(source: Path, file: Path) -> bool:
    try:
        return source.samefile(file)
    except OSError:
        return False


def beside(path: Path, role: str) -> Path:
    """Name the file of another image of the study whose product goes, or went, to this one."""
    other = sibling(path.name, role) or f"{base_name(path)}_{'preprocessed' if role == 'scan' else role}.nii.gz"
    return path.with_name(other)


def may_be_folder(output: Path | str) -> bool:
    """Tell whether a name is that of an image we write, or can be that of a folder."""
    name = Path(output).name.lower()
    image = name.endswith(SUFFIXES)
    filelike = name.endswith(NO_FOLDERS) or any(f"{end}." in name for end in (".nii", ".nii.gz"))
    return image or not filelike or str(output).endswith("/") or Path(output).is_dir()


class Behind:
    """Writes as a sink does, but files in a thread, while the next scan is worked on.

    What goes wrong with a file is told by the next call, or at the end, also where something else went wrong meanwhile.
    A stream is written at once, as its reader decides when.
    """

    def __init__(self, sink: Sink) -> None:
        self.sink, self._thread = sink, ThreadPoolExecutor(1)
        self._under_way: list[tuple[Future[str | None], Done]] = []

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, *fault: object) -> None:
        with self._thread:
            self.settle()

    def write(self, study: Study, path: Path | None, more: Sequence[str], done: Done) -> None:
        """Write as Sink.write does. done: told of it once it is written."""
        self.settle()
        if self.sink.stream:
            done(self.sink.write(study, path))
        else:
            self._under_way.append((self._thread.submit(self.sink.write, study, path, more), done))

    def settle(self) -> None:
        """Wait for what is being written."""
        while self._under_way:
            written, done = self._under_way.pop()
            try:
                output: str | UadError | None = written.result()
            except UadError as error:
                output = error
            done(output)
