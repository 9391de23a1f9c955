"""uad-preprocess."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uadtools.program import command as c
from uadtools.program import options as o

EXAMPLES = """
  uad-preprocess scan.nii.gz                          writes scan_preprocessed.nii.gz
  uad-preprocess scan.nii.gz --bias-correct --register mni --picture scan.png
  uad-preprocess scan.nii.gz --brain mask.nii.gz -o - | uad-heal --prepared -o healed.nii.gz
  uad-preprocess raw/ -o prepared/ --jobs 4           every scan in a folder; run again, it does what is missing
  uad-preprocess DICOM/ --series 3                    one series of a folder of DICOM
  uad-preprocess --bids study/ --suffix T1w -o study/derivatives/uadtools
  uad-preprocess BraTS2021/ --layout brats2021 --suffix T2 --like pddpm --split val=100,test -o brats/
  uad-preprocess t1.nii.gz --channel FLAIR=flair.nii.gz --channel T2=t2.nii.gz --align
  uad-preprocess head.nii.gz --brain none --intensity ct:brain
"""


UNDONE = {"error": "failed", "failed": "failed before", "skipped": "done before"}
"""What is shown of scans that were not prepared."""


def preprocess(
    inputs: list[str] | None = o.argument("""IN
        Scans: files (NIfTI, .mgz, .nrrd), folders of DICOM, pictures (.png, .jpg, .npz), folders and lists (.txt,
        .csv, .jsonl) of them, or - for a stream on standard input (which no IN means, too)."""),
    output: str | None = o.OUTPUT,
    model: Path | None = o.option(
        """--model M
        Take grid and intensity window from this model, a file or a bundled one's name. Default: the bundled one.""",
        autocompletion=o.bundled_names,
    ),
    like: str | None = o.option("""--like pddpm|cddpm|sss|ldm
        Prepare scans as that paper did; other options change parts of it."""),
    spacing: str | None = o.option("--spacing MM[,MM,MM]  Voxel size instead of the model's."),
    shape: str | None = o.option("""--shape X[,Y,Z]
        Voxels instead of the model's; Z = 1: single slices, any number of them."""),
    brain: str | None = o.option("""--brain auto|none|deepbet|hd-bet|synthstrip|FILE
        auto (the default): as it is if the skull is gone already, else deepbet (T1 scans of adults). none: all
        that is not background. hd-bet, synthstrip: that program, which you install. FILE: a mask on the scan's
        grid."""),
    bias_correct: bool | None = o.option("""--bias-correct/--no-bias-correct
        Take drifting brightness out of the brain with N4. Default: no."""),
    register: str | None = o.option("""--register mni|FILE|none
        Bring the brain onto the MNI152 template or another by an affine; --native undoes it. Default: none."""),
    intensity: str | None = o.option("""--intensity percentile|zscore|ct:CENTER,WIDTH|none
        How intensities become 0 to 1, instead of the model's way: percentiles 1 to 99 or 3 standard deviations
        around the mean of the brain, a window of Hounsfield units (or ct:brain, ct:subdural, ct:bone), or not at
        all."""),
    match_histogram: bool = o.flag("""--match-histogram
        Give the brain the intensities of the model's training data, too."""),
    channel: list[str] | None = o.option("""--channel NAME=FILE|NAME=DIR...
        Another contrast of the same person, for a model of several: it is brought onto the scan's grid, into its
        brain, and lies in the same file. Of several scans, a folder of files that are called as they are; with
        --bids, NAME is the suffix, or NAME=SUFFIX."""),
    align: bool = o.flag("--align  Register the other contrasts to the scan by a rigid transform first."),
    save_brain: Path | None = o.option("""--save-brain FILE|DIR
        Write the brain mask, too; of several scans into a folder."""),
    picture: Path | None = o.option("""--picture FILE|DIR
        Draw the scan before and after, with the brain's outline; several scans into a folder."""),
    bids: Path | None = o.option("--bids DIR  Take the scans of a BIDS data set; -o names derivatives."),
    layout: str | None = o.option("""--layout NAME
        IN is a data set as it is handed out: ixi, brats2020, brats2021, brats2023, mslub, atlas2, wmh2017, isles2022,
        nfbs, bids, mood, mood-toy, fastmri or headct. Masks NAME_truth.nii.gz and lists (.csv with path, truth, subject
        and more) are written beside the scans."""),
    suffix: str | None = o.option("""--suffix NAME
        Which scans of a data set: T1w with --bids, T1, T2, FLAIR and so on with --layout. Default: T1w, and what
        docs/reproduce.md says first."""),
    split: str | None = o.option("""--split NAME=SUBJECTS,...,NAME
        Of --layout: lists NAME.csv of so many subjects, drawn at random, the last of all that are left, such as
        val=100,test."""),
    strict: bool = o.STRICT,
    jobs: int = o.option("--jobs N  Scans at a time.", 1, min=1),
    skip_failed: bool = o.flag("""--skip-failed
        Keep a list of scans that cannot be prepared, failed.json in the folder of the outputs, and leave out those
        on it that have not changed since; --force tries them again."""),
    seed: int = o.SEED,
    volume: int | None = o.VOLUME,
    geometry: o.Form | None = o.GEOMETRY,
    nan: float | None = o.NAN,
    series: str | None = o.SERIES,
    provenance: bool = o.PROVENANCE,
    anonymous: bool = o.ANONYMOUS,
    force: bool = o.FORCE,
    as_json: bool = o.JSON,
    quiet: bool = o.QUIET,
    verbose: bool = o.VERBOSE,
    version: bool = o.VERSION,
) -> None:
    """Bring raw scans onto a model's grid: RAS, resampled, cropped, brain only, intensities 0 to 1.

    Of several scans, those that are done are skipped, and one that fails is told and does not stop the others.
    """
    from uadtools.cohort.preprocess import preprocess_all
    from uadtools.datasets.sources import is_cohort

    tell = c.teller("uad-preprocess", quiet)
    results = preprocess_all(
        inputs or (() if bids else "-"),
        output,
        bids=bids,
        layout=layout,
        suffix=suffix,
        split=split,
        channel=channel or (),
        align=align,
        save_brain=save_brain,
        picture=picture,
        jobs=jobs,
        skip_failed=skip_failed,
        provenance=provenance,
        anonymous=anonymous,
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
        geometry=geometry,
        nan=nan,
        series=series,
    )
    if as_json:
        c.print_json(sorted(results, key=lambda r: str(r["name"])) if jobs > 1 else results)
    several = is_cohort(inputs or (), bids)
    if several and not quiet and sys.stderr and sys.stderr.isatty():
        _table(results)
    failed, skipped, before = (sum(key in r for r in results) for key in ("error", "skipped", "failed"))
    if failed or skipped or before or (several and verbose):
        rest = f", {before} failed before (--force tries again)" if before else ""
        tell(f"{len(results) - failed - skipped - before} prepared, {skipped} done before, {failed} failed{rest}")
    c.leave(results, strict)


def _table(results: Sequence[dict[str, Any]]) -> None:
    """Show on a terminal what became of each scan."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("scan", "brain, mL", "seconds", "result")
    for result in results:
        name = Text(c.shown(result["name"]))
        if undone := [text for key, text in UNDONE.items() if key in result]:
            table.add_row(name, "", "", undone[0])
        else:
            spent, concerns = sum(result["seconds"].values()), len(result["concerns"])
            outcome = f"written; {concerns} to look at" if concerns else "written"
            table.add_row(name, f"{result['brain_ml']:.0f}", f"{spent:.1f}", outcome)
    Console(stderr=True).print(table)


COMMAND = c.Command(preprocess, "uad-preprocess", EXAMPLES)
main = COMMAND.run
