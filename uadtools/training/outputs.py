"""The files of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from uadtools.errors import UadError
from uadtools.files import check_free


@dataclass(frozen=True)
class Outputs:
    """The files of a run, named after the model: the best and the last weights, the state for --resume, the log."""

    best: Path
    log_folder: Path | None = None

    @property
    def last(self) -> Path:
        return self.best.with_suffix(".last.safetensors")

    @property
    def state(self) -> Path:
        return self.best.with_suffix(".resume.safetensors")

    @property
    def log(self) -> Path:
        return self.log_folder / "log.csv" if self.log_folder else self.best.with_suffix(".csv")

    @property
    def drawn(self) -> tuple[Path, ...]:
        """What was drawn for the slices, where a folder is named for the log."""
        return (self.log_folder / "drawn.jsonl",) if self.log_folder else ()

    def check(self, *, resume: bool, force: bool) -> None:
        """Raise UadError unless they can be written, or gone on with."""
        if self.best.suffix != ".safetensors":
            raise UadError(f"{self.best}: a model file ends in .safetensors (change -o)")
        if resume and not self.state.exists():
            start = "--force instead of --resume starts over" if self.best.exists() else "leave out --resume"
            raise UadError(f"{self.state}: no such file, so there is nothing to resume ({start})")
        for path in (self.best, self.last, self.state, self.log, *self.drawn):
            if path.parent != self.log_folder or path.parent.exists():
                check_free(path, force=force or resume)
