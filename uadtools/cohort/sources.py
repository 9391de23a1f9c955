"""Where studies come from: files, and a stream on standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from uadtools.cohort.results import Tell, silent
from uadtools.errors import Misuse, UadError
from uadtools.volume.io import Image
from uadtools.volume.reading import AS_IT_IS, Reading
from uadtools.volume.stream import Study, base_name, read_image, read_path, read_studies

STDIN = "standard input"
Sources = Path | str | Sequence[Path | str]
"""Files; "-" is standard input."""
NO_SCAN = "no scan is named (name files, or - for standard input)"


def words(sources: Sources) -> list[str]:
    """List sources as words, an only one, too."""
    return [str(source) for source in ([sources] if isinstance(sources, Path | str) else sources)]


def some_words(sources: Sources) -> list[str]:
    """List sources as words. Raises UadError where there are none."""
    if not (inputs := words(sources)):
        raise UadError(NO_SCAN)
    return inputs


def studies(inputs: Sequence[str] | None, reading: Reading = AS_IT_IS, tell: Tell = silent) -> Iterator[Study]:
    """Read the studies of all inputs, none meaning standard input, one at a time. tell: what is strange about them."""
    for study in _studies(inputs, reading):
        for image in study.images.values():
            say_noted(image, study.name, tell)
        yield study


def image_beside(path: Path | str, reading: Reading, tell: Tell) -> Image:
    """Read an image that belongs to a scan, such as its truth, and tell what is strange about it."""
    image = read_image(Path(path), reading)
    say_noted(image, str(path), tell)
    return image


def say_noted(image: Image, name: str, tell: Tell) -> None:
    """Tell what reading an image noted."""
    for concern in image.noted:
        tell(f"{name}: {concern}")


def _studies(inputs: Sequence[str] | None, reading: Reading) -> Iterator[Study]:
    for source in inputs or ["-"]:
        if source == "-":
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


def named(study: Study, name: str) -> Study:
    """Give a study a name, which its images carry on in a stream."""
    images = study.images.items()
    return Study(name, {role: replace(i, provenance=i.provenance | {"study": name}) for role, i in images})
