"""uad-bids."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from uadtools.cli import _running as r
from uadtools.cli.score import Signed
from uadtools.program import command as c
from uadtools.program import options as o

EXAMPLES = """
  uad-bids study/ study/derivatives/uadtools participant
  uad-bids study/ study/derivatives/uadtools participant --participant-label 01 02 --suffix FLAIR --signed bright
  uad-bids study/ study/derivatives/uadtools group
"""
LABELS = "--participant-label"
Level = Literal["participant", "group"]


def bids(
    bids_dir: Path = o.argument("BIDS  The data set.", ...),
    output: Path = o.argument("OUT  The folder of derivatives.", ...),
    level: Level = o.argument(
        f"{o.choices(Level)}\nFind lesions in scans; or write an index of the reports and a table of all.", ...
    ),
    labels: list[str] | None = o.option(f"{LABELS} LABEL...  Of these participants, sub- or not. Default: all."),
    suffix: str | None = o.option("--suffix NAME  Which scans. Default: T1w."),
    model: list[Path] | None = r.MODEL,
    method: str | None = r.METHOD,
    signed: Signed | None = r.SIGNED,
    brain: str | None = r.BRAIN,
    threshold: str | None = r.THRESHOLD,
    settings: list[str] | None = r.SET,
    strict: bool = o.STRICT,
    device: str = o.DEVICE,
    force: bool = o.FORCE,
    as_json: bool = o.JSON,
    quiet: bool = o.QUIET,
    verbose: bool = o.VERBOSE,
    version: bool = o.VERSION,
) -> None:
    """Do what uad-run does with a BIDS data set, in the words of BIDS Apps. Not a medical device.

    Reports call scans by the names of their files. What is done is skipped; one that fails is told and does not stop
    the others.
    """
    from uadtools.pipeline.folder import INDEX, group
    from uadtools.pipeline.run import run

    tell = c.teller("uad-bids", quiet)
    if level == "group":
        results = group(output, force=force)
    else:
        results = run(
            (),
            output,
            bids=bids_dir,
            suffix=suffix,
            participants=labels or (),
            keep_names=True,
            force=force,
            tell=tell,
            fail=c.teller_of_faults("uad-bids"),
            progress=lambda text: c.progress(text, quiet),
            verbose=verbose,
            model=model or (),
            method=method,
            signed=signed,
            brain=brain,
            threshold=threshold,
            device=None if device == "auto" else device,
            steps=r.steps_of(settings or ()),
        )
    r.finish(results, tell, index=None if labels else output / INDEX, as_json=as_json, strict=strict)


COMMAND = c.Command(bids, "uad-bids", EXAMPLES, (LABELS,))
main = COMMAND.run
