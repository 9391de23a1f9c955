"""BIDS: finding scans in a data set, and naming what is made of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from uadtools.errors import UadError
from uadtools.files import write_json
from uadtools.volume.listing import walked

VERSION = "1.10.0"
_FOLDER = re.compile(r"sub-[^/]+(/ses-[^/]+)?(/anat)?")
_SCAN = re.compile(r"sub-[A-Za-z0-9]+(_[A-Za-z0-9]+-[A-Za-z0-9+]+)*_(?P<suffix>[A-Za-z0-9]+)\.nii(\.gz)?")


def scans(root: Path, suffix: str) -> list[Path]:
    """List the raw anatomical scans of a data set that have this suffix, such as T1w, and folders that are unreadable.

    Raises UadError if there is neither.
    """
    if not root.is_dir():
        raise UadError(f"{root}: no such folder")
    unreadable: list[Path] = []
    found = list(_anatomical(root, unreadable))
    paths = [path for path in found if path.name.split(".")[0].endswith(f"_{suffix}")]
    if not paths and not unreadable:
        others = sorted({match["suffix"] for path in found if (match := _SCAN.fullmatch(path.name))})
        raise UadError(
            f"{root}: no sub-*/[ses-*/]anat/*_{suffix}.nii[.gz] in it "
            f"({'there are: ' + ', '.join(others) if others else 'is it a BIDS data set?'})"
        )
    return sorted([*paths, *unreadable])


def _anatomical(root: Path, unreadable: list[Path]) -> Iterator[Path]:
    def into(folder: Path) -> bool:
        return bool(_FOLDER.fullmatch(folder.relative_to(root).as_posix()))

    for path in walked(root, unreadable.append, into):
        if path.parent.name == "anat" and _SCAN.fullmatch(path.name):
            yield path


def derivative(scan: Path, root: Path, out: Path, description: str, suffix: str = "") -> Path:
    """Name a derivative: sub-1_T1w.nii.gz is OUT/sub-1/anat/sub-1_desc-DESCRIPTION_T1w.nii.gz.

    suffix: another one than the scan's, such as mask: sub-1_desc-T1wDESCRIPTION_mask.nii.gz.
    """
    stem = scan.name.split(".")[0]
    entities, _, scan_suffix = stem.rpartition("_")
    kind = f"{description}_{scan_suffix}" if not suffix else f"{scan_suffix}{description}_{suffix}"
    return out / scan.parent.relative_to(root) / f"{entities}_desc-{kind}.nii.gz"


def describe(out: Path, version: str) -> None:
    """Write the dataset_description.json of a folder of derivatives, unless there is one. Raises UadError."""
    path = out / "dataset_description.json"
    if path.is_file():
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UadError(f"{out}: {error.strerror or error}") from None
    description = {
        "Name": "uadtools: preprocessed scans",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "uadtools", "Version": version}],
    }
    write_json(path, description, force=False)
