"""NIfTI made of a series of DICOM, by dcm2niix."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from uadtools.dicom.series import NEEDS, Series, chosen
from uadtools.errors import UadError

LONGEST = 3600
"""In seconds; a conversion takes a few."""


def as_nifti(folder: Path, files: Sequence[Path], wanted: str | None) -> bytes:
    """Return the NIfTI file that dcm2niix makes of one series. files, wanted: as `chosen` takes them.

    Raises UadError, also where it makes several of it.
    """
    return converted(folder, chosen(folder, files, wanted))


def converted(folder: Path, series: Series) -> bytes:
    """Return the NIfTI file that dcm2niix makes of a series; what it says goes nowhere. Raises UadError."""
    try:
        import dcm2niix
    except ImportError:
        raise UadError(f"{folder}: DICOM {NEEDS}") from None
    with tempfile.TemporaryDirectory(prefix="uad-") as room:
        source, target = Path(room, "series"), Path(room, "nifti")
        source.mkdir()
        target.mkdir()
        for number, file in enumerate(series.files):
            (source / f"{number:06}.dcm").symlink_to(file.absolute())
        words = [dcm2niix.bin, "-g", "i", "-b", "n", "-z", "n", "-f", "image", "-o", str(target), str(source)]
        try:
            subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=LONGEST, check=False)
        except subprocess.TimeoutExpired:
            raise UadError(f"{folder}: dcm2niix does not end (are the files damaged?)") from None
        made = sorted(target.glob("*.nii"))
        if not made:
            raise UadError(f"{folder}: dcm2niix makes no image of this series (are its files whole, and of one kind?)")
        if len(made) > 1:
            what = f"dcm2niix makes {len(made)} images of this series, such as echoes"
            raise UadError(f"{folder}: {what} (make them yourself, and name one)")
        return made[0].read_bytes()
