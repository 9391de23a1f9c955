#!/usr/bin/env python3
"""How many steps walking back takes: AUPRC against network evaluations.

    python experiments/steps_curve.py HEALTHY_FOLDER --first 8 --json figures.json

HEALTHY_FOLDER holds healthy scans that the model has not seen, as uad-preprocess writes them. Into every other one dark
blobs are drawn, into the rest bright ones, as uad-simulate does. Some slices around them are healed from one t by every
solver, in fewer and more steps, by sss in one and by ddpm in all of them; scores are |scan - healed| after a
5x5x5 median, judged on the voxels of the brain in these slices.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from simulated_lesions import images

import uadtools
from uadtools.errors import UadError
from uadtools.healing.plan import Plan, plan
from uadtools.metrics.ranking import average_precision
from uadtools.simulation.lesions import LesionedScan, Tone, with_blobs
from uadtools.simulation.source import generator
from uadtools.volume.clean import median
from uadtools.volume.stream import Study, read_path

Found = dict[tuple[str, int], dict[str, list[float]]]
"""Of every way and number of evaluations: the seconds, and the AUPRC by tone."""
WALKS: tuple[dict[str, Any], ...] = (
    *({"solver": "ddim", "steps": n} for n in (2, 5, 10, 25, 50)),
    *({"solver": "ddim", "eta": 1.0, "steps": n} for n in (10, 25, 50)),
    *({"solver": "dpm", "steps": n} for n in (2, 5, 10, 25, 50)),
    *({"solver": "heun", "steps": n} for n in (2, 3, 5, 13, 25)),
)


def ways(config: Any, t: int) -> Iterator[tuple[str, Plan]]:
    """List the ways to heal, with names for the table."""
    yield "sss", plan(config, method="sss", t=(t,), samples=1)
    for walk in WALKS:
        name = walk["solver"] + (", eta 1" if "eta" in walk else "")
        yield name, plan(config, method="ddim", t=(t,), samples=1, **walk)
    yield "ddpm", plan(config, method="ddpm", t=(t,), samples=1)


def around(scan: Study, lesioned: LesionedScan, slices: int) -> Study:
    """Empty all slices of a lesioned scan but so many around the middle of its lesions."""
    image = scan.need("scan")
    first = max(int(np.average(np.arange(image.data.shape[2]), weights=lesioned.truth.sum((0, 1)))) - slices // 2, 0)
    kept = np.zeros_like(image.data)
    kept[..., first : first + slices] = lesioned.image[..., first : first + slices]
    return Study(scan.name, {"scan": replace(image, data=kept)})


def main(
    healthy: Annotated[Path, typer.Argument(help="Folder of preprocessed healthy scans.")],
    *,
    model: Annotated[Path | None, typer.Option(help="Model file; default: the bundled one.")] = None,
    t: Annotated[int, typer.Option("-t", help="Noise step.")] = 250,
    slices: Annotated[int, typer.Option(help="Of each scan.")] = 20,
    first: Annotated[int | None, typer.Option(min=1, help="Take only the first N scans.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
) -> None:
    """Measure how AUPRC grows with the evaluations of the network."""
    net = uadtools.load_model(model)
    found: Found = defaultdict(lambda: defaultdict(list))
    scans = images(healthy, "preprocessed healthy scans")[:first]
    for number, path in enumerate(track(scans, "healing", console=Console(stderr=True), transient=True)):
        scan = next(read_path(path))
        tone: Tone = ("dark", "bright")[number % 2]
        made = with_blobs(scan.need("scan"), tone, generator(0, scan.name, f"{tone} blobs"))
        study = around(scan, made, slices)
        brain = study.need("scan").data > 0
        for name, how in ways(net.config, t):
            start = time.perf_counter()
            healed = uadtools.heal(study, net, how)
            kept = found[name, how.evaluations(brain.shape[1::-1])]
            kept["seconds"].append(time.perf_counter() - start)
            score = median(uadtools.score(healed).product.data, 5)
            kept[tone].append(average_precision(score[brain], made.truth[brain]))
        if json_file:  # after every scan, as there may be hours of them
            about = {"model": net.name, "t": t, "slices": slices, "scans": number + 1, "rows": rows(found)}
            json_file.write_text(json.dumps(about, indent=1) + "\n")
    for row in rows(found):
        print(*row.values(), sep="\t")


def rows(found: Found) -> list[dict[str, Any]]:
    """Return the means over scans, a row for each way."""
    return [
        {"way": name, "evaluations": count} | {what: round(statistics.mean(v), 4) for what, v in kept.items()}
        for (name, count), kept in found.items()
    ]


if __name__ == "__main__":
    try:
        typer.run(main)
    except UadError as error:
        sys.exit(f"{Path(__file__).name}: error: {error}")
