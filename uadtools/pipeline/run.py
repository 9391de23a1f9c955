"""uad-run: from raw scans to detections, score maps and reports, in one go."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from uadtools import __version__
from uadtools.cohort.heal import used
from uadtools.cohort.parallel import prefetched
from uadtools.cohort.results import Progress, Result, Watch, unseen
from uadtools.concerns import Tell, silent
from uadtools.datasets.bids import SUFFIX, describe
from uadtools.datasets.scan_jobs import ScanJob, jobs_of
from uadtools.datasets.sources import Sources, check_header, is_cohort, studies, words
from uadtools.errors import Misuse, UadError
from uadtools.healing.ensemble import suiting
from uadtools.models.checkpoint import is_bundled
from uadtools.pipeline.asked import Asked, asked
from uadtools.pipeline.folder import Folder, Place, Record, check_summary, summarise
from uadtools.pipeline.steps import Steps
from uadtools.report.contents import gather, index_row
from uadtools.scoring.dicom_seg import SourceSeries
from uadtools.volume.stream import Study, base_name, fingerprint

PREPARED, HEALED, DETECTED, ALL = 25, 80, 90, 100
"""How far a scan is after each step, in percent and roughly."""


def run(  # noqa: PLR0913  one parameter per option
    sources: Sources = (),
    output: Path | str | None = None,
    *,
    bids: Path | str | None = None,
    suffix: str | None = None,
    participants: Sequence[str] = (),
    keep: bool = False,
    keep_names: bool = False,
    dicom_seg: bool = False,
    force: bool = False,
    tell: Tell = silent,
    fail: Tell = silent,
    progress: Progress = unseen,
    verbose: bool = False,
    **options: Any,
) -> list[Result]:
    """Find lesions in raw scans as uad-run does; returns, for each, what `uad-run --json` says of it.

    sources: files, folders and lists of them, or "-" for a stream on standard input; none with bids, a data set of
    which the scans with this suffix (T1w), of all participants or of some, are taken. output: the folder of what is
    made, a data set of derivatives with bids; none: the current folder. Several scans get an index, but for those of
    some participants. keep: write what is made on the way, too. keep_names: reports call scans by the names of their
    files. dicom_seg: write each detection as DICOM-SEG, too, beside its file; all sources are folders of DICOM.
    options: model, method, t, signed, brain, threshold, adapt, force_detection, device, precision, seed, volume,
    geometry, series, and steps, others of each step, such as {"postproc": {"erode": 0}}; see `uad-run --help`. tell:
    gets a line for whatever the user should know, and with verbose for each scan. What is done already is skipped. Of
    several scans, one that fails does not stop the others: fail gets the line, and its result an `error`. Raises
    UadError for an only one, and for what is wrong with all.
    """
    several = is_cohort(words(sources), bids)
    jobs = jobs_for(sources, output, bids, suffix, participants, tell)
    how: dict[str, Any] = {"keep": keep, "keep_names": keep_names, "dicom_seg": dicom_seg, "force": force}
    how |= {"bids": bids, "suffix": suffix}
    whole = several and not participants
    running = Running.of(jobs, output, several, asked(**options), whole=whole, tell=tell, verbose=verbose, **how)
    describe(None if bids is None else output, __version__)
    records: list[Record] = []
    with progress("running") as watch:
        _watch(watch, 1, len(jobs), 0, "preparing")
        for number, todo in enumerate(prefetched(running.prepared(jobs)), start=1):
            record = running.finished(todo, number, partial(_watch, watch, number, max(len(jobs), number)))
            if error := record.result.get("error"):
                fail(error)
            records.append(record)
    if whole:
        summarise(running.folder.path, records)
    return [record.result for record in records]


def pipes(  # noqa: PLR0913  one parameter per option
    sources: Sources = (),
    output: Path | str | None = None,
    *,
    bids: Path | str | None = None,
    suffix: str | None = None,
    keep: bool = False,
    keep_names: bool = False,
    dicom_seg: bool = False,
    force: bool = False,
    tell: Tell = silent,
    fail: Tell = silent,
    **options: Any,
) -> list[str]:
    """Return the lines of shell that do what `run` does: for each scan that it would not lose at once, a pipe.

    Raises UadError as that does, and fail gets the line, as far as that shows without the scans' voxels.
    """
    what, jobs, several = asked(**options), jobs_for(sources, output, bids, suffix), is_cohort(words(sources), bids)
    how: dict[str, Any] = {"keep": keep, "keep_names": keep_names, "dicom_seg": dicom_seg, "force": force}
    how |= {"bids": bids, "suffix": suffix}
    running = Running.of(jobs, output, several, what, whole=several, tell=tell, **how)
    places: list[Place] = []
    lines: list[str] = []
    for job in jobs:
        try:
            place = running.checked(job)
        except UadError as error:
            if isinstance(error, Misuse) or not several:
                raise
            fail(str(error))
        else:
            places.append(place)
            lines.append(
                what.of_scan(running.steps.channels.words(job.source)).pipe(job.source, place, dicom_seg=dicom_seg)
            )
    folders = dict.fromkeys(str(path.parent) for place in places for path in (place.page, place.detection))
    return [shlex.join(["mkdir", "-p", *folders]), *lines] if lines else []


def jobs_for(
    sources: Sources,
    output: Path | str | None,
    bids: Path | str | None = None,
    suffix: str | None = None,
    participants: Sequence[str] = (),
    tell: Tell = silent,
) -> list[ScanJob]:
    """List the scans that are meant; tell: of participants, if all are meant, who have none.

    Raises UadError, also for a participant of those named who has none.
    """
    jobs = jobs_of(words(sources), output, bids, suffix, silent if participants else tell)
    labels = [label.removeprefix("sub-") for label in participants]
    theirs = {label: [job for job in jobs if f"sub-{label}" in Path(job.source).parts] for label in labels}
    if missing := [label for label, found in theirs.items() if not found]:
        raise UadError(f"{bids}: no {suffix or SUFFIX} scan of sub-{missing[0]} in it (--suffix takes others)")
    return [job for found in theirs.values() for job in found] if theirs else jobs


@dataclass(frozen=True)
class Todo:
    """A scan that was looked at: prepared, or, without a study, one that is done already or cannot be."""

    place: Place
    record: Record
    study: Study | None = None
    series: SourceSeries | None = None


@dataclass(frozen=True)
class Running:
    """Works on one scan after the other. settings: that results depend on; several: a failure does not stop others."""

    settings: dict[str, Any]
    steps: Steps
    folder: Folder
    several: bool
    verbose: bool

    @classmethod
    def of(  # noqa: PLR0913  one parameter per option
        cls,
        jobs: Sequence[ScanJob],
        output: Path | str | None,
        several: bool,
        what: Asked,
        *,
        whole: bool,
        tell: Tell,
        keep: bool,
        keep_names: bool,
        dicom_seg: bool,
        force: bool,
        bids: Path | str | None,
        suffix: str | None,
        verbose: bool = False,
    ) -> Running:
        """Settle how to work on scans. whole: the folder gets an index. Raises UadError for what is wrong with all."""
        steps = Steps.of(what, tell, several=several, suffix="" if bids is None else suffix or SUFFIX)
        folder = Folder.of(jobs, output, force=force, roles=steps.made if keep else (), dicom_seg=dicom_seg)
        if whole:
            check_summary(folder.path, force=force)
        settings = {**what.settings, "keep_names": keep_names, "model": [one.way for one in steps.healing.ensembles]}
        return cls(settings, steps, folder, several, verbose)

    def checked(self, job: ScanJob) -> Place:
        """Return where what is made of a scan goes. Raises UadError as far as that shows without its voxels."""
        name, reading = base_name(Path(job.source)), self.steps.preparation.reading
        place = self.folder.place(name, job)
        if self.folder.dicom_seg:
            SourceSeries.of(Path(job.source), reading.series)
        check_header(job.source, reading)
        if job.source != "-":  # what a stream holds says what its studies are called, and of which contrasts they are
            self._require_contrasts(name)
            self.steps.channels.check(job.source)
            self.folder.check(Study(name, {}), place, self.settings)
        return place

    def _require_contrasts(self, name: str, *known: str) -> None:
        """Raise UadError where a scan lacks one that the model sees. known: those that its stream has."""
        config = self.steps.healing.ensembles[0].config
        there = {*known, *self.steps.channels.places}
        if missing := [each for each in config.contrasts[1:] if each not in there] if config else []:
            hint = " ".join(f"--set preprocess.channel={each}=FILE" for each in missing)
            raise UadError(f"{name}: no {' and no '.join(missing)} beside the scan, which the model sees, too ({hint})")

    def prepared(self, jobs: Sequence[ScanJob]) -> Iterator[Todo]:
        """Read scans and prepare them; what is done or fails comes in its place."""
        for job in jobs:
            try:
                reading = self.steps.preparation.reading
                series = SourceSeries.of(Path(job.source), reading.series) if self.folder.dicom_seg else None
                for raw in studies([job.source], reading):
                    yield self._todo(raw, job.source, self.folder.place(raw.name, job), series)
            except Misuse:
                raise
            except UadError as error:
                yield self._lost(self.folder.place(base_name(Path(job.source)), job), job.source, error)

    def _todo(self, raw: Study, source: str, place: Place, series: SourceSeries | None) -> Todo:
        try:
            self._require_contrasts(raw.name, *raw.channels)
            channels = self.steps.channels.read(raw, source, self.steps.preparation.reading)
            record = Record(self.settings, fingerprint(raw.product, *channels.values()))
            if before := self.folder.claim(raw, place, record):
                return Todo(place, before)
            return Todo(place, record, self.steps.prepare(raw, channels), series)
        except Misuse:
            raise
        except UadError as error:
            return self._lost(place, raw.name, error)

    def _lost(self, place: Place, name: str, error: UadError) -> Todo:
        """Write down why a scan is lost; raise it for an only one."""
        record = Record(self.settings, None, {"name": name, "error": str(error)})
        self.folder.lose(place, record if self.several else None)
        if not self.several:
            raise error
        return Todo(place, record)

    def finished(self, todo: Todo, number: int, watch: Callable[[float, str], None]) -> Record:
        """Heal, score, detect and report, and write it all; number: of the scan, for its title."""
        if not todo.study:
            return todo.record
        try:
            return self._finished(todo, todo.study, number, watch)
        except Misuse:
            raise
        except UadError as error:
            return self._lost(todo.place, todo.study.name, error).record

    def _finished(self, todo: Todo, prepared: Study, number: int, watch: Callable[[float, str], None]) -> Record:
        name, place = prepared.name, todo.place
        watch(PREPARED, f"healing {name}")
        healed = self.steps.heal(prepared, lambda done, of: watch(PREPARED + (HEALED - PREPARED) * done / of, ""))
        model = used(healed.product)["model"]
        if self.verbose or model:
            names = [one.partition(":")[0] if is_bundled(one) else one for one in (model or "").split(", ")]
            how = f"healed with {', '.join(names)}"
            self.steps.tell(f"{name}: {suiting(self.steps.healing.ensembles, prepared) if self.verbose else how}")
        watch(HEALED, f"scoring {name}")
        detected = self.steps.detect(healed)
        watch(DETECTED, f"reporting {name}")
        title = name if self.settings["keep_names"] else f"Scan {number}" if self.several else "Scan"
        page = gather(detected, title=title)
        row = index_row(page, detected, place.page.name)
        output = self.folder.write(detected, page, place)
        if todo.series:
            todo.series.write(detected.product, place.dicom_seg, force=True)
        figures = {"case_score": row.case_score, "peak": row.peak, "largest_ml": row.largest_ml}
        result = {
            "name": name,
            "output": output,
            "score": str(place.score),
            "report": str(place.page),
            "model": model,
            **self.steps.detecting.figures(detected),
            **figures,
            **({"dicom_seg": str(place.dicom_seg)} if todo.series else {}),
        }
        record = replace(todo.record, result=result, row=row)
        record.keep(place.record)
        watch(ALL, "")
        return record


def _watch(watch: Watch, number: int, count: int, share: float, doing: str) -> None:
    """Tell how far all scans are. share: of the scan that is worked on, the number-th of count, in percent."""
    text = f"{number} of {count}: {doing}" if count > 1 else doing
    watch(round(ALL * (number - 1) + share), ALL * count, text if doing else None)
