#!/usr/bin/env python3
"""What latent diffusion costs: python benchmarks/bench_latent.py [--slices N] [--runs N] [--json OUT].

Heals slices of 64x64 with variants d and c of the recipe ldm-headct (f = 4), random weights and a region that is the
whole slice, in turn. Printed are medians of the seconds, the ratio of c to d within a run, and the memory that the
process had after d and after c. The time does not depend on what is healed, nor on how well.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from bench import report

from uadtools.grids.grid import Grid
from uadtools.healing.heal import heal
from uadtools.healing.plan import plan
from uadtools.models.model import Model, build
from uadtools.nets.latent import LatentDiffusion
from uadtools.training.recipe import load_recipe
from uadtools.volume.io import Image
from uadtools.volume.stream import Study


def model_of(recipe: str, precision: torch.dtype) -> Model:
    """Make a model with random weights that finds everything unlikely."""
    config = load_recipe(recipe).model({})
    torch.manual_seed(0)
    net = build(config).eval().requires_grad_(False)
    assert isinstance(net, LatentDiffusion)
    net.limits.zero_()
    if precision != torch.float32:
        net.unet.halve(precision)
    return Model(config, net, torch.device("cpu"), precision)


def seconds(study: Study, model: Model, variant: str) -> float:
    start = time.perf_counter()
    heal(study, model, plan(model.config, variant=variant))
    return time.perf_counter() - start


def memory() -> float:
    """Return the largest memory the process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    model = model_of("ldm-headct", torch.bfloat16 if options.precision == "bf16" else torch.float32)
    data = np.random.default_rng(0).uniform(0.1, 1, (64, 64, options.slices)).astype(np.float32)
    study = Study("slices", {"scan": Image(data, Grid(data.shape, np.diag([-1.0, -1.0, 1.0, 1.0])), "scan")})
    seconds(Study("one", {"scan": Image(data[:, :, :2], Grid((64, 64, 2), np.diag([-1.0, -1.0, 1.0, 1.0])), "scan")}),
            model, "d")  # fmt: skip
    fast, held = [seconds(study, model, "d")], memory()
    slow = [seconds(study, model, "c")]
    for _ in range(options.runs - 1):
        fast.append(seconds(study, model, "d"))
        slow.append(seconds(study, model, "c"))
    found = {
        "slices": options.slices,
        "precision": options.precision,
        "d": {"seconds": statistics.median(fast), "memory_mb": held},
        "c": {"seconds": statistics.median(slow), "memory_mb": memory()},
        "ratio": statistics.median(c / d for c, d in zip(slow, fast, strict=True)),
    }
    report(found, options.json)


if __name__ == "__main__":
    main()
