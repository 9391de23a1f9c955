"""What uad-heal heals, and what with: scans, prepared first where they are not, and models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uadtools.cli import _common as c
from uadtools.cli._studies import Sink, with_brain

if TYPE_CHECKING:
    from uadtools.models.config import ModelConfig
    from uadtools.pipeline.ensemble import Member
    from uadtools.pipeline.plan import Plan
    from uadtools.volume.io import Image
    from uadtools.volume.stream import Study


def files_of(models: Sequence[Path], method: str | None) -> list[Path]:
    """Return the files of the models to heal with: none where the method has none, else a bundled one by default."""
    from uadtools.methods import needs_model
    from uadtools.models.checkpoint import located
    from uadtools.pipeline.bundled import bundled_for

    if method is None or needs_model(method):
        return [located(model) for model in models] or [bundled_for(method)]
    if models:
        raise c.usage(f"--method {method} needs no model (leave it out)", "--model")
    return []


@dataclass(frozen=True)
class Job:
    """A study to heal, the file it goes to, none for the stream, and the roles that get files of their own with it."""

    study: Study
    path: Path | None
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class Jobs:
    """Makes a job of each study, and prepares its scan where that was not done.

    config: of the model that scans are prepared for, none where the method has none. brain: a mask instead of the
    study's own. refuse: leave raw scans as they are, which no model takes. volume: which one of a 4-D image was read.
    """

    sink: Sink
    config: ModelConfig | None
    brain: Image | None
    refuse: bool
    volume: int | None
    quiet: bool

    def __call__(self, study: Study) -> Job:
        from uadtools.pipeline.prepared import is_raw, prepared

        given = with_brain(study, self.brain)
        if self.refuse or not is_raw(given, self.config):
            return Job(given, self.sink.claim(study))
        path, concerns = self.sink.claim(study, more=("scan",)), list[str]()
        with c.progress(f"preparing {study.name}", self.quiet):
            made = prepared(given, self.config, volume=self.volume, tell=concerns.append)
        kept = f", into {self.sink.beside(path, 'scan')}" if path else ""
        tell = c.teller("uad-heal", self.quiet)
        tell(f"{study.name}: was not prepared; prepared as uad-preprocess would (--prepared refuses instead){kept}")
        for concern in concerns:
            tell(f"{study.name}: {concern}")
        return Job(made, path, ("scan",))


@dataclass
class Models:
    """The models to heal with, or none, and how; they are loaded when the first scan is there."""

    paths: Sequence[Path]
    hows: Sequence[Plan]
    device: str
    precision: str

    @cached_property
    def members(self) -> list[Member]:
        from uadtools.pipeline.ensemble import Member

        if not self.paths:
            return [Member(None, self.hows[0])]
        from uadtools.models.model import load_model

        loaded = [load_model(path, device=self.device, precision=self.precision) for path in self.paths]
        c.keep_memory()
        return [Member(model, how) for model, how in zip(loaded, self.hows, strict=True)]

    @property
    def arguments(self) -> dict[str, Any]:
        each = [how.arguments for how in self.hows]
        return each[0] if len(each) == 1 else {"models": each}

    def __str__(self) -> str:
        first, how = self.members[0].model, self.hows[0]
        steps_back = [f"t {', '.join(map(str, how.arguments['t']))}"] if "t" in how.arguments else []
        where = [f"{first.device}, {first.precision}"] if first else []
        where += [f"{len(self.members)} models"] if len(self.members) > 1 else []
        return ", ".join([how.method, *steps_back, *where])
