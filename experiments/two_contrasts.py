#!/usr/bin/env python3
"""Does a second contrast pay? Two-contrast scans of healthy heads to learn from, and lesioned ones to judge models on.

    python experiments/two_contrasts.py make SCANS LABELS MASKS OUT
    python experiments/two_contrasts.py judge OUT MODEL... --markdown FIGURES.md

SCANS is what experiments/ixi_brains.py made. Each head's FLAIR is drawn from its T1 and its LABELS (ID_dseg.nii.gz), so
that both show one anatomy, and neither what only a real FLAIR would. OUT/train and OUT/val hold both contrasts in one
file; OUT/flair-train and OUT/flair-val the FLAIR alone. The held-out heads get lesions at one place in both contrasts:
MS-shaped, darker in T1 and brighter in FLAIR, of MASKS (a list) that no model learnt from, each contrast by a strength
of its own. A model of one contrast judges the scans by that alone. Figures are the mean AUPRC over the lesioned heads,
inside the brain, after a median of 3 voxels, with a bootstrap interval, and beside each the intensity threshold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from healers import table
from likeness import labels_on
from rich.progress import track

import uadtools
from uadtools.evaluation.evaluate import case
from uadtools.models.checkpoint import read_config
from uadtools.scoring.score import scored
from uadtools.simulation.contrasts import synthesize
from uadtools.simulation.simulate import read_masks
from uadtools.volume.clean import median
from uadtools.volume.io import Image
from uadtools.volume.stream import Study, base_name, read_path

SEED, WINDOW = 20, 3
HEAD = ("network sees", "AUPRC, both signs", "95% interval", "best Dice")


def in_two(file: Path, labels: Path, number: int) -> Study:
    """Read a T1 scan, and draw its FLAIR."""
    scan = next(read_path(file)).need("scan")
    tissue = labels_on(labels / f"{base_name(file)}_dseg.nii.gz", scan.grid)
    flair = synthesize(scan.data, tissue, "FLAIR", np.random.default_rng([SEED, number]))
    return Study(base_name(file), {"scan": scan, "scan:FLAIR": scan.derive(flair, "scan:FLAIR")})


def lesioned(study: Study, masks: Mapping[str, Image], number: int) -> tuple[Study, Image]:
    """Draw one mask's lesions into both contrasts; returns the study and its truth."""
    scan, flair = study.need("scan"), study.need("scan:FLAIR")
    dark = uadtools.simulate(Study(study.name, {"scan": scan}), "masks", tone="dark", masks=masks, seed=number)
    truth = dark.need("truth")
    alike = Study(study.name, {"scan": flair.derive(flair.data, "scan")})
    bright = uadtools.simulate(alike, "masks", tone="bright", masks={"truth": truth}, seed=number).need("scan")
    return Study(study.name, {"scan": dark.need("scan"), "scan:FLAIR": bright.derive(bright.data, "scan:FLAIR")}), truth


app = typer.Typer(add_completion=False)


@app.command()
def make(scans: Path, labels: Path, masks: Path, out: Path) -> None:
    """Write the scans."""
    held_out = read_masks([str(masks)])
    for part in ("train", "val"):
        for number, file in enumerate(track(sorted((scans / part).glob("*.nii.gz")), part)):
            study = in_two(file, labels, number)
            keep(study, out / part)
            keep(alone(study), out / f"flair-{part}")
            if part == "val":
                sick, truth = lesioned(study, held_out, number)
                keep(sick, out / "sick")
                uadtools.save(truth, out / "sick" / f"{study.name}_truth.nii.gz", force=True)


def alone(study: Study) -> Study:
    """Return a study of the FLAIR alone."""
    flair = study.need("scan:FLAIR")
    return Study(study.name, {"scan": flair.derive(flair.data, "scan")})


def keep(study: Study, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    uadtools.save(study, folder / f"{study.name}_preprocessed.nii.gz", force=True)


def sick_ones(folder: Path) -> Iterator[tuple[Study, Image]]:
    for file in sorted((folder / "sick").glob("*_preprocessed.nii.gz")):
        study = next(read_path(file))
        yield study, uadtools.read(folder / "sick" / f"{study.name}_truth.nii.gz")


def figures(score: Study, truth: Image) -> tuple[float, float]:
    """Return AUPRC and best Dice of a score."""
    smooth = scored(score.need("score"), median(score.need("score").data, WINDOW), score.brain())
    found = uadtools.evaluate([case(score.adding(smooth), truth)], best=True)["scans"][0]
    return found["auprc"], found["best_dice"]


def interval(values: np.ndarray) -> str:
    means = np.random.default_rng(0).choice(values, (10_000, len(values))).mean(axis=1)
    return "{:.3f} to {:.3f}".format(*np.percentile(means, [2.5, 97.5]))


def row(name: str, found: Sequence[tuple[float, float]]) -> list[str]:
    auprc, dice = np.array(found).T
    return [name, f"{auprc.mean():.3f}", interval(auprc), f"{dice.mean():.3f}"]


def by_intensity(study: Study) -> Study:
    """Score by the distance from the brain's median, in each contrast, and take the mean of these."""
    scans, brain = study.in_channels("scan"), study.brain()
    away = [np.abs(image.data - np.median(image.data[brain])) for image in scans]
    return study.adding(scored(scans[0], np.mean(away, axis=0), brain))


@app.command()
def judge(
    folder: Path,
    models: list[Path],
    *,
    markdown: Annotated[Path | None, typer.Option(help="Write the table to this file.")] = None,
) -> None:
    """Judge models on the lesioned heads."""
    cases = list(sick_ones(folder))
    views = {"T1": lambda s: Study(s.name, {"scan": s.need("scan")}), "FLAIR": alone, "T1 and FLAIR": lambda s: s}
    rows = [
        row(f"{name}: intensity threshold", [figures(by_intensity(view(study)), truth) for study, truth in cases])
        for name, view in views.items()
    ]
    for path in models:
        config = read_config(path)
        name = " and ".join(config.contrasts) or "T1"
        found = []
        for study, truth in track(cases, path.stem):
            healed = uadtools.heal(views[name](study), path)
            found.append(figures(uadtools.score(healed), truth))
        rows.append(row(f"{name}: {config.name}", found))
    text = table(HEAD, rows)
    print(text)
    if markdown:
        markdown.write_text(text)


if __name__ == "__main__":
    app()
