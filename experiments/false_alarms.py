#!/usr/bin/env python3
"""Tell what models detect in healthy scans, as they are and as another scanner or pipeline would show them.

    python experiments/false_alarms.py HEALTHY_FOLDER MODEL... [--json FIGURES.json] [--markdown FIGURES.md]

HEALTHY_FOLDER holds healthy scans prepared for the models, which no training should have seen; the MNI152 template that
nilearn ships is judged, too, by itself, as it is an average of heads. Each scan goes through uad-simulate, uad-heal,
uad-score and uad-postproc with its default threshold; all that is detected is a false alarm. MODEL is a model file or
"bundled"; MODEL:METHOD heals by another method than its own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from healers import Healer, Metrics, metrics, report, table
from rich.console import Console
from rich.progress import track

import uadtools
from uadtools.anatomy.register import template
from uadtools.errors import UadError
from uadtools.files import check_free
from uadtools.simulation.plan import Simulation
from uadtools.volume.listing import files_of
from uadtools.volume.stream import Study, read_path

CHANGES: dict[str, Simulation | None] = {
    "none": None,
    "blur, 1 mm": Simulation("blur", level=1),
    "blur, 2 mm": Simulation("blur", level=2),
    "slices of 3 mm": Simulation("thick", level=3),
    "half a voxel, linear": Simulation("shift", level=0.5),
    "half a voxel, spline": Simulation("shift", level=0.5, interpolation="spline"),
    "bias, strength 0.3": Simulation("bias", strength=0.3),
    "bias, strength 1": Simulation("bias"),
    "gamma 0.7": Simulation("contrast", level=0.7),
    "gamma 1.4": Simulation("contrast", level=1.4),
}
TEMPLATE = "MNI152"
HEAD = ("change", "model", "metric", "threshold", "median of heads, mL", "9th decile, mL", f"{TEMPLATE}, mL")
Row = dict[str, Any]


def alarms(healer: Healer, study: Study, chosen: tuple[str, ...], seed: int) -> list[Row]:
    """Return what is detected in one healthy scan, mL, after each change and by each metric."""
    rows = []
    for change, plan in CHANGES.items():
        changed = study if plan is None else uadtools.simulate(study, plan, seed=seed)
        healed = healer.heal(changed, seed)
        for metric in metrics(healed, chosen):
            found = uadtools.postproc(uadtools.score(healed, metric=metric)).product
            done = found.provenance["history"][-1]["arguments"]
            volume = float(found.data.sum() * found.grid.voxel_volume)
            told = {"threshold": done["threshold"], "threshold_from": done["threshold_from"], "ml": volume}
            rows.append({"scan": study.name, "change": change, "model": healer.name, "metric": metric, **told})
    return rows


def summed_up(rows: Sequence[Row]) -> list[Row]:
    """Return the median and the 9th decile over heads, and the template's volume, for each change, model and metric."""
    keys = dict.fromkeys((row["change"], row["model"], row["metric"]) for row in rows)
    made = []
    for key in sorted(keys, key=lambda key: (key[1:], list(CHANGES).index(key[0]))):
        own = [row for row in rows if (row["change"], row["model"], row["metric"]) == key]
        heads = [row["ml"] for row in own if row["scan"] != TEMPLATE]
        told = dict(zip(("change", "model", "metric"), key, strict=True))
        origins = sorted({row["threshold_from"] for row in own})
        middle, decile = (float(np.percentile(heads, q)) for q in (50, 90))
        alone = next((row["ml"] for row in own if row["scan"] == TEMPLATE), None)
        made.append(told | {"threshold_from": "/".join(origins), "median": middle, "decile": decile, "template": alone})
    return made


def markdown(found: Sequence[Row]) -> str:
    """Write the figures as one table."""
    lines = []
    for row in found:
        volumes = ["" if row[k] is None else f"{row[k]:.1f}" for k in ("median", "decile", "template")]
        lines.append([row["change"], row["model"], row["metric"], row["threshold_from"], *volumes])
    return table(HEAD, lines)


def main(  # noqa: PLR0913  one parameter per option
    healthy: Annotated[Path, typer.Argument(help="Prepared healthy scans: a folder, a list or a file.")],
    models: Annotated[list[str], typer.Argument(metavar="MODEL[:METHOD]...", help='Model files, or "bundled".')],
    *,
    metric: Metrics = None,
    first: Annotated[int | None, typer.Option(min=1, help="Take only the first N scans.")] = None,
    no_template: Annotated[bool, typer.Option("--no-template", help="Leave the MNI152 template out.")] = False,
    seed: Annotated[int, typer.Option(help="Of what is drawn, and of noise.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    markdown_file: Annotated[Path | None, typer.Option("--markdown", help="Write the table to this file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace these files.")] = False,
) -> None:
    """Tell how much of healthy scans models detect, as they are and after changes that are no lesions."""
    for path in filter(None, (json_file, markdown_file)):
        check_free(path, force=force)
    healers, scans = [Healer.of(text) for text in models], list(files_of(str(healthy)))[:first]
    brain = None if no_template else template("mni")
    rows = []
    for file in track(scans, "heads", console=Console(stderr=True), transient=True):
        study = next(read_path(Path(file)))
        rows += [row for healer in healers for row in alarms(healer, study, tuple(metric or ()), seed)]
    for healer in healers if brain else ():
        rows += alarms(healer, uadtools.preprocess(brain, healer.preparation, name=TEMPLATE), tuple(metric or ()), seed)
    found = summed_up(rows)
    about = {"seed": seed, "heads": len(scans), "models": [healer.about for healer in healers]}
    report(markdown(found), about | {"figures": found, "scans": rows}, json_file, markdown_file, force=force)


if __name__ == "__main__":
    try:
        typer.run(main)
    except UadError as error:
        sys.exit(f"{Path(__file__).name}: error: {error}")
