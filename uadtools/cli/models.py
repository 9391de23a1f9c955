"""uad-models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uadtools.cli import _common as c
from uadtools.models.foreign_programs import Program

EXAMPLES = """
  uad-models list                                                           what ships, and what one can train
  uad-models info mine.safetensors                                          the model card
  uad-models check mine.safetensors && uad-heal scan_preprocessed.nii.gz --model mine.safetensors
  uad-models describe mine.safetensors --healthy prepared/ --force          what its healthy inputs look like
  uad-models reference mine.safetensors --healthy prepared/ --force         how far healthy scans are from healed ones
  uad-models settle mine.safetensors --set defaults.t=[400,999] -o mine-2.safetensors     other defaults
  uad-models import --from pddpm pddpm.pt -o pddpm.safetensors --set grid.shape=[96,96,50]
"""

File = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE", help="A model file, or a bundled model's name. Default: the bundled one.", show_default=False
    ),
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="The model file, .safetensors.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="OUT", help="Default: MODEL itself, with --force.", show_default=False),
]
HEALTHY = "Healthy scans prepared for the model, at least eight: files, folders, lists of them."


def models(version: c.Version = False) -> None:
    """List, explain and check models, and import those of other programs."""


def list_(as_json: c.Json = False) -> None:
    """List the models that ship, and the recipes."""
    from uadtools.cli._cards import table
    from uadtools.healing.catalogue import list_models

    rows = list_models()
    if as_json:
        c.print_json(rows)
    else:
        print(table(rows))


def info(path: File = None, as_json: c.Json = False) -> None:
    """Show the card of a model.

    Its network, grid and schedule, what it learnt from, how it heals, and its licence. The weights are not read.
    """
    from uadtools.cli._cards import card
    from uadtools.healing.catalogue import info as work

    about = work(path)
    if as_json:
        c.print_json(about)
    else:
        print(card(about))


def check(path: File = None, quiet: c.Quiet = False) -> None:
    """Check that a model is sound.

    Its weights are read and must fit its settings; they and the answer to an empty slice must be finite.
    """
    from uadtools.healing.catalogue import check as work

    checked = work(path)
    if not quiet:
        print(f"{checked}: ok")


def import_(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CKPT", help="A checkpoint of torch.save with plain weights, or .safetensors.")
    ],
    program: Annotated[
        Program,
        typer.Option(
            "--from", metavar="anoddpm|guided-diffusion|pddpm|cddpm|monai", help="The program that it was trained with."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="MODEL", help="The model file to write, .safetensors.")
    ],
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="A .toml file with settings that the checkpoint does not tell, named as in a recipe.",
            show_default=False,
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="One such setting, such as network.heads=1; goes before --config.",
            show_default=False,
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--licence", metavar="TEXT", help="Under which licence the weights may be passed on.", show_default=False
        ),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Store the weights in 16 bits instead of 32.")] = False,
    force: c.Force = False,
    as_json: c.Json = False,
    quiet: c.Quiet = False,
) -> None:
    """Import what another program trained.

    What the checkpoint does not tell takes that program's default, and is said on standard error; --set changes it.
    """
    from uadtools.healing.catalogue import import_model, read_given

    given = read_given(config, changes or []) | ({"licence": licence} if licence else {})
    made = import_model(checkpoint, program, output, given=given, half=half, force=force)
    tell = c.teller("uad-models", quiet)
    for name, value in made["assumed"].items():
        tell(f"assumed: {name} = {value}")
    for note in made["notes"]:
        tell(note)
    if as_json:
        c.print_json(made)
    else:
        tell(f"{made['model']}: of kind {made['kind']}, heals with {', '.join(made['methods'])}")


def describe(
    path: Annotated[
        Path, typer.Argument(metavar="MODEL", help="The model file, .safetensors; see --output for what becomes of it.")
    ],
    healthy: Annotated[
        list[str] | None,
        typer.Option("--healthy", metavar="SCANS...", help=HEALTHY, show_default=False),
    ] = None,
    contrast: Annotated[
        str | None,
        typer.Option(
            "--contrast",
            metavar="NAME",
            help="What these scans are. Default: T1, T2, FLAIR or PD as recognised, other where they are none.",
            show_default=False,
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option("--table", metavar="FILE.json", help="Take this table instead of making one.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="The model file with the table; or .json: the table alone. Default: MODEL itself, with --force.",
            show_default=False,
        ),
    ] = None,
    seed: c.Seed = 0,
    force: c.Force = False,
    as_json: c.Json = False,
    quiet: c.Quiet = False,
) -> None:
    """Tell a model what its healthy inputs look like, so that uad-heal knows a scan that is unlike them."""
    from uadtools.healing.likeness import check_keeping, keep, read_likeness
    from uadtools.healing.likeness import describe as work
    from uadtools.models.checkpoint import read_config

    if (table is None) == (not healthy):
        raise c.usage("name healthy scans, or a table (one of both)", "--healthy and --table")
    config, out = read_config(path), output or path
    check_keeping(out, force=force)  # before the work
    with c.progress("looking at scans", quiet) as watch:
        made = read_likeness(table) if table else work(healthy or [], config, contrast, seed=seed, watch=watch)
    written = keep(path, made, out, force=force)
    told = {"written": str(written), "contrasts": list(made.contrasts), "scans": made.scans, "limit": made.limit}
    if as_json:
        c.print_json(told)
    else:
        c.teller("uad-models", quiet)(f"{written}: {', '.join(made.contrasts)}; limit {made.limit:g}")


def reference(
    path: Model,
    healthy: Annotated[list[str], typer.Option("--healthy", metavar="SCANS...", help=HEALTHY)],
    contrast: Annotated[
        str,
        typer.Option(
            "--contrast",
            metavar="NAME",
            help="What these scans are, T1, T2, FLAIR or PD: the reference then counts for scans that are recognised "
            "as that, in place of the one for all. Default: for all.",
            show_default=False,
        ),
    ] = "",
    output: Output = None,
    device: c.Device = "auto",
    precision: c.Precision = "auto",
    force: c.Force = False,
    as_json: c.Json = False,
    quiet: c.Quiet = False,
) -> None:
    """Tell a model how far healthy scans are from what it heals them to, so that scores are measured by it."""
    from uadtools.healing.reference import check_contrast, healed_of, keep_reference, learn_reference
    from uadtools.models.checkpoint import check_place, read_config
    from uadtools.models.model import load_model

    check_place(output or path, force=force)  # before the work
    check_contrast(read_config(path), contrast, path)
    with c.progress("healing scans", quiet) as watch:
        model = load_model(path, device=device, precision=precision)
        expected, about = learn_reference(healed_of(healthy, model, watch=watch))
    written = keep_reference(path, expected, about, output or path, contrast=contrast, force=force)
    which, of = ({"contrast": contrast}, f" of {contrast}") if contrast else ({}, "")
    if as_json:
        c.print_json({"written": str(written), **which, **about.model_dump(exclude_defaults=True)})
    else:
        c.teller("uad-models", quiet)(f"{written}: residuals of {about.scans} healthy scans{of}")


def settle(
    path: Model,
    changes: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="Such as defaults.t=[400,999], name=mine, or licence=..."),
    ],
    output: Output = None,
    force: c.Force = False,
    as_json: c.Json = False,
    quiet: c.Quiet = False,
) -> None:
    """Give a model other defaults (method, t, metric, chain, thresholds), another name or licence."""
    from uadtools.healing.catalogue import settle as work

    made = work(path, changes, output or path, force=force)
    if as_json:
        c.print_json(made.model_dump(mode="json", include={"name", "licence", "defaults"}))
    else:
        c.teller("uad-models", quiet)(f"{output or path}: {', '.join(changes)}")


COMMAND = c.Command(
    models,
    "uad-models",
    EXAMPLES,
    variadic=("--healthy",),
    parts=(
        c.Command(list_, "list"),
        c.Command(info, "info"),
        c.Command(check, "check"),
        c.Command(import_, "import"),
        c.Command(describe, "describe"),
        c.Command(reference, "reference"),
        c.Command(settle, "settle"),
    ),
)
main = COMMAND.run
