"""Which files are meant: a folder of scans, and a list of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from uadtools.errors import UadError
from uadtools.files import parse_json, read_lines, read_rows
from uadtools.volume.converters import dicom_among, others_among
from uadtools.volume.flat import PICTURES, is_flat
from uadtools.volume.stream import FREESURFER, is_image

LISTS = (".txt", ".csv", ".jsonl")
MOST_LOOKED_INTO = 1000
"""Files of a folder without NIfTI, to tell what is in it."""


def files_of(source: str) -> Iterator[str]:
    """Name the images that a source stands for: those of a folder, those of a list, or itself.

    A folder of DICOM is one image. A folder that cannot be listed is named, too: what reads it says why. Of what
    FreeSurfer makes of a scan, only the scan itself counts in a folder, orig.mgz; of a BIDS data set, not derivatives/.

    A list is a .txt (one path per line, # begins a remark), a .csv with a column `path`, or a .jsonl with a key `path`;
    its paths are relative to it, and may be folders and lists again. Raises UadError when there is nothing.
    """
    try:
        yield from _files_of(source)
    except RecursionError:
        raise UadError(f"{source}: a list that names itself") from None


def _files_of(source: str) -> Iterator[str]:
    path = Path(source)
    if path.is_dir():
        if path.resolve() == Path(path.anchor or "/"):
            raise UadError(f"{source}: is all there is on this machine (name the folder of the scans)")
        if is_dicom(path):
            yield str(path if path.name.strip(".") else path.resolve())
            return
        unreadable: list[Path] = []
        files = sorted(walked(path, unreadable.append, lambda folder: not _is_derived(folder)))
        paths = [p for p in files if _is_scan(p)]
        if not paths and not unreadable:
            raise UadError(f"{source}: no NIfTI file in this folder{others_among(islice(files, MOST_LOOKED_INTO))}")
        yield from map(str, sorted([*paths, *unreadable]))
    elif is_many(source):
        entries = [str(path.parent / entry) for entry in _entries(path)]
        if not any(_is_meant(Path(entry)) for entry in entries):
            first = Path(entries[0]).name
            raise UadError(f"{source}: was read as a list of files, none of which is there (the first: {first[:80]})")
        for entry in entries:
            yield from _files_of(entry)
    else:
        yield source


def walked(
    root: Path, unreadable: Callable[[Path], None], into: Callable[[Path], bool] = lambda folder: True
) -> Iterator[Path]:
    """Yield the files below a folder. unreadable: told of folders that cannot be listed. into: where to look."""
    for folder, folders, files in os.walk(root, onerror=lambda error: unreadable(Path(error.filename))):
        folders[:] = [name for name in folders if into(Path(folder, name))]
        yield from (Path(folder, name) for name in files)


def is_many(source: str) -> bool:
    """Tell whether a source stands for others: a folder that is no DICOM, or a list."""
    path = Path(source)
    return not is_dicom(path) if path.is_dir() else path.suffix in LISTS and not is_flat(path)


def is_dicom(folder: Path) -> bool:
    """Tell whether a folder is one scan: there is DICOM in it, and nothing else that is read but pictures."""
    if folder.resolve() == Path(folder.anchor or "/"):
        return False
    unreadable: list[Path] = []
    others: list[Path] = []
    for file in walked(folder, unreadable.append):
        if is_image(file) and not file.name.startswith(".") and file.suffix.lower() != ".img":
            return False
        if file.suffix.lower() not in PICTURES:
            others.append(file)
    return not unreadable and any(dicom_among(islice(sorted(others), MOST_LOOKED_INTO)))


def _is_meant(path: Path) -> bool:
    """Tell whether an entry of a list may be a file's name, and not just text."""
    return is_image(path) or is_flat(path) or path.suffix in LISTS or os.path.exists(path)  # noqa: PTH110  long ones


def _is_derived(folder: Path) -> bool:
    return folder.name == "derivatives" and (folder.parent / "dataset_description.json").is_file()


def _is_scan(path: Path) -> bool:
    """Tell whether a file in a folder is a scan; of a pair only the header counts, and hidden files do not."""
    readable = is_image(path) or path.suffix.lower() in PICTURES
    second = path.name.lower().endswith((".img", ".img.gz"))
    freesurfer = FREESURFER.search(path.absolute().as_posix())
    derived = freesurfer is not None and freesurfer["name"] != "mri/orig"
    if not readable or second or derived or path.name.startswith("."):
        return False
    try:
        return path.is_file()
    except OSError:  # told when it is read
        return True


def _entries(path: Path) -> list[str]:
    """Return the files that a list names."""
    lines = [line.strip() for line in read_lines(path, "not a text file, so it is no list of scans")]
    try:
        if path.suffix == ".csv":
            entries = [row.get("path", "") for row in read_rows(path)]
        elif path.suffix == ".jsonl":
            entries = [parse_json(line)["path"] for line in lines if line]
        else:
            entries = [line for line in lines if line and not line.startswith("#")]
    except (KeyError, ValueError, TypeError):
        entries = [""]
    if not all(isinstance(entry, str) and entry for entry in entries):
        raise UadError(f"{path}: every entry needs a `path`")
    if not entries:
        raise UadError(f"{path}: an empty list")
    return entries
