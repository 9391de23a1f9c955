"""uad-eval."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from uadtools.cli import _common as c

EXAMPLES = """
  uad-eval lesions.nii.gz --truth expert.nii.gz
  uad-eval scores/*.nii.gz --truth truth/*.nii.gz --best --csv figures.csv
  uad-preprocess s.nii.gz -o - | uad-heal | uad-score | uad-postproc | uad-eval - --truth t.nii.gz --picture s.png
"""


def evaluate(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PRED]...",
            help="Detections or score maps, or - for a stream on standard input (which no PRED means, too).",
            show_default=False,
        ),
    ] = None,
    truth: Annotated[
        list[Path] | None,
        typer.Option(
            "--truth",
            metavar="T...",
            help="The experts' lesion masks, in the order of the predictions; on their grid, or on the grid of the original scan.",
            show_default=False,
        ),
    ] = None,
    brain: Annotated[
        list[Path] | None,
        typer.Option(
            "--brain",
            metavar="FILE...",
            help="Brain masks: count only the voxels inside. Default: all for detections, where the score is above 0 for score maps.",
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
        list[Path] | None,
        typer.Option(
            "--threshold-from",
            metavar="VAL.json",
            help='Turn score maps into detections at the threshold of this file: {"threshold": X}, or a report of --best --json on other scans.',
            show_default=False,
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
    force: c.Force = False,
    as_json: c.Json = False,
    quiet: c.Quiet = False,
    verbose: c.Verbose = False,
    version: c.Version = False,
) -> None:
    """Measure detections or score maps against the truth: per scan, averaged over scans, and pooled over voxels."""
    from uadtools.cli._report import show, write_csv
    from uadtools.cli._studies import print_json, studies
    from uadtools.files import check_free
    from uadtools.pipeline.eval import case
    from uadtools.pipeline.eval import evaluate as work
    from uadtools.pipeline.picture import picture as draw
    from uadtools.pipeline.postproc import read_threshold
    from uadtools.volume.stream import read_image

    if not truth:
        raise c.usage("give the experts' masks, one for each prediction", "--truth")
    if threshold_from and len(threshold_from) > 1:
        raise c.usage("one file", "--threshold-from")
    for path in (csv, picture):
        if path is not None:
            check_free(path, force=force)
    level = read_threshold(threshold_from[0]) if threshold_from else None
    cases = []
    for i, study in enumerate(studies(inputs)):
        if i >= len(truth) or (brain and i >= len(brain)):
            raise c.usage(
                f"{len(truth)} truths and {len(brain or truth)} brain masks for more predictions than that", "--truth"
            )
        label = read_image(truth[i])
        cases.append(case(study, label, read_image(brain[i]) if brain else None))
        if picture is not None:
            if i > 0:
                raise c.usage("one study at a time", "--picture")
            draw(study, picture, truth=label, force=force)
        if verbose:
            c.teller("uad-eval", quiet)(f"{study.name}: {cases[-1].prediction.size:,} voxels")
    if len(cases) != len(truth):
        raise c.usage(f"{len(truth)} truths for {len(cases)} predictions", "--truth")
    report: dict[str, Any] = work(cases, best=best, threshold=level)
    if csv is not None:
        write_csv(report, csv, force=force)
    if as_json:
        print_json(report)
    elif not quiet:
        show(report)


COMMAND = c.Command(evaluate, "uad-eval", EXAMPLES, ("--truth", "--brain", "--threshold-from"))
main = COMMAND.run
