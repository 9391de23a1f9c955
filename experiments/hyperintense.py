#!/usr/bin/env python3
"""Does it pay to weigh what is bright in FLAIR by how bright it is? AUPRC by sign, in FLAIR made of healthy heads.

    python experiments/hyperintense.py SCANS LABELS MODEL

SCANS is what experiments/ixi_brains.py made, with the expert masks in ms_lesion_masks_mni/; LABELS has ID_dseg.nii.gz,
by which the T1 heads of tune.txt, whom the models learnt from, become FLAIR. Each gets MS-shaped and round lesions,
bright ones. Figures are means over the heads, inside the brain, after a Gaussian of .6 voxels.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import mean
from typing import get_args

from healers import Healer, table
from real_patients import figures_of
from two_contrasts import in_two

import uadtools
from uadtools.files import read_lines
from uadtools.scoring.postproc import Steps
from uadtools.scoring.score import Signed
from uadtools.simulation.plan import Simulation
from uadtools.simulation.simulate import read_masks
from uadtools.volume.stream import Study

CHAIN = Steps(median=1, smooth=0.6, erode=0, min_size=0)


def main(scans: Path, labels: Path, model: str) -> None:
    """Print the table."""
    healer, masks = Healer.of(model), read_masks([str(scans / "ms_lesion_masks_mni")])
    lesions = {
        "MS-shaped": Simulation("masks", tone="bright", masks=masks),
        "blobs": Simulation("blobs", tone="bright"),
    }
    found: dict[tuple[str, str], list[float]] = {}
    for number, file in enumerate(filter(None, read_lines(scans / "tune.txt"))):
        flair = in_two(scans / file, labels, number).need("scan:FLAIR")
        for name, drawn in lesions.items():
            study = uadtools.simulate(
                Study(Path(file).name, {"scan": flair.derive(flair.data, "scan")}), drawn, seed=number
            )
            healed = healer.heal(Study(study.name, {"scan": study.need("scan")}))
            for signed in get_args(Signed):
                made = figures_of(uadtools.score(healed, signed=signed), study.need("truth"), CHAIN)
                found.setdefault((name, signed), []).append(made["auprc"])
    rows = [[name, *(f"{mean(found[name, signed]):.3f}" for signed in get_args(Signed))] for name in lesions]
    print(table(["lesions", *get_args(Signed)], rows))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
