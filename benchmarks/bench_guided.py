#!/usr/bin/env python3
"""What patches and conditioning cost: python benchmarks/bench_guided.py [--slices N] [--runs N] [--json OUT].

Heals the same slices with three networks that are the same but for what the method adds, with random weights: plain
(sss), patched (pddpm, four patches of 48 pixels) and conditioned (cddpm). Once they are the papers' (37.5 million
parameters, ResNet-50 as encoder), once the small ones of experiments/bench/patched-conditioned.toml. In every run all
are timed in turn; printed are medians, and medians of the ratios within a run. The time does not depend on what is
healed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from uadtools.grids.grid import Grid
from uadtools.healing.heal import heal
from uadtools.models.model import Model, build
from uadtools.training.recipe import load_recipe
from uadtools.volume.io import Image
from uadtools.volume.stream import Study

PAPER = {"sss": ["ddpm-baseline", "network.embedding=scale_shift"], "pddpm": ["pddpm-code"], "cddpm": ["cddpm"]}
SMALL = {
    "sss": ["t1-ddpm", "network.base=32"],
    "pddpm": ["t1-ddpm", "network.base=32", "kind=pddpm", "defaults.method=pddpm", "patches.sizes=[48]"],
    "cddpm": ["t1-ddpm", "network.base=32", "kind=cddpm", "defaults.method=cddpm", "encoder.base=16",
              "encoder.blocks=[1,1,1,1]"],
}  # fmt: skip


def model_of(recipe: str, *changes: str) -> Model:
    """Make a model with random weights."""
    config = load_recipe(recipe, changes).model({})
    torch.manual_seed(0)
    net = build(config).to(memory_format=torch.channels_last).eval().requires_grad_(False)
    return Model(config, net, torch.device("cpu"))


def study_of(shape: tuple[int, int, int], slices: int) -> Study:
    """Make a scan with something in as many of its slices."""
    data = np.random.default_rng(0).uniform(0.1, 1, shape).astype(np.float32)
    data[:, :, slices:] = 0
    return Study("slices", {"scan": Image(data, Grid(data.shape, np.diag([2.0, 2.0, 2.0, 1.0])), "scan")})


def timed(models: dict[str, Model], study: Study, runs: int) -> dict[str, dict[str, float]]:
    """Return the median time of each, and the median of its ratios to sss; the first run is not counted."""
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(runs + 1):
        for name, model in models.items():
            start = time.perf_counter()
            heal(study, model)
            times[name].append(time.perf_counter() - start)
    counted = {name: found[1:] for name, found in times.items()}
    return {
        name: {
            "seconds": statistics.median(found),
            "ratio": statistics.median(a / b for a, b in zip(found, counted["sss"], strict=True)),
        }
        for name, found in counted.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = {}
    for size, recipes in (("paper", PAPER), ("small", SMALL)):
        models = {name: model_of(*words) for name, words in recipes.items()}
        shape = models["sss"].config.grid.shape
        found[size] = timed(models, study_of(shape, options.slices), options.runs)
        for name, row in found[size].items():
            count = sum(p.numel() for p in models[name].net.parameters()) / 1e6
            print(
                f"{size:<7}{name:<7}{count:6.1f} M parameters  {row['seconds']:7.2f} s  {row['ratio']:5.2f} times sss"
            )
    print(f"{options.slices} slices of 96x96, {torch.get_num_threads()} threads, {options.runs} runs")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
