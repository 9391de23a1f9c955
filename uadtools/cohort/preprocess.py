"""Many scans prepared in one call, also by several processes; what an earlier run made is skipped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from uadtools import __version__
from uadtools.cohort.parallel import parallel_map
from uadtools.cohort.results import Progress, Result, unseen
from uadtools.concerns import Tell, silent, told
from uadtools.datasets import bids as data_sets
from uadtools.datasets.channels import Channels
from uadtools.datasets.failed import FailedBefore, blamed_on_scan, failed_before
from uadtools.datasets.lists import check_split, split_of, write_lists
from uadtools.datasets.origin import Origin
from uadtools.datasets.scan_jobs import ScanJob, jobs_of
from uadtools.datasets.sink import Sink
from uadtools.datasets.sources import Sources, is_cohort, named, studies, words
from uadtools.errors import Misuse, UadError
from uadtools.files import check_free
from uadtools.grids.placement import Form
from uadtools.preparing.options import settle
from uadtools.preparing.preparation import Preparation
from uadtools.preparing.preprocess import prepare
from uadtools.report.outline import outlined
from uadtools.report.picture import check_picture
from uadtools.volume.io import check_target, save, sidecar
from uadtools.volume.reading import Reading
from uadtools.volume.stream import Study, concerns_of, fingerprint

PAIR = "--save-brain and --picture"


def preprocess_all(  # noqa: PLR0913  one parameter per option
    sources: Sources = (),
    output: Path | str | None = None,
    *,
    bids: Path | str | None = None,
    layout: str | None = None,
    suffix: str | None = None,
    split: str | None = None,
    channel: Sequence[str] = (),
    save_brain: Path | str | None = None,
    picture: Path | str | None = None,
    jobs: int = 1,
    skip_failed: bool = False,
    provenance: bool = True,
    anonymous: bool = False,
    force: bool = False,
    as_json: bool = False,
    tell: Tell = silent,
    fail: Tell = silent,
    progress: Progress = unseen,
    verbose: bool = False,
    volume: int | None = None,
    geometry: Form | None = None,
    nan: float | None = None,
    series: str | None = None,
    **options: Any,
) -> list[Result]:
    """Prepare scans as uad-preprocess does, and write them; returns what `uad-preprocess --json` says of each.

    sources: files, folders and lists of them, or "-" for a stream on standard input; none with bids, a data set of
    which the scans with this suffix are taken (T1w). layout: sources is the folder of a data set as it is handed out,
    see datasets.layouts, and the suffix a contrast of it; masks and lists are written, too, see datasets.lists, as are
    those of a split. channel: other contrasts of the same people, such as
    "FLAIR=flair.nii.gz", see datasets.channels. output: a file, a folder, or "-" for a stream on standard output;
    none: the current folder, or a stream where the source is one (no file at all for as_json). save_brain, picture: a
    file, or a folder for several scans. jobs: processes. skip_failed: keep a list, in the folder of the outputs, of
    scans that failed, and leave out those on it that have not changed: their results are `failed`. options: see
    preparing.options.settle. tell: gets a line for whatever the user should know, and with verbose for each scan. Of
    several scans, those that are done are skipped, and one that fails does not stop the others: fail gets the line,
    and its result an `error`. Raises UadError for an only one, and for what is wrong with all of them.
    """
    reading = Reading(volume, geometry, nan, surrounded=True, series=series)
    preparation, inputs = settle(**options, reading=reading), words(sources)
    data_set = layout or ("" if bids is None else suffix or data_sets.SUFFIX)
    channels = Channels.of(channel, several=is_cohort(inputs), suffix=data_set, align=preparation.align)
    if "-" in (str(save_brain), str(picture)):
        raise Misuse(f"{PAIR}: name a file or a folder")
    several, parts = is_cohort(inputs, bids), split_of(split, layout)
    work = [
        replace(
            job,
            brain=_beside(save_brain, job, "brain.nii.gz", several) or job.brain,
            picture=_beside(picture, job, "preprocessed.png", several),
        )
        for job in jobs_of(inputs, output, bids, suffix, tell, layout)
    ]
    writing: dict[str, Any] = {"force": force, "provenance": provenance, "as_json": as_json, "anonymous": anonymous}
    if layout:
        writing["places"] = {job.name: job.output for job in work}
        found = [job.found for job in work if job.found]
        check_split(found, parts)
        channels = channels.of_layout(layout, inputs[0], found)
    sink = Sink.of("preprocessed", [job.source for job in work], output, resumed=True, several=several, **writing)
    files = [Path(file) for name in ("brain", "register") if isinstance(file := options.get(name), str | Path)]
    sink.sources = [*sink.sources, *(file for file in files if file.is_file())]
    if jobs > 1 and sink.stream:
        raise Misuse("--jobs: several processes cannot write into one stream (name a folder with -o)")
    preparing = Preparing(preparation, sink, channels, force=force, provenance=provenance)
    preparing.check(work)
    data_sets.describe(None if bids is None else output, __version__)
    failed = failed_before(sink, preparation.arguments, again=force) if skip_failed else None
    results, work = _parted(work, failed)
    with (progress if len(work) > 1 else unseen)("preparing") as watch:
        for count, (job, outcome) in enumerate(parallel_map(preparing, work, jobs), start=1):
            watch(count, len(work))
            if isinstance(outcome, UadError):
                if failed:
                    failed.note(job.source, outcome)
                if not several:
                    raise outcome
                fail(str(outcome))
                results.append({"name": job.source, "error": str(outcome)})
                continue
            for result in outcome:
                _say(result, tell, verbose=verbose)
            results += outcome
    if layout:
        write_lists(layout, work, parts, preparation.seed, tell)
    return results


def _parted(jobs: list[ScanJob], failed: FailedBefore | None) -> tuple[list[Result], list[ScanJob]]:
    """Return the results of scans that failed before, and the others."""
    if failed is None:
        return [], jobs
    before = {job.source: why for job in jobs if (why := failed.why(job.source))}
    failed.keep()
    results: list[Result] = [{"name": source, "failed": why} for source, why in before.items()]
    return results, [job for job in jobs if job.source not in before]


def _beside(path: Path | str | None, job: ScanJob, ending: str, several: bool) -> Path | None:
    path = None if path is None else Path(path)
    if path is None or not (several or path.is_dir()):
        return path
    if several and path.name.lower().endswith(data_sets.FILES):
        raise Misuse(f"{PAIR}: {path} is one file, and there are several scans (name a folder)")
    return path / f"{job.name}_{ending}"


@dataclass(frozen=True)
class Preparing:
    """Prepares the studies of an input."""

    preparation: Preparation
    sink: Sink
    channels: Channels
    force: bool
    provenance: bool

    def check(self, jobs: Sequence[ScanJob]) -> None:
        """Refuse a brain or a picture that cannot be written, before any work is done."""
        inputs = {source.resolve() for source in self.sink.sources}
        for job in jobs:
            for other in filter(None, (job.brain, job.picture)):
                if other.resolve() in inputs:
                    raise UadError(f"{other}: is an input, and would be replaced by what is made of it (name another)")
                if self.sink.target is not None and other.resolve() == self.sink.target.resolve():
                    raise Misuse(f"{PAIR}: {other} is what --output names, too (name another)")
        for job in () if self.sink.several else jobs:  # what an earlier run made is not in the way
            if job.brain:
                check_target(job.brain, force=True, provenance=self.provenance)
            if job.picture:
                check_picture(job.picture, force=True)

    def __call__(self, job: ScanJob) -> list[Result]:
        """Return one result per study. Raises UadError that names the scan."""
        results: list[Result] = []
        for study in _read(job.source, self.preparation.reading):
            raw = named(study, job.name) if job.found else study
            if results and (job.brain or job.picture):
                raise Misuse(f"{PAIR}: {job.source} holds several scans, and this is for one")
            results.append(self._one(raw, job))
        return results

    def _one(self, raw: Study, job: ScanJob) -> Result:
        path = job.output or self.sink.path(raw.name)
        others = [other for other in (job.brain, job.picture) if other]
        with blamed_on_scan(raw.name):
            channels = self.channels.read(raw, job.source, self.preparation.reading)
        preparation = replace(self.preparation, channels=channels)
        source, arguments = fingerprint(raw.product, *channels.values()), preparation.arguments
        before = self.sink.done(path, Origin("uad-preprocess", raw.name, {"arguments": arguments}, source))
        if before and all(other.exists() for other in others):
            self.sink.complete(*others)
            concerns = [concern.to_json() for concern in concerns_of(before)]
            return {"name": raw.name, "output": str(path), "skipped": True, "concerns": concerns}
        force = self.force or before is not None  # an earlier run was stopped between these files
        path = self.sink.claim(raw, path)
        beside = [sidecar(job.brain)] if job.brain and self.provenance else []
        for other in (*others, *beside):
            check_free(other, force=force) if other.parent.exists() else other.parent.mkdir(parents=True)
        with blamed_on_scan(raw.name):
            prepared = prepare(raw.product, preparation, name=raw.name)
        written = self.sink.write(prepared.study, path)
        brain = self.sink.called(prepared.study, path).need("brain")
        if job.brain:
            save(brain, job.brain, force=force, provenance=self.provenance)
        if job.picture:
            template, flat = self.preparation.register, self.preparation.grid.flat
            outlined(raw.product, prepared.study, job.picture, template=template, flat=flat, force=force)
        return {
            "name": raw.name,
            "output": written,
            "brain_ml": prepared.brain_ml,
            "concerns": told(raw.product.noted, prepared.concerns),
            "contrast": prepared.contrast.to_json() if prepared.contrast else None,
            "seconds": {step: round(spent, 3) for step, spent in prepared.seconds.items()},
            "grids": f"{raw.product.grid} -> {brain.grid}",
        }


def _read(source: str, reading: Reading) -> Iterator[Study]:
    with blamed_on_scan():
        yield from studies([source], reading)


def _say(result: Result, tell: Tell, *, verbose: bool) -> None:
    if "skipped" in result:
        return
    for concern in result["concerns"]:
        tell(f"{result['name']}: {concern['text']}")
    if verbose:
        spent = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in result["seconds"].items())
        contrast = f"; contrast {result['contrast']['name']}" if result["contrast"] else ""
        tell(f"{result['name']}: {result['grids']}; brain {result['brain_ml']:.0f} mL{contrast}; {spent}")
