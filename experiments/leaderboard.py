#!/usr/bin/env python3
"""Judge every method that needs nothing but a bundled model, or none, on every open test, and write the leaderboard.

    python experiments/leaderboard.py measure HEALTHY PATIENTS HEADCT.npz [--heads 4] [--only METHOD] [--test TEST]
    python experiments/leaderboard.py page

HEALTHY is the folder of experiments/bench/find-lesions.toml, whose test.txt lists the heads that lesions are drawn
into; PATIENTS holds ms_mni/ and m2307/ (experiments/real_patients.py); HEADCT.npz has the images of Pinaya et al.'s
table 1, each of which gets a sprite. Figures go into experiments/data/leaderboard.json after each method: what is there
of the same model and options is not measured again, more heads add to it, and another model replaces it. `page` makes
docs/leaderboard.md of that file alone (experiments/leaderboard_page.py).

AUPRC and best Dice are of the score on the model's grid, inside the brain, after a Gaussian of .6 voxels, both signs
and with the sign told. Seconds are of one core's processor, for healing and scoring a scan; memory is the most that the
process had held when a scan was scored, each method having a process of its own.
"""

from __future__ import annotations

import json
import math
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import typer
from leaderboard_page import BASELINE, FIGURES, HEADCT, LESIONS, page
from real_patients import SCANS
from survey_table import MASKS

import uadtools
from uadtools.bench.data import singles, slice_by_slice
from uadtools.errors import UadError
from uadtools.evaluation.evaluate import case
from uadtools.files import parse_json, read_json, read_lines, write_json
from uadtools.healing.choice import alternatives, suited
from uadtools.healing.plan import Plan, plan
from uadtools.models.checkpoint import REFERENCE, bundled, file_hash, located, read_config, read_shapes
from uadtools.models.model import Model, load_model
from uadtools.scoring.score import Metric, Signed, scored
from uadtools.simulation.plan import Simulation
from uadtools.simulation.simulate import read_masks
from uadtools.volume import clean
from uadtools.volume.io import Image
from uadtools.volume.stream import Study, read_image, read_path

WIDTH = 0.6
REAL = tuple(scan.name for scan in SCANS)
T1 = tuple(name for name in REAL if name.endswith("T1"))
FLAIR = tuple(name for name in REAL if name.endswith("FLAIR"))
OPEN = (*REAL, *LESIONS)


@dataclass(frozen=True)
class Method:
    """How scans are healed and scored.

    model: a bundled one's name, "": none is needed; tests: it is judged on; bright: how it is told that lesions are.
    """

    heal: Mapping[str, Any]
    model: str = ""
    metric: Metric | None = None
    tests: tuple[str, ...] = OPEN
    bright: Signed = "bright"

    @property
    def path(self) -> Path | None:
        return located(Path(self.model)) if self.model else None

    @property
    def how(self) -> Plan:
        return plan(read_config(self.path) if self.path else None, **self.heal)

    @property
    def about(self) -> dict[str, Any]:
        """What decides its figures, as JSON."""
        found = {
            "model": self.model,
            "hash": file_hash(self.path) if self.path else "",
            "metric": self.metric,
            "smooth": WIDTH,
            **({"signed": self.bright} if self.bright != "bright" else {}),
        }
        return {**found, **{name: value for name, value in self.how.arguments.items() if value is not None}}


METHODS: dict[str, Method] = {
    BASELINE: Method({"method": "threshold"}, tests=(*OPEN, HEADCT)),
    "intensity threshold, equalised": Method({"method": "threshold"}, metric="equalised", tests=(*OPEN, HEADCT)),
    "blur": Method({"method": "blur"}),
    "blur, 4 pixels": Method({"method": "blur", "sigma": 4.0}, tests=(HEADCT,)),
    "restore, headct": Method({"method": "restore"}, "headct", tests=(HEADCT,)),
    "disyre, headct": Method({"method": "disyre"}, "headct", tests=(HEADCT,)),
    "restore, any-small": Method({"method": "restore"}, "any-small"),
    "restore, t1-small": Method({"method": "restore"}, "t1-small"),
    "restore, flair-small": Method({"method": "restore"}, "flair-small", tests=REAL),
    "restore, flair-small, told hyperintense": Method(
        {"method": "restore"}, "flair-small", None, FLAIR, "hyperintense"
    ),
    "sss": Method({"method": "sss", "t": 300}, "t1-ddpm"),
    "disyre, any-small": Method({"method": "disyre"}, "any-small"),
    "disyre, any-small, mean": Method({"method": "disyre", "accumulate": "mean"}, "any-small", tests=REAL),
    "ddim, 10 steps": Method({"method": "ddim", "t": 300, "steps": 10}, "t1-ddpm", tests=T1),
    "sss, 3 t, 4 draws": Method({"method": "sss", "t": [200, 300, 400], "samples": 4}, "t1-ddpm", tests=T1),
    "andi, 16 t": Method({"method": "andi", "steps": 16}, "t1-ddpm", "anomaly", tests=T1),
}
"""By what it is called, the quickest first; one whose model does not ship is left out."""


@dataclass(frozen=True)
class Case:
    """A scan and its truth; told: what lesions are on it, "" where nobody knows; stack: its slices are judged alone."""

    test: str
    name: str
    told: str
    study: Study
    truth: Image
    stack: bool = False


@dataclass(frozen=True)
class Tests:
    """Where the scans are. heads: how many healthy ones, each of which gets lesions of every kind."""

    healthy: Path
    patients: Path
    headct: Path
    heads: int

    @cached_property
    def files(self) -> list[str]:
        return [line for line in read_lines(self.healthy / "test.txt") if line][: self.heads]

    def names(self, test: str) -> list[str]:
        """List the cases of a test."""
        return [Path(file).name.partition("_")[0] for file in self.files] if test in LESIONS else [test]

    def cases(self, test: str) -> Iterator[Case]:
        """Prepare the scans of a test, or draw lesions into them. Raises UadError for missing files."""
        for scan in SCANS:
            if scan.name == test:
                study = uadtools.preprocess(read_image(self.patients / scan.file), name=test)
                yield Case(test, test, scan.told, study, read_image(self.patients / scan.truth))
        if test in LESIONS:
            told, options = LESIONS[test]
            plan = Simulation(masks=read_masks([str(self.healthy / MASKS[test])]) if test in MASKS else {}, **options)
            for name, file in zip(self.names(test), self.files, strict=True):
                drawn = uadtools.simulate(Study(name, {"scan": read_image(self.healthy / file)}), plan)
                yield Case(test, name, told, drawn, drawn.need("truth"))
        if test == HEADCT:
            drawn = uadtools.simulate(next(read_path(Path(f"{self.headct}:test"))), Simulation("sprites"))
            yield Case(test, test, "", drawn, drawn.need("truth"), stack=True)


@cache
def loaded(model: str) -> Model:
    return load_model(located(Path(model)))


def figures(one: Case, method: Method) -> dict[str, Any]:
    """Heal and judge a case: AUPRC and best Dice with both signs and, where there is a sign and a healed scan, told."""
    model, how = loaded(method.model) if method.model else None, method.how
    began = time.process_time()
    alone = one.stack and model is None
    healed = slice_by_slice(one.study, lambda part: uadtools.heal(part, None, how)) if alone else None
    healed = healed or uadtools.heal(one.study, model, how)
    uadtools.score(healed, metric=method.metric)
    found: dict[str, Any] = {"seconds": time.process_time() - began}
    found["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    found["both"] = _judged(one, method, healed, "both")
    if one.told and "healed" in healed.images:
        found["told"] = _judged(one, method, healed, method.bright if one.told == "bright" else one.told)
    usual = method.bright == "bright" and not one.stack
    if usual and model and method.heal == {"method": model.config.defaults.method}:
        paths = alternatives()
        found["own"] = paths[suited(one.study, [read_config(path) for path in paths])].stem == method.model
    return found


def _judged(one: Case, method: Method, healed: Study, sign: Any) -> dict[str, Any]:
    parts, pairs = singles(healed) if one.stack else [healed], []
    for part, truth in zip(parts, singles(Study("", {"truth": one.truth})) if one.stack else [one.truth], strict=True):
        study = uadtools.score(part, metric=method.metric, signed=sign)
        score = study.need("score")
        smooth = scored(score, clean.smooth(score.data, WIDTH), study.brain())
        pairs.append(case(study.adding(smooth), truth.need("truth") if isinstance(truth, Study) else truth))
    report = uadtools.evaluate(pairs, best=True)
    names = ("auprc", "best_dice")
    found: dict[str, Any] = {name: report["mean"][name] for name in names}
    if one.stack:
        found |= {f"{name}_pooled": report["pooled"][name] for name in names}
        found["interval"] = report["intervals"]["mean"]["auprc"]
    return found


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def measure(
    healthy: Path,
    patients: Path,
    headct: Annotated[Path, typer.Argument(metavar="HEADCT.npz")],
    *,
    heads: Annotated[int, typer.Option(help="How many healthy heads get lesions.")] = 4,
    only: Annotated[list[str] | None, typer.Option(help="A method; repeatable. Default: all.")] = None,
    test: Annotated[list[str] | None, typer.Option(help="A test; repeatable. Default: all of a method.")] = None,
) -> None:
    """Measure what is not measured yet, and keep it."""
    tests = Tests(healthy, patients, headct, heads)
    shipped = {path.stem for path in bundled()}
    known: dict[str, Any] = read_json(FIGURES) if FIGURES.exists() else {}
    chosen = {name: method for name, method in METHODS.items() if name in (only or METHODS)}
    cases: dict[str, list[Case]] = {}
    for name, method in chosen.items():
        if method.model and method.model not in shipped:
            continue
        about, before = parse_json(json.dumps(method.about)), known.get(name, {})
        found = before if before.get("about") == about else {"about": about, **costs(method), "tests": {}}
        with ProcessPoolExecutor(1, get_context("forkserver")) as alone:
            for asked in [asked for asked in method.tests if asked in (test or method.tests)]:
                rows = found["tests"].setdefault(asked, {})
                if missing := set(tests.names(asked)) - {*rows}:
                    print(f"{name}: {asked}", file=sys.stderr, flush=True)
                    cases.setdefault(asked, [*tests.cases(asked)])
                    for one in cases[asked]:
                        if one.name in missing:
                            rows[one.name] = alone.submit(figures, one, method).result()
                    found |= {"date": datetime.now(UTC).date().isoformat(), "machine": machine()}
                    known = {key: {**known, name: found}[key] for key in METHODS if key in {**known, name: found}}
                    write_json(FIGURES, known, force=True)


def costs(method: Method) -> dict[str, int]:
    """Return how large a method's network is, and how often it is asked about a slice."""
    if not method.path:
        return {"parameters": 0, "evaluations": 0}
    weights = read_shapes(method.path)
    grid = read_config(method.path).grid
    return {
        "parameters": sum(math.prod(shape) for name, shape in weights.items() if not name.startswith(REFERENCE)),
        "evaluations": method.how.evaluations((grid.shape[1], grid.shape[0])),
    }


def machine() -> str:
    """Say what figures of time are of."""
    flags = Path("/proc/cpuinfo")
    old = flags.exists() and "avx512" not in flags.read_text()
    return f"one of {os.cpu_count()} cores of an {platform.machine()} CPU{' without AVX-512' if old else ''}"


@app.command("page")
def write_page() -> None:
    """Write docs/leaderboard.md."""
    page(read_json(FIGURES), list(METHODS))


if __name__ == "__main__":
    try:
        app()
    except UadError as error:
        sys.exit(f"{Path(__file__).name}: error: {error}")
