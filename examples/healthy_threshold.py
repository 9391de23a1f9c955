#!/usr/bin/env python3
"""Choose a detection threshold from healthy scans alone: a percentile of their scores.

    python examples/healthy_threshold.py FOLDER OUT.json [--model FILE] [-t N] [--samples K] [--percentile 99.5]

Heals each prepared scan of the folder as the model's defaults (or -t and --samples) say, takes l1, the 5x5x5 median and
the brain eroded three times as uad-postproc does, and pools the voxels of all scans. OUT.json is what
`uad-postproc --threshold OUT.json` reads. It promises nothing about scans of other people: it says what these had.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import uadtools
from uadtools.files import written
from uadtools.pipeline.heal import plan
from uadtools.pipeline.postproc import Steps
from uadtools.pipeline.score import brain_of
from uadtools.volume import clean
from uadtools.volume.stream import is_image, read_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("-t", type=int, action="append", default=[])
    parser.add_argument("--samples", type=int)
    parser.add_argument("--percentile", type=float, default=99.5)
    settings = parser.parse_args()
    model, steps = uadtools.load_model(settings.model), Steps()
    how = plan(model.config, t=settings.t, samples=settings.samples)
    paths = sorted(p for p in settings.folder.iterdir() if is_image(p))
    pooled = []
    for path in paths:
        study = uadtools.score(uadtools.heal(next(read_path(path)), model, how))
        smooth = clean.median(study.product.data, steps.median)
        pooled.append(smooth[clean.erode(brain_of(study), steps.erode)])
        print(f"{study.name}: {np.percentile(pooled[-1], settings.percentile):.4f}")
    found = float(np.percentile(np.concatenate(pooled), settings.percentile))
    about = {"threshold": found, "percentile": settings.percentile, "scans": len(paths), "model": model.config.name}
    with written(settings.out, force=True) as part:
        part.write_text(json.dumps(about, indent=1) + "\n")
    print(f"threshold {found:.4f}: the {settings.percentile}th percentile of {len(paths)} healthy scans")


if __name__ == "__main__":
    main()
