#!/usr/bin/env python3
"""Memory of the commands for a scan of 256x256x256 voxels of 1 mm: python benchmarks/bench_memory.py [--json OUT].

Once with the bundled model, whose grid is coarser, and once with a model that sees slices of 256x256: AnoDDPM's network
of 98.6 million parameters with random weights, which takes a quarter of an hour on two cores. The scan is
examples/data/patient19_T1w.nii.gz with air around it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from bench import EXAMPLES, measured, writable

SIDE = 256


def prepare(raw: Path, large: Path) -> None:
    """Write the scan in the middle of a cube, and a model of AnoDDPM's size for such a cube, with random weights."""
    import numpy as np
    import torch

    import uadtools
    from uadtools.grids.grid import Grid
    from uadtools.models.checkpoint import save_model
    from uadtools.models.config import ModelConfig
    from uadtools.models.model import build
    from uadtools.training.recipe import load_recipe

    scan = uadtools.read(EXAMPLES / "data" / "patient19_T1w.nii.gz")
    before = [(SIDE - size) // 2 for size in scan.data.shape]
    around = [(b, SIDE - size - b) for b, size in zip(before, scan.data.shape, strict=True)]
    affine = scan.grid.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ before
    uadtools.save(scan.derive(np.pad(scan.data, around), "scan", Grid((SIDE,) * 3, affine)), raw)

    config = load_recipe("sss").model({})
    grid = {"shape": (SIDE,) * 3, "spacing": (1.0, 1.0, 1.0)}
    config = ModelConfig.model_validate(config.model_dump() | {"name": "large", "grid": grid})
    torch.manual_seed(0)
    save_model(large, config, build(config).state_dict())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=writable)
    parser.add_argument("--without-large", action="store_true", help="leave the large model out")
    options = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        raw, large = Path(folder) / "raw.nii.gz", Path(folder) / "large.safetensors"
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:  # a large parent counts, too
            other.submit(prepare, raw, large).result()
        for name, model in [("bundled", [])] + [("large", ["--model", str(large)])] * (not options.without_large):
            p, h, s, d = (f"{folder}/{name}-{kind}.nii.gz" for kind in "phsd")
            for words in (
                ["uad-preprocess", str(raw), *model, "-o", p],
                ["uad-heal", p, *model, "--method", "sss", "-t", "300", "-o", h],
                ["uad-score", p, h, "-o", s],
                ["uad-postproc", s, "--native", "--quiet", "-o", d],
            ):
                seconds, megabytes = measured(words)
                found[f"{name}: {words[0]}"] = {"seconds": seconds, "megabytes": megabytes}
                print(f"{name}: {words[0]:<16}{seconds:8.1f} s{megabytes:8.0f} MB", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
