#!/usr/bin/env python3
"""Give a candidate for the bundled HeadCT model what it needs to ship: its chain, and thresholds.

    python experiments/release_headct.py CANDIDATE headct_64.npz OUT

The images of `val`, from which the model did not learn, are the healthy ones; each once more, with a sprite, tells
which lesions the thresholds leave. The default threshold is that at which at most one in ten new healthy images has a
false alarm (conformal). Beside the model, OUT.scanwise.json and OUT.voxelwise.json hold those of one in twenty, and of
a twentieth of the voxels.
"""

from __future__ import annotations

import sys
from pathlib import Path

import uadtools
from uadtools.bench.data import singles
from uadtools.files import write_json
from uadtools.healing.catalogue import settle
from uadtools.healing.plan import plan
from uadtools.models.checkpoint import file_hash
from uadtools.models.model import Model
from uadtools.scoring.calibrate import CONFORMAL, calibrate
from uadtools.simulation.plan import Simulation
from uadtools.volume.stream import Study, read_path

SHARE = 0.1
"""Of new healthy images, how many may have a false alarm."""


def scored(images: Study, model: Model) -> list[Study]:
    """Heal a stack of images and score each; truth stays with them."""
    made = uadtools.score(uadtools.heal(images, model))
    kept = {role: made.images[role] for role in ("score", "brain", "truth") if role in made.images}
    return singles(Study(made.name, kept))


def main(candidate: Path, data: Path, out: Path) -> None:
    """Make a candidate ready to ship."""
    settings = [f"name={out.stem}", 'defaults.metric="product"']
    settle(candidate, [*settings, "defaults.chain={median = 1, erode = 0, min_size = 8}"], out, force=True)
    model = uadtools.load_model(out)
    healthy = next(read_path(Path(f"{data}:val")))
    found = calibrate(scored(healthy, model), "scanwise", level=SHARE)
    way = plan(model.config).threshold_key
    settle(out, [f'defaults.thresholds={{"{way}" = {found["threshold"]:.4f}}}'], out, force=True)

    model = uadtools.load_model(out)
    drawn = scored(uadtools.simulate(healthy, Simulation("sprites")), model)
    whole, sick = scored(healthy, model), [one for one in drawn if one.need("truth").data.any()]
    for rule in CONFORMAL:
        report = calibrate([*whole, *sick], rule)
        report["way"]["uad-heal model"] = f"{out.stem}:{file_hash(out)}"
        write_json(out.with_suffix(f".{rule}.json"), report, force=True)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
