"""Where a command's studies come from and where they go."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uadtools.cli._common import usage
from uadtools.errors import UadError
from uadtools.files import check_free
from uadtools.volume.io import SUFFIXES, save
from uadtools.volume.stream import Study, read_path, read_studies, write_study


def studies(inputs: Sequence[str] | None, volume: int | None = None) -> Iterator[Study]:
    """Read the studies of all inputs, one at a time."""
    for source in inputs or ["-"]:
        if source == "-":
            if sys.stdin.isatty():
                raise usage("no input: name files, or pipe a stream in", "IN")
            stdin = open(sys.stdin.fileno(), "rb", closefd=False)  # noqa: SIM115  the stream outlives this line
            yield from read_studies(stdin, "standard input", volume)
        else:
            yield from read_path(Path(source), volume)


@dataclass
class Sink:
    """Takes each study's product to where the user wants it.

    suffix: what files are called after the study's name; stream: write whole studies to stdout.
    """

    suffix: str
    target: Path | None
    stream: bool
    force: bool
    provenance: bool
    written: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        suffix: str,
        inputs: Sequence[str] | None,
        output: str | None,
        *,
        force: bool,
        provenance: bool,
        as_json: bool,
    ) -> Sink:
        """Settle where the output goes, and refuse what cannot work before any work is done."""
        piped = not inputs or list(inputs) == ["-"]
        stream = output == "-" or (output is None and piped and not as_json)
        if stream and as_json:
            raise usage("an image stream and JSON cannot share standard output (give -o FILE)", "--json")
        if stream and sys.stdout.isatty():
            raise UadError("images are not written to a terminal (-o FILE, or pipe it into the next command)")
        sink = cls(suffix, Path(output) if output and not stream else None, stream, force, provenance)
        if inputs and len(inputs) > 1 and sink.target is not None and sink._is_file:
            raise usage(f"{output} is one file, and there are {len(inputs)} inputs (name a folder)", "--output")
        if sink.target is not None and sink._is_file:
            check_free(sink.target, force=force)
        if sink.target is None and piped and not stream:
            sink.suffix = ""
        return sink

    @property
    def _is_file(self) -> bool:
        return self.target is not None and self.target.name.lower().endswith(SUFFIXES) and not self.target.is_dir()

    def claim(self, study: Study) -> Path | None:
        """Return the file this study will go to, or None for the stream. Raises UadError if that cannot be."""
        if self.stream or not self.suffix:
            return None
        if self._is_file:
            assert self.target is not None
            path = self.target
        else:
            path = (self.target or Path()) / f"{Path(study.name).name}_{self.suffix}.nii.gz"
        if str(path) in self.written:
            reason = (
                "the stream holds several studies (name a folder)" if self._is_file else "two inputs have this name"
            )
            raise UadError(f"{path}: would be written twice: {reason}")
        if self.target is not None and not self._is_file:
            with suppress(FileExistsError):
                self.target.mkdir(parents=True)
        check_free(path, force=self.force)
        return path

    def write(self, study: Study, path: Path | None) -> str | None:
        """Write a study to the stream, or its product to the file claimed. Returns the file's name."""
        if self.stream:
            with open(sys.stdout.fileno(), "wb", closefd=False) as out:
                write_study(study, out, provenance=self.provenance)
            return None
        if path is None:
            return None
        save(study.product, path, force=self.force, provenance=self.provenance)
        self.written.append(str(path))
        return str(path)


def print_json(result: Any) -> None:
    print(json.dumps(result, indent=1, allow_nan=False))
