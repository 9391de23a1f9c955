"""Files that are no NIfTI images: what they are, by their first bytes or their names, and what makes NIfTI of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

LOOKED_AT = 1024
"""Bytes from the start of a file in which its format shows."""


@dataclass(frozen=True)
class Format:
    """A format: what files in it are, what to do with one, the ends of their names, and bytes that they begin with."""

    what: str
    advice: str
    ends: tuple[str, ...] = ()
    starts: tuple[bytes, ...] = ()
    at: int = 0


DICOM = "DICOM"
FORMATS = (
    Format(DICOM, "name its folder, or convert that with dcm2niix", (".dcm", ".ima"), (b"DICM",), at=128),
    Format(
        DICOM, "name its folder, or convert that with dcm2niix",
        starts=(b"\2\0\0\0", b"\2\0\1\0", b"\x08\0\0\0", b"\x08\0\5\0", b"\x08\0\x08\0", b"\x08\0\x16\0"),
    ),
    Format("a MetaImage", "convert it with c3d, of Convert3D", (".mha", ".mhd"), (b"ObjectType", b"NDims")),
    Format("MINC", "convert it with mnc2nii, or mri_convert", (".mnc", ".mnc2"), (b"CDF\1", b"CDF\2", b"\x89HDF")),
    Format("Philips PAR/REC", "convert it with dcm2niix", (".par", ".rec"), (b"# === DATA DESC",)),
    Format("an AFNI data set", "convert it with 3dAFNItoNIFTI", (".brik", ".head")),
    Format("an MRtrix image", "convert it with mrconvert", (".mif", ".mih"), (b"mrtrix image",)),
    Format("a picture", "give it a name in .png, or .jpg", starts=(b"\x89PNG", b"\xff\xd8\xff")),
    Format("an archive", "unpack it", (".zip", ".bz2", ".xz", ".7z"), (b"PK\3\4", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf")),
)  # fmt: skip


def format_of(name: str, start: bytes) -> Format | None:
    """Return the format of a file by its first bytes, else by its name; None where it is none of those known."""
    shown = (f for f in FORMATS if start.startswith(f.starts, f.at))
    named = (f for f in FORMATS if name.lower().endswith(f.ends or "\0"))
    return next(shown, None) or next(named, None)


def no_image(name: str, start: bytes) -> str:
    """Say that a file is no NIfTI image, what it is instead, as far as that shows, and what to do."""
    found = format_of(name, start)
    advice = f"this is {found.what}: {found.advice}" if found else "convert DICOM with dcm2niix, or name its folder"
    return f"{name}: not a NIfTI image (NIfTI-1 and -2, .mgz and .nrrd are read; {advice})"


def others_among(files: Iterable[Path]) -> str:
    """Say what files are that hold no scan that can be read, and what to do, by the first that tells; else nothing."""
    return next((f", but {found.what} ({found.advice})" for _, found in _formats(files)), "")


def dicom_among(files: Iterable[Path]) -> Iterator[Path]:
    """Yield those of some files that are DICOM."""
    return (path for path, found in _formats(files) if found.what == DICOM)


def dicom_in(folder: Path) -> list[Path]:
    """List the files below a folder that are DICOM; none where it is no folder, or one that cannot be listed."""
    try:
        return list(dicom_among(sorted(folder.rglob("*")))) if folder.is_dir() else []
    except OSError:
        return []


def _formats(files: Iterable[Path]) -> Iterator[tuple[Path, Format]]:
    for path in filter(Path.is_file, files):
        try:
            with path.open("rb") as file:
                start = file.read(LOOKED_AT)
        except OSError:
            continue
        if found := format_of(path.name, start):
            yield path, found
