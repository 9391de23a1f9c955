"""Reading and writing images for Python users."""

from __future__ import annotations

from pathlib import Path

from uadtools.grids.placement import Form
from uadtools.volume import io
from uadtools.volume.io import Image
from uadtools.volume.reading import Reading
from uadtools.volume.stream import Study, read_image, read_path


def save(product: Image | Study, path: Path | str, *, force: bool = False, provenance: bool = True) -> None:
    """Write an image (.nii or .nii.gz) and, unless provenance is False, its provenance as JSON beside it.

    Of a study its product, in all its channels, which follow one another in the file; other programs see the first.
    Raises UadError when a file is in the way (and not force), the suffix is another, or the disk is full.
    """
    images = product.in_channels(product.product.role) if isinstance(product, Study) else [product]
    io.save(images[0], path, *images[1:], force=force, provenance=provenance)


def read(
    path: Path | str,
    volume: int | None = None,
    *,
    geometry: Form | None = None,
    nan: float | None = None,
    series: str | None = None,
) -> Image:
    """Read the first image of a file (NIfTI, .mgz, .nrrd, 2-D images), or the scan in a folder of DICOM.

    Its `noted` says what is strange about it. volume: of a 4-D image. geometry: which is right where sform and qform
    differ. nan: what NaN in a scan become; none: they are refused. series: of a folder of DICOM that holds several, by
    number, UID or description. Raises UadError.
    """
    return read_image(Path(path), Reading(volume, geometry, nan, series=series))


def read_study(
    path: Path | str,
    volume: int | None = None,
    *,
    geometry: Form | None = None,
    nan: float | None = None,
    series: str | None = None,
) -> Study:
    """Read the first study of a file, as `read` does: all its images, which a saved stream has several of."""
    return next(read_path(Path(path), Reading(volume, geometry, nan, series=series)))
