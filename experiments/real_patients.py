#!/usr/bin/env python3
"""Judge models on the real patients at hand: an intensity threshold, a blur, and each MODEL, both signs and sign told.

    python experiments/real_patients.py FOLDER MODEL... [--json FIGURES.json] [--markdown FIGURES.md]

FOLDER holds ms_mni/ (two patients with multiple sclerosis, Lesjak et al. 2018) and m2307/ (a stroke on T2). MODEL is a
model file or "bundled"; MODEL:METHOD heals by another method than its own. Of several, the mean of their scores is
judged, too, each over its own threshold. Figures are AUPRC and best Dice of the score on the model's grid, inside the
brain, without post-processing unless --median or --smooth say so; the truth is carried onto that grid as uad-eval does.
Best Dice is a ceiling, as the truth chose its threshold. Five scans of three people prove nothing statistically: read
them by name.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from healers import Healer, Metrics, metrics, report, table
from rich.console import Console
from rich.progress import track

import uadtools
from uadtools.errors import UadError
from uadtools.evaluation.evaluate import case
from uadtools.files import check_free
from uadtools.scoring.history import model_threshold
from uadtools.scoring.postproc import Steps, prepare
from uadtools.scoring.score import Signed, scored
from uadtools.volume.io import Image
from uadtools.volume.stream import Study, read_image


class Scan(NamedTuple):
    """A real scan and its truth, as files in the data's folder; told: what lesions are on it, dark or bright."""

    name: str
    file: str
    truth: str
    told: Signed


SCANS = (
    Scan("patient 19, T1", "ms_mni/patient19_T1w.nii.gz", "ms_mni/patient19_lesion.nii.gz", "dark"),
    Scan("patient 07, T1", "ms_mni/patient07_T1w.nii.gz", "ms_mni/patient07_lesion.nii.gz", "dark"),
    Scan("patient 19, FLAIR", "ms_mni/patient19_FLAIR.nii.gz", "ms_mni/patient19_lesion.nii.gz", "bright"),
    Scan("patient 07, FLAIR", "ms_mni/patient07_FLAIR.nii.gz", "ms_mni/patient07_lesion.nii.gz", "bright"),
    Scan("M2307, T2", "m2307/M2307_T2w.nii.gz", "m2307/M2307_lesion.nii.gz", "bright"),
)
THRESHOLD = "intensity threshold"
TOGETHER = "mean of all models, calibrated"
HEAD = ("scan", "method", "metric", "AUPRC, both signs", "AUPRC, sign told", "best Dice, both signs", "sign told")


def judged(
    scan: Scan, folder: Path, healers: Sequence[Healer], chosen: tuple[str, ...], chain: Steps
) -> dict[str, Any]:
    """Return every figure of one scan, in mL and shares; the baselines see it as the first model does.

    chain: of which the filters are put on all scores.
    """
    raw, truth = read_image(folder / scan.file), read_image(folder / scan.truth)
    study = uadtools.preprocess(raw, healers[0].preparation, name=scan.name)
    rows, kept = [_row(THRESHOLD, "", thresholds(study, scan.told), truth, chain)], []
    for healer in (Healer.of("blur"), *healers):
        fits = healer.model is None or healer.preparation == healers[0].preparation
        healed = healer.heal(study if fits else uadtools.preprocess(raw, healer.preparation, name=scan.name))
        for metric in metrics(healed, chosen):
            signs: tuple[Signed, ...] = ("both", scan.told) if "healed" in healed.images else ("both",)
            made = [uadtools.score(healed, metric=metric, signed=signed) for signed in signs]
            rows.append(_row(healer.name, metric, made, truth, chain))
        if healer in healers and "healed" in healed.images:
            kept.append(healed)
    if together := list(filter(None, (mean_of(kept, signed) for signed in ("both", scan.told)))):
        rows.append(_row(TOGETHER, "", together, truth, chain))
    volume = float((truth.data > 0).sum() * truth.grid.voxel_volume)
    return {"scan": scan.name, "told": scan.told, "lesion_ml": volume, "rows": rows}


def thresholds(study: Study, told: Signed) -> Iterator[Study]:
    """Score by intensity alone: by the distance from the brain's median, then by how dark or bright a voxel is."""
    scan, brain = study.need("scan"), study.brain()
    away = np.abs(scan.data - np.median(scan.data[brain]))
    for values in (away, scan.data if told == "bright" else 1 - scan.data):
        yield study.adding(scored(scan, values, brain))


def mean_of(healed: Sequence[Study], signed: Signed) -> Study | None:
    """Return the mean of several models' scores, each over its own threshold, so that they are of one unit.

    None for fewer than two models, and where one has no threshold.
    """
    scores = [uadtools.score(study, signed=signed) for study in healed]
    levels = [model_threshold(one.need("score")) for one in scores]
    if len(healed) < 2 or None in levels:
        return None
    calibrated = [one.need("score").data / level for one, level in zip(scores, levels, strict=True)]
    return healed[0].adding(scored(healed[0].need("scan"), np.mean(calibrated, axis=0), healed[0].brain()))


def _row(method: str, metric: str, made: Iterable[Study], truth: Image, chain: Steps) -> dict[str, Any]:
    """Judge two scores, that of both signs and that which was told the sign; where nothing is healed, there is none."""
    figures = [figures_of(study, truth, chain) for study in made]
    return {"method": method, "metric": metric, "both": figures[0], "told": dict(enumerate(figures)).get(1)}


def figures_of(study: Study, truth: Image, chain: Steps) -> dict[str, float]:
    """Return AUPRC and best Dice of a study's score, after the filters of a chain."""
    score = study.need("score")
    study = study.adding(scored(score, prepare(study, chain).smooth, study.brain()))
    found = uadtools.evaluate([case(study, truth)], best=True)["scans"][0]
    return {name: found[name] for name in ("auprc", "best_dice")}


def markdown(found: Sequence[dict[str, Any]]) -> str:
    """Write the figures as one table, a line for each scan and way of scoring."""
    lines = []
    for scan in found:
        head = f"{scan['scan']} ({scan['lesion_ml']:.1f} mL, {scan['told']})"
        for row in scan["rows"]:
            figures = [(row[sign] or {}).get(figure) for figure in ("auprc", "best_dice") for sign in ("both", "told")]
            shown = ["" if value is None else f"{value:.3f}" for value in figures]
            lines.append([head, row["method"], row["metric"], *shown])
    return table(HEAD, lines)


def main(  # noqa: PLR0913  one parameter per option
    folder: Annotated[Path, typer.Argument(help="Folder that holds ms_mni/ and m2307/.")],
    models: Annotated[list[str], typer.Argument(metavar="MODEL[:METHOD]...", help='Model files, or "bundled".')],
    *,
    metric: Metrics = None,
    window: Annotated[int, typer.Option("--median", help="Window of a median filter on the scores; 1: none.")] = 1,
    deviation: Annotated[float, typer.Option("--smooth", help="Deviation of a Gaussian on them, in voxels.")] = 0.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    markdown_file: Annotated[Path | None, typer.Option("--markdown", help="Write the table to this file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace these files.")] = False,
) -> None:
    """Judge models on five real scans of three patients."""
    for path in filter(None, (json_file, markdown_file)):
        check_free(path, force=force)
    healers = [Healer.of(text) for text in models]
    chain = Steps(median=window, smooth=deviation, erode=0)
    shown = track(SCANS, "judging", console=Console(stderr=True), transient=True)
    found = [judged(scan, folder, healers, tuple(metric or ()), chain) for scan in shown]
    about = {"median": window, "smooth": deviation, "models": [healer.about for healer in healers]}
    report(markdown(found), about | {"scans": found}, json_file, markdown_file, force=force)


if __name__ == "__main__":
    try:
        typer.run(main)
    except UadError as error:
        sys.exit(f"{Path(__file__).name}: error: {error}")
