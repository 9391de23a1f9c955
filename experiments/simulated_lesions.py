#!/usr/bin/env python3
"""Judge a T1 model on simulated lesions, beside two baselines that know no anatomy.

    python experiments/simulated_lesions.py HEALTHY_FOLDER MASK_FOLDER --json figures.json --picture rows.png

HEALTHY_FOLDER holds healthy scans that the model has not seen, as uad-preprocess writes them; MASK_FOLDER masks of
multiple sclerosis in MNI space. Of each scan three lesioned ones are made: with dark blobs, with bright blobs, and with
one of the masks, the same as uad-simulate makes from the same seed. Every method is a way to heal, and its score
|scan - healed|, median-filtered 5x5x5, is judged inside the brain. The methods' healed scans:

    diffusion          the model's
    threshold          the median of the brain: how unusual an intensity is, whether dark or bright
    threshold, signed  0 where lesions are bright, 1 where they are dark: told what to look for, as no other method is
    blur N             the scan, smoothed inside the brain by a Gaussian of N voxels; best is the N with the highest
                       mean AUPRC for that kind of lesion, chosen on these very scans
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import typer
from lesion_figures import Case, Figures, Floats, Row, figures, picture, table
from rich.console import Console
from rich.progress import track

import uadtools
from uadtools.errors import UadError
from uadtools.files import check_free, written
from uadtools.models.checkpoint import default_path, file_hash
from uadtools.simulation.lesions import LesionedScan, Mask, smooth, with_blobs, with_masks
from uadtools.simulation.source import generator
from uadtools.volume.clean import median
from uadtools.volume.io import Image
from uadtools.volume.stream import Study, is_image, read_image, read_path, record

Heal = Callable[[Study], Floats]
Kind = Literal["dark", "bright", "ms"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SIGNED = "threshold, signed"
SIGMAS = (1, 2, 3, 4, 6, 8)
SHOWN = ("diffusion", "threshold", SIGNED, "blur 2", "blur best")
WINDOW = 5
PICTURED = (*KINDS, KINDS[0], "untouched")
"""What the rows of the picture show, each on the next scan."""


@dataclass(frozen=True)
class Bench:
    """What every scan goes through. heal: the model's way to heal, None for the baselines alone."""

    masks: Sequence[Image]
    seed: int
    heal: Heal | None


@dataclass(frozen=True)
class Judged:
    """One scan: the lesions painted into it, and every method's case by kind; a row of the picture, if asked for."""

    lesions: dict[Kind, LesionedScan]
    cases: dict[tuple[Kind, str], Case]
    row: Row | None


def simulate(scan: Image, kind: Kind, masks: Sequence[Image], *, name: str, seed: int = 0) -> LesionedScan:
    """Paint one kind of lesion into a healthy scan: dark or bright blobs, or the dark lesions of one of the masks."""
    if kind == "ms":
        return with_masks(scan, masks, "dark", generator(seed, name, "dark masks"))
    return with_blobs(scan, kind, generator(seed, name, f"{kind} blobs"))


def judge(scan: Study, bench: Bench, pictured: str | None = None) -> Judged:
    """Score one scan untouched and with each kind of lesion. pictured: which of these to make the row of."""
    brain = scan.need("scan").data > 0
    made = {kind: simulate(scan.need("scan"), kind, bench.masks, name=scan.name, seed=bench.seed) for kind in KINDS}
    healed = healings(scan, (0, 1), bench.heal)
    scores = {method: score_map(scan, h) for method, h in healed.items()}
    untouched = {method: score[brain] for method, score in scores.items()}
    row = _row(scan, healed, scores) if pictured == "untouched" else None
    cases = {}
    for kind, lesioned in made.items():
        study = with_lesions(scan, kind, lesioned, bench.seed)
        extreme = 0 if kind == "bright" else 1
        healed = healings(study, (extreme,), bench.heal)
        scores = {method: score_map(study, h) for method, h in healed.items()}
        for method, score in scores.items():
            name = method.removesuffix(f" {extreme}") if method.startswith(SIGNED) else method
            cases[kind, name] = Case(score[brain], lesioned.label[brain], untouched[method], lesioned.diameters)
        if pictured == kind:
            row = _row(study, healed, scores, lesioned.truth)
    return Judged(made, cases, row)


def healings(scan: Study, extremes: Iterable[int], heal: Heal | None) -> dict[str, Floats]:
    """Heal a scan with every method. extremes: the values that the signed threshold heals to."""
    x = scan.need("scan").data
    brain = x > 0
    made: dict[str, Floats] = {"diffusion": heal(scan)} if heal else {}
    made["threshold"] = np.where(brain, np.median(x[brain]), 0)
    made |= {f"{SIGNED} {extreme}": np.where(brain, float(extreme), 0) for extreme in extremes}
    return made | {f"blur {sigma}": smooth(x, brain, sigma) for sigma in SIGMAS}


def score_map(scan: Study, healed: Floats) -> Floats:
    """Score as the shell tools do, |scan - healed| and its median; the filter runs over the brain's box alone."""
    image = scan.need("scan")
    score: Floats = uadtools.score(scan.adding(image.derive(healed.astype(np.float32), "healed"))).product.data
    ends = [np.flatnonzero((score > 0).any(axis=others))[[0, -1]] for others in ((1, 2), (0, 2), (0, 1))]
    box = tuple(slice(max(int(a) - WINDOW, 0), int(b) + WINDOW + 1) for a, b in ends)
    filtered = np.zeros_like(score)
    filtered[box] = median(score[box], WINDOW)
    return filtered


def with_lesions(scan: Study, kind: Kind, lesioned: LesionedScan, seed: int) -> Study:
    """Make the lesioned scan a study of its own, so that the shell tools can take it from a file."""
    image, name = scan.need("scan"), f"{scan.name}-{kind}"
    provenance = record(image, "simulated_lesions", {"kind": kind}, seed=seed) | {"study": name}
    return Study(name, {"scan": replace(image, data=lesioned.image, role="scan", provenance=provenance)})


def save(scan: Study, judged: Judged, seed: int, folder: Path) -> None:
    """Write the lesioned scans and their truths as FOLDER/scans/NAME-KIND.nii.gz and FOLDER/truth/NAME-KIND.nii.gz."""
    for part in ("scans", "truth"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for kind, lesioned in judged.lesions.items():
        study = with_lesions(scan, kind, lesioned, seed)
        truth = study.product.derive(lesioned.truth.astype(np.uint8), "truth")
        uadtools.save(study.product, folder / "scans" / f"{study.name}.nii.gz", force=True)
        uadtools.save(truth, folder / "truth" / f"{study.name}.nii.gz", force=True)


def _row(scan: Study, healed: dict[str, Floats], scores: dict[str, Floats], truth: Mask | None = None) -> Row:
    """Show the model's work where most lesion is, in a large slice of the brain if that has half as much of it."""
    x = scan.need("scan").data
    area = (x > 0).sum(axis=(0, 1))
    wide = area >= 0.7 * area.max()
    lesion = area if truth is None else truth.sum(axis=(0, 1))
    z = int((lesion * wide if 2 * lesion[wide].max() >= lesion.max() else lesion).argmax())
    return Row(scan.name, (x, healed["diffusion"], scores["diffusion"]), z)


def images(folder: Path, what: str) -> list[Path]:
    """List a folder's images by name. Raises UadError when there is none."""
    found = sorted(path for path in folder.iterdir() if is_image(path)) if folder.is_dir() else []
    if not found:
        raise UadError(f"{folder}: no NIfTI files in it ({what} are expected)")
    return found


def healer(path: Path, t: Sequence[int], samples: int | None, seed: int) -> tuple[Heal, dict[str, Any]]:
    """Load a model; return its way to heal and what is to be reported of it."""
    from uadtools.healing.plan import plan

    model = uadtools.load_model(path)
    how = plan(model.config, t=t, samples=samples)
    about = {"model": model.config.name, "hash": file_hash(path), **how.arguments}
    return lambda scan: uadtools.heal(scan, model, how, seed=seed).need("healed").data, about


def summed_up(judged: Sequence[Judged]) -> dict[str, dict[str, Figures]]:
    """Make every method's figures by kind, and name the best blur of each kind."""
    results: dict[str, dict[str, Figures]] = defaultdict(dict)
    for kind, method in judged[0].cases:
        results[kind][method] = figures([j.cases[kind, method] for j in judged])
    for found in results.values():
        sigma = max(SIGMAS, key=lambda s: found[f"blur {s}"]["auprc"])
        found["blur best"] = found[f"blur {sigma}"] | {"sigma": sigma}
    return dict(results)


def report(names: Sequence[str], judged: Sequence[Judged], about: dict[str, Any]) -> dict[str, Any]:
    """Everything for a machine: the settings, what was painted into which scan, and the figures."""
    painted = {
        name: {
            kind: {"voxels": int(made.truth.sum()), "diameters": made.diameters, "mask": made.origin}
            for kind, made in j.lesions.items()
        }
        for name, j in zip(names, judged, strict=True)
    }
    return {**about, "lesions": painted, "figures": summed_up(judged)}


def run(
    scans: Sequence[Path], bench: Bench, pictured: Sequence[str], save_to: Path | None
) -> tuple[list[str], list[Judged]]:
    """Judge every scan, and save what was painted if there is a folder for it; returns names and results."""
    names, judged = [], []
    for i, path in enumerate(track(scans, "judging", console=Console(stderr=True), transient=True)):
        scan = next(read_path(path))
        names.append(scan.name)
        judged.append(judge(scan, bench, pictured[i] if i < len(pictured) else None))
        if save_to:
            save(scan, judged[-1], bench.seed, save_to)
    return names, judged


def main(  # noqa: PLR0913  one parameter per option
    healthy: Annotated[Path, typer.Argument(help="Folder of preprocessed healthy scans.")],
    masks: Annotated[Path, typer.Argument(help="Folder of MS lesion masks in MNI space.")],
    *,
    model: Annotated[Path | None, typer.Option(help="Model file; default: the bundled one.")] = None,
    t: Annotated[list[int] | None, typer.Option("-t", help="Noise step, repeatable; default: the model's.")] = None,
    samples: Annotated[int | None, typer.Option(help="Draws per step; default: the model's.")] = None,
    seed: Annotated[int, typer.Option(help="Of lesions and noise.")] = 0,
    first: Annotated[int | None, typer.Option(min=1, help="Take only the first N scans.")] = None,
    baselines: Annotated[bool, typer.Option("--baselines", help="Leave the model out.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    picture_file: Annotated[Path | None, typer.Option("--picture", help="Draw five of the scans.")] = None,
    save_to: Annotated[Path | None, typer.Option("--save", help="Write the lesioned scans and truths there.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the JSON file and the picture.")] = False,
) -> None:
    """Judge a T1 model on simulated lesions, beside a threshold and a blur."""
    if baselines and picture_file:
        raise UadError("--picture shows the model's work (leave out --baselines)")
    for path in filter(None, (json_file, picture_file)):
        check_free(path, force=force)
    scans = images(healthy, "preprocessed healthy scans")[:first]
    mask_images = [read_image(path) for path in images(masks, "lesion masks")]
    heal, about = (None, {}) if baselines else healer(model or default_path(), t or (), samples, seed)
    bench = Bench(mask_images, seed, heal)
    names, judged = run(scans, bench, PICTURED if picture_file else (), save_to)
    found = report(names, judged, {**about, "seed": seed})
    out = Console() if sys.stdout.isatty() else Console(width=120)
    out.print(table(found["figures"], [m for m in SHOWN if heal or m != "diffusion"]))
    if json_file:
        with written(json_file, force=force) as part:
            part.write_text(json.dumps(found, indent=1) + "\n")
    if picture_file:
        picture([j.row for j in judged if j.row], picture_file, force=force)


if __name__ == "__main__":
    try:
        typer.run(main)
    except UadError as error:
        sys.exit(f"{Path(__file__).name}: error: {error}")
