"""Where studies come from: files, folders and lists of them, BIDS derivatives, and a stream on standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from uadtools.concerns import Tell, silent
from uadtools.datasets import bids as data_sets
from uadtools.dicom.series import chosen
from uadtools.errors import Misuse, UadError
from uadtools.files import read_json
from uadtools.volume.converters import dicom_in
from uadtools.volume.flat import is_flat, read_flat
from uadtools.volume.io import SUFFIXES, Image, sidecar, stated, stem
from uadtools.volume.listing import files_of, is_many
from uadtools.volume.reading import AS_IT_IS, Reading
from uadtools.volume.roles import role_told
from uadtools.volume.stream import Study, base_name, read_path, read_studies

STDIN = "standard input"
Sources = Path | str | Sequence[Path | str]
"""Files, folders and lists; "-" is standard input."""
MAPS = ("anomaly", "probability", "expected", "perceptual", "spread", "region", "bound", "chain", "nll")
MADE = ("preprocessed", "brain", "healed", *MAPS, "score", "detection")
"""How the names of files end that are made of a scan, unless the user chooses others."""
NO_SCAN = "no scan is named (name files, or - for standard input)"


def words(sources: Sources) -> list[str]:
    """List sources as words, an only one, too."""
    return [str(source) for source in ([sources] if isinstance(sources, Path | str) else sources)]


def listed(sources: Sources, called: str | Sequence[str] = ()) -> list[str]:
    """List the files that sources stand for: those of folders and lists, or themselves.

    called: of a folder, only the files NAME_CALLED are meant, of several names of the first that there is; else all but
    what was made of others in it. Raises UadError for a folder without any.
    """
    return [file for source in words(sources) for file in _listed(source, words(called))]


def some_words(sources: Sources, called: str | Sequence[str] = ()) -> list[str]:
    """List the files that sources stand for. Raises UadError where there are none."""
    if not (inputs := listed(sources, called)):
        raise UadError(NO_SCAN)
    return inputs


def some_scans(sources: Sources) -> list[str]:
    """List the scans that sources stand for. Raises UadError where there are none."""
    if not (inputs := scans(sources)):
        raise UadError(NO_SCAN)
    return inputs


def scans(sources: Sources) -> list[str]:
    """List the files as `listed` does; of a folder not those of which header or JSON tell that a uad tool made a mask,
    a map or a healed scan of another.

    Raises UadError for a folder without any others.
    """
    return [file for source in words(sources) for file in _scans(source)]


def _scans(source: str) -> list[str]:
    files = _listed(source, ())
    if not Path(source).is_dir():
        return files
    found = [file for file in files if not _is_made(Path(file))]
    if files and not found and dicom_in(Path(source)):
        raise UadError(f"{source}: holds what uad tools made beside its DICOM, {files[0]} (move that elsewhere)")
    if files and not found:
        raise UadError(f"{source}: holds only what uad tools made of scans (name the folder of these)")
    return found


def _is_made(path: Path) -> bool:
    """Tell whether an image says that it is no scan; one that cannot be read is told when it is."""
    if not path.name.lower().endswith(SUFFIXES) or path.is_dir():
        return False
    try:
        role, provenance = stated(path)
        beside = read_json(sidecar(path)) if sidecar(path).is_file() else {}
    except UadError:
        return False
    history = provenance.get("history") or (beside.get("history") if isinstance(beside, dict) else None)
    return role_told(role, history) not in (None, "scan")


def _listed(source: str, called: Sequence[str]) -> list[str]:
    if source == "-":
        return [source]
    files = list(files_of(source))
    stems = {file: stem(Path(file)) for file in files}
    if not called:
        bare = {name.removesuffix("_preprocessed") for name in stems.values()}
        products = {f"{name}_{MADE[0]}" for name in stems.values()} | {f"{b}_{end}" for b in bare for end in MADE[1:]}
        return [file for file in files if stems[file] not in products]
    found = files
    if Path(source).is_dir():  # folders among the files are those that cannot be read, which is told of each
        ends = [f"_{name}" for name in called]
        end = next((end for end in ends if any(name.endswith(end) for name in stems.values())), ends[0])
        found = [file for file in files if stems[file].endswith(end) or Path(file).is_dir()]
    if not found:
        raise UadError(f"{source}: no NAME_{called[0]}.nii.gz in this folder (name the files)")
    return found


def is_cohort(inputs: Sequence[str], bids: Path | str | None = None) -> bool:
    """Tell whether scans are meant that may be done already, and of which one that fails does not stop the others."""
    return bids is not None or len(inputs) > 1 or any(map(is_many, inputs))


@dataclass(frozen=True)
class Inputs:
    """The files that a step works on. several: one that fails does not stop the others.

    output: where what is made of them goes, as the user said, or the data set of derivatives. names: of the studies in
    a data set, by the files; places: the files that what is made goes to there, by these names.
    """

    files: list[str]
    several: bool
    output: Path | str | None
    names: Mapping[str, str]
    places: Mapping[str, Path]

    @classmethod
    def of(
        cls,
        sources: Sources,
        output: Path | str | None,
        bids: Path | str | None,
        suffix: str | None,
        *,
        step: tuple[str, str],
        called: Sequence[str] = (),
        tell: Tell = silent,
    ) -> Inputs:
        """List what is meant. step: the roles of what goes in and of what is made; called: of what goes in where
        that may be one or another, the first that there is; tell: what of a data set is not.

        Raises UadError for nothing.
        """
        several = is_cohort(words(sources), bids)
        if bids is None:
            data_sets.check_idle(suffix)
            files = some_words(sources, called) if called else some_scans(sources)
            return cls(files, several, output, {}, {})
        out = data_sets.check_output(words(sources), output if output is not None else bids)
        pairs = data_sets.derivatives(Path(bids), out, suffix or data_sets.SUFFIX, called or step[:1], step[1], tell)
        names = {str(source): data_sets.understood(stem(source))[0] or base_name(source) for source in pairs}
        return cls([*names], several, out, names, dict(zip(names.values(), pairs.values(), strict=True)))

    def studies(self, file: str, reading: Reading, tell: Tell) -> Iterator[Study]:
        """Read the studies of a file; those of a data set are called after its scans."""
        for study in studies([file], reading, tell):
            yield named(study, self.names[file]) if file in self.names else study


def studies(inputs: Sequence[str] | None, reading: Reading = AS_IT_IS, tell: Tell = silent) -> Iterator[Study]:
    """Read the studies of all inputs, none meaning standard input, one at a time. tell: what is strange about them."""
    for study in _studies(inputs, reading):
        for image in study.images.values():
            say_noted(image, study.name, tell)
        yield study


def image_beside(path: Path | str, reading: Reading, tell: Tell) -> Image:
    """Read an image that belongs to a scan, such as its truth, and tell what is strange about it."""
    return study_beside(path, reading, tell).product


def study_beside(path: Path | str, reading: Reading, tell: Tell) -> Study:
    """Read what is in a file beside others, such as a healed scan's scan, and tell what is strange about it."""
    study = next(read_path(Path(path), reading))
    for image in study.images.values():
        say_noted(image, str(path), tell)
    return study


def say_noted(image: Image, name: str, tell: Tell) -> None:
    """Tell what reading an image noted."""
    for concern in image.noted:
        tell(f"{name}: {concern}")


def _studies(inputs: Sequence[str] | None, reading: Reading) -> Iterator[Study]:
    for source in inputs or ["-"]:
        if source == "-":
            if reading.series:
                raise Misuse("--series: chooses in a folder of DICOM, and the input is a stream")
            if not sys.stdin or sys.stdin.isatty():
                raise Misuse("IN: no input: name files, or pipe a stream in")
            stdin = open(sys.stdin.fileno(), "rb", closefd=False)  # noqa: SIM115  the stream outlives this line
            yield from read_studies(stdin, STDIN, reading)
        else:
            yield from _of_file(Path(source), reading)


def _of_file(path: Path, reading: Reading) -> Iterator[Study]:
    """Read a file's studies. An only one is called what the file is called now, whatever it says of itself."""
    studies_of_file = read_path(path, reading)
    first, second = next(studies_of_file), next(studies_of_file, None)
    if second is None:
        yield named(first, base_name(path))
    else:
        yield from (first, second)
        yield from studies_of_file


def check_header(source: str, reading: Reading) -> None:
    """Raise UadError for a scan that cannot be read, as far as its header shows that; of a stream none is."""
    path = Path(source)
    if files := dicom_in(path):
        chosen(path, files, reading.series)
    elif reading.series:
        raise Misuse(f"--series: {path} is no folder of DICOM")
    elif is_flat(path):
        read_flat(path)
    elif source != "-":
        stated(path, reading)


def named(study: Study, name: str) -> Study:
    """Give a study a name, which its images carry on in a stream."""
    images = study.images.items()
    return Study(name, {role: replace(i, provenance=i.provenance | {"study": name}) for role, i in images})
