#!/usr/bin/env python3
"""Prepare the IXI T1 scans that the bundled model learns from: three versions of each, differing in the brain mask.

    python experiments/ixi_brains.py IXI_FOLDER OUT_FOLDER

IXI_FOLDER holds ID_T1w.nii.gz, ID_dseg.nii.gz (anatomical labels on the same grid) and participants.csv with the
columns id and split. The mask is label > 0, closed and filled; the second, tight version is that mask eroded once,
the third, loose one is what deepbet finds, dilated once: skull strippers disagree about how much fluid, and how much of
the vessels, meninges and pituitary gland around it belongs to the brain, and the model should not care. Validation
scans (split val) get the first version only; they are listed in two parts, val.txt, to find thresholds on, and
test.txt, to judge on. Where all of them are to be judged, the last of the training people find the thresholds, in the
first version (tune.txt), and the others are learnt from, in the first two (learn.txt). The table of the people goes
with them, for plans of uad-bench that part them into folds.
"""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from shutil import copyfile

import numpy as np
from scipy import ndimage

import uadtools
from uadtools.anatomy.brain import deepbet
from uadtools.grids.grid import nearest, oriented
from uadtools.volume.io import Image
from uadtools.volume.stream import read_image


def brain_of(labels: Image, *, tight: bool) -> Image:
    padded = np.pad(labels.data > 0, 4)
    mask = ndimage.binary_fill_holes(ndimage.binary_closing(padded, iterations=3))[4:-4, 4:-4, 4:-4]
    if tight:
        mask = ndimage.binary_erosion(mask)
    return labels.derive(mask.astype(np.uint8), "brain")


def loose_brain_of(scan: Image) -> Image:
    data, grid = oriented(scan.data, scan.grid, "RAS")
    mask = ndimage.binary_dilation(deepbet(data, grid))
    return scan.derive(nearest(mask.astype(np.uint8), grid, scan.grid), "brain")


THRESHOLDS = 8
"""So many of the validation scans, or of the training people, are for thresholds."""


def listed(folders: Sequence[str], names: Sequence[str]) -> str:
    """Make a list of scans, one a line."""
    return "".join(f"{folder}/{name}_preprocessed.nii.gz\n" for folder in folders for name in names)


def main(source: Path, out: Path) -> None:
    with (source / "participants.csv").open() as table:
        people = [(row["id"], row["split"]) for row in csv.DictReader(table)]
    for name, split in people:
        scan, labels = (read_image(source / f"{name}_{kind}.nii.gz") for kind in ("T1w", "dseg"))
        brains = {split: brain_of(labels, tight=False)}
        if split == "train":
            brains |= {"train-tight": brain_of(labels, tight=True), "train-loose": loose_brain_of(scan)}
        for folder, brain in brains.items():
            study = uadtools.preprocess(scan, name=name, brain=brain)
            (out / folder).mkdir(parents=True, exist_ok=True)
            uadtools.save(study.product, out / folder / f"{name}_preprocessed.nii.gz", force=True)
    write_lists(out, people)
    copyfile(source / "participants.csv", out / "participants.csv")


def write_lists(out: Path, people: Sequence[tuple[str, str]]) -> None:
    """Write the lists of scans; people: id and split."""
    held_out, own = ([name for name, split in people if split == part] for part in ("val", "train"))
    (out / "val.txt").write_text(listed(["val"], held_out[:THRESHOLDS]))
    (out / "test.txt").write_text(listed(["val"], held_out[THRESHOLDS:]))
    (out / "tune.txt").write_text(listed(["train"], own[-THRESHOLDS:]))
    (out / "learn.txt").write_text(listed(["train", "train-tight"], own[:-THRESHOLDS]))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
