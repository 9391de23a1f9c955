#!/usr/bin/env python3
"""Compare the ways of scoring on simulated lesions: one healing of each scan, every metric on it.

    python experiments/simulated_lesions.py HELD_OUT_FOLDER MASK_FOLDER --baselines --first 8 --save lesions/
    python experiments/score_metrics.py lesions/ --healthy TRAINING_FOLDER --count 10 --json metrics.json

The lesioned scans are those that simulated_lesions.py --save wrote, NAME-KIND.nii.gz and their truths; with --healthy,
every metric is also tried in units of what it is on healthy scans (--reference of uad-calibrate and uad-score).
Figures are the mean over scans of the AUPRC inside the brain, after the 5x5x5 median of uad-postproc.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

import uadtools
from uadtools.errors import UadError
from uadtools.files import check_free, written
from uadtools.healing.plan import plan
from uadtools.metrics.ranking import average_precision
from uadtools.models.checkpoint import default_path
from uadtools.scoring.normal import learn, normalise
from uadtools.scoring.score import NEEDED, Metric
from uadtools.volume.clean import median
from uadtools.volume.io import Image
from uadtools.volume.stream import Study, read_image, read_path

WINDOW = 5
Heal = Callable[[Path], Study]


def healer(path: Path, samples: int) -> Heal:
    """Return a function that reads and heals a scan."""
    model = uadtools.load_model(path)
    how = plan(model.config, samples=samples if samples > 1 else None)
    return lambda file: uadtools.heal(next(read_path(file)), model, how)


def metrics(healed: Study) -> list[Metric]:
    """Name the metrics that a healed scan has the maps for; l2 ranks voxels as l1 does."""
    return [m for m in get_args(Metric) if m != "l2" and NEEDED.get(m, "healed") in healed.images]


def learnt(healthy: list[Path], heal: Heal) -> dict[str, Study]:
    """Learn each metric's normal from healthy scans, healed once for all metrics; and l1's per slice."""
    healed = [heal(path) for path in track(healthy, "healthy", console=Console(stderr=True), transient=True)]
    made = {f"{m}, voxel": learn(uadtools.score(s, metric=m) for s in healed) for m in metrics(healed[0])}
    return made | {"l1, slice": learn((uadtools.score(s, metric="l1") for s in healed), per="slice")}


def judged(study: Study, truth: Image, normals: dict[str, Study]) -> dict[str, float]:
    """Return the AUPRC of every way of scoring a healed scan."""
    scored = {m: uadtools.score(study, metric=m) for m in metrics(study)}
    for name, normal in normals.items():
        scored[name] = normalise(scored[name.split(",")[0]], normal)
    brain = study.brain()
    lesion = truth.data[brain] > 0
    return {name: average_precision(median(made.product.data, WINDOW)[brain], lesion) for name, made in scored.items()}


def main(
    lesions: Annotated[Path, typer.Argument(help="What simulated_lesions.py --save wrote: scans/ and truth/.")],
    *,
    healthy: Annotated[Path | None, typer.Option(help="Folder of other healthy scans to learn from.")] = None,
    count: Annotated[int, typer.Option(min=2, help="Take the first N of these.")] = 10,
    samples: Annotated[int, typer.Option(min=1, help="Draws per scan; mahalanobis needs several.")] = 1,
    model: Annotated[Path | None, typer.Option(help="Model file; default: the bundled one.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every scan's figures to this file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the JSON file.")] = False,
) -> None:
    """Compare the ways of scoring on simulated lesions."""
    if json_file:
        check_free(json_file, force=force)
    heal = healer(model or default_path(), samples)
    others = sorted(healthy.glob("*.nii.gz"))[:count] if healthy else []
    normals = learnt(others, heal) if healthy else {}
    found: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    scans = sorted((lesions / "scans").glob("*-*.nii.gz"))
    for path in track(scans, "judging", console=Console(stderr=True), transient=True):
        name, kind = path.name.removesuffix(".nii.gz").rsplit("-", 1)
        found[kind][name] = judged(heal(path), read_image(lesions / "truth" / path.name), normals)
    if not found:
        raise UadError(f"{lesions}: no lesioned scans in it (simulated_lesions.py --save writes them)")
    Console(width=100).print(table(found))
    if json_file:
        with written(json_file, force=force) as part:
            part.write_text(json.dumps({"samples": samples, "healthy": len(others), "auprc": found}, indent=1) + "\n")


def table(found: dict[str, dict[str, dict[str, Any]]]) -> Table:
    """Show the mean over scans of each way of scoring, by kind of lesion."""
    shown = Table("score", *(f"{kind} (n = {len(scans)})" for kind, scans in found.items()))
    for name in next(iter(next(iter(found.values())).values())):
        means = (np.mean([scan[name] for scan in scans.values()]) for scans in found.values())
        shown.add_row(name, *(f"{mean:.3f}" for mean in means))
    return shown


if __name__ == "__main__":
    try:
        typer.run(main)
    except UadError as error:
        sys.exit(f"{Path(__file__).name}: error: {error}")
