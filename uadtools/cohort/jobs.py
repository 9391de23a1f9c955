"""What uad-heal heals, and what with: scans, prepared first where they are not, and models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from uadtools.cohort.parallel import batched
from uadtools.cohort.results import Progress
from uadtools.concerns import Tell
from uadtools.datasets.beside import with_given
from uadtools.datasets.origin import Origin
from uadtools.datasets.sink import Sink
from uadtools.datasets.sources import Inputs
from uadtools.errors import Misuse, UadError
from uadtools.healing.ensemble import Ensemble, suiting
from uadtools.preparing.raw import by_default, is_raw, prepared
from uadtools.volume.io import Image
from uadtools.volume.reading import Reading
from uadtools.volume.stream import Study, fingerprint


@dataclass(frozen=True)
class HealingJob:
    """A study to heal, the models to do it with, the file it goes to, none for the stream, and the roles that get files
    of their own with it. source: where the study is from; origin: what is said of what it is made of.
    """

    source: str
    study: Study
    models: Ensemble
    path: Path | None
    origin: Origin
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A source of which no study can be made, or a study that cannot be healed, and why."""

    source: str
    error: UadError
    models: None = None


@dataclass(frozen=True)
class Done:
    """A study that an earlier run healed, and where."""

    name: str
    path: Path | None
    made: Image
    models: None = None


def read(inputs: Inputs, reading: Reading, tell: Tell) -> Iterator[tuple[str, Study | UadError]]:
    """Read the studies of all inputs; where one is broken, what is wrong with it comes in its place."""
    for source in inputs.files:
        try:
            for study in inputs.studies(source, reading, tell):
                yield source, study
        except Misuse:
            raise
        except UadError as error:
            yield source, error


@dataclass(frozen=True)
class JobMaker:
    """Makes a job of each study, and prepares its scan where that was not done.

    models: those to heal with, or several of which each scan gets what suits it. brain: a mask instead of the study's
    own. settings: what else decides what comes out. refuse: leave raw scans as they are, which no model takes. reading:
    how scans were read.
    """

    sink: Sink
    models: Sequence[Ensemble]
    brain: Image | None
    settings: Sequence[Any]
    refuse: bool
    reading: Reading
    tell: Tell
    progress: Progress

    def __call__(self, read: tuple[str, Study | UadError]) -> HealingJob | Failure | Done:
        source, study = read
        try:
            if isinstance(study, UadError):
                raise study
            return self._job(source, with_given(study, *filter(None, [self.brain])))
        except UadError as error:
            return Failure(source, error)

    def _job(self, source: str, study: Study) -> HealingJob | Done:
        config, path = self.models[0].config, self.sink.path(study.name)
        settings = [[models.way for models in self.models], *self.settings]
        if self.refuse or not is_raw(study, config):
            origin = Origin.of("uad-heal", study.name, settings, *study.in_channels("scan"))
            if made := self.sink.done(path, origin):
                return Done(study.name, path, made)
            return HealingJob(source, study, suiting(self.models, study), self.sink.claim(study), origin)
        preparation = by_default(study, config, self.reading)
        source = fingerprint(study.need("scan"), *preparation.channels.values())
        before = Origin("uad-preprocess", study.name, {"arguments": preparation.arguments}, source)
        origin = replace(Origin.of("uad-heal", study.name, settings), after=before)
        if made := self.sink.done(path, origin, {"scan": before}):
            return Done(study.name, path, made)
        path, concerns = self.sink.claim(study, more=("scan",)), list[str]()
        with self.progress(f"preparing {study.name}"):
            prepared_study = prepared(study, config, reading=self.reading, tell=concerns.append)
        where = f", into {self.sink.beside(path, 'scan')}" if path else ""
        self.tell(
            f"{study.name}: was not prepared; prepared as uad-preprocess would (--prepared refuses instead){where}"
        )
        for concern in concerns:
            self.tell(f"{study.name}: {concern}")
        origin = replace(origin, source=fingerprint(*prepared_study.in_channels("scan")))
        return HealingJob(source, prepared_study, suiting(self.models, prepared_study), path, origin, ("scan",))


def grouped(jobs: Iterable[HealingJob | Failure | Done], batch: int) -> Iterator[list[HealingJob] | Failure | Done]:
    """Yield jobs that are healed together, as they have the same models and share batches, and what is none between."""
    for models, same in groupby(jobs, lambda job: job.models):
        if models is None:
            yield from (other for other in same if not isinstance(other, HealingJob))
            continue
        healable = (job for job in same if isinstance(job, HealingJob))
        yield from batched(healable, lambda job: job.models.slices_of(job.study), partial(models.slices_at_once, batch))
