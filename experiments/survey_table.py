#!/usr/bin/env python3
"""Judge the methods of the survey that need no labels, all on one T1 diffusion model, on the same slices.

    python experiments/survey_table.py HEALTHY PATIENTS FIGURES.json [--only NAME]... [--markdown TABLE.md]

HEALTHY is the folder of experiments/bench/find-lesions.toml, of which the 20 heads in val/ and the masks are used;
PATIENTS holds ms_mni/, with two patients of multiple sclerosis. Each head gets lesions of one kind, the kinds in turn,
and is judged on the slice with most of them and on that 8 mm above; the patients on every sixth slice with brain.
Nothing else is healed, as whole scans would take days, but for networks that see the slices around each. Every score
gets the same median filter, 5x5 in the slice. FIGURES.json is written after each method, and what is in it is not
judged again.

AUPRC is that of a case's voxels in the brain, both signs and sign told; best Dice is a ceiling, as the truth chose its
threshold; healthy l1 is |scan - healed| outside of lesions, in units of the intensities' range. p is of a paired
permutation test of the AUPRC (both signs) against the first method of diffusion over all cases, adjusted by Holm.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from healers import table
from real_patients import SCANS, thresholds
from rich.console import Console
from scipy import ndimage

import uadtools
from uadtools.errors import UadError
from uadtools.evaluation.evaluate import case
from uadtools.files import read_json, write_json, written
from uadtools.grids.grid import carry_mask
from uadtools.healing.plan import plan
from uadtools.metrics.significance import holm, permutation
from uadtools.models.model import Model, load_model
from uadtools.scoring.score import Metric, Signed, scored
from uadtools.simulation.plan import Simulation
from uadtools.simulation.simulate import read_masks
from uadtools.volume.io import Image
from uadtools.volume.stream import Study, read_image

LESIONS: dict[str, tuple[Signed, dict[str, Any]]] = {
    "dark blobs": ("dark", {"kind": "blobs", "tone": "dark"}),
    "bright blobs": ("bright", {"kind": "blobs", "tone": "bright"}),
    "MS-shaped": ("dark", {"kind": "masks", "tone": "dark"}),
    "cavities": ("dark", {"kind": "cavities"}),
}
MASKS = {"MS-shaped": "ms_lesion_masks_mni", "cavities": "stroke-held-out.txt"}
WINDOW, EVERY, ABOVE = (5, 5, 1), 6, 4
"""Of the median filter, in voxels; of slices, which of patients are judged, and which above that of most lesion."""
PRECISION = "bf16"
LEAST = 0.05
"""Share of a slice that is brain, at least."""
PUBLISHED = "ddpm"
"""What the others are tested against: partial diffusion, every step."""


@dataclass(frozen=True)
class Method:
    """How slices are healed and scored. model: a bundled one, or a file; "": none is needed."""

    heal: Mapping[str, Any]
    metric: Metric = "l1"
    model: str = "t1-ddpm"


METHODS: dict[str, Method] = {
    "blur": Method({"method": "blur"}, model=""),
    "sss": Method({"method": "sss", "t": 300}),
    "sss, 3 t, 4 draws": Method({"method": "sss", "t": [200, 300, 400], "samples": 4}),
    "sss, Mahalanobis": Method({"method": "sss", "t": 300, "samples": 12}, "mahalanobis"),
    "sss, perceptual": Method({"method": "sss", "t": 300, "perceptual": True}, "perceptual"),
    "ddim 10": Method({"method": "ddim", "t": 300, "steps": 10}),
    "ddim 50": Method({"method": "ddim", "t": 300, "steps": 50}),
    "pndm 10": Method({"method": "ddim", "t": 300, "steps": 10, "solver": "pndm"}),
    "dpm 10": Method({"method": "ddim", "t": 300, "steps": 10, "solver": "dpm"}),
    "heun 10": Method({"method": "ddim", "t": 300, "steps": 10, "solver": "heun"}),
    "encode": Method({"method": "encode", "t": 300, "steps": 25}),
    "andi, 16 t": Method({"method": "andi", "steps": 16}, "anomaly"),
    "restore, T1": Method({"method": "restore"}, "relative", "t1-small"),
    "restore, any contrast": Method({"method": "restore"}, "relative", "any-small"),
    "ddpm": Method({"method": "ddpm", "t": 300}),
    "autoddpm": Method({"method": "autoddpm"}, "anomaly"),
    "thor": Method({"method": "thor"}, "anomaly"),
    "andi": Method({"method": "andi"}, "anomaly"),
    "ddpm, large variance": Method({"method": "ddpm", "t": 300, "variance": "large"}),
}


@dataclass(frozen=True)
class Slices:
    """A scan, the same with few slices called brain, and its truth; told: what lesions are on it."""

    name: str
    kind: str
    told: Signed
    whole: Study
    study: Study
    truth: Image


@dataclass
class Judge:
    """Heals and scores; models are loaded once."""

    models: dict[str, Model] = field(default_factory=dict)

    def figures(self, slices: Slices, method: Method) -> dict[str, float | None]:
        """Return what one method makes of one case; seconds are those of the processor, for a slice."""
        model = (
            self.models.setdefault(method.model, load_model(method.model, precision=PRECISION))
            if method.model
            else None
        )
        how = plan(model.config if model else None, **method.heal)
        source = slices.whole if model and model.config.reach else slices.study  # of which the network sees neighbours
        began = time.process_time()
        healed = uadtools.heal(source, model, how)
        spent = (time.process_time() - began) / int(source.brain().any(axis=(0, 1)).sum())
        healed = replace(healed, images=healed.images | {"brain": slices.study.need("brain")})
        brain, lesion = slices.study.brain(), slices.truth.data > 0
        signs: tuple[Signed, ...] = ("both", slices.told) if method.metric in ("l1", "relative") else ("both",)
        scores = [uadtools.score(healed, metric=method.metric, signed=sign) for sign in signs]
        both, *told = [judged(score, slices.truth) for score in scores]
        found = {f"{figure}, both": value for figure, value in both.items()}
        found |= {f"{figure}, told": value for one in told for figure, value in one.items()}
        if "healed" in healed.images:
            away = np.abs(healed.need("healed").data - slices.study.need("scan").data)
            found["healthy l1"] = float(away[brain & ~lesion].mean())
        return found | {"seconds a slice": spent}


def judged(study: Study, truth: Image) -> dict[str, float | None]:
    """Return AUPRC and best Dice of a score, filtered in its slices."""
    score = study.need("score")
    smooth = scored(score, ndimage.median_filter(score.data, WINDOW), study.brain())
    found = uadtools.evaluate([case(study.adding(smooth), truth)], best=True)["scans"][0]
    return {name: found[name] for name in ("auprc", "best_dice")}


def intensities(slices: Slices) -> dict[str, float | None]:
    """Return the figures of the intensity threshold."""
    both, told = (judged(study, slices.truth) for study in thresholds(slices.study, slices.told))
    found = {f"{figure}, both": value for figure, value in both.items()}
    return found | {f"{figure}, told": value for figure, value in told.items()}


def thinned(study: Study, positions: Iterable[int]) -> Study:
    """Call a few slices alone brain, which are all that is healed and judged."""
    chosen = np.zeros(study.brain().shape, bool)
    chosen[:, :, list(positions)] = True
    brain = study.brain() & chosen
    scan = study.need("scan")
    return Study(study.name, {"scan": scan, "brain": scan.derive(brain.astype(np.uint8), "brain")})


def usable(study: Study) -> list[int]:
    """List the slices with brain enough."""
    return [int(z) for z in np.flatnonzero(study.brain().mean(axis=(0, 1)) >= LEAST)]


def heads(folder: Path, masks: Mapping[str, Mapping[str, Image]]) -> Iterator[Slices]:
    """Draw lesions into each head, of one kind each."""
    for place, file in enumerate(sorted(folder.glob("*.nii.gz"))):
        kind = list(LESIONS)[place % len(LESIONS)]
        told, options = LESIONS[kind]
        healthy = Study(file.name.partition("_")[0], {"scan": read_image(file)})
        drawn = uadtools.simulate(healthy, Simulation(masks=masks.get(kind, {}), **options))
        truth = drawn.need("truth")
        most = int(np.argmax((truth.data > 0).sum(axis=(0, 1))))
        yield Slices(drawn.name, kind, told, drawn, thinned(drawn, (most, most + ABOVE)), truth)


def patients(folder: Path) -> Iterator[Slices]:
    """Prepare the T1 scans of real patients."""
    for scan in SCANS:
        if scan.name.endswith("T1"):
            study = uadtools.preprocess(read_image(folder / scan.file), name=scan.name)
            raw, product = read_image(folder / scan.truth), study.product
            truth = product.derive(carry_mask(raw.data > 0, raw.grid, product.grid).astype(np.uint8), "truth")
            yield Slices(scan.name, scan.name, scan.told, study, thinned(study, usable(study)[::EVERY]), truth)


Found = dict[str, dict[str, dict[str, float | None]]]
"""Figures by method and case."""


def lines(found: Found, cases: Sequence[Slices]) -> Iterator[list[str]]:
    """Write a row of the table for each method: patients by name, heads by kind, what all cases have on average."""
    names = [one.name for one in cases]
    ps = tests(found, names)
    groups = [*dict.fromkeys(one.kind for one in reversed(cases))]
    for method, figures in found.items():
        row = [method]
        for group in groups:
            members = [figures[one.name] for one in cases if one.kind == group]
            row.append(" / ".join(mean(members, figure) for figure in ("auprc, both", "auprc, told")))
        everything = [figures[name] for name in names]
        row += [mean(everything, figure) for figure in ("auprc, both", "best_dice, both", "healthy l1")]
        yield [*row, mean(everything, "seconds a slice", 2), f"{ps[method]:.3f}" if method in ps else ""]


def mean(cases: Sequence[Mapping[str, float | None]], figure: str, digits: int = 3) -> str:
    """Write the mean of a figure, where every case has it."""
    values = [case.get(figure) for case in cases]
    return "" if None in values else f"{np.mean(np.array(values, float)):.{digits}f}"


def tests(found: Found, names: Sequence[str]) -> dict[str, float]:
    """Test every method's AUPRC against that of the published one; returns the p-values, adjusted."""
    if PUBLISHED not in found:
        return {}
    values = {method: [figures[name]["auprc, both"] for name in names] for method, figures in found.items()}
    others = [method for method in values if method != PUBLISHED]
    raw = [permutation(values[method], values[PUBLISHED], paired=True) for method in others]
    return dict(zip(others, holm(raw).tolist(), strict=True))


def main(
    healthy: Annotated[Path, typer.Argument(metavar="HEALTHY")],
    real: Annotated[Path, typer.Argument(metavar="PATIENTS")],
    figures: Annotated[Path, typer.Argument(metavar="FIGURES.json")],
    *,
    only: Annotated[list[str] | None, typer.Option(help="A method of the table; repeatable. Default: all.")] = None,
    more: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE", help="A model file, by its own method; repeatable.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the table to this file.")] = None,
) -> None:
    """Judge methods of healing on a few slices of each of many scans."""
    console = Console(stderr=True)
    masks = {kind: read_masks([str(healthy / source)]) for kind, source in MASKS.items()}
    cases = [*heads(healthy / "val", masks), *patients(real)]
    found: Found = read_json(figures) if figures.exists() else {}
    judge = Judge()
    ways: dict[str, Callable[[Slices], dict[str, float | None]]] = {"intensity threshold": intensities}
    chosen = METHODS | {name: Method({}, model=file) for name, _, file in (text.partition("=") for text in more or ())}
    ways |= {name: partial(judge.figures, method=method) for name, method in chosen.items()}
    for name in only or ways:
        if name not in found:
            console.print(name, style="dim")
            found[name] = {one.name: ways[name](one) for one in cases}
            write_json(figures, found, force=True)
    head = [*dict.fromkeys(one.kind for one in reversed(cases))]
    text = table(["method", *head, "all cases", "best Dice", "healthy l1", "CPU s a slice", "p"], lines(found, cases))
    print(text, end="")
    if markdown:
        with written(markdown, force=True) as part:
            part.write_text(text)


if __name__ == "__main__":
    try:
        typer.run(main)
    except UadError as error:
        sys.exit(f"{Path(__file__).name}: error: {error}")
