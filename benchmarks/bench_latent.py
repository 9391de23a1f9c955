#!/usr/bin/env python3
"""What healing in a latent costs: python benchmarks/bench_latent.py [--codes] [--slices N] [--runs N] [--json OUT].

Heals slices of 64x64 with variants d and c of the recipe ldm-headct (f = 4), or with --codes in one order and in eight
of transformer-headct, random weights and a region that is the whole slice, in turn. Printed are medians of the seconds
that passed and that processors computed, the ratio of the second to the first within a run, and the memory that the
process had after each. The time does not depend on what is healed, nor on how well; of codes it is the longest that
there is, as every code is drawn anew.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench import report

from uadtools.grids.grid import Grid
from uadtools.healing.heal import heal
from uadtools.healing.plan import plan
from uadtools.models.model import Model, build
from uadtools.training.recipe import load_recipe
from uadtools.volume.io import Image
from uadtools.volume.stream import Study


def model_of(recipe: str, precision: torch.dtype) -> Model:
    """Make a model with random weights that finds everything unlikely."""
    config = load_recipe(recipe).model({})
    torch.manual_seed(0)
    net = build(config).eval().requires_grad_(False)
    net.limits.zero_()
    if precision != torch.float32 and hasattr(net, "unet"):
        net.unet.halve(precision)
    return Model(config, net, torch.device("cpu"), precision)


def seconds(study: Study, model: Model, **how: Any) -> tuple[float, float]:
    """Return the seconds that passed, and those that processors computed, which others that share them do not move."""
    start, computed = time.perf_counter(), time.process_time()
    heal(study, model, plan(model.config, **how))
    return time.perf_counter() - start, time.process_time() - computed


def medians(times: list[tuple[float, float]]) -> dict[str, float]:
    passed, computed = (statistics.median(part) for part in zip(*times, strict=True))
    return {"seconds": passed, "processor_seconds": computed}


def memory() -> float:
    """Return the largest memory the process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codes", action="store_true")
    parser.add_argument("--slices", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    ways: dict[str, dict[str, Any]] = {"d": {"variant": "d"}, "c": {"variant": "c"}}
    if options.codes:
        ways = {"one order": {"orders": 1}, "eight": {"orders": 8}}
    (quick, slow), recipe = ways, "transformer-headct" if options.codes else "ldm-headct"
    model = model_of(recipe, torch.bfloat16 if options.precision == "bf16" else torch.float32)
    data = np.random.default_rng(0).uniform(0.1, 1, (64, 64, options.slices)).astype(np.float32)
    study = Study("slices", {"scan": Image(data, Grid(data.shape, np.diag([-1.0, -1.0, 1.0, 1.0])), "scan")})
    few = Image(data[:, :, :2], Grid((64, 64, 2), np.diag([-1.0, -1.0, 1.0, 1.0])), "scan")
    seconds(Study("few", {"scan": few}), model, **ways[quick])
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    held = {}
    for _ in range(options.runs):
        for way, how in ways.items():
            times[way].append(seconds(study, model, **how))
            held.setdefault(way, memory())
    found = {
        "slices": options.slices,
        "precision": options.precision,
        **{way: {**medians(times[way]), "memory_mb": held[way]} for way in ways},
        "ratio": statistics.median(many[0] / few[0] for many, few in zip(times[slow], times[quick], strict=True)),
    }
    report(found, options.json)


if __name__ == "__main__":
    main()
