"""uad-run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from uadtools.cli import _running as r
from uadtools.cli.score import Signed
from uadtools.program import command as c
from uadtools.program import options as o

EXAMPLES = """
  uad-run scan.nii.gz -o out/                         writes out/scan_detection.nii.gz, scan_score.nii.gz and scan.html
  uad-run scan.nii.gz -o out/ --signed bright --set preprocess.bias-correct --set postproc.min-size=20
  uad-run raw/ -o out/                                every scan in a folder, and out/index.html
  uad-run DICOM/ -o out/ --dicom-seg                  writes out/DICOM_detection.dcm, too, for a PACS
  uad-run --bids study/ --suffix FLAIR -o study/derivatives/uadtools
  uad-run scan.nii.gz -o out/ --dry-run               the pipe that does the same
"""


def run(
    inputs: list[str] | None = o.argument("""IN
        Raw scans: files (NIfTI, .mgz, .nrrd), folders of DICOM, pictures (.png, .jpg, .npz), folders and lists (.txt,
        .csv, .jsonl) of them, or - for a stream on standard input (which no IN means, too). A BIDS data set is named
        with --bids; as a folder it stands for all images in it but derivatives/."""),
    output: str | None = o.option("--output -o DIR  The folder of what is made. Default: the current folder."),
    model: list[Path] | None = r.MODEL,
    method: str | None = r.METHOD,
    t: list[int] | None = o.option("-t N  How far the scan is noised, in steps; repeat it to combine several."),
    signed: Signed | None = r.SIGNED,
    brain: str | None = r.BRAIN,
    threshold: str | None = r.THRESHOLD,
    adapt: bool = o.flag("--adapt  Raise the threshold for a scan whose scores are higher everywhere."),
    force_detection: bool = o.flag(
        "--force-detection  Detect also in scans that are unlike what the model learnt from."
    ),
    settings: list[str] | None = r.SET,
    bids: Path | None = o.option("--bids DIR  Take the scans of a BIDS data set; -o names derivatives."),
    suffix: str | None = o.option("--suffix NAME  Which scans of it. Default: T1w."),
    keep: bool = o.flag("""--keep
        Write what is made on the way, too: NAME_preprocessed.nii.gz, _brain, _healed and the method's maps, for
        uad-report --truth and the other tools."""),
    keep_names: bool = o.KEEP_NAMES,
    dicom_seg: bool = o.flag("""--dicom-seg
        Write the detection as DICOM-SEG, too, NAME_detection.dcm, for a PACS. IN is a folder of DICOM."""),
    dry_run: bool = o.flag("""--dry-run
        Check all options, the scans' headers and what is in the way, print the pipe that does the same, and do
        nothing."""),
    strict: bool = o.STRICT,
    seed: int = o.SEED,
    device: str = o.DEVICE,
    precision: o.Precision = o.PRECISION,
    volume: int | None = o.VOLUME,
    geometry: o.Form | None = o.GEOMETRY,
    series: str | None = o.SERIES,
    force: bool = o.FORCE,
    as_json: bool = o.JSON,
    quiet: bool = o.QUIET,
    verbose: bool = o.VERBOSE,
    version: bool = o.VERSION,
) -> None:
    """Find lesions in raw scans, in one go: prepare, heal, score, detect, report. Not a medical device.

    Of each scan the detection, on its own grid, the score map, a page of HTML and a record in JSON are written; of
    several, an index and a table, too. What is done is skipped; one that fails is told and does not stop the others.
    """
    from uadtools.datasets.sources import is_cohort
    from uadtools.pipeline.folder import INDEX
    from uadtools.pipeline.run import pipes
    from uadtools.pipeline.run import run as run_all

    tell, sources = c.teller("uad-run", quiet), inputs or (() if bids else "-")
    options: dict[str, Any] = {
        "model": model or (),
        "method": method,
        "t": t or (),
        "signed": signed,
        "brain": brain,
        "threshold": threshold,
        "adapt": adapt,
        "force_detection": force_detection,
        "seed": seed,
        "device": None if device == "auto" else device,
        "precision": None if precision == "auto" else precision,
        "volume": volume,
        "geometry": geometry,
        "series": series,
        "steps": r.steps_of(settings or ()),
    }
    where: dict[str, Any] = {"bids": bids, "suffix": suffix, "dicom_seg": dicom_seg, "force": force, "tell": tell}
    where |= {"keep": keep, "keep_names": keep_names}
    if dry_run:
        lost: list[str] = []
        lines = pipes(sources, output, fail=lost.append, **where, **options)
        for line in lost:
            c.teller_of_faults("uad-run")(line)
        if lines:
            c.say("\n".join(lines))
        c.leave([{"error": line} for line in lost])
        return
    results = run_all(
        sources,
        output,
        fail=c.teller_of_faults("uad-run"),
        progress=lambda text: c.progress(text, quiet),
        verbose=verbose,
        **where,
        **options,
    )
    index = Path(output or "", INDEX) if is_cohort(inputs or (), bids) else None
    r.finish(results, tell, index=index, as_json=as_json, strict=strict)


COMMAND = c.Command(run, "uad-run", EXAMPLES)
main = COMMAND.run
