"""uad-models."""

from __future__ import annotations

from pathlib import Path

from uadtools.models.foreign_programs import Program
from uadtools.program import command as c
from uadtools.program import options as o

EXAMPLES = """
  uad-models list                                                           what ships, and what one can train
  uad-models info mine.safetensors                                          the model card
  uad-models check mine.safetensors && uad-heal scan_preprocessed.nii.gz --model mine.safetensors
  uad-models export mine.safetensors -o mine.onnx && uad-models check mine.safetensors --exported mine.onnx
  uad-models describe mine.safetensors --healthy prepared/ --force          what its healthy inputs look like
  uad-models reference mine.safetensors --healthy prepared/ --force         how far healthy scans are from healed ones
  uad-models settle mine.safetensors --set defaults.t=[400,999] -o mine-2.safetensors     other defaults
  uad-models import --from pddpm pddpm.pt -o pddpm.safetensors --set grid.shape=[96,96,50]
"""

FILE = o.argument(
    "FILE  A model file, or a bundled model's name. Default: the bundled one.", autocompletion=o.bundled_names
)
MODEL = o.argument("MODEL  The model file, .safetensors.", ...)
OUTPUT = o.option("--output -o OUT  Default: MODEL itself, with --force.")
HEALTHY = "Healthy scans prepared for the model, at least eight: files, folders, lists of them."


def models(version: bool = o.VERSION) -> None:
    """List, explain and check models, and import those of other programs."""


def list_(as_json: bool = o.JSON) -> None:
    """List the models that ship, and the recipes."""
    from uadtools.healing.catalogue import list_models
    from uadtools.report.cards import table

    rows = list_models()
    if as_json:
        c.print_json(rows)
    else:
        c.say(table(rows))


def info(path: Path | None = FILE, as_json: bool = o.JSON) -> None:
    """Show the card of a model.

    Its network, grid and schedule, what it learnt from, how it heals, and its licence. The weights are not read.
    """
    from uadtools.healing.catalogue import info as work
    from uadtools.report.cards import card

    about = work(path)
    if as_json:
        c.print_json(about)
    else:
        c.say(card(about))


def check(
    path: Path | None = FILE,
    exported: Path | None = o.option("--exported FILE.onnx  Compare what uad-models export made of it, too."),
    scans: list[str] | None = o.option("""--scan SCAN
        With --exported: compare on this prepared scan, too, beside random slices; may be repeated."""),
    quiet: bool = o.QUIET,
) -> None:
    """Check that a model is sound, and that its exported form says the same.

    Its weights are read and must fit its settings; they and the answer to an empty slice must be finite.
    """
    from uadtools.healing.catalogue import check as work

    if scans and not exported:
        raise c.usage("compares an exported model with its source (name it with --exported)", "--scan")
    checked, told = work(path), ""
    if exported:
        from uadtools.exporting.export import check_exported

        apart = check_exported(checked, exported, scans or [])
        told = f"; {exported} says the same ({', '.join(f'{name} to {value:.1g}' for name, value in apart.items())})"
    if not quiet:
        c.say(f"{checked}: ok{told}")


def export(
    path: Path = MODEL,
    output: Path = o.option("--output -o OUT  The file to write, .onnx.", ...),
    force: bool = o.FORCE,
    as_json: bool = o.JSON,
    quiet: bool = o.QUIET,
) -> None:
    """Export a model as an ONNX graph, from slices to healed slices, with its settings and references beside it.

    For models whose default method, or another, asks the network a fixed number of times. What is written is compared
    with the model on random slices first.
    """
    from uadtools.exporting.export import export as work

    with c.progress("exporting", quiet):
        exported = work(path, output, force=force)
    if as_json:
        c.print_json(exported)
    else:
        told = "{method}, weights in {bits} bits, opset {opset}; {apart:.1g} from its source".format(**exported)
        c.teller("uad-models", quiet)(f"{output}: {told}")


def import_(
    checkpoint: Path = o.argument("CKPT  A checkpoint of torch.save with plain weights, or .safetensors.", ...),
    program: Program = o.option(f"--from {o.choices(Program)}  The program that it was trained with.", ...),
    output: Path = o.option("--output -o MODEL  The model file to write, .safetensors.", ...),
    config: Path | None = o.option("""--config FILE
        A .toml file with settings that the checkpoint does not tell, named as in a recipe."""),
    changes: list[str] | None = o.option("""--set KEY=VALUE
        One such setting, such as network.heads=1; goes before --config."""),
    licence: str | None = o.option("--licence TEXT  Under which licence the weights may be passed on."),
    half: bool = o.flag("--half  Store the weights in 16 bits instead of 32."),
    force: bool = o.FORCE,
    as_json: bool = o.JSON,
    quiet: bool = o.QUIET,
) -> None:
    """Import what another program trained.

    What the checkpoint does not tell takes that program's default, and is said on standard error; --set changes it.
    """
    from uadtools.healing.catalogue import import_model, read_given

    given = read_given(config, changes or []) | ({"licence": licence} if licence else {})
    imported = import_model(checkpoint, program, output, given=given, half=half, force=force)
    tell = c.teller("uad-models", quiet)
    for name, value in imported["assumed"].items():
        tell(f"assumed: {name} = {value}")
    for note in imported["notes"]:
        tell(note)
    if as_json:
        c.print_json(imported)
    else:
        tell(f"{imported['model']}: of kind {imported['kind']}, heals with {', '.join(imported['methods'])}")


def describe(
    path: Path = o.argument("MODEL  The model file, .safetensors; see --output for what becomes of it.", ...),
    healthy: list[str] | None = o.option(f"--healthy SCANS...  {HEALTHY}"),
    contrast: str | None = o.option("""--contrast NAME
        What these scans are. Default: T1, T2, FLAIR or PD as recognised, other where they are none."""),
    table: Path | None = o.option("--table FILE.json  Take this table instead of making one."),
    output: Path | None = o.option("""--output -o OUT
        The model file with the table; or .json: the table alone. Default: MODEL itself, with --force."""),
    seed: int = o.SEED,
    force: bool = o.FORCE,
    as_json: bool = o.JSON,
    quiet: bool = o.QUIET,
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
        learnt = read_likeness(table) if table else work(healthy or [], config, contrast, seed=seed, watch=watch)
    written = keep(path, learnt, out, force=force)
    summary = {
        "written": str(written),
        "contrasts": list(learnt.contrasts),
        "scans": learnt.scans,
        "limit": learnt.limit,
    }
    if as_json:
        c.print_json(summary)
    else:
        c.teller("uad-models", quiet)(f"{written}: {', '.join(learnt.contrasts)}; limit {learnt.limit:g}")


def reference(
    path: Path = MODEL,
    healthy: list[str] = o.option(f"--healthy SCANS...  {HEALTHY}", ...),
    contrast: str | None = o.option("""--contrast NAME
        What these scans are, T1, T2, FLAIR or PD: the reference then counts for scans that are recognised as that,
        in place of the one for all. Default: for all."""),
    output: Path | None = OUTPUT,
    device: str = o.DEVICE,
    precision: o.Precision = o.PRECISION,
    force: bool = o.FORCE,
    as_json: bool = o.JSON,
    quiet: bool = o.QUIET,
) -> None:
    """Tell a model how far healthy scans are from what it heals them to, so that scores are measured by it."""
    from uadtools.healing.reference import check_contrast, healed_of, keep_reference, learn_reference
    from uadtools.models.checkpoint import check_place, read_config
    from uadtools.models.model import load_model

    check_place(output or path, force=force)  # before the work
    contrast = contrast or ""
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
    path: Path = MODEL,
    changes: list[str] = o.option("--set KEY=VALUE  Such as defaults.t=[400,999], name=mine, or licence=...", ...),
    output: Path | None = OUTPUT,
    force: bool = o.FORCE,
    as_json: bool = o.JSON,
    quiet: bool = o.QUIET,
) -> None:
    """Give a model other defaults (method, t, metric, chain, thresholds), another name or licence."""
    from uadtools.healing.catalogue import settle as work

    config = work(path, changes, output or path, force=force)
    if as_json:
        c.print_json(config.model_dump(mode="json", include={"name", "licence", "defaults"}))
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
        c.Command(export, "export"),
        c.Command(import_, "import"),
        c.Command(describe, "describe"),
        c.Command(reference, "reference"),
        c.Command(settle, "settle"),
    ),
)
main = COMMAND.run
