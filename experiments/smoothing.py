#!/usr/bin/env python3
"""What should be done to a score before its threshold? Filters on it, judged by lesions simulated in healthy heads.

    python experiments/smoothing.py SCANS LABELS MODEL CONTRAST [--held-out] [--markdown FIGURES.md]

SCANS is what experiments/ixi_brains.py made, with ms_lesion_masks_mni/ and stroke-held-out.txt; LABELS its label maps
(ID_dseg.nii.gz), by which the heads become CONTRAST where that is not T1. The heads are those of tune.txt, which the
model learnt from without lesions: a filter is chosen there. --held-out: those of val/, which no model saw, to judge on.
Lesions and their seeds are those of experiments/bench/find-lesions.toml. Each scan is healed once; figures are the mean
AUPRC inside the brain, both signs and sign told, with 95% bootstrap intervals, AUPRC of all voxels together, and which
share of the untouched brains is above the threshold of the best pooled Dice. Held out, the first three filters alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from healers import table
from numpy.typing import NDArray
from release_model import synthesized
from rich.progress import track
from two_contrasts import interval

import uadtools
from uadtools.evaluation.evaluate import case
from uadtools.scoring.score import Signed, scored
from uadtools.simulation.contrasts import ContrastName
from uadtools.simulation.plan import Simulation
from uadtools.simulation.simulate import read_masks
from uadtools.volume.clean import median, smooth
from uadtools.volume.stream import Study, read_path

Filter = Callable[[NDArray[np.float32]], NDArray[np.float32]]
FILTERS: dict[str, Filter] = {
    "none": lambda score: score,
    "median 3x3x3": lambda score: median(score, 3),
    "Gaussian, 0.6 voxels": lambda score: smooth(score, 0.6),
    **{f"Gaussian, {width} voxels": lambda score, width=width: smooth(score, width) for width in (0.4, 0.5, 0.8, 1)},
}  # fmt: skip
HEAD = ("lesions", "filter", "AUPRC, both signs", "sign told", "pooled, both", "untouched, both")


def heads(scans: Path, labels: Path, contrast: str, held_out: bool) -> Iterator[Study]:
    """The healthy heads, in a contrast."""
    listed = (scans / "tune.txt").read_text().split()
    files = sorted((scans / "val").glob("*.nii.gz")) if held_out else [scans / line for line in listed]
    if contrast == "T1":
        yield from (next(read_path(file)) for file in files)
    else:
        yield from synthesized(files, labels, contrast)


def lesions(scans: Path, contrast: str) -> dict[str, tuple[Signed, Simulation]]:
    """What is drawn, and its sign."""
    ms = read_masks([str(scans / "ms_lesion_masks_mni")])
    blobs = {f"{tone} blobs": (tone, Simulation("blobs", tone=tone)) for tone in ("dark", "bright")}
    if contrast != "T1":
        return {**blobs, "MS-shaped lesions": ("bright", Simulation("masks", tone="bright", masks=ms))}
    cavities = read_masks([str(scans / "stroke-held-out.txt")])
    return {
        **blobs,
        "MS-shaped lesions": ("dark", Simulation("masks", masks=ms)),
        "stroke cavities": ("dark", Simulation("cavities", masks=cavities)),
    }


def smoothed(score: Study, how: Filter) -> Study:
    image = score.need("score")
    return score.adding(scored(image, how(image.data), score.brain()))


def row(found: list[dict[str, Any]], told: list[dict[str, Any]], untouched: list[Study], how: Filter) -> list[str]:
    """Return one row of the table; found, told: each scan's case, of both signs and of the lesions' own."""
    report = uadtools.evaluate(found, best=True)
    both, own = (np.array([scan["auprc"] for scan in uadtools.evaluate(cases)["scans"]]) for cases in (found, told))
    level = report["pooled"]["best_threshold"]
    share = np.mean([(smoothed(one, how).need("score").data[one.brain()] > level).mean() for one in untouched])
    shown = [f"{values.mean():.3f} ({interval(values)})" for values in (both, own)]
    return [*shown, f"{report['pooled']['auprc']:.3f}", f"{share:.3%}"]


def main(
    scans: Path,
    labels: Path,
    model: Path,
    contrast: ContrastName,
    *,
    held_out: Annotated[bool, typer.Option(help="Judge on the held-out heads.")] = False,
    markdown: Annotated[Path | None, typer.Option(help="Write the table to this file.")] = None,
) -> None:
    """Compare filters on a model's score."""
    loaded, kinds, untouched = uadtools.load_model(model), lesions(scans, contrast), []
    filters = dict([*FILTERS.items()][:3]) if held_out else FILTERS
    cases: dict[tuple[str, str, bool], list[Any]] = {}
    for study in track([*heads(scans, labels, contrast, held_out)], model.stem):
        untouched.append(uadtools.score(uadtools.heal(study, loaded)))
        for kind, (sign, drawn) in kinds.items():
            sick = uadtools.simulate(study, drawn)
            healed = uadtools.heal(sick, loaded)
            for told in (False, True):
                score = uadtools.score(healed, signed=sign if told else "both")
                for name, how in filters.items():
                    made = case(smoothed(score, how), sick.need("truth"))
                    cases.setdefault((kind, name, told), []).append(made)
    rows = [
        [kind, name, *row(cases[kind, name, False], cases[kind, name, True], untouched, how)]
        for kind in kinds
        for name, how in filters.items()
    ]
    text = table(HEAD, rows)
    print(text)
    if markdown:
        markdown.write_text(text)


if __name__ == "__main__":
    typer.run(main)
