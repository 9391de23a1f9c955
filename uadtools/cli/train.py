"""uad-train."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from uadtools.cli import _common as c

EXAMPLES = """
  uad-preprocess healthy/*.nii.gz -o prepared/ --shape 96,96,96 --spacing 2
  uad-train prepared/ -o mine.safetensors --recipe any-small --val held-out/ --time 8h
  uad-train prepared/ -o mine.safetensors --recipe any-small --val held-out/ --resume
"""


def train(
    data: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA",
            help="Prepared healthy scans: files, folders, lists (.txt, .csv, .jsonl), .npz of 2-D images "
            "(FILE.npz:KEY).",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="MODEL",
            help="The model file, .safetensors. Beside it: the last weights, the state for --resume, the log.",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            metavar="NAME|FILE",
            help="A set-up that ships with uadtools, of those that `uad-models list` shows, such as sss, pddpm, cddpm, "
            "dae; or a .toml file.",
        ),
    ] = "any-small",
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change one line of the recipe, such as network.base=64.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", metavar="N", min=1, help="Short for --set training.steps=N.", show_default=False),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            "--time", metavar="30m", help="Stop after this time (s, m, h); --resume goes on.", show_default=False
        ),
    ] = None,
    val: Annotated[
        list[str] | None,
        typer.Option(
            "--val",
            metavar="DATA",
            help="Healthy scans to validate on; the model with the lowest loss on them is kept.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a stopped or killed run was.")] = False,
    workers: Annotated[
        int,
        typer.Option(
            "--workers", metavar="N", min=0, help="Threads that torch computes with on the CPU; 0: all cores."
        ),
    ] = 0,
    log: Annotated[
        Path | None,
        typer.Option(
            "--log",
            metavar="DIR",
            help="Write log.csv there, drawn.jsonl with how slices were changed, and TensorBoard events if that "
            "package is installed. Default: MODEL.csv alone.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe as JSON, and stop.")] = False,
    seed: c.Seed = 0,
    device: c.Device = "auto",
    precision: c.Precision = "auto",
    batch: Annotated[
        int, typer.Option("--batch", metavar="N", min=0, help="Short for --set training.batch=N; 0: the recipe's.")
    ] = 0,
    force: c.Force = False,
    as_json: c.Json = False,
    quiet: c.Quiet = False,
    verbose: c.Verbose = False,
    version: c.Version = False,
) -> None:
    """Learn healthy anatomy from healthy scans."""
    from uadtools.training.recipe import load_recipe

    short = [f"training.steps={steps}"] * bool(steps) + [f"training.batch={batch}"] * bool(batch)
    settings = load_recipe(recipe, [*(changes or []), *short])
    if dry_run:
        c.print_json(settings.model_dump(mode="json"))
        return
    if not data or output is None:
        raise c.usage("name the data, and the model to write (-o MODEL)", "DATA")
    seconds = _seconds(time)

    import torch

    from uadtools.cli._training import reporting
    from uadtools.training.train import train as work

    if workers:
        torch.set_num_threads(workers)
    with reporting(settings.training.steps, quiet=quiet, verbose=verbose) as watch:
        summary = work(
            data,
            output,
            settings,
            validation=val or (),
            seed=seed,
            resume=resume,
            force=force,
            seconds=seconds,
            device=device,
            precision=precision,
            log=log,
            watch=watch,
        )
    if not summary:  # a process of torchrun that does not lead
        return
    if as_json:
        c.print_json(summary)
    else:
        c.teller("uad-train", quiet)(
            f"{summary['model']}: {summary['steps']} steps, {summary['slices']:,} slices, log in {summary['log']}"
        )


def _seconds(text: str | None) -> float:
    if text is None:
        return float("inf")
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not match:
        raise c.usage(f"{text}: expected a time such as 90s, 30m or 8h", "--time")
    return float(match[1]) * {"s": 1, "": 1, "m": 60, "h": 3600}[match[2]]


COMMAND = c.Command(train, "uad-train", EXAMPLES)
main = COMMAND.run
