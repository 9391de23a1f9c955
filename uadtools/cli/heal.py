"""uad-heal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from uadtools.cli import _common as c

EXAMPLES = """
  uad-preprocess scan.nii.gz -o - | uad-heal --method sss -t 300 | uad-score | uad-postproc --native -o lesions.nii.gz
  uad-heal prepared.nii.gz                            writes prepared_healed.nii.gz
  uad-heal prepared/*.nii.gz -o healed/ -t 250 -t 300 -t 350 --combine vote
"""


def heal(
    inputs: c.Inputs = None,
    output: c.Output = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", metavar="M", help="Default: the bundled model (T1, adults).", show_default=False),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", metavar="ddim|ddpm|sss", help="Default: the model's own.", show_default=False),
    ] = None,
    t: Annotated[
        list[int] | None,
        typer.Option(
            "-t",
            metavar="N",
            help="How far the scan is noised, in steps; repeat it to heal at several and combine.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", metavar="N", min=1, help="Evaluations on the way back (ddim).", show_default=False),
    ] = None,
    eta: Annotated[
        float | None,
        typer.Option(
            "--eta",
            metavar="X",
            min=0,
            max=1,
            help="Fresh noise on the way back: 0 none, 1 as ddpm (ddim).",
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
            help="Brain mask on the scan's grid; default: where the scan is above 0.",
            show_default=False,
        ),
    ] = None,
    maps: Annotated[
        bool,
        typer.Option(
            "--maps", help="Write the method's other maps beside the healed scan, too, such as NAME_spread.nii.gz."
        ),
    ] = False,
    seed: c.Seed = 0,
    device: c.Device = "auto",
    precision: c.Precision = "auto",
    batch: Annotated[
        int, typer.Option("--batch", metavar="N", min=0, help="Slices at a time; 0: what suits the device.")
    ] = 0,
    volume: c.Volume = None,
    provenance: c.Provenance = True,
    force: c.Force = False,
    as_json: c.Json = False,
    quiet: c.Quiet = False,
    verbose: c.Verbose = False,
    version: c.Version = False,
) -> None:
    """Turn scans into the healthy scans that a model believes in."""
    from uadtools.cli._studies import Sink, print_json, read_mask, studies, with_brain
    from uadtools.models.checkpoint import default_path, file_hash, read_config

    kept = ("spread",) if maps else ()
    sink = Sink.of("healed", inputs, output, force=force, provenance=provenance, as_json=as_json, maps=kept)
    path = model or default_path()
    config = read_config(path)

    from uadtools.models.model import load_model
    from uadtools.pipeline.heal import heal as work
    from uadtools.pipeline.heal import plan

    how = plan(config, method=method, t=t or (), samples=samples, combine=combine or "mean", steps=steps, eta=eta)
    if combine and len(how.options) == 1:
        raise c.usage("one -t leaves nothing to combine (repeat -t)", "--combine")
    if maps and len(how.options) * how.samples == 1:
        raise c.usage("one draw has no spread, and there is no other map (several -t, or --samples)", "--maps")
    mask, loaded, name = read_mask(brain), None, f"{config.name}:{file_hash(path)}"
    tell = c.teller("uad-heal", quiet)
    results: list[dict[str, Any]] = []
    for study in studies(inputs, volume):
        target = sink.claim(study)
        loaded = loaded or load_model(path, device=device, precision=precision)
        with c.progress(f"healing {study.name}", quiet) as watch:
            made = work(with_brain(study, mask), loaded, how, seed=seed, batch=batch, model_name=name, watch=watch)
        results.append({"name": study.name, "output": sink.write(made, target), **how.arguments})
        if verbose:
            steps_back = ", ".join(map(str, how.arguments["t"]))
            tell(f"{study.name}: {how.method}, t {steps_back}, {loaded.device}, {loaded.precision}")
    if as_json:
        print_json(results)


COMMAND = c.Command(heal, "uad-heal", EXAMPLES)
main = COMMAND.run
