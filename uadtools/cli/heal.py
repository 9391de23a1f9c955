"""uad-heal."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from uadtools.cli import _common as c
from uadtools.cli._method_options import method_help, with_options_of_methods

if TYPE_CHECKING:
    from uadtools.volume.stream import Study

EXAMPLES = """
  uad-heal scan.nii.gz --method sss -t 300            a raw scan; writes scan_healed.nii.gz and scan_preprocessed.nii.gz
  uad-heal scan.nii.gz -o - | uad-score | uad-postproc --native -o lesions.nii.gz
  uad-preprocess scan.nii.gz --bias-correct -o - | uad-heal --prepared -o healed.nii.gz
  uad-heal prepared.nii.gz                            writes prepared_healed.nii.gz
  uad-heal prepared/*.nii.gz -o healed/ -t 250 -t 300 -t 350 --combine vote
  uad-heal prepared.nii.gz --method blur              a baseline; blur and threshold need no model
"""


def heal(
    inputs: c.Inputs = None,
    output: c.Output = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            metavar="M",
            help="A model file, or the name of a bundled model. Default: the bundled model that suits the scan "
            "(adults), or the one that can do the method. Repeat it for the mean of several models' scores.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help=method_help(),
            show_default=False,
        ),
    ] = None,
    t: Annotated[
        list[int] | None,
        typer.Option(
            "-t",
            metavar="N",
            help="How far the scan is noised, in steps, or the highest severity to be expected, of 1000 (restore, "
            "disyre); repeat it to heal at several and combine.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps", metavar="N", min=1, help="Evaluations on the way back (ddim, disyre, ldm).", show_default=False
        ),
    ] = None,
    condition: Annotated[
        Path | None,
        typer.Option(
            "--condition",
            metavar="FILE",
            help="A prepared image on the scan's grid to condition the model on in the scan's place (cddpm).",
            show_default=False,
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples", metavar="K", min=1, help="Draws for each -t; their spread becomes a map.", show_default=False
        ),
    ] = None,
    combine: Annotated[
        Literal["mean", "vote"] | None,
        typer.Option(
            "--combine",
            metavar="mean|vote",
            help="Several -t: mean of the healed scans, or vote of their detections. Default: mean.",
            show_default=False,
        ),
    ] = None,
    brain: Annotated[
        Path | None,
        typer.Option(
            "--brain",
            metavar="FILE",
            help="Brain mask on the scan's grid; default: where the scan is above 0, and in one that was not prepared "
            "what uad-preprocess finds.",
            show_default=False,
        ),
    ] = None,
    prepared: Annotated[
        bool,
        typer.Option("--prepared", help="Refuse scans that were not prepared, instead of preparing them first."),
    ] = False,
    maps: Annotated[
        bool,
        typer.Option(
            "--maps",
            help="Write the method's other maps beside the healed scan, too: NAME_spread.nii.gz, and with ldm "
            "NAME_region.nii.gz, NAME_bound.nii.gz and NAME_chain.nii.gz. NAME_probability.nii.gz and "
            "NAME_expected.nii.gz (restore, disyre) are always written, as the score needs them.",
        ),
    ] = False,
    strict: c.Strict = False,
    seed: c.Seed = 0,
    device: c.Device = "auto",
    precision: c.Precision = "auto",
    batch: c.Batch = 0,
    volume: c.Volume = None,
    provenance: c.Provenance = True,
    force: c.Force = False,
    as_json: c.Json = False,
    quiet: c.Quiet = False,
    verbose: c.Verbose = False,
    version: c.Version = False,
    **of_methods: Any,
) -> None:
    """Turn scans into the healthy scans that a model believes in.

    A scan that was not prepared is prepared first, as uad-preprocess would by default.
    """
    from uadtools.cli._healing import Jobs, Models, files_of, grouped, used
    from uadtools.cli._studies import Sink, print_json, read_mask, studies
    from uadtools.cohort.parallel import ahead
    from uadtools.healing.ensemble import heal_with
    from uadtools.healing.plan import Plan, plan
    from uadtools.models.config import ModelConfig
    from uadtools.volume.stream import read_path

    own = {"steps": steps, **of_methods}
    given = {name: value for name, value in own.items() if value is not None and value is not False and value != []}

    def how_with(config: ModelConfig | None) -> Plan:
        return plan(config, method=method, t=t or (), samples=samples, combine=combine or "mean", **given)

    choice = [Models(paths, how_with, device, precision) for paths in files_of(model or (), method)]
    how = choice[0].hows[0]
    if combine and len(how.options) == 1:
        raise c.usage("one -t leaves nothing to combine (repeat -t)", "--combine")
    kept = how.maps if maps else how.scored_with
    sink = Sink.of("healed", inputs, output, force=force, provenance=provenance, as_json=as_json, maps=kept)
    if maps and sink.target is None:
        raise c.usage("no file is written that maps could lie beside (a stream holds them all)", "--maps")
    if maps and not kept:
        raise c.usage("one draw has no spread, and there is no other map (several -t, or --samples)", "--maps")
    mask, tell = read_mask(brain), c.teller("uad-heal", quiet)
    shown = replace(next(read_path(condition)), name=condition.name) if condition else None

    results, said = list[dict[str, Any]](), deque[str]()

    def done(study: Study, output: str | None, more: Sequence[str]) -> None:
        own = {"preprocessed": str(sink.beside(Path(output), "scan"))} if output and more else {}
        results.append({"name": study.name, "output": output, **own, **used(study), **c.carried(study, tell)})
        if verbose:
            tell(f"{study.name}: {said.popleft()}")

    jobs = map(Jobs(sink, choice, mask, prepared, volume, quiet), ahead(studies(inputs, volume)))
    with sink.behind(done) as write:
        for models, group in grouped(jobs, batch):
            scans = [job.study for job in group]
            with c.progress(f"healing {scans[0].name if len(scans) == 1 else f'{len(scans)} scans'}", quiet) as watch:
                made = heal_with(scans, models.members, condition=shown, seed=seed, batch=batch, watch=watch)
            for study, job in zip(made, group, strict=True):
                said.append(str(models))
                write(study, job.path, job.more)
    if as_json:
        print_json(results)
    c.leave(results, strict)


COMMAND = c.Command(with_options_of_methods(heal), "uad-heal", EXAMPLES)
main = COMMAND.run
