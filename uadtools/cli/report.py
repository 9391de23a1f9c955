"""uad-report."""

from __future__ import annotations

from pathlib import Path

from uadtools.program import command as c
from uadtools.program import options as o

EXAMPLES = """
  uad-heal raw.nii.gz -o - | uad-score | uad-postproc -o - | uad-report -o report.html
  uad-report scan_detection.nii.gz -o report.html     with scan_preprocessed, _healed and _score beside it
  uad-report scan_score.nii.gz --truth lesions.nii.gz -o report.html
  uad-report results/*_detection.nii.gz -o reports/   a page for each, and reports/index.html
"""


def report(
    inputs: list[str] | None = o.argument("""STUDY
        What the tools made of a scan: its files, of which one is enough where the others lie beside it; a folder, for
        the detections in it; or - for a stream on standard input (which no STUDY means, too)."""),
    output: Path | None = o.option("""--output -o FILE.html|DIR
        The page, or a folder of pages with an index, the worst first. Default: report.html."""),
    truth: list[str] | None = o.option("""--truth FILE...
        The expert's mask, one for each study, to tell hits, misses and false alarms. Default: the study's own."""),
    match: bool = o.flag(
        "--match  Pair the masks with the studies by the ids in their names, instead of by their order."
    ),
    keep_names: bool = o.KEEP_NAMES,
    strict: bool = o.STRICT,
    volume: int | None = o.VOLUME,
    geometry: o.Form | None = o.GEOMETRY,
    force: bool = o.FORCE,
    as_json: bool = o.JSON,
    quiet: bool = o.QUIET,
    verbose: bool = o.VERBOSE,
    version: bool = o.VERSION,
) -> None:
    """Show a scan, its healed self and what was found in it in one page of HTML, which opens offline."""
    from uadtools.cohort.report import report_all

    tell = c.teller("uad-report", quiet)
    results = report_all(
        inputs or "-",
        output,
        truth=truth or (),
        match=match,
        keep_names=keep_names,
        volume=volume,
        geometry=geometry,
        force=force,
        tell=tell,
        fail=c.teller_of_faults("uad-report"),
    )
    if as_json:
        c.print_json(results)
    elif verbose:
        for row in results:
            tell(f"{row['name']}: {row.get('output', 'failed')}")
    c.leave(results, strict)


COMMAND = c.Command(report, "uad-report", EXAMPLES, ("--truth",))
main = COMMAND.run
