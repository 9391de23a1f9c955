"""uad-score."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from uadtools.cli import _common as c
from uadtools.errors import UadError

if TYPE_CHECKING:
    from uadtools.volume.stream import Study

EXAMPLES = """
  uad-score scan_preprocessed.nii.gz scan_healed.nii.gz       writes scan_score.nii.gz
  uad-heal scan_preprocessed.nii.gz -o - | uad-score --json   prints the case score
"""


def score(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SCAN HEALED",
            help="Two files, or - for a stream on standard input (which no argument means, too).",
            show_default=False,
        ),
    ] = None,
    output: c.Output = None,
    metric: Annotated[
        Literal["l1", "l2"], typer.Option("--metric", metavar="l1|l2", help="l1: |scan - healed|; l2: its square.")
    ] = "l1",
    signed: Annotated[
        Literal["both", "bright", "dark"],
        typer.Option(
            "--signed", metavar="both|bright|dark", help="Score only what is brighter, or darker, than its healed self."
        ),
    ] = "both",
    brain: Annotated[
        Path | None,
        typer.Option(
            "--brain",
            metavar="FILE",
            help="Brain mask on the scan's grid; default: where the scan is above 0.",
            show_default=False,
        ),
    ] = None,
    native: Annotated[
        bool,
        typer.Option("--native", help="Put the score on the grid of the original scan, linearly (a last step)."),
    ] = False,
    volume: c.Volume = None,
    provenance: c.Provenance = True,
    force: c.Force = False,
    as_json: c.Json = False,
    quiet: c.Quiet = False,
    verbose: c.Verbose = False,
    version: c.Version = False,
) -> None:
    """Score how much each voxel of a scan differs from its healed self; --json gives one number for the scan."""
    from uadtools.cli._studies import Sink, print_json, read_mask, studies, with_brain
    from uadtools.pipeline.score import case_score
    from uadtools.pipeline.score import score as work
    from uadtools.volume.chain import to_native

    if inputs and (len(inputs) > 2 or (len(inputs) == 2 and "-" in inputs)):
        raise c.usage(f"{' '.join(inputs)}: two files, or one stream", "SCAN HEALED")
    sink = Sink.of("score", inputs and inputs[:1], output, force=force, provenance=provenance, as_json=as_json)
    mask = read_mask(brain)
    results: list[dict[str, Any]] = []
    for study in _pair(inputs, volume) if inputs and len(inputs) == 2 else studies(inputs, volume):
        path = sink.claim(study)
        made = work(with_brain(study, mask), metric=metric, signed=signed)
        number = case_score(made)
        if math.isnan(number):
            raise UadError(f"{study.name}: no voxel above background, so there is no brain to score")
        if native:
            made = made.adding(to_native(made.product, study.name))
        results.append(
            {
                "name": study.name,
                "output": sink.write(made, path),
                "case_score": number,
                "metric": metric,
                "signed": signed,
            }
        )
        if verbose:
            c.teller("uad-score", quiet)(f"{study.name}: case score {number:.5f}")
    if as_json:
        print_json(results)


def _pair(inputs: Sequence[str], volume: int | None) -> Iterator[Study]:
    """Make a study of two files, scan and healed."""
    from uadtools.cli._studies import named
    from uadtools.volume.stream import Study, base_name, read_image

    scan, healed = (read_image(Path(path), volume) for path in inputs)
    if scan.role == "healed":
        raise c.usage(f"{inputs[0]} is a healed scan (name the scan first)", "SCAN HEALED")
    images = {"healed": healed.derive(healed.data, "healed"), "scan": scan.derive(scan.data, "scan")}
    yield named(Study("", images), base_name(Path(inputs[0])))


COMMAND = c.Command(score, "uad-score", EXAMPLES)
main = COMMAND.run
