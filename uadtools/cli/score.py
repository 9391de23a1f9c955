"""uad-score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from uadtools.cli import _common as c

EXAMPLES = """
  uad-score scan_preprocessed.nii.gz scan_healed.nii.gz       writes scan_score.nii.gz
  uad-heal scan_preprocessed.nii.gz -o - | uad-score --json   prints the case score
"""


def score(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SCAN HEALED]",
            help="Two files, or - for a stream on standard input (which no argument means, too).",
            show_default=False,
        ),
    ] = None,
    output: c.Output = None,
    metric: Annotated[
        str, typer.Option("--metric", metavar="l1|l2", help="l1: |scan - healed|; l2: its square.")
    ] = "l1",
    signed: Annotated[
        str,
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
    provenance: c.Provenance = True,
    force: c.Force = False,
    as_json: c.Json = False,
    quiet: c.Quiet = False,
    verbose: c.Verbose = False,
    version: c.Version = False,
) -> None:
    """Score how much each voxel of a scan differs from its healed self; --json gives one number for the scan."""
    from uadtools.cli._studies import Sink, print_json, studies
    from uadtools.pipeline.score import case_score
    from uadtools.pipeline.score import score as work
    from uadtools.volume.stream import Study, base_name, read_image

    for name, value, choice in (("--metric", metric, ("l1", "l2")), ("--signed", signed, ("both", "bright", "dark"))):
        if value not in choice:
            raise c.usage(f"{value}: there are {', '.join(choice)}", name)
    if inputs and len(inputs) not in (1, 2):
        raise c.usage(f"{len(inputs)} files: give SCAN HEALED, or one stream", "SCAN HEALED")
    sink = Sink.of("score", inputs[:1] if inputs else None, output, force=force, provenance=provenance, as_json=as_json)
    if inputs and len(inputs) == 2:
        scan, healed = (read_image(Path(path)) for path in inputs)
        found = iter(
            [
                Study(
                    base_name(Path(inputs[0])),
                    {"healed": healed.derive(healed.data, "healed"), "scan": scan.derive(scan.data, "scan")},
                )
            ]
        )
    else:
        found = studies(inputs)
    mask = read_image(brain) if brain else None
    results: list[dict[str, Any]] = []
    for study in found:
        path = sink.claim(study)
        given = study if mask is None else study.adding(*study.images.values(), mask.derive(mask.data, "brain"))
        made = work(given, metric=metric, signed=signed)  # type: ignore[arg-type]
        results.append(
            {
                "name": study.name,
                "output": sink.write(made, path),
                "case_score": case_score(made),
                "metric": metric,
                "signed": signed,
            }
        )
        if verbose:
            c.teller("uad-score", quiet)(f"{study.name}: case score {results[-1]['case_score']:.5f}")
    if as_json:
        print_json(results)


COMMAND = c.Command(score, "uad-score", EXAMPLES)
main = COMMAND.run
