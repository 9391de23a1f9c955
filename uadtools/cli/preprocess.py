"""uad-preprocess."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from uadtools.cli import _common as c

EXAMPLES = """
  uad-preprocess scan.nii.gz                          writes scan_preprocessed.nii.gz
  uad-preprocess scan.nii.gz --bias-correct --register mni --picture scan.png
  uad-preprocess scan.nii.gz --brain mask.nii.gz -o - | uad-heal --prepared -o healed.nii.gz
  uad-preprocess raw/ -o prepared/ --jobs 4           every scan in a folder; run again, it does what is missing
  uad-preprocess --bids study/ --suffix T1w -o study/derivatives/uadtools
  uad-preprocess head.nii.gz --brain none --intensity ct:brain
"""


def preprocess(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IN",
            help="Scans: NIfTI files, pictures (.png, .jpg, .npz), folders and lists (.txt, .csv, .jsonl) of them, or "
            "- for a stream on standard input (which no IN means, too).",
            show_default=False,
        ),
    ] = None,
    output: c.Output = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            metavar="M",
            help="Take grid and intensity window from this model, a file or a bundled one's name. Default: the bundled "
            "one.",
            show_default=False,
        ),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            metavar="pddpm|cddpm|sss|ldm",
            help="Prepare scans as that paper did; other options change parts of it.",
            show_default=False,
        ),
    ] = None,
    spacing: Annotated[
        str | None,
        typer.Option("--spacing", metavar="MM[,MM,MM]", help="Voxel size instead of the model's.", show_default=False),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(
            "--shape",
            metavar="X[,Y,Z]",
            help="Voxels instead of the model's; Z = 1: single slices, any number of them.",
            show_default=False,
        ),
    ] = None,
    brain: Annotated[
        str | None,
        typer.Option(
            "--brain",
            metavar="auto|none|deepbet|hd-bet|synthstrip|FILE",
            help="auto (the default): as it is if the skull is gone already, else deepbet (T1 scans of adults). none: "
            "all that is not background. hd-bet, synthstrip: that program, which you install. FILE: a mask on the "
            "scan's grid.",
            show_default=False,
        ),
    ] = None,
    bias_correct: Annotated[
        bool | None,
        typer.Option(
            "--bias-correct/--no-bias-correct",
            help="Take drifting brightness out of the brain with N4. Default: no.",
            show_default=False,
        ),
    ] = None,
    register: Annotated[
        str | None,
        typer.Option(
            "--register",
            metavar="mni|FILE|none",
            help="Bring the brain onto the MNI152 template or another by an affine; --native undoes it. Default: none.",
            show_default=False,
        ),
    ] = None,
    intensity: Annotated[
        str | None,
        typer.Option(
            "--intensity",
            metavar="percentile|zscore|ct:CENTER,WIDTH|none",
            help="How intensities become 0 to 1, instead of the model's way: percentiles 1 to 99 or 3 standard "
            "deviations around the mean of the brain, a window of Hounsfield units (or ct:brain, ct:subdural, "
            "ct:bone), or not at all.",
            show_default=False,
        ),
    ] = None,
    match_histogram: Annotated[
        bool,
        typer.Option("--match-histogram", help="Give the brain the intensities of the model's training data, too."),
    ] = False,
    save_brain: Annotated[
        Path | None,
        typer.Option(
            "--save-brain",
            metavar="FILE|DIR",
            help="Write the brain mask, too; of several scans into a folder.",
            show_default=False,
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            metavar="FILE|DIR",
            help="Draw the scan before and after, with the brain's outline; several scans into a folder.",
            show_default=False,
        ),
    ] = None,
    bids: Annotated[
        Path | None,
        typer.Option(
            "--bids", metavar="DIR", help="Take the scans of a BIDS data set; -o names derivatives.", show_default=False
        ),
    ] = None,
    suffix: Annotated[
        str | None,
        typer.Option("--suffix", metavar="NAME", help="Which scans of it. Default: T1w.", show_default=False),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", min=1, help="Scans at a time.")] = 1,
    seed: c.Seed = 0,
    volume: c.Volume = None,
    provenance: c.Provenance = True,
    force: c.Force = False,
    as_json: c.Json = False,
    quiet: c.Quiet = False,
    verbose: c.Verbose = False,
    version: c.Version = False,
) -> None:
    """Bring raw scans onto a model's grid: RAS, resampled, cropped, brain only, intensities 0 to 1.

    Of several scans, those that are done are skipped, and one that fails is told and does not stop the others.
    """
    from uadtools.cohort.preprocess import is_cohort, preprocess_all

    tell = c.teller("uad-preprocess", quiet)
    results = preprocess_all(
        inputs or (() if bids else "-"),
        output,
        bids=bids,
        suffix=suffix,
        save_brain=save_brain,
        picture=picture,
        jobs=jobs,
        provenance=provenance,
        force=force,
        as_json=as_json,
        tell=tell,
        fail=c.teller_of_faults("uad-preprocess"),
        progress=lambda text: c.progress(text, quiet),
        verbose=verbose,
        model=model,
        like=like,
        spacing=spacing,
        shape=shape,
        brain=brain,
        bias_correct=bias_correct,
        register=register,
        intensity=intensity,
        match_histogram=match_histogram,
        seed=seed,
        volume=volume,
    )
    if as_json:
        c.print_json(sorted(results, key=lambda r: str(r["name"])) if jobs > 1 else results)
    if is_cohort(inputs or (), bids):
        if not quiet and sys.stderr and sys.stderr.isatty():
            _table(results)
        failed, skipped = (sum(key in r for r in results) for key in ("error", "skipped"))
        if failed or skipped or verbose:
            tell(f"{len(results) - failed - skipped} prepared, {skipped} done before, {failed} failed")
    c.leave(results)


def _table(results: Sequence[dict[str, Any]]) -> None:
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


COMMAND = c.Command(preprocess, "uad-preprocess", EXAMPLES)
main = COMMAND.run
