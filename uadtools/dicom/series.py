"""The series in a folder of DICOM: which there are, which of them are scans, and which one is meant."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import UadError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

NEEDED = (
    "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "SOPClassUID", "PatientID", "PatientName",
    "SamplesPerPixel", "NumberOfFrames", "ImagePositionPatient", "ImageOrientationPatient", "PixelData",
)  # fmt: skip
CAPTURE, SEGMENTATION = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.66.4"
"""Beginnings of SOP classes: pictures of a screen, and what is drawn on a scan."""
NEEDS = "needs the packages dcm2niix, pydicom and highdicom (pip install 'uadtools[dicom]', or make NIfTI of it)"
TURNED = 0.02
"""Of the numbers of an orientation, by which those of the slices of a volume may differ."""
UNEVEN = 0.05
"""Share of the distance of slices by which that may differ within a volume."""
SHOWN, LONGEST = 10, 64
"""Series in a list, and characters of what a header says, which is as many as a UID has."""
_LARGE, _UNDEFINED = 1 << 12, 0xFFFFFFFF


@contextmanager
def untold() -> Iterator[None]:
    """Keep to ourselves what pydicom and highdicom warn of and log: it quotes headers, and those name patients."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL + 1)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@dataclass(frozen=True)
class Series:
    """Images of DICOM that belong together. fault: why they are no scan; an empty string where they are one."""

    uid: str
    number: str
    description: str
    files: tuple[Path, ...]
    fault: str

    def called(self, wanted: str) -> bool:
        """Tell whether the user means this one: by its number, its UID or its description."""
        return wanted.strip().casefold() in (self.number, self.uid, self.description.casefold())


def chosen(folder: Path, files: Sequence[Path], wanted: str | None) -> Series:
    """Return the series that is meant: the one that the user wants, or the only one that is a scan.

    files: the DICOM in the folder. Raises UadError about the folder, or about one of the files.
    """
    every = read_series(folder, files)
    meant = [each for each in every if not wanted or each.called(wanted)]
    found = [each for each in meant if not each.fault]
    if not meant:
        raise UadError(f"{folder}: no series is called {wanted} (there are: {_listed(every)})")
    if not found:
        whose = f"series {wanted} is no scan" if wanted else "none of its series is a scan"
        raise UadError(f"{folder}: {whose}: {_listed(meant)}")
    if len(found) > 1:
        called = f" are called {wanted}" if wanted else ""
        advice = "choose one with --series, or name the folder of one"
        raise UadError(f"{folder}: {len(found)} series{called}: {_listed(found)} ({advice})")
    return found[0]


@untold()
def read_series(folder: Path, files: Sequence[Path]) -> list[Series]:
    """List the series of images among files of DICOM, by number. Raises UadError where they are of several patients."""
    groups: dict[str, list[tuple[Path, Dataset]]] = {}
    patients: dict[str, set[str]] = {"PatientID": set(), "PatientName": set()}
    for path in files:
        header = read_header(path, NEEDED)
        if "PixelData" not in header:  # such as a directory, a report or a protocol
            continue
        groups.setdefault(_text(header, "SeriesInstanceUID"), []).append((path, header))
        for tag, known in patients.items():
            known.add(_text(header, tag).casefold())
    if not groups:
        raise UadError(f"{folder}: there is DICOM in this folder, but no image")
    if (count := max(len(known - {""}) for known in patients.values())) > 1:
        raise UadError(f"{folder}: holds DICOM of {count} patients (name the folder of one)")
    found = []
    for uid, group in groups.items():
        number, description = (_text(group[0][1], tag) for tag in ("SeriesNumber", "SeriesDescription"))
        files, headers = zip(*group, strict=True)
        found.append(Series(uid, number, description, files, _fault(headers)))
    return sorted(found, key=lambda each: (int(each.number) if each.number.isdecimal() else -1, each.uid))


@untold()
def read_header(path: Path, tags: Sequence[str] | None = None) -> Dataset:
    """Read one file of DICOM, these tags or all. Raises UadError where it is damaged or cut short."""
    try:
        import pydicom
    except ImportError:
        raise UadError(f"{path}: DICOM {NEEDS}") from None
    try:
        header = pydicom.dcmread(path, force=True, specific_tags=list(tags) if tags else None, defer_size=_LARGE)
        kind = str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or "")
        image = "Image Storage" in (pydicom.uid.UID(kind).name or "Image Storage")
        pixels: Any = header.get_item("PixelData", keep_deferred=True) if "PixelData" in header else None
        cut = _cut_short(pixels, path.stat().st_size) if pixels else image
    except OSError as error:
        raise UadError(f"{path}: {error.strerror or 'this DICOM is cut short'} (get the file again)") from None
    except Exception:  # a damaged file makes pydicom raise whatever its parts do
        raise UadError(f"{path}: this DICOM is damaged (get the file again)") from None
    if cut:
        raise UadError(f"{path}: this DICOM is cut short (get the file again)")
    return header


def _cut_short(pixels: Any, size: int) -> bool:
    """Tell whether a file of this size ends before its pixels do; of packed ones pydicom tells."""
    if pixels.length == _UNDEFINED:
        return False
    return bool(len(pixels.value) < pixels.length if pixels.value else pixels.value_tell + pixels.length > size)


def place_of(header: Dataset) -> NDArray[np.float64] | None:
    """Return the orientation of an image of one slice, (6,), and its position, (3,), in one; None where it has none."""
    try:
        place = np.array([*header.ImageOrientationPatient, *header.ImagePositionPatient], dtype=np.float64)
    except (AttributeError, TypeError, ValueError, OverflowError):
        return None
    if place.shape != (9,) or not np.isfinite(place).all():
        return None
    axes = place[:6].reshape(2, 3)
    return place if np.abs(axes @ axes.T - np.eye(2)).max() < TURNED else None


def _text(header: Dataset, tag: str) -> str:
    """Return what a header says, as one line that can be shown and leads nowhere."""
    try:
        text = str(header.get(tag) or "")
    except Exception:  # as above
        return ""
    return " ".join("".join(c for c in text if c.isprintable()).split())[:LONGEST]


def _fault(headers: Sequence[Dataset]) -> str:
    """Say why a series is no scan; an empty string where it is one."""
    kind = _text(headers[0], "SOPClassUID")
    for sign, fault in ((CAPTURE, "is a secondary capture"), (SEGMENTATION, "is a segmentation")):
        if kind.startswith(sign):
            return fault
    if _text(headers[0], "SamplesPerPixel") not in ("", "1"):
        return "is in colour"
    in_one = _text(headers[0], "NumberOfFrames") not in ("", "1")  # each frame has its own place, which dcm2niix reads
    return "" if in_one else _misplaced([place_of(header) for header in headers])


def _misplaced(found: Sequence[NDArray[np.float64] | None]) -> str:
    """Say why slices in these places are no volume; an empty string where they are one."""
    places = np.array([place for place in found if place is not None])
    if len(places) < len(found):
        return "does not say where its slices lie"
    if np.abs(places[:, :6] - places[0, :6]).max() > TURNED:
        turns = np.unique(np.round(places[:, :6] / TURNED), axis=0)
        return f"has slices in {len(turns)} orientations, as a localizer has"
    along = np.unique(np.round(places[:, 6:] @ np.cross(places[0, :3], places[0, 3:6]), 3))
    steps = np.diff(along)
    if len(steps) and steps.max() > (1 + UNEVEN) * steps.min():
        return f"lacks slices: they lie {steps.min():.3g} to {steps.max():.3g} mm apart"
    return ""


def _listed(every: Sequence[Series]) -> str:
    """Name series by what chooses them, with what they are."""
    numbers = Counter(each.number for each in every if each.number)
    rows = [
        f"{each.number if numbers[each.number] == 1 else each.uid} '{each.description}' "
        f"({each.fault or f'images: {len(each.files)}'})"
        for each in every[:SHOWN]
    ]
    return "; ".join(rows) + (f"; and {len(every) - SHOWN} more" if len(every) > SHOWN else "")
