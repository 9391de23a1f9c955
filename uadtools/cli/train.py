"""uad-train."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from uadtools.program import command as c
from uadtools.program import options as o

EXAMPLES = """
  uad-preprocess healthy/*.nii.gz -o prepared/ --shape 96,96,96 --spacing 2
  uad-train prepared/ -o mine.safetensors --recipe any-small --val held-out/ --time 8h
  uad-train prepared/ -o mine.safetensors --recipe any-small --val held-out/ --resume
  uad-train patients/ -o mine.safetensors --recipe fewshot --labels expert-masks/
  uad-train healthy/ --sick patients/ -o mine.safetensors --recipe classifier --sick-slices expert-masks/
"""
VARIADIC = ("--labels", "--label", "--ignore", "--sick", "--sick-slices", "--val-sick")


def train(
    data: list[str] | None = o.argument("""DATA
        Prepared scans, healthy ones but for recipes that take --labels: files, folders, lists (.txt, .csv, .jsonl),
        .npz of 2-D images (FILE.npz:KEY)."""),
    output: Path | None = o.option("""--output -o MODEL
        The model file, .safetensors. Beside it: the last weights, the state for --resume, the log."""),
    recipe: str = o.option(
        """--recipe NAME|FILE
        A set-up that ships with uadtools, of those that `uad-models list` shows, such as sss, pddpm, cddpm, dae;
        or a .toml or .json file, such as --dry-run prints.""",
        "any-small",
        autocompletion=o.recipe_names,
    ),
    changes: list[str] | None = o.option("--set KEY=VALUE  Change one line of the recipe, such as network.base=64."),
    steps: int | None = o.option("--steps N  Short for --set training.steps=N.", min=1),
    time: str | None = o.option("--time 30m  Stop within this time (s, m, h); --resume goes on."),
    val: list[str] | None = o.option("""--val DATA
        Scans to validate on; the model with the lowest loss on them is kept."""),
    labels: list[str] | None = o.option("""--labels MASKS...
        For recipes that learn from lesions: masks of those in DATA and --val, files, folders or lists, which belong to
        the scans by their names; on their grid, or on that of the raw scan. Default: the column `truth` of lists."""),
    sick: list[str] | None = o.option("""--sick DATA...
        For recipes that learn what sick scans look like: such scans, beside healthy ones in DATA. Default: those of
        DATA that lists say are sick, in a column `sick` of 1 and 0 (yes and no)."""),
    sick_slices: list[str] | None = o.option("""--sick-slices MASKS...
        Masks of the lesions in the scans of --sick and --val-sick, as --labels: slices that these touch are sick, those
        far from any healthy (data.apart). Default: the column `truth` of lists, else all slices are sick."""),
    label: list[int] | None = o.LABEL,
    ignore: list[int] | None = o.IGNORE,
    val_sick: list[str] | None = o.option("--val-sick DATA...  Sick scans to validate on, beside those of --val."),
    resume: bool = o.flag("--resume  Go on where a run was stopped, killed, or, with more --steps, finished."),
    workers: int = o.option("--workers N  Threads that torch computes with on the CPU; 0: all cores.", 0, min=0),
    log: Path | None = o.option("""--log DIR
        Write log.csv there, drawn.jsonl with how slices were changed, and TensorBoard events if that package is
        installed. Default: MODEL.csv alone."""),
    anonymous: bool = o.flag("--anonymous  Name no data in the model file."),
    dry_run: bool = o.flag(
        "--dry-run  Print the resolved recipe as JSON, for a .json file that --recipe takes, and stop."
    ),
    strict: bool = o.STRICT,
    seed: int = o.SEED,
    device: str = o.DEVICE,
    precision: o.Precision = o.PRECISION,
    batch: int = o.option("--batch N  Short for --set training.batch=N; 0: the recipe's.", 0, min=0),
    force: bool = o.FORCE,
    as_json: bool = o.JSON,
    quiet: bool = o.QUIET,
    verbose: bool = o.VERBOSE,
    version: bool = o.VERSION,
) -> None:
    """Learn healthy anatomy from healthy scans."""
    from time import monotonic

    from uadtools.training.recipe import load_recipe

    start = monotonic()
    short = [f"training.steps={steps}"] * bool(steps) + [f"training.batch={batch}"] * bool(batch)
    settings = load_recipe(recipe, [*(changes or []), *short])
    if dry_run:
        c.print_json(settings.model_dump(mode="json"))
        return
    if not (data or sick) or output is None:
        raise c.usage("name the data, and the model to write (-o MODEL)", "DATA")
    seconds = _seconds(time)

    import torch

    from uadtools.program.training import reporting, steps_of
    from uadtools.training.train import train as work

    if workers:
        torch.set_num_threads(workers)
    tell = c.teller("uad-train", quiet)
    told: dict[str, Any] = {
        "labels": labels, "label": label, "ignore": ignore, "sick": sick, "sick_slices": sick_slices,
        "validation": val, "sick_validation": val_sick,
    }  # fmt: skip
    with reporting(settings.training.steps, quiet=quiet, verbose=verbose) as watch:
        summary = work(
            data or (),
            output,
            settings,
            **{name: value or () for name, value in told.items()},
            seed=seed,
            resume=resume,
            force=force,
            seconds=seconds - (monotonic() - start),
            device=device,
            precision=precision,
            log=log,
            anonymous=anonymous,
            watch=watch,
            tell=tell,
        )
    if not summary:  # a process of torchrun that does not lead
        return
    if as_json:
        c.print_json(summary)
    else:
        tell(f"{summary['model']}: {steps_of(summary)}, {summary['slices']:,} slices, log in {summary['log']}")
    c.leave([summary], strict)


def _seconds(text: str | None) -> float:
    if text is None:
        return float("inf")
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not match:
        raise c.usage(f"{text}: expected a time such as 90s, 30m or 8h", "--time")
    return float(match[1]) * {"s": 1, "": 1, "m": 60, "h": 3600}[match[2]]


COMMAND = c.Command(train, "uad-train", EXAMPLES, VARIADIC)
main = COMMAND.run
