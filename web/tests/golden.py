"""Makes golden.json: what uadtools computes of small made-up scans, which the page's tests compare with its own.

python web/tests/golden.py, from the top of the repository. Volumes are kept x fastest, as in NIfTI; the reference of
`score` z fastest, as in an exported model.
"""

import base64
import gzip
import json
from pathlib import Path

import numpy as np

from uadtools.anatomy.contrast import recognise
from uadtools.anatomy.likeness import features
from uadtools.grids.grid import Grid, carry_mask
from uadtools.healing.expected import on_grid
from uadtools.healing.likeness import judged
from uadtools.models.checkpoint import default_path, read_config
from uadtools.models.config import GridConfig
from uadtools.preparing.preparation import Preparation
from uadtools.preparing.preprocess import prepare
from uadtools.scoring.postproc import Steps, detect
from uadtools.scoring.score import score
from uadtools.volume.clean import median, smooth
from uadtools.volume.io import Image
from uadtools.volume.stream import Study

OBLIQUE = [[-2.5, 0.3, 0.2, 70], [0.25, 0.4, 2.7, -80], [0.3, 2.4, -0.3, -60], [0, 0, 0, 1]]
"""Axes that run to the left, to superior and to anterior, and a little askew."""


def packed(values):
    """Return an array as JSON, x fastest."""
    data = np.asarray(values).astype(np.asarray(values).dtype.newbyteorder("<")).tobytes(order="F")
    text = base64.b64encode(gzip.compress(data, mtime=0)).decode()
    return {"shape": np.shape(values), "type": np.asarray(values).dtype.name, "gzip": text}


def placed(grid):
    return {"shape": grid.shape, "affine": [float(value) for value in grid.affine.ravel()]}


def head(shape, spacing, rng):
    """Return what looks a little like a brain, in [0, 255], and is 0 around it. spacing: mm."""
    axes = [(np.arange(n) - (n - 1) / 2) * size for n, size in zip(shape, spacing, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    extent = [0.42 * n * size for n, size in zip(shape, spacing, strict=True)]
    far = np.sqrt((x / extent[0]) ** 2 + (y / extent[1]) ** 2 + (z / extent[2]) ** 2)
    folds = np.sin(x / 7) * np.sin(y / 8) * np.sin(z / 6)
    values = 150 - 90 * (far > 0.8) - 80 * (far < 0.25) + 35 * folds + rng.normal(0, 3, shape)
    return np.where(far < 1, np.clip(np.round(values), 1, 255), 0).astype(np.uint8)


def prepared(rng):
    """A stripped scan, its background -7, on oblique axes, brought onto a coarse grid."""
    grid = Grid((44, 50, 46), np.array(OBLIQUE))
    raw = head(grid.shape, grid.spacing, rng).astype(np.int16) - 7
    whole = prepare(Image(raw, grid), Preparation(grid=GridConfig(shape=(40, 48, 40), spacing=(4.4, 4.4, 4.4))))
    scan, brain = whole.study.need("scan"), whole.study.need("brain")
    made = {"grid": placed(scan.grid), "scan": packed(scan.data), "brain": packed(brain.data)}
    return {"raw": packed(raw), "grid": placed(grid), "made": made}


def likeness(rng):
    """A scan of 2 mm, its features, its contrast, and how unlike the default model's healthy scans it is."""
    values = (head((46, 52, 44), (2, 2, 2), rng) / 256).astype(np.float32)
    found, config = features(values, values > 0, (2.0, 2.0, 2.0)), read_config(default_path())
    scan = Image(values, Grid(values.shape, np.diag([2.0, 2, 2, 1])))
    assert judged(scan, values > 0, config).beyond
    return {"scan": packed(values), "features": found, "contrast": recognise(found).name}


def scored(rng):
    """A scan and a healed one, their score, and the detection."""
    values = (head((28, 30, 26), (4, 4, 4), rng) / 256).astype(np.float32)
    brain, grid = values > 0, Grid(values.shape, np.diag([4.0, 4, 4, 1]))
    healed = np.where(brain, np.clip(values + rng.normal(0, 0.02, values.shape), 1e-3, 1), 0)
    healed[8:13, 9:14, 10:15] *= 0.6
    probability = np.where(brain, rng.uniform(0, 1, values.shape), 0)
    reference = rng.uniform(0.05, 0.2, (14, 15, 13)).astype(np.float16)
    healed, probability = (np.round(part * 1024).astype(np.float32) / 1024 for part in (healed, probability))
    images = {"scan": values, "brain": brain.astype(np.uint8), "healed": healed, "probability": probability}
    images["expected"] = np.where(brain, on_grid(reference.astype(np.float32), values.shape), 0)
    study = Study("a", {role: Image(data, grid, role) for role, data in images.items()})
    values, steps = score(study, metric="relative").need("score").data, Steps(median=3, smooth=0.7, erode=0, min_size=4)
    filtered = smooth(median(values, 3), 0.7)
    given = {name: packed(images[name]) for name in ("scan", "brain", "healed", "probability")}
    made = {"score": packed(values), "smooth": packed(filtered)}
    made["detection"] = packed(detect(filtered, brain, steps, 0.6).astype(np.uint8))
    return given | {"reference": packed(reference.astype(np.float32).T), "threshold": 0.6, "made": made}


def carried(rng):
    """Blobs and single voxels of 2 mm, on finer, coarser and oblique grids."""
    source = Grid((24, 26, 22), np.array([[2, 0, 0, -24], [0, 2, 0, -26], [0, 0, 2, -22], [0, 0, 0, 1]], float))
    mask = np.zeros(source.shape, np.uint8)
    mask[4:9, 5:11, 6:9] = mask[14:17, 12:20, 10:16] = 1
    for place in rng.integers(1, 21, (6, 3)):
        mask[tuple(place)] = 1
    oblique = np.array(OBLIQUE) * [[0.5], [0.5], [0.5], [1]]
    targets = {
        "finer": Grid((40, 30, 60), np.array([[-1.3, 0, 0, 25], [0, 0, 0.9, -27], [0, 1.7, 0, -25], [0, 0, 0, 1]])),
        "coarser": Grid((20, 22, 9), np.array([[2.5, 0, 0, -25], [0, 2.4, 0, -26], [0, 0, 5, -21], [0, 0, 0, 1]])),
        "oblique": Grid((44, 36, 40), oblique),
    }
    made = {name: {"grid": placed(t), "mask": packed(carry_mask(mask > 0, source, t).astype(np.uint8))}
            for name, t in targets.items()}  # fmt: skip
    return {"mask": packed(mask), "grid": placed(source), "made": made}


def main():
    cases = {"prepared": prepared, "likeness": likeness, "scored": scored, "carried": carried}
    golden = {name: make(np.random.default_rng(number)) for number, (name, make) in enumerate(cases.items())}
    Path(__file__).with_name("golden.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
