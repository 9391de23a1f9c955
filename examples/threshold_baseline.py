#!/usr/bin/env python3
"""Score a prepared scan by its intensity alone, without any model: the baseline that every method must beat.

    python examples/threshold_baseline.py PREPARED OUT [bright|dark]

dark (default): 1 - intensity inside the brain, for lesions darker than tissue, as on T1; bright: the intensity, for T2
and FLAIR.
Source: Meissen et al. 2022, Challenging Current Semi-Supervised Anomaly Segmentation Methods for Brain MRI.
"""

import sys
from pathlib import Path

import numpy as np

import uadtools
from uadtools.scoring.score import LEAST


def main(scan: Path, out: Path, sign: str = "dark") -> None:
    image = uadtools.read(scan)
    values = 1 - image.data if sign == "dark" else image.data
    score = np.where(image.data > 0, np.maximum(values, LEAST), 0).astype(np.float32)
    uadtools.save(image.derive(score, "score"), out, force=True)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
