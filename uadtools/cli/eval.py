"""uad-eval."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from uadtools.program import command as c
from uadtools.program import options as o

EXAMPLES = """
  uad-eval lesions.nii.gz --truth expert.nii.gz --lesions
  uad-eval scores/*.nii.gz --truth truth/*.nii.gz --best --csv figures.csv --plot pr=pr.svg
  uad-preprocess s.nii.gz -o - | uad-heal | uad-score | uad-postproc | uad-eval - --truth t.nii.gz --picture s.png
  uad-eval detections/*.nii.gz --truth wmh/*.nii.gz --match --label 1 --ignore 2
  uad-eval scores/*.nii.gz --truth-boxes boxes.csv --threshold-from val.json
  uad-eval healed/*.nii.gz --scan prepared/*.nii.gz
  uad-eval healed/*.nii.gz --scan simulated/*.nii.gz --by contrast
  uad-eval --healthy healthy.json --sick sick.json --threshold-from val.json
  uad-eval --compare ours.json theirs.json
  uad-eval scores/ --mood toy_label/
"""


def evaluate(
    inputs: list[str] | None = o.argument("""[PRED]...
        Detections, score maps or healed scans, or - for a stream on standard input (which no PRED means, too)."""),
    truth: list[Path] | None = o.option("""--truth T...
        The experts' lesion masks, in the order of the predictions; on their grid, or on the grid of the original
        scan. Default: what the stream holds. Healed scans can do without."""),
    brain: list[Path] | None = o.option("""--brain FILE...
        Brain masks, one for each prediction: count only the voxels inside. Default: all for detections, where the
        score is above 0 for score maps."""),
    scan: list[Path] | None = o.option("""--scan FILE...
        The prepared scans, one for each prediction, which healed scans are compared with; for score maps, the
        plain intensity threshold is judged beside them. Default: what the stream holds."""),
    match: bool = o.flag("""--match
        Pair --truth, --brain and --scan with the predictions by the ids in their names, instead of by their order."""),
    label: list[int] | None = o.LABEL,
    ignore: list[int] | None = o.IGNORE,
    best: bool = o.flag("""--best
        Best possible Dice of score maps, or F1 of people, over all thresholds: a ceiling, not a performance."""),
    threshold_from: Path | None = o.option("""--threshold-from VAL.json
        Turn score maps into detections at the threshold of this file: {"threshold": X}, or a report of --best
        --json on other scans. With --healthy and --sick: take people for sick at the thresholds of such a report
        on others."""),
    lesions: bool = o.flag("""--lesions
        Add what needs whole lesions and millimetres: recall, precision, F1, Dice and number of lesions, recall by
        their size, HD95, and volumes."""),
    overlap: float | None = o.option(
        """--overlap SHARE
        Of --lesions: how much of a lesion must be detected for it to be found, and how much of a detected component
        must be lesion; 0: they touch, as in BraTS 2023. Default: 0.1.""",
        min=0,
        max=1,
    ),
    boxes: bool = o.flag("""--boxes
        Add what is said of bounding boxes: those of what is detected against those of the lesions (IoU, recall and
        precision at an IoU of 0.1, 0.3 and 0.5), and the mean of score maps inside and outside of them."""),
    truth_boxes: Path | None = o.option("""--truth-boxes TABLE.csv|.tsv
        The true boxes, in the place of --truth, and --boxes with them: a row for each, with the name of its scan and
        its first and last voxel on the prediction's grid (name, x0, y0, z0, x1, y1, z1)."""),
    features: Path | None = o.FEATURES,
    normal: list[Path] | None = o.NORMAL,
    by: str | None = o.option("""--by COLUMN,...
        Add the means of subgroups, by these columns of --participants; by contrast without one, where uad-simulate
        changed it."""),
    participants: Path | None = o.option("--participants FILE.csv|.tsv  People, whose ids the names begin with."),
    healthy: list[Path] | None = o.option("""--healthy FILE.json...
        Case scores of healthy people from uad-score --json, to tell them from those of --sick; instead of PRED."""),
    sick: list[Path] | None = o.option("--sick FILE.json...  Case scores of sick people."),
    mood: Path | None = o.option("""--mood LABELS
        Score as the MOOD challenge does, by the folder of its labels: average precision over the voxels of all cases
        (pixel/) and over cases (sample/). PRED are score maps on the cases' grids, named after them."""),
    compare: list[Path] | None = o.option("""--compare REPORT.json...
        Compare reports that -o wrote with the first of them, or with this run's if there are PRED: differences of
        means with their intervals, and permutation tests."""),
    figure: str | None = o.option("--figure NAME,...  What to compare. Default: dice, auprc, ssim and l1."),
    output: Path | None = o.option("--output -o FILE  Write the report as JSON to this file."),
    csv: Path | None = o.option("--csv FILE  Write the figures of every scan as CSV."),
    picture: Path | None = o.option("""--picture OUT.png
        Draw the study: scan, healed, score, detection, truth (one study; a stream has all of them)."""),
    page: Path | None = o.option("""--report FILE.html
        Write the page of uad-report with the figures, and with hits, misses and false alarms in colours (one study; a
        stream has all that it shows)."""),
    plot: list[str] | None = o.option("""--plot KIND=FILE
        Draw a plot as .png, .pdf or .svg; of score maps: pr (precision against recall), dice (against the
        threshold); of detections: bland-altman (volumes). Repeatable."""),
    strict: bool = o.STRICT,
    seed: int = o.SEED,
    volume: int | None = o.VOLUME,
    geometry: o.Form | None = o.GEOMETRY,
    force: bool = o.FORCE,
    as_json: bool = o.JSON,
    quiet: bool = o.QUIET,
    verbose: bool = o.VERBOSE,
    version: bool = o.VERSION,
) -> None:
    """Measure predictions against the truth: per scan, averaged over scans, and pooled, with 95% intervals."""
    from uadtools.cohort.evaluate import evaluate_all
    from uadtools.evaluation.compare import compare as work
    from uadtools.evaluation.compare import read_report
    from uadtools.evaluation.reports import SCHEMA
    from uadtools.evaluation.subgroups import read_participants, subgroups
    from uadtools.report.tables import headline

    tell = c.teller("uad-eval", quiet)
    people, alone = bool(healthy or sick), bool(compare and not (inputs or truth or truth_boxes or scan))
    judging: dict[str, Any] = {
        "truth": truth, "brain": brain, "scan": scan, "match": match, "label": label, "ignore": ignore, "best": best,
        "threshold_from": threshold_from, "lesions": lesions, "overlap": overlap, "boxes": boxes,
        "truth_boxes": truth_boxes, "features": features, "normal": normal, "picture": picture, "report": page,
        "volume": volume, "geometry": geometry,
    }  # fmt: skip
    judging = {name: value for name, value in judging.items() if value is not None}
    if mood is not None:
        _refuse({**_options(judging), "--by": by, "--plot": plot, "--compare": compare, "--csv": csv}, "--mood")
        _of_mood(inputs or (), mood, output, force, as_json, tell)
        return
    if people or alone:
        named = _options(judging, but=("best", "threshold_from") if people else ())
        _refuse({"PRED": inputs, **named, "--by": by, "--plot": plot, "--compare": people and compare})
    columns, figures = _listed(by), _listed(figure)
    _check_pairs(columns, participants, figure, compare)
    _check_targets(output, csv, force=force)
    plots = _plots(plot or ())
    others = {str(path): read_report(path) for path in compare or ()}
    report: dict[str, Any] = {"schema": SCHEMA, "kind": "comparison"}
    if people:
        report = _of_people(healthy or (), sick or (), best, threshold_from, seed, tell)
    elif not alone:
        told: dict[str, Any] = {"tell": tell, "verbose": verbose}
        report = {**evaluate_all(inputs or "-", **judging, plots=plots, seed=seed, force=force, **told)}
    if columns:
        persons = None if participants is None else read_participants(participants)
        report["groups"] = dict(subgroups(report["scans"], persons, columns, seed=seed))
    if compare:
        report["comparison"] = work(others if alone else {"this run": report} | others, figures, seed=seed)
    _write(report, output, csv, force)
    if as_json:
        c.print_json(report)
    elif not quiet:
        _show(report)
    if line := headline(report):
        tell(line)
    c.leave([report], strict)


def _listed(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",")] if text else []


def _plots(texts: Sequence[str]) -> dict[str, str]:
    """Understand KIND=FILE."""
    from uadtools.report.plots import DRAWN

    if wrong := [text for text in texts if "=" not in text]:
        raise c.usage(f"{wrong[0]}: which one? (KIND=FILE; there are {', '.join(DRAWN)})", "--plot")
    return {kind: path for kind, _, path in (text.partition("=") for text in texts)}


def _of_people(
    healthy: Sequence[Path],
    sick: Sequence[Path],
    best: bool,
    threshold_from: Path | None,
    seed: int,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Judge case scores."""
    from uadtools.evaluation.image_level import image_level, read_case_scores, read_case_thresholds

    rows = [[row for path in files for row in read_case_scores(path)] for files in (healthy, sick)]
    thresholds, chosen_on = (None, set[str]()) if threshold_from is None else read_case_thresholds(threshold_from)
    report = image_level(*rows, best=best, thresholds=thresholds, seed=seed)
    if same := chosen_on & {str(row["name"]) for row in report["scans"]}:
        tell(f"{threshold_from} was chosen on {min(same)}, too: these figures are ceilings, not performance")
    return report


def _of_mood(inputs: Sequence[str], labels: Path, output: Path | None, force: bool, as_json: bool, tell: Any) -> None:
    """Tell the figures of the challenge."""
    from uadtools.evaluation.mood import mood

    report = mood(inputs, labels, tell)
    _write(report, output, None, force)
    c.print_json(report) if as_json else c.say("{pixel_ap} pixel AP\n{sample_ap} sample AP".format(**report))


def _write(report: dict[str, Any], as_json: Path | None, as_csv: Path | None, force: bool) -> None:
    from uadtools.files import write_json
    from uadtools.report.tables import write_csv

    if as_json is not None:
        write_json(as_json, report, force=force)
    if as_csv is not None:
        write_csv(as_csv, report, force=force)


def _show(report: dict[str, Any]) -> None:
    """Print the report as tables, on a terminal with the ends of the intervals below means and pooled figures."""
    from uadtools.report.tables import notes, tables, text

    if not (sys.stdout and sys.stdout.isatty()):
        c.say(text(report))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    for table in tables(report, intervals=True):
        shown = Table(title=table.title or None, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for i, head in enumerate(table.rows[0]):
            shown.add_column(Text(head), justify="right" if i else "left")
        for row in table.rows[1:]:
            shown.add_row(*(Text(c.shown(cell)) for cell in row))
        Console().print(shown)
    for note in notes(report, intervals=True):
        c.say(note)


def _options(judging: dict[str, Any], but: Sequence[str] = ()) -> dict[str, Any]:
    return {f"--{name.replace('_', '-')}": value for name, value in judging.items() if name not in but}


def _refuse(options: dict[str, Any], beside: str = "--healthy and --sick, or --compare without PRED") -> None:
    """Refuse options that have no effect there."""
    for option, value in options.items():
        if value is not None and value is not False and value != []:
            raise c.usage(f"is of no use beside {beside} (leave it out)", option)


def _check_pairs(
    by: Sequence[str], participants: Path | None, figure: str | None, compare: Sequence[Path] | None
) -> None:
    """Refuse options that are of no use without another; contrast is what scans tell of themselves."""
    if (participants is None and set(by) - {"contrast"}) or (participants is not None and not by):
        raise c.usage("go together (give both)", "--by and --participants")
    if figure is not None and not compare:
        raise c.usage("is for --compare (leave it out)", "--figure")


def _check_targets(*paths: Path | None, force: bool) -> None:
    from uadtools.files import check_free

    for path in filter(None, paths):
        check_free(path, force=force)


COMMAND = c.Command(
    evaluate,
    "uad-eval",
    EXAMPLES,
    ("--truth", "--brain", "--scan", "--label", "--ignore", "--normal", "--healthy", "--sick", "--compare"),
)
main = COMMAND.run
