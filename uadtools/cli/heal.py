"""uad-heal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
        str,
        typer.Option(
            "--combine", metavar="mean|vote", help="Several -t: mean of the healed scans, or vote of their detections."
        ),
    ] = "mean",
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
    if combine not in ("mean", "vote"):
        raise c.usage(f"{combine}: there are mean and vote", "--combine")
    if precision not in ("auto", "fp32", "bf16"):
        raise c.usage(f"{precision}: there are auto, fp32 and bf16", "--precision")
    from uadtools.cli._studies import Sink, print_json, studies
    from uadtools.models.checkpoint import default_path, file_hash, read_config

    sink = Sink.of("healed", inputs, output, force=force, provenance=provenance, as_json=as_json)
    path = model or default_path()
    config = read_config(path)

    from uadtools.models.model import load_model
    from uadtools.pipeline.heal import heal as work
    from uadtools.pipeline.heal import plan
    from uadtools.volume.io import save
    from uadtools.volume.stream import read_image

    how = plan(config, method=method, t=t or (), samples=samples, combine=combine, steps=steps, eta=eta)  # type: ignore[arg-type]
    mask = read_image(brain) if brain else None
    tell = c.teller("uad-heal", quiet)
    loaded: Any = None
    results: list[dict[str, Any]] = []
    for study in studies(inputs, volume):
        target = sink.claim(study)
        given = study if mask is None else study.adding(*study.images.values(), mask.derive(mask.data, "brain"))
        loaded = loaded or load_model(path, device=device, precision=precision)
        with c.progress(f"healing {study.name}", quiet) as watch:
            made = work(
                given, loaded, how, seed=seed, batch=batch, model_name=f"{config.name}:{file_hash(path)}", watch=watch
            )
        written = sink.write(made, target)
        if maps and target is not None and "spread" in made.images:
            save(
                made.need("spread"), target.with_name(f"{study.name}_spread.nii.gz"), force=force, provenance=provenance
            )
        results.append({"name": study.name, "output": written, **how.arguments})
        if verbose:
            tell(
                f"{study.name}: {how.method}, t {', '.join(map(str, how.arguments['t']))}, {loaded.device}, {loaded.precision}"
            )
    if as_json:
        print_json(results)


COMMAND = c.Command(heal, "uad-heal", EXAMPLES)
main = COMMAND.run
