"""BIDS: finding scans in a data set, and naming what is made of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from uadtools import __version__
from uadtools.concerns import SHOWN, Tell, silent
from uadtools.errors import Misuse, UadError
from uadtools.files import write_json
from uadtools.volume.io import SUFFIXES
from uadtools.volume.listing import walked

FILES = (*SUFFIXES, ".png", ".pdf", ".svg")
"""Endings of files; other names are those of folders."""
VERSION = "1.10.0"
SUFFIX = "T1w"
"""Of the scans that are meant where nothing else is said, and that names of masks do not mention."""
DESCRIPTIONS = {"scan": "preproc", "healed": "healed", "anomaly": "found", "score": "anomaly", "detection": "uad"}
"""How images of these roles are described in a derivative's name; others as they are called."""
MASKS = {"uad": "detection", "lesion": "truth", "lesions": "truth"}
"""What masks of these descriptions are."""
_OURS = re.compile(
    rf"(?P<entities>sub-.+)_desc-({'|'.join(DESCRIPTIONS.values())})_(?P<suffix>[A-Za-z0-9]+)\.nii(\.gz)?"
)
_OTHER_SUFFIX = re.compile(r"_mod-(?P<suffix>[A-Za-z0-9]+)$")
_ENTITY = r"_(?!desc-)[A-Za-z0-9]+-[A-Za-z0-9+]+"
_DERIVATIVE = re.compile(
    rf"(?P<before>sub-[A-Za-z0-9]+((_mod-(?P<modality>[A-Za-z0-9]+))|{_ENTITY})*)"
    rf"_desc-(?P<description>[A-Za-z0-9+]+)(?P<after>({_ENTITY})*)_(?P<suffix>[A-Za-z0-9]+)"
)
_FOLDER = re.compile(r"sub-[^/]+(/ses-[^/]+)?(/anat)?")
_SCAN = re.compile(r"sub-[A-Za-z0-9]+(_[A-Za-z0-9]+-[A-Za-z0-9+]+)*_(?P<suffix>[A-Za-z0-9]+)\.nii(\.gz)?")


def scans(root: Path, suffix: str, tell: Tell = silent) -> list[Path]:
    """List the raw anatomical scans of a data set that have this suffix, such as T1w, and folders that are unreadable.

    tell: gets a line for those who have none. Raises UadError if there is neither.
    """
    if not root.is_dir():
        raise UadError(f"{root}: no such folder")
    unreadable: list[Path] = []
    images = list(_anatomical(root, unreadable))
    paths = [path for path in images if path.name.split(".")[0].endswith(f"_{suffix}")]
    if not paths and not unreadable:
        others = sorted({match["suffix"] for path in images if (match := _SCAN.fullmatch(path.name))})
        raise UadError(
            f"{root}: no sub-*/[ses-*/]anat/*_{suffix}.nii[.gz] in it "
            f"({'there are: ' + ', '.join(others) if others else 'is it a BIDS data set?'})"
        )
    found = sorted([*paths, *unreadable])
    _tell_without(root, found, f"*_{suffix}", tell)
    return found


def _tell_without(root: Path, found: Sequence[Path], wanted: str, tell: Tell) -> None:
    """Tell which subjects, or sessions of theirs, have none of the scans that were found."""
    subjects = [folder for folder in sorted(root.glob("sub-*")) if folder.is_dir()]
    whole = [place for folder in subjects for place in (sorted(folder.glob("ses-*")) or [folder]) if place.is_dir()]
    having = {place for path in found for place in (path, *path.parents)}
    if left := [place.relative_to(root).as_posix() for place in whole if place not in having]:
        others = f" and {len(left) - SHOWN} others" if len(left) > SHOWN else ""
        tell(f"{root}: passed over, as there is no {wanted}.nii[.gz]: {', '.join(left[:SHOWN])}{others}")


def _anatomical(root: Path, unreadable: list[Path]) -> Iterator[Path]:
    def into(folder: Path) -> bool:
        return bool(_FOLDER.fullmatch(folder.relative_to(root).as_posix()))

    for path in walked(root, unreadable.append, into):
        if path.parent.name == "anat" and _SCAN.fullmatch(path.name):
            yield path
    if root in unreadable:
        raise UadError(f"{root}: cannot be listed (are its permissions yours to change?)")


def derivatives(
    root: Path, out: Path, suffix: str, roles: Sequence[str], made: str, tell: Tell = silent
) -> dict[Path, Path]:
    """List the images of a role in a data set of derivatives, and name what is made of each, of another role, in `out`.

    roles: the first of these that there is.

    sub-1_desc-preproc_T1w.nii.gz becomes sub-1_desc-healed_T1w.nii.gz; a detection is sub-1_desc-uad_mask.nii.gz, or
    sub-1_mod-FLAIR_desc-uad_mask.nii.gz. tell: gets a line for those who have none. Raises UadError where nobody has.
    """
    ends = [f"_desc-{DESCRIPTIONS[role]}_{suffix}" for role in roles]
    unreadable: list[Path] = []
    images = list(_anatomical(root, unreadable))
    by_end = {end: [path for path in images if path.name.split(".")[0].endswith(end)] for end in ends}
    end = next((end for end in ends if by_end[end]), ends[0])
    paths = by_end[end]
    if not (found := sorted([*paths, *unreadable])):
        raise UadError(f"{root}: no sub-*/[ses-*/]anat/*{end}.nii[.gz] in it (the step before makes them, with --bids)")
    _tell_without(root, found, f"*{end}", tell)
    describe(out, __version__)
    named = {path: sibling(path.name, made) or f"{path.name}.nii.gz" for path in found}
    return {path: out / path.relative_to(root).with_name(name) for path, name in named.items()}


def sibling(name: str, role: str) -> str:
    """Name the image of another role that belongs to a derivative; an empty text where the name is none of ours."""
    parts = _OURS.fullmatch(name)
    if not parts:
        return ""
    entities, suffix = parts["entities"], parts["suffix"]
    if suffix == "mask":
        other = _OTHER_SUFFIX.search(entities)
        entities, suffix = _OTHER_SUFFIX.sub("", entities), other["suffix"] if other else SUFFIX
    if role == "detection":
        entities, suffix = entities if suffix == SUFFIX else f"{entities}_mod-{suffix}", "mask"
    return f"{entities}_desc-{DESCRIPTIONS.get(role, role)}_{suffix}.nii.gz"


def understood(name: str) -> tuple[str, str]:
    """Return what the study of a derivative is called, whoever made it, and its image's role; empty texts for others.

    name: without its ending. sub-1_desc-preproc_T1w and sub-1_desc-brain_mask are of sub-1_T1w, a scan and a brain.
    """
    parts = _DERIVATIVE.fullmatch(name)
    if not parts:
        return "", ""
    description, suffix = parts["description"], parts["suffix"]
    others = [each for each in f"{parts['before']}{parts['after']}".split("_") if not each.startswith("mod-")]
    if suffix != "mask":
        roles = {described: role for role, described in DESCRIPTIONS.items()}
        return "_".join([*others, suffix]), roles.get(description, description)
    of, brain, _ = description.partition("brain")
    modality = parts["modality"] or (of if brain else "") or SUFFIX
    return "_".join([*others, modality]), "brain" if brain else MASKS.get(description, "")


def derivative(scan: Path, root: Path, out: Path, description: str, suffix: str = "") -> Path:
    """Name a derivative: sub-1_T1w.nii.gz is OUT/sub-1/anat/sub-1_desc-DESCRIPTION_T1w.nii.gz.

    suffix: another one than the scan's, such as mask: sub-1_desc-T1wDESCRIPTION_mask.nii.gz.
    """
    stem = scan.name.split(".")[0]
    entities, _, scan_suffix = stem.rpartition("_")
    kind = f"{description}_{scan_suffix}" if not suffix else f"{scan_suffix}{description}_{suffix}"
    return out / scan.parent.relative_to(root) / f"{entities}_desc-{kind}.nii.gz"


def check_idle(suffix: str | None) -> None:
    """Refuse --suffix where there is no data set."""
    if suffix:
        raise Misuse(f"--suffix: {suffix} chooses scans of a BIDS data set (name it with --bids)")


def check_output(inputs: Sequence[str], output: Path | str | None) -> Path:
    """Return the folder of derivatives. Raises Misuse where it is none, or there are other inputs than the data set."""
    if inputs:
        raise Misuse("--bids: takes its scans from the data set, and there are other inputs (leave one out)")
    if not output or str(output) == "-" or str(output).lower().endswith(FILES):
        raise Misuse("--bids: writes a data set of derivatives (name its folder with -o)")
    return Path(output)


def describe(out: Path | str | None, version: str) -> None:
    """Write the dataset_description.json of a folder of derivatives, unless there is one. Raises UadError."""
    if out is None or (path := Path(out) / "dataset_description.json").is_file():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UadError(f"{out}: {error.strerror or error}") from None
    description = {
        "Name": "uadtools: preprocessed scans",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "uadtools", "Version": version}],
    }
    write_json(path, description, force=False)
