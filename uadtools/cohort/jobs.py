"""What uad-heal heals, and what with: scans, prepared first where they are not, and models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from uadtools.cohort.parallel import batched
from uadtools.cohort.results import Progress
from uadtools.concerns import Tell
from uadtools.datasets.sink import Sink
from uadtools.datasets.sources import studies
from uadtools.errors import Misuse, UadError
from uadtools.healing.ensemble import Ensemble, suiting
from uadtools.preparing.raw import is_raw, prepared
from uadtools.volume.reading import Reading
from uadtools.volume.stream import Study

if TYPE_CHECKING:
    from uadtools.volume.io import Image


@dataclass(frozen=True)
class HealingJob:
    """A study to heal, the models to do it with, the file it goes to, none for the stream, and the roles that get files
    of their own with it. source: where the study is from.
    """

    source: str
    study: Study
    models: Ensemble
    path: Path | None
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A source of which no study can be made, or a study that cannot be healed, and why."""

    source: str
    error: UadError
    models: None = None


def read(inputs: Sequence[str | Failure], reading: Reading, tell: Tell) -> Iterator[tuple[str, Study | UadError]]:
    """Read the studies of all inputs; where one is broken, what is wrong with it comes in its place."""
    for source in inputs:
        if isinstance(source, Failure):
            yield source.source, source.error
            continue
        try:
            for study in studies([source], reading, tell):
                yield source, study
        except Misuse:
            raise
        except UadError as error:
            yield source, error


@dataclass(frozen=True)
class JobMaker:
    """Makes a job of each study, and prepares its scan where that was not done.

    models: those to heal with, or several of which each scan gets what suits it. brain: a mask instead of the study's
    own. refuse: leave raw scans as they are, which no model takes. reading: how scans were read.
    """

    sink: Sink
    models: Sequence[Ensemble]
    brain: Image | None
    refuse: bool
    reading: Reading
    tell: Tell
    progress: Progress

    def __call__(self, read: tuple[str, Study | UadError]) -> HealingJob | Failure:
        source, study = read
        try:
            if isinstance(study, UadError):
                raise study
            return self._job(source, study if self.brain is None else study.adding(*study.images.values(), self.brain))
        except UadError as error:
            return Failure(source, error)

    def _job(self, source: str, study: Study) -> HealingJob:
        config = self.models[0].config
        if self.refuse or not is_raw(study, config):
            return HealingJob(source, study, suiting(self.models, study), self.sink.claim(study))
        path, concerns = self.sink.claim(study, more=("scan",)), list[str]()
        with self.progress(f"preparing {study.name}"):
            prepared_study = prepared(study, config, reading=self.reading, tell=concerns.append)
        where = f", into {self.sink.beside(path, 'scan')}" if path else ""
        self.tell(
            f"{study.name}: was not prepared; prepared as uad-preprocess would (--prepared refuses instead){where}"
        )
        for concern in concerns:
            self.tell(f"{study.name}: {concern}")
        return HealingJob(source, prepared_study, suiting(self.models, prepared_study), path, ("scan",))


def grouped(jobs: Iterable[HealingJob | Failure], batch: int) -> Iterator[list[HealingJob] | Failure]:
    """Yield jobs that are healed together, as they have the same models and share batches, and what is lost between."""
    for models, same in groupby(jobs, lambda job: job.models):
        if models is None:
            yield from (lost for lost in same if isinstance(lost, Failure))
            continue
        healable = (job for job in same if isinstance(job, HealingJob))
        yield from batched(healable, lambda job: job.models.slices_of(job.study), partial(models.slices_at_once, batch))
