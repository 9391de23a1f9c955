"""Reading and writing images for Python users."""

from __future__ import annotations

from pathlib import Path

from uadtools.volume.io import Image, save
from uadtools.volume.stream import Study, read_image, read_path

__all__ = ["read", "read_study", "save"]


def read(path: Path | str, volume: int | None = None) -> Image:
    """Read the first image of a file: NIfTI, or 2-D images. volume: of a 4-D image. Raises UadError."""
    return read_image(Path(path), volume)


def read_study(path: Path | str, volume: int | None = None) -> Study:
    """Read the first study of a file: all its images, which a saved stream has several of. Raises UadError."""
    return next(read_path(Path(path), volume))
