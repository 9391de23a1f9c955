#!/usr/bin/env python3
"""Give a candidate for the bundled model what it needs to ship: reference, likeness of healthy inputs, thresholds.

    python experiments/release_model.py CANDIDATE SCANS OUT [--table TABLE.json] [--labels FOLDER [--contrast FLAIR]]

SCANS is what experiments/ixi_brains.py made. Only people that the model learnt from are taken, never those it is judged
on: every eighth tells what healthy residuals are, and ten others tell the thresholds, as they are and as other scanners
would show them (CHANGES), so that a blurred or biased scan does not light up. --labels, for a model of any contrast:
label maps, ID_dseg.nii.gz, by which their T1 scans become CONTRASTS, each with a reference and a share in the
thresholds; with --contrast they become that alone, for a model of one contrast. The default threshold is the lowest at
which in half of all these scans less than 1 mL is detected, and in nine of ten less than 5 mL. Beside the model,
OUT.scanwise.json and OUT.voxelwise.json hold the conformal thresholds, and which lesions they leave to be found in
simulated blobs. Ten people are all these scans, so the guarantee is for fewer scans than it counts.
What scores above a threshold counts as detected there, also in components that are too small to stay.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from likeness import labels_on
from rich.console import Console
from rich.progress import track

import uadtools
from uadtools.files import write_json
from uadtools.healing.catalogue import settle
from uadtools.healing.likeness import keep, read_likeness
from uadtools.healing.plan import plan
from uadtools.healing.reference import keep_reference, learn_reference
from uadtools.models.checkpoint import file_hash
from uadtools.models.model import Model
from uadtools.scoring.calibrate import CONFORMAL, calibrate, usual_floor
from uadtools.scoring.postproc import own_steps, prepare
from uadtools.scoring.score import Signed
from uadtools.simulation.contrasts import ContrastName, synthesize
from uadtools.simulation.plan import Simulation
from uadtools.volume.stream import Study, base_name, read_path

CHANGES = (
    Simulation("blur", level=1), Simulation("thick", level=3), Simulation("shift", level=0.5),
    Simulation("bias", strength=0.3), Simulation("contrast", level=0.7), Simulation("contrast", level=1.4),
)  # fmt: skip
CONTRASTS: tuple[ContrastName, ...] = ("T2", "FLAIR", "PD")
LESIONS = (Simulation("blobs", tone="dark"), Simulation("blobs", tone="bright"))
ALLOWED = ((1.0, 0.5), (5.0, 0.9))
"""mL that may be detected, and the share of the scans in which no more is."""
SIGNS: tuple[Signed, ...] = ("both", "dark", "bright")
CHAIN = "{median = 1, smooth = 0.6, erode = 0, min_size = 4}"


def plain(files: list[Path], labels: Path | None, contrast: ContrastName | None) -> Iterator[Study]:
    """Each scan as it is, or in another contrast."""
    if labels and contrast:
        yield from synthesized(files, labels, contrast)
    else:
        yield from (next(read_path(file)) for file in files)


def healthy(files: list[Path], labels: Path | None, contrast: ContrastName | None) -> Iterator[Study]:
    """Each scan as it is and after each change; where there are labels, in one other contrast alone, or in all, too."""
    for study in plain(files, labels, contrast):
        for number, change in enumerate((None, *CHANGES)):
            made = study if change is None else uadtools.simulate(study, change)
            yield Study(f"{study.name}-{number}", {"scan": made.need("scan")})
    for other in CONTRASTS if labels and not contrast else ():
        yield from synthesized(files, labels, other)


def synthesized(files: list[Path], labels: Path, contrast: ContrastName) -> Iterator[Study]:
    """Each scan in another contrast, by the labels of its anatomy."""
    for number, file in enumerate(files):
        study = next(read_path(file))
        scan = study.need("scan")
        tissue = labels_on(labels / f"{base_name(file)}_dseg.nii.gz", scan.grid)
        rng = np.random.default_rng([*contrast.encode(), number])
        made = replace(scan, data=synthesize(scan.data, tissue, contrast, rng).astype(np.float32), provenance={})
        yield Study(f"{study.name}-{contrast}", {"scan": made})


def lesioned(studies: Iterator[Study]) -> Iterator[Study]:
    for study in studies:
        for number, lesion in enumerate(LESIONS):
            made = uadtools.simulate(study, lesion)
            yield Study(f"{study.name}-lesion-{number}", {role: made.need(role) for role in ("scan", "truth")})


def signs_in(contrast: ContrastName | None) -> tuple[Signed, ...]:
    """Return the signs that have thresholds: in FLAIR alone, what is hyperintense is a lesion."""
    return (*SIGNS, "hyperintense") if contrast == "FLAIR" else SIGNS


def scores(model: Model, studies: Iterator[Study], count: int, signs: tuple[Signed, ...]) -> list[dict[Signed, Study]]:
    """Heal studies, and score them by each sign; nothing but scores and truth is kept."""
    made = []
    for study in track(studies, "healing", total=count, console=Console(stderr=True), transient=True):
        healed = uadtools.heal(study, model)
        scored = {sign: uadtools.score(healed, signed=sign) for sign in signs}
        kept = ("score", "truth")
        made.append(
            {s: Study(one.name, {r: one.images[r] for r in kept if r in one.images}) for s, one in scored.items()}
        )
    return made


def lowest(studies: list[Study]) -> float:
    """Return the lowest threshold that keeps what ALLOWED says."""
    highest = []
    for study in studies:
        ready = prepare(study, own_steps(study))
        voxels = [int(allowed / ready.score.grid.voxel_volume) for allowed, _ in ALLOWED]
        highest.append(np.sort(ready.smooth[ready.eroded])[::-1][voxels])
    levels = [
        np.sort(each)[int(np.ceil(share * len(each))) - 1]
        for each, (_, share) in zip(np.array(highest).T, ALLOWED, strict=True)
    ]
    return round(float(max(levels)), 4)


def floor(studies: list[Study]) -> float:
    """Return the noise floor that 19 in 20 of the scans stay under."""
    return round(usual_floor([prepare(study, own_steps(study)).floor for study in studies]), 6)


def inline(table: dict[str, float]) -> str:
    """Write a table as TOML in one line."""
    return "{" + ", ".join(f"{json.dumps(name)} = {value}" for name, value in table.items()) + "}"


def main(
    candidate: Annotated[Path, typer.Argument(help="A model of kind restoration.")],
    scans: Annotated[Path, typer.Argument(help="Folder that holds train/.")],
    out: Annotated[Path, typer.Argument(help="The model file to write.")],
    table: Annotated[Path | None, typer.Option(help="What healthy inputs look like, made by likeness.py.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Folder of label maps, for a model of any contrast.")] = None,
    contrast: Annotated[ContrastName | None, typer.Option(help="The model's only one, made by the labels.")] = None,
) -> None:
    """Make a candidate ready to ship."""
    files = sorted((scans / "train").glob("*.nii.gz"))
    ready = [f"name={out.stem}", 'defaults.metric="relative"', f"defaults.chain={CHAIN}"]
    settle(candidate, ready, out, force=True)
    model = uadtools.load_model(out)
    expected, about = learn_reference(uadtools.heal(study, model) for study in plain(files[::8], labels, contrast))
    keep_reference(out, expected, about, out, force=True)
    for other in CONTRASTS if labels and not contrast else ():
        healed = (uadtools.heal(study, model) for study in synthesized(files[::8], labels, other))
        keep_reference(out, *learn_reference(healed), out, contrast=other, force=True)
    if table:
        keep(out, read_likeness(table), out, force=True)

    model, chosen = uadtools.load_model(out), files[4::8][:10]
    each = 1 + len(CHANGES) + (len(CONTRASTS) if labels and not contrast else 0)
    signs = signs_in(contrast)
    whole = scores(model, healthy(chosen, labels, contrast), each * len(chosen), signs)
    way = plan(model.config).threshold_key
    names = {sign: way if sign == "both" else f"{way} {sign}" for sign in signs}
    found = {
        "thresholds": {name: lowest([one[sign] for one in whole]) for sign, name in names.items()},
        "floors": {name: floor([one[sign] for one in whole]) for sign, name in names.items()},
    }
    settle(out, [f"defaults.{name}={inline(table)}" for name, table in found.items()], out, force=True)

    print(json.dumps({**found, "reference": about.scans, "healthy": len(whole)}, indent=1), flush=True)
    marked = scores(model, lesioned(plain(chosen, labels, contrast)), len(LESIONS) * len(chosen), SIGNS)
    for rule in CONFORMAL:
        report = calibrate((one["both"] for one in (*whole, *marked)), rule)
        report["way"]["uad-heal model"] = f"{out.stem}:{file_hash(out)}"
        write_json(out.with_suffix(f".{rule}.json"), report, force=True)


if __name__ == "__main__":
    typer.run(main)
