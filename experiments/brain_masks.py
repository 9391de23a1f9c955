#!/usr/bin/env python3
"""Compare brain extractors with anatomical labels: python experiments/brain_masks.py IXI_FOLDER [TOOL ...] [--first N].

IXI_FOLDER as experiments/ixi_brains.py describes it; its validation scans are used. TOOL: auto (the default), deepbet,
hd-bet or synthstrip. The labels' brain is label > 0, closed and filled. Prints the Dice of each tool, mean and least.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from ixi_brains import brain_of

import uadtools
from uadtools.grids.grid import carry_mask
from uadtools.metrics.overlap import overlap
from uadtools.models.config import GridConfig
from uadtools.volume.chain import in_scan_space
from uadtools.volume.stream import read_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("tools", nargs="*", default=["auto"])
    parser.add_argument("--first", type=int)
    settings = parser.parse_args()
    with (settings.folder / "participants.csv").open() as table:
        people = [row["id"] for row in csv.DictReader(table) if row["split"] == "val"][: settings.first]
    for tool in settings.tools:
        found = [dice(settings.folder, name, tool) for name in people]
        print(f"{tool}: mean {np.mean(found):.3f}, least {min(found):.3f}, {len(found)} scans", flush=True)


def dice(folder: Path, name: str, tool: str) -> float:
    """On the scan's own grid; the model's is made as fine as that, and large enough, so that nothing is lost on it."""
    scan, labels = (read_image(folder / f"{name}_{kind}.nii.gz") for kind in ("T1w", "dseg"))
    grid = GridConfig(shape=(120, 120, 120), spacing=(2.0, 2.0, 2.0))
    brain = uadtools.preprocess(scan, name=name, brain=tool, grid=grid).need("brain")
    here = in_scan_space(brain.provenance["chain"], brain.grid)
    made = carry_mask(brain.data > 0, here, scan.grid)
    return overlap(made, brain_of(labels, tight=False).data > 0).dice


if __name__ == "__main__":
    main()
