"""What uad-heal heals, and what with: scans, prepared first where they are not, and models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uadtools.cli import _common as c
from uadtools.cli._studies import Sink, with_brain

if TYPE_CHECKING:
    from uadtools.healing.ensemble import Member
    from uadtools.healing.plan import Plan
    from uadtools.models.config import ModelConfig
    from uadtools.volume.io import Image
    from uadtools.volume.stream import Study


def files_of(models: Sequence[Path], method: str | None) -> list[list[Path]]:
    """Return the files of the models to heal with, together; several lists: those of which a scan gets one.

    None where the method has no model; where none is named, the bundled ones that can do the method.
    """
    from uadtools.healing.choice import alternatives
    from uadtools.methods import needs_model
    from uadtools.models.checkpoint import located

    if method is None or needs_model(method):
        return [[located(model) for model in models]] if models else [[path] for path in alternatives(method)]
    if models:
        raise c.usage(f"--method {method} needs no model (leave it out)", "--model")
    return [[]]


@dataclass(frozen=True)
class Job:
    """A study to heal, the models to do it with, the file it goes to, none for the stream, and the roles that get files
    of their own with it.
    """

    study: Study
    models: Models
    path: Path | None
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class Jobs:
    """Makes a job of each study, and prepares its scan where that was not done.

    models: those to heal with, or several of which each scan gets what suits it. brain: a mask instead of the study's
    own. refuse: leave raw scans as they are, which no model takes. volume: which one of a 4-D image was read.
    """

    sink: Sink
    models: Sequence[Models]
    brain: Image | None
    refuse: bool
    volume: int | None
    quiet: bool

    def __call__(self, study: Study) -> Job:
        from uadtools.preparing.raw import is_raw, prepared

        given, config = with_brain(study, self.brain), self.models[0].seeing
        if self.refuse or not is_raw(given, config):
            return Job(given, self._suiting(given), self.sink.claim(study))
        path, concerns = self.sink.claim(study, more=("scan",)), list[str]()
        with c.progress(f"preparing {study.name}", self.quiet):
            made = prepared(given, config, volume=self.volume, tell=concerns.append)
        kept = f", into {self.sink.beside(path, 'scan')}" if path else ""
        tell = c.teller("uad-heal", self.quiet)
        tell(f"{study.name}: was not prepared; prepared as uad-preprocess would (--prepared refuses instead){kept}")
        for concern in concerns:
            tell(f"{study.name}: {concern}")
        return Job(made, self._suiting(made), path, ("scan",))

    def _suiting(self, study: Study) -> Models:
        from uadtools.healing.choice import suited

        return self.models[suited(study, [config for models in self.models for config in models.configs[:1]])]


@dataclass(eq=False)
class Models:
    """The models to heal with, or none, and how; they are loaded when the first scan is there.

    Raises UadError when they see images of different grids or intensities.
    """

    paths: Sequence[Path]
    plan: Callable[[ModelConfig | None], Plan]
    device: str
    precision: str

    def __post_init__(self) -> None:
        from uadtools.healing.ensemble import agreed
        from uadtools.models.checkpoint import read_config

        self.configs = [read_config(path) for path in self.paths]
        self.hows = [self.plan(config) for config in self.configs or (None,)]
        self.seeing = agreed(self.configs)

    @cached_property
    def members(self) -> list[Member]:
        from uadtools.healing.ensemble import Member

        if not self.paths:
            return [Member(None, self.hows[0])]
        from uadtools.models.model import load_model

        loaded = [load_model(path, device=self.device, precision=self.precision) for path in self.paths]
        c.keep_memory()
        return [Member(model, how) for model, how in zip(loaded, self.hows, strict=True)]

    def __str__(self) -> str:
        models, how = [member.model for member in self.members if member.model], self.hows[0]
        steps_back = [f"t {', '.join(map(str, how.arguments['t']))}"] if "t" in how.arguments else []
        where = [f"{models[0].device}, {models[0].precision}"] if models else []
        return ", ".join([how.method, *steps_back, *where, *(model.name or model.config.name for model in models)])


def grouped(jobs: Iterable[Job], batch: int) -> Iterator[tuple[Models, list[Job]]]:
    """Yield jobs that are healed together, as they have the same models and share batches, with these models."""
    from uadtools.cohort.parallel import gathered
    from uadtools.healing.ensemble import slices_at_once, slices_of

    for models, same in groupby(jobs, lambda job: job.models):

        def size(job: Job, models: Models = models) -> int:
            return slices_of(job.study, models.members)

        def enough(models: Models = models) -> int:
            return slices_at_once(models.members, batch)

        for group in gathered(same, size, enough):
            yield models, group


def used(study: Study) -> dict[str, Any]:
    """Return what a study was healed with, as its history says: the model's name, none for no model, and arguments."""
    from uadtools.volume.stream import last_by

    line = last_by(study.need("healed"), "uad-heal")
    return {"model": line.get("model"), **line["arguments"]}
