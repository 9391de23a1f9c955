"""Many scans healed in one call: read ahead, prepared where they are not, healed together, written behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from uadtools.cohort.jobs import Done, Failure, HealingJob, JobMaker, grouped, read
from uadtools.cohort.parallel import prefetched
from uadtools.cohort.results import Progress, Result, carried, done_before, unseen
from uadtools.concerns import Tell, silent
from uadtools.datasets.sink import Behind, Sink
from uadtools.datasets.sources import Inputs, Sources, words
from uadtools.errors import Misuse, UadError
from uadtools.grids.placement import Form
from uadtools.healing.combine import Rule
from uadtools.healing.engines import Engine
from uadtools.healing.ensemble import condition_of, ensembles_of, heal_with, tell_without_threshold
from uadtools.volume.io import Image
from uadtools.volume.reading import Reading
from uadtools.volume.stream import Study, fingerprint, last_by, read_mask


def heal_all(  # noqa: PLR0913  one parameter per option
    sources: Sources,
    output: Path | str | None = None,
    *,
    bids: Path | str | None = None,
    suffix: str | None = None,
    model: Sources = (),
    method: str | None = None,
    t: int | Sequence[int] = (),
    combine: Rule | None = None,
    condition: Path | str | None = None,
    brain: Path | str | None = None,
    prepared: bool = False,
    maps: bool = False,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    engine: Engine = "auto",
    batch: int = 0,
    volume: int | None = None,
    geometry: Form | None = None,
    nan: float | None = None,
    series: str | None = None,
    provenance: bool = True,
    anonymous: bool = False,
    force: bool = False,
    as_json: bool = False,
    tell: Tell = silent,
    fail: Tell = silent,
    progress: Progress = unseen,
    verbose: bool = False,
    **options: Any,
) -> list[Result]:
    """Heal scans as uad-heal does, and write what is made; returns, for each scan, what `uad-heal --json` says of it.

    sources: files, folders and lists of them, or "-" for a stream on standard input; what is done already is skipped.
    bids: instead, the derivatives that uad-preprocess made there, of scans with this suffix. output: a file, a folder,
    or "-" for a stream on standard output; none: the current folder, the data set, or a stream where the source is one
    (no file at all for as_json). model: several have the mean of their scores; none: the bundled one that suits the
    scan. prepared: refuse raw scans instead of preparing them. options: what else there is, see `uad-heal --help`.
    tell: gets a line for whatever the user should know, and with verbose for each scan. Of several sources, one that
    fails does not stop the others: fail gets the line, and its result an `error`. Raises UadError for an only one, and
    for what is wrong with all of them.
    """
    reading = Reading(volume, geometry, nan, surrounded=True, series=series)
    how: dict[str, Any] = {"method": method, "t": t, "combine": combine, **options}
    ensembles = ensembles_of(words(model), device=device, precision=precision, engine=engine, tell=tell, **how)
    heal_plan = ensembles[0].plans[0]
    inputs = Inputs.of(sources, output, bids, suffix, step=("scan", heal_plan.product), tell=tell)
    map_roles = heal_plan.maps if maps else heal_plan.scored_with
    writing: dict[str, Any] = {"force": force, "provenance": provenance, "as_json": as_json, "places": inputs.places}
    writing |= {"maps": map_roles, "anonymous": anonymous, "resumed": True, "several": inputs.several}
    sink = Sink.of(heal_plan.product, inputs.files, inputs.output, **writing)
    if maps and sink.target is None:
        raise Misuse("--maps: no file is written that maps could lie beside (a stream holds them all)")
    if maps and not map_roles:
        raise Misuse("--maps: one draw has no spread, and there is no other map (several -t, or --samples)")
    tell_without_threshold(ensembles, tell)
    mask = None if brain is None else read_mask(Path(brain), reading.beside, tell=tell)
    shared = condition_of(condition, heal_plan)
    given = [image and fingerprint(image) for image in (mask, shared and shared.product)]
    jobs = JobMaker(sink, ensembles, mask, [seed, precision, engine, *given], prepared, reading, tell, progress)
    with Behind(sink) as behind:
        healing = Healing(behind, inputs.several, shared, seed, batch, tell, fail, progress, verbose)
        for group in grouped(map(jobs, prefetched(read(inputs, reading, tell))), batch):
            healing.heal(group) if isinstance(group, list) else healing.pass_over(group)
    return healing.results


@dataclass(frozen=True)
class Healing:
    """Heals jobs, and says what became of each. several: a scan that fails does not stop the others."""

    behind: Behind
    several: bool
    condition: Study | None
    seed: int
    batch: int
    tell: Tell
    fail: Tell
    progress: Progress
    verbose: bool
    results: list[Result] = field(default_factory=list)

    def heal(self, group: list[HealingJob]) -> None:
        """Heal studies together; where that cannot be, one by one."""
        scans, members = [job.study for job in group], group[0].models.members
        settings: dict[str, Any] = {"condition": self.condition, "seed": self.seed, "batch": self.batch}
        try:
            with self.progress(f"healing {scans[0].name if len(scans) == 1 else f'{len(scans)} scans'}") as watch:
                healed = heal_with(scans, members, watch=watch, **settings)
        except UadError as error:
            if len(group) == 1:
                self.pass_over(Failure(group[0].source, error))
            else:
                for job in group:
                    self.heal([job])
            return
        for study, job in zip(healed, group, strict=True):
            self.behind.write(job.origin.noted(study), job.path, job.more, partial(self._done, job, study))

    def pass_over(self, other: Failure | Done) -> None:
        """Say why a scan is not healed, after what was done before it; raise what is wrong with an only one."""
        self.behind.settle()
        if isinstance(other, Failure):
            self._give_up(other)
        else:
            self.results.append(done_before(other.name, other.path, other.made) | used(other.made))

    def _give_up(self, lost: Failure) -> None:
        if not self.several or isinstance(lost.error, Misuse):
            raise lost.error
        self.fail(str(lost.error))
        self.results.append({"name": lost.source, "error": str(lost.error)})

    def _done(self, job: HealingJob, study: Study, output: str | UadError | None) -> None:
        if isinstance(output, UadError):
            self._give_up(Failure(job.source, output))
            return
        files = {"preprocessed": str(self.behind.sink.beside(Path(output), "scan"))} if output and job.more else {}
        self.results.append(
            {"name": study.name, "output": output, **files, **used(study.product), **carried(study, self.tell)}
        )
        if self.verbose:
            self.tell(f"{study.name}: {job.models}")


def used(healed: Image) -> dict[str, Any]:
    """Return what a scan was healed with, as its history says: the model's name, none for no model, and arguments."""
    line = last_by(healed, "uad-heal")
    return {"model": line.get("model"), **line.get("arguments", {})}
