"""uad-eval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uadtools.cli import _common as c

if TYPE_CHECKING:
    from uadtools.pipeline.eval import Case
    from uadtools.volume.io import Image
    from uadtools.volume.stream import Study

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
            help="The experts' lesion masks, in the order of the predictions; on their grid, or on the grid of the "
            "original scan.",
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
    volume: c.Volume = None,
    force: c.Force = False,
    as_json: c.Json = False,
    quiet: c.Quiet = False,
    verbose: c.Verbose = False,
    version: c.Version = False,
) -> None:
    """Measure detections or score maps against the truth: per scan, averaged over scans, and pooled over voxels."""
    from uadtools.cli import _report
    from uadtools.cli._studies import print_json
    from uadtools.pipeline.eval import evaluate as work
    from uadtools.pipeline.picture import check_picture
    from uadtools.pipeline.picture import picture as draw
    from uadtools.pipeline.postproc import read_threshold

    _check_counts(inputs, truth or (), brain, picture)
    _report.check_targets(output, csv, force=force)
    if picture is not None:
        check_picture(picture, force=force)
    level = read_threshold(threshold_from) if threshold_from else None
    cases = []
    for study, label, found in _cases(inputs, volume, truth or (), brain):
        cases.append(found)
        last = study, label
        if verbose:
            c.teller("uad-eval", quiet)(f"{study.name}: {found.prediction.size:,} voxels")
    report: dict[str, Any] = work(cases, best=best, threshold=level)
    if picture is not None:
        draw(last[0], picture, truth=last[1], force=force)
    _report.write(report, output, csv, force=force)
    if as_json:
        print_json(report)
    elif not quiet:
        _report.show(report)


def _check_counts(
    inputs: Sequence[str] | None, truths: Sequence[Path], brains: Sequence[Path] | None, picture: Path | None
) -> None:
    """Refuse numbers of files that do not fit one another; how many predictions a stream holds is seen later."""
    if not truths:
        raise c.usage("give the experts' masks, one for each prediction", "--truth")
    if inputs and "-" not in inputs and len(inputs) != len(truths):
        raise c.usage(f"{len(truths)} truths for {len(inputs)} predictions", "--truth")
    if brains and len(brains) != len(truths):
        raise c.usage(f"{len(brains)} brain masks for {len(truths)} truths", "--brain")
    if picture is not None and len(truths) > 1:
        raise c.usage("draws one study at a time", "--picture")


def _cases(
    inputs: Sequence[str] | None, volume: int | None, truths: Sequence[Path], brains: Sequence[Path] | None
) -> Iterator[tuple[Study, Image, Case]]:
    """Bring each prediction together with its truth and its brain mask."""
    from uadtools.cli._studies import read_mask, studies
    from uadtools.pipeline.eval import case
    from uadtools.volume.stream import read_image

    for study, truth, brain in zip_longest(studies(inputs, volume), truths, brains or ()):
        if study is None or truth is None:
            raise c.usage(f"{len(truths)} truths, and the stream holds {'more' if study else 'fewer'} scans", "--truth")
        label = read_image(truth)
        yield study, label, case(study, label, read_mask(brain))


COMMAND = c.Command(evaluate, "uad-eval", EXAMPLES, ("--truth", "--brain"))
main = COMMAND.run
