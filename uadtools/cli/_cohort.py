"""What uad-preprocess does for each of its inputs, also in other processes, and what it says of them all."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from uadtools import __version__
from uadtools.cli import _common as c
from uadtools.cli._studies import Sink, print_json, studies
from uadtools.cohort.parallel import each
from uadtools.errors import UadError
from uadtools.files import check_free
from uadtools.preparing.preprocess import Way, prepare
from uadtools.report.outline import outlined
from uadtools.report.picture import check_picture
from uadtools.volume import bids
from uadtools.volume.io import SUFFIXES, check_target, save, stem
from uadtools.volume.listing import files_of
from uadtools.volume.stream import Study, base_name, read_image

Result = dict[str, Any]
NAME = "uad-preprocess"
FILES = (*SUFFIXES, ".png", ".pdf", ".svg")
"""Endings of files; other names are those of folders."""
MADE = ("_preprocessed", "_brain")
"""Endings of what is made of a scan, unless the user chooses other names."""


@dataclass(frozen=True)
class Job:
    """One input, and where what is made of it goes; None: not wanted, and for the output: where the sink says."""

    source: str
    output: Path | None = None
    brain: Path | None = None
    picture: Path | None = None


def jobs_of(
    inputs: Sequence[str] | None,
    output: str | None,
    *,
    bids: Path | None,
    suffix: str | None,
    save_brain: Path | None,
    picture: Path | None,
) -> list[Job]:
    """List the scans that are meant. Raises UadError, and usage errors for options that do not go together."""
    if "-" in (str(save_brain), str(picture)):
        raise c.usage("name a file or a folder", "--save-brain and --picture")
    if bids is not None:
        if inputs:
            raise c.usage("takes its scans from the data set, and there are other inputs (leave one out)", "--bids")
        if not output or output == "-" or output.lower().endswith(FILES):
            raise c.usage("writes a data set of derivatives (name its folder with -o)", "--bids")
        jobs = _derivatives(bids, suffix or "T1w", Path(output))
    else:
        if suffix:
            raise c.usage(f"{suffix} chooses scans of a BIDS data set (name it with --bids)", "--suffix")
        jobs = [Job(file) for source in inputs or ["-"] for file in _files(source)]
    several = bids is not None or [job.source for job in jobs] != list(inputs or ["-"]) or len(jobs) > 1
    return [
        replace(
            job,
            brain=_beside(save_brain, job.source, "brain.nii.gz", several) or job.brain,
            picture=_beside(picture, job.source, "preprocessed.png", several),
        )
        for job in jobs
    ]


def _files(source: str) -> list[str]:
    """List what an input stands for; of a folder, without what an earlier run made of the others in it."""
    if source == "-":
        return [source]
    found = list(files_of(source))
    made = {f"{stem(Path(file))}{ending}" for file in found for ending in MADE}
    return [file for file in found if stem(Path(file)) not in made]


def _derivatives(root: Path, suffix: str, out: Path) -> list[Job]:
    scans = bids.scans(root, suffix)
    bids.describe(out, __version__)
    return [
        Job(
            str(scan),
            bids.derivative(scan, root, out, "preproc"),
            bids.derivative(scan, root, out, "brain", "mask"),
        )
        for scan in scans
    ]


def _beside(path: Path | None, source: str, ending: str, several: bool) -> Path | None:
    if path is None or not (several or path.is_dir()):
        return path
    if several and path.name.lower().endswith(FILES):
        raise c.usage(f"{path} is one file, and there are several scans (name a folder)", "--save-brain and --picture")
    return path / f"{'stdin' if source == '-' else base_name(Path(source))}_{ending}"


@dataclass(frozen=True)
class Preparing:
    """Prepares the studies of an input. several: it is one of many, and may be done already."""

    way: Way
    sink: Sink
    force: bool
    provenance: bool
    several: bool

    def check(self, jobs: Sequence[Job]) -> None:
        """Refuse a brain or a picture that cannot be written, before any work is done."""
        inputs = {source.resolve() for source in self.sink.sources}
        for job in jobs:
            for other in filter(None, (job.brain, job.picture)):
                if other.resolve() in inputs:
                    raise UadError(f"{other}: is an input, and would be replaced by what is made of it (name another)")
                if self.sink.target is not None and other.resolve() == self.sink.target.resolve():
                    raise c.usage(f"{other} is what --output names, too (name another)", "--save-brain and --picture")
        for job in () if self.several else jobs:
            if job.brain:
                check_target(job.brain, force=self.force, provenance=self.provenance)
            if job.picture:
                check_picture(job.picture, force=self.force)

    def __call__(self, job: Job) -> list[Result]:
        """Return one result per study. Raises UadError that names the scan."""
        made: list[Result] = []
        for raw in studies([job.source], self.way.volume):
            if made and (job.brain or job.picture):
                raise c.usage(f"{job.source} holds several scans, and this is for one", "--save-brain and --picture")
            made.append(self._one(raw, job))
        return made

    def _one(self, raw: Study, job: Job) -> Result:
        path = job.output or self.sink.path(raw.name)
        others = [other for other in (job.brain, job.picture) if other]
        ours = self.several and not self.force and path is not None and path.exists() and self._made(path)
        if ours and all(other.exists() for other in others):
            return {"name": raw.name, "output": str(path), "skipped": True}
        force = self.force or ours  # an earlier run was stopped between these files
        sink = replace(self.sink, force=force)
        path = sink.claim(raw, path)
        for other in others:
            check_free(other, force=force) if other.parent.exists() else other.parent.mkdir(parents=True)
        try:
            made = prepare(raw.product, self.way, name=raw.name)
        except UadError as error:
            raise UadError(f"{raw.name}: {error}") from None
        written = sink.write(made.study, path)
        brain = made.study.need("brain")
        if job.brain:
            save(brain, job.brain, force=force, provenance=self.provenance)
        if job.picture:
            outlined(
                raw.product, made.study, job.picture, template=self.way.register, flat=self.way.grid.flat, force=force
            )
        return {
            "name": raw.name,
            "output": written,
            "brain_ml": made.brain_ml,
            "concerns": list(made.concerns),
            "contrast": made.contrast.told if made.contrast else None,
            "seconds": {step: round(spent, 3) for step, spent in made.seconds.items()},
            "grids": f"{raw.product.grid} -> {brain.grid}",
        }

    def _made(self, path: Path) -> bool:
        """Tell that a file is what this makes. Raises UadError if it was made with other settings."""
        history = read_image(path).provenance.get("history", [{}])
        if self.provenance and history[-1].get("arguments") != self.way.arguments:
            raise UadError(f"{path}: exists, and was made with other settings (--force replaces it)")
        return True


def run(
    preparing: Preparing, jobs: Sequence[Job], *, processes: int, as_json: bool, quiet: bool, verbose: bool
) -> None:
    """Prepare them all and say how it went. Raises UadError if an only one fails; exits with 1 if one of many does."""
    tell = c.teller(NAME, quiet)
    results: list[Result] = []
    with c.progress("preparing", quiet or len(jobs) == 1) as watch:
        for count, (job, made) in enumerate(each(preparing, jobs, processes), start=1):
            watch(count, len(jobs))
            if isinstance(made, UadError):
                if not preparing.several:
                    raise made
                print(f"{NAME}: error: {made}", file=sys.stderr)
                results.append({"name": job.source, "error": str(made)})
                continue
            for result in made:
                _say(result, tell, verbose=verbose)
            results += made
    if as_json:
        print_json(sorted(results, key=lambda r: str(r["name"])) if processes > 1 else results)
    if preparing.several:
        if not quiet and sys.stderr and sys.stderr.isatty():
            _table(results)
        failed, skipped = (sum(key in r for r in results) for key in ("error", "skipped"))
        if failed or skipped or verbose:
            tell(f"{len(results) - failed - skipped} prepared, {skipped} done before, {failed} failed")
        if failed:
            sys.exit(1)


def _table(results: Sequence[Result]) -> None:
    """Show on a terminal what became of each scan."""
    from rich.console import Console
    from rich.table import Table

    table = Table("scan", "brain, mL", "seconds", "result")
    for result in results:
        if "error" in result or "skipped" in result:
            table.add_row(result["name"], "", "", "failed" if "error" in result else "done before")
        else:
            spent, concerns = sum(result["seconds"].values()), len(result["concerns"])
            said = f"written; {concerns} to look at" if concerns else "written"
            table.add_row(result["name"], f"{result['brain_ml']:.0f}", f"{spent:.1f}", said)
    Console(stderr=True).print(table)


def _say(result: Result, tell: Any, *, verbose: bool) -> None:
    for concern in result.get("concerns", ()):
        tell(f"{result['name']}: {concern}")
    if verbose and "skipped" not in result:
        spent = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in result["seconds"].items())
        contrast = f"; contrast {result['contrast']['name']}" if result["contrast"] else ""
        tell(f"{result['name']}: {result['grids']}; brain {result['brain_ml']:.0f} mL{contrast}; {spent}")
