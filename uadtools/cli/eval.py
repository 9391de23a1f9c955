"""uad-eval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from uadtools.cli import _common as c

EXAMPLES = """
  uad-eval lesions.nii.gz --truth expert.nii.gz --lesions
  uad-eval scores/*.nii.gz --truth truth/*.nii.gz --best --csv figures.csv --plot pr=pr.svg
  uad-preprocess s.nii.gz -o - | uad-heal | uad-score | uad-postproc | uad-eval - --truth t.nii.gz --picture s.png
  uad-eval healed/*.nii.gz --scan prepared/*.nii.gz
  uad-eval healed/*.nii.gz --scan simulated/*.nii.gz --by contrast
  uad-eval --healthy healthy.json --sick sick.json
  uad-eval --compare ours.json theirs.json
"""


def evaluate(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PRED]...",
            help="Detections, score maps or healed scans, or - for a stream on standard input (which no PRED means, "
            "too).",
            show_default=False,
        ),
    ] = None,
    truth: Annotated[
        list[Path] | None,
        typer.Option(
            "--truth",
            metavar="T...",
            help="The experts' lesion masks, in the order of the predictions; on their grid, or on the grid of the "
            "original scan. Default: what the stream holds. Healed scans can do without.",
            show_default=False,
        ),
    ] = None,
    brain: Annotated[
        list[Path] | None,
        typer.Option(
            "--brain",
            metavar="FILE...",
            help="Brain masks, one for each prediction: count only the voxels inside. Default: all for detections, "
            "where the score is above 0 for score maps.",
            show_default=False,
        ),
    ] = None,
    scan: Annotated[
        list[Path] | None,
        typer.Option(
            "--scan",
            metavar="FILE...",
            help="The prepared scans, one for each prediction, which healed scans are compared with; for score maps, "
            "the plain intensity threshold is judged beside them. Default: what the stream holds.",
            show_default=False,
        ),
    ] = None,
    best: Annotated[
        bool,
        typer.Option(
            "--best", help="Best possible Dice of score maps, over all thresholds: a ceiling, not a performance."
        ),
    ] = False,
    threshold_from: Annotated[
        Path | None,
        typer.Option(
            "--threshold-from",
            metavar="VAL.json",
            help='Turn score maps into detections at the threshold of this file: {"threshold": X}, or a report of '
            "--best --json on other scans.",
            show_default=False,
        ),
    ] = None,
    lesions: Annotated[
        bool,
        typer.Option(
            "--lesions",
            help="Add what needs whole lesions and millimetres: recall, precision, F1, Dice and number of lesions, "
            "recall by their size, HD95, and volumes.",
        ),
    ] = False,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="COLUMN,...",
            help="Add the means of subgroups, by these columns of --participants; by contrast without one, where "
            "uad-simulate changed it.",
            show_default=False,
        ),
    ] = None,
    participants: Annotated[
        Path | None,
        typer.Option(
            "--participants",
            metavar="FILE.csv|.tsv",
            help="A table with a row for each person, whose id the scans' names begin with.",
            show_default=False,
        ),
    ] = None,
    healthy: Annotated[
        list[Path] | None,
        typer.Option(
            "--healthy",
            metavar="FILE.json...",
            help="Case scores of healthy people from uad-score --json, to tell them from those of --sick; instead of "
            "PRED.",
            show_default=False,
        ),
    ] = None,
    sick: Annotated[
        list[Path] | None,
        typer.Option("--sick", metavar="FILE.json...", help="Case scores of sick people.", show_default=False),
    ] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(
            "--compare",
            metavar="REPORT.json...",
            help="Compare reports that -o wrote with the first of them, or with this run's if there are PRED: "
            "differences of means with their intervals, and permutation tests.",
            show_default=False,
        ),
    ] = None,
    figure: Annotated[
        str | None,
        typer.Option(
            "--figure",
            metavar="NAME,...",
            help="The figures to compare. Default: dice, auprc, ssim and l1, as far as all reports have them.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the report as JSON to this file.", show_default=False
        ),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write the figures of every scan as CSV.", show_default=False),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            metavar="OUT.png",
            help="Draw the study: scan, healed, score, detection, truth (one study; a stream has all of them).",
            show_default=False,
        ),
    ] = None,
    plot: Annotated[
        list[str] | None,
        typer.Option(
            "--plot",
            metavar="KIND=FILE",
            help="Draw a plot as .png, .pdf or .svg; of score maps: pr (precision against recall), dice (against the "
            "threshold); of detections: bland-altman (volumes). Repeatable.",
            show_default=False,
        ),
    ] = None,
    seed: c.Seed = 0,
    volume: c.Volume = None,
    force: c.Force = False,
    as_json: c.Json = False,
    quiet: c.Quiet = False,
    verbose: c.Verbose = False,
    version: c.Version = False,
) -> None:
    """Measure predictions against the truth: per scan, averaged over scans, and pooled, with 95% intervals."""
    from uadtools.cli import _judging as j
    from uadtools.cli import _report
    from uadtools.evaluation.evaluate import Wanted
    from uadtools.scoring.postproc import read_threshold, scans_of

    given = j.Given(inputs or (), volume, truth or (), brain or (), scan or ())
    people, alone = bool(healthy or sick), bool(compare and not (inputs or truth or scan))
    if people or alone:
        options: dict[str, Any] = {"PRED": inputs, "--truth": truth, "--brain": brain, "--scan": scan, "--best": best}
        options |= {"--threshold-from": threshold_from, "--lesions": lesions, "--by": by, "--plot": plot}
        _refuse(options | {"--picture": picture, "--volume": volume, "--compare": compare if people else None})
    columns = [column.strip() for column in by.split(",")] if by else []
    _check_pairs(columns, participants, figure, compare)
    _report.check_targets(output, csv, force=force)
    drawings = j.Drawings.of(plot or (), picture, force=force)
    others = j.reports_of(compare or ())
    report: dict[str, Any] = {"schema": 1, "kind": "comparison"}
    if people:
        report = j.of_people(healthy or (), sick or (), seed=seed)
    elif not alone:
        given.check(picture=picture is not None)
        wanted = Wanted(best, read_threshold(threshold_from) if threshold_from else None, lesions)
        report = j.of_scans(given, wanted, drawings, seed=seed, tell=c.teller("uad-eval", quiet or not verbose))
        if threshold_from and (same := {row["name"] for row in report["scans"]} & set(scans_of(threshold_from))):
            told = f"{threshold_from} was chosen on {min(same)}, too: these figures are ceilings, not performance"
            c.teller("uad-eval", quiet)(told)
    if columns:
        report["groups"] = j.of_groups(report, participants, columns, seed=seed)
    if compare:
        reports = others if alone else {"this run": report} | others
        report["comparison"] = j.of_reports(reports, figure, seed=seed)
    _report.write(report, output, csv, force=force)
    if as_json:
        c.print_json(report)
    elif not quiet:
        _report.show(report)


def _refuse(options: dict[str, Any]) -> None:
    """Refuse options that have no effect without predictions."""
    for option, value in options.items():
        if value is not None and value is not False and value != []:
            raise c.usage("is of no use beside --healthy and --sick, or --compare without PRED (leave it out)", option)


def _check_pairs(
    by: Sequence[str], participants: Path | None, figure: str | None, compare: Sequence[Path] | None
) -> None:
    """Refuse options that are of no use without another; contrast is what scans tell of themselves."""
    if (participants is None and set(by) - {"contrast"}) or (participants is not None and not by):
        raise c.usage("go together (give both)", "--by and --participants")
    if figure is not None and not compare:
        raise c.usage("is for --compare (leave it out)", "--figure")


COMMAND = c.Command(
    evaluate, "uad-eval", EXAMPLES, ("--truth", "--brain", "--scan", "--healthy", "--sick", "--compare")
)
main = COMMAND.run
