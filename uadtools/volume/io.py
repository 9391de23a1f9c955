"""One NIfTI image: from bytes and files to arrays, and back."""

from __future__ import annotations

import gzip
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from nibabel.nifti1 import Nifti1Extension
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import NDArray

from uadtools.concerns import Concern, read_concerns, united
from uadtools.errors import UadError
from uadtools.files import check_free, written
from uadtools.grids.grid import Grid
from uadtools.volume import header as headers
from uadtools.volume.converters import LOOKED_AT, no_image
from uadtools.volume.foreign import FOREIGN, other_header
from uadtools.volume.header import Bytes, Header
from uadtools.volume.reading import AS_IT_IS, Reading
from uadtools.volume.unpacked import CHUNK, Source, exactly, unpacked, up_to

PAIRED = (".hdr", ".img", ".img.gz", ".hdr.gz")
SUFFIXES = (".nii.gz", ".nii", *PAIRED)
READABLE = (*SUFFIXES, *FOREIGN)
_NIFTI1_AXIS = 32767


@dataclass(frozen=True)
class Image:
    """A volume with its place in the world, its role in a study, and where it came from.

    data: (X, Y, Z); role: at most 15 characters; provenance: {"study": name, "chain": [grid steps], "history": [one
    record per tool]}; noted: what reading its file found strange. Raises ValueError when data and grid, or role and
    file format, do not fit.
    """

    data: NDArray[Any]
    grid: Grid
    role: str = "scan"
    provenance: dict[str, Any] = field(default_factory=dict)
    nifti2: bool = False
    noted: tuple[Concern, ...] = ()

    def __post_init__(self) -> None:
        if self.data.shape != self.grid.shape:
            raise ValueError(f"data of shape {self.data.shape} on a grid of shape {self.grid.shape}")
        if not 0 < len(self.role.encode("latin-1")) <= headers.ROLE_LENGTH:
            raise ValueError(f"role '{self.role}' does not have 1 to {headers.ROLE_LENGTH} characters")

    def derive(self, data: NDArray[Any], role: str, grid: Grid | None = None) -> Image:
        """Make another image of the same study, on the same grid unless another is given."""
        return replace(self, data=data, role=role, grid=grid or self.grid)

    def _repr_html_(self) -> str:
        import uadtools

        return uadtools.show(self, viewer=False)


def read_images(file: BinaryIO, name: str, reading: Reading = AS_IT_IS) -> Iterator[Image]:
    """Read the NIfTI images that follow one another in a stream of bytes, plain or gzipped, one at a time.

    An image of FreeSurfer's or NRRD is read, too; what follows it is not. Raises UadError, starting with `name`, for
    anything that is no such image.
    """
    source = unpacked(file, name)
    count = 0
    while start := up_to(source, 4, name):
        if not count and (other := other_header(bytes(start), source, name)):
            fields, source = other
            yield _image(fields, b"", source, name, reading)
            return
        fields, size = _header(source, start, name, count)
        extensions = exactly(source, fields.offset - size, name, "header")
        yield _image(fields, extensions, source, name, reading)
        count += 1
    if not count:
        raise UadError(f"{name}: empty (a NIfTI image was expected; did the command before it fail?)")


def stated(path: Path, reading: Reading | None = None) -> tuple[str, dict[str, Any]]:
    """Return role and provenance as the first header of a file states them; reading: that the image must allow.

    Raises UadError, as far as the header shows what is wrong.
    """
    name, single = str(path), not path.name.lower().endswith(PAIRED)
    with open_file(path if single else _half(path, ".hdr")) as file:
        source = unpacked(file, name)
        start = up_to(source, 4, name)
        other = other_header(bytes(start), source, name)
        fields, size = (other[0], 0) if other else _header(source, start, name, single=single)
        extensions = exactly(source, fields.offset - size, name, "header") if single and not other else b""
    provenance = headers.provenance(extensions, fields.order)
    if reading:
        _chosen(fields.shape, name, reading.volume)
        headers.placed(fields, reading.geometry or provenance.get("geometry"), name)
    return headers.role(fields.intent, provenance), provenance


def read_pair(path: Path, reading: Reading = AS_IT_IS) -> Image:
    """Read an image kept as .hdr and .img. Raises UadError."""
    name = str(path)
    head, body = _half(path, ".hdr"), _half(path, ".img")
    with open_file(head) as file:
        source = unpacked(file, name)
        if not (start := up_to(source, 4, name)):
            raise UadError(f"{name}: empty (a NIfTI header was expected)")
        fields, _ = _header(source, start, name, single=False)
        extensions = up_to(source, CHUNK, name)
    with open_file(body) as file:
        source = unpacked(file, name)
        exactly(source, fields.offset, name, "header")
        return _image(fields, extensions, source, name, reading)


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading. Raises UadError."""
    try:
        if path.is_dir():
            os.scandir(path).close()
            raise UadError(f"{path}: is a folder (name the files in it)")
        return path.open("rb")
    except OSError as error:
        raise UadError(f"{path}: {error.strerror or error}") from None


def stem(path: Path) -> str:
    """Return the file's name without folder and without .nii.gz and its kin."""
    for suffix in READABLE:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def to_bytes(image: Image, *, provenance: bool = True, nifti2: bool = False) -> bytes:
    """Encode an image as uncompressed NIfTI-1 (or -2), its role in intent_name, its provenance in an extension.

    Where it lies is written as the file said so that its grid was read from. Data types that NIfTI does not have are
    widened. An axis too long for NIfTI-1 makes it NIfTI-2.
    """
    kind: Any = nib.Nifti2Image if nifti2 or max(image.data.shape) > _NIFTI1_AXIS else nib.Nifti1Image
    data = image.data.astype(_stored(image.data.dtype), copy=False)
    nifti = kind(data, None, dtype=data.dtype)  # with an affine, it would change the header once more
    if stated := image.grid.stated:
        stated.write(nifti.header)
    else:
        nifti.header.set_sform(image.grid.affine, code="scanner")
        nifti.header.set_qform(image.grid.affine, code="scanner", strip_shears=True)
        nifti.header.set_xyzt_units("mm")
    nifti.header["intent_name"] = image.role.encode("latin-1")
    if provenance and image.provenance:
        text = json.dumps({"uadtools": image.provenance}).encode()
        nifti.header.extensions.append(Nifti1Extension(headers.COMMENT, text))
    return cast(bytes, nifti.to_bytes())


def save(image: Image, path: Path | str, *more: Image, force: bool = False, provenance: bool = True) -> None:
    """Write an image (.nii or .nii.gz) and, unless provenance is False, its provenance as JSON beside it.

    more: images that follow it in the file, as in a stream; other programs see the first one. Raises UadError when a
    file is in the way (and not force), the suffix is another, or the disk is full.
    """
    path, keep = Path(path), provenance and bool(image.provenance)
    check_target(path, force=force, provenance=keep)
    data = b"".join(to_bytes(one, provenance=provenance, nifti2=image.nifti2) for one in (image, *more))
    with written(path, force=force) as part:
        part.write_bytes(gzip.compress(data, 4, mtime=0) if path.name.endswith(".gz") else data)
    if keep:
        save_sidecar(image, path, force=force)


def save_sidecar(image: Image, path: Path, *, force: bool) -> None:
    """Write an image's provenance as JSON beside the image. Raises UadError as save does."""
    with written(sidecar(path), force=force) as part:
        part.write_text(json.dumps(image.provenance, indent=1) + "\n")


def check_target(path: Path, *, force: bool, provenance: bool = True) -> None:
    """Raise UadError when save would not write there, so that a user learns it before hours of work."""
    if not path.name.endswith((".nii", ".nii.gz")):
        raise UadError(f"{path}: images are written as .nii or .nii.gz (change the name)")
    check_free(path, force=force)
    if provenance:
        check_free(sidecar(path), force=force)


def sidecar(path: Path) -> Path:
    """Name the JSON file beside an image, which has its provenance."""
    return path.with_name(stem(path) + ".json")


def _header(source: Source, start: Bytes, name: str, before: int = 0, *, single: bool = True) -> tuple[Header, int]:
    """Read the header that begins with these 4 bytes, `before` images after the first; returns its size, too."""
    size = headers.size_of(start)
    if size is None and before:
        raise UadError(f"{name}: what follows its image {before} is no NIfTI image (get the file again)")
    if size is None:
        raise UadError(no_image(name, bytes(start + up_to(source, LOOKED_AT, name))))
    return headers.parse(start + exactly(source, size - 4, name, "header"), name, single=single), size


def _voxels(source: Source, fields: Header, name: str, volume: int | None) -> NDArray[Any]:
    """Read one volume (X, Y, Z), skip the others, and scale it. Memory is that of one volume."""
    which, count = _chosen(fields.shape, name, volume)
    shape = (*fields.shape[:3], 1)[:3]
    size = math.prod(shape) * fields.dtype.itemsize
    chosen = bytearray()
    for number in range(count):
        raw = exactly(source, size, name, "voxels", before=number * size)
        chosen = raw if number == which else chosen
    stored = np.frombuffer(chosen, fields.dtype).reshape(shape, order="F")
    native = stored.astype(fields.dtype.newbyteorder("="), copy=False)
    with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is told to the user
        return np.asarray(apply_read_scaling(native, fields.slope, fields.inter))


def _chosen(shape: tuple[int, ...], name: str, volume: int | None) -> tuple[int, int]:
    """Return which of the volumes to take, and how many there are."""
    count = math.prod(shape[3:])
    if volume is None and count > 1:
        raise UadError(f"{name}: {count} volumes (choose one with --volume N, counted from 0)")
    if not 0 <= (volume or 0) < count:
        raise UadError(f"{name}: has no volume {volume} (it has {count}, counted from 0)")
    return volume or 0, count


def _image(fields: Header, extensions: Bytes, source: Source, name: str, reading: Reading) -> Image:
    """Read the voxels, and put them where they lie; what uad tools wrote is not judged again."""
    provenance = headers.provenance(extensions, fields.order)
    role = headers.role(fields.intent, provenance)
    form = reading.geometry or provenance.get("geometry")
    grid, strange = headers.placed(fields, form, name)
    known = read_concerns(provenance.get("concerns"))
    noted = () if provenance.get("history") else tuple(concern for concern in strange if concern not in known)
    if reading.geometry and len(fields.placement.coded) != 1:
        provenance["geometry"] = reading.geometry
    if noted:
        provenance["concerns"] = [concern.to_json() for concern in united(known, noted)]
    data = _voxels(source, fields, name, reading.volume)
    return Image(reading.numbers(data, role, name), grid, role, provenance, fields.nifti2, noted)


def _half(path: Path, suffix: str) -> Path:
    """Return the .hdr or the .img of a pair, given either."""
    bare = path.with_name(stem(path))
    names = [bare.with_name(bare.name + s) for s in (suffix, suffix + ".gz", suffix.upper(), suffix.upper() + ".GZ")]
    half = next((p for p in (path, *names) if p in names and p.is_file()), None)
    if half is None:
        raise UadError(
            f"{path}: no such file" if not path.is_file() else f"{path}: its other half, {names[0]}, is missing"
        )
    return half


def _stored(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the NIfTI data type that holds all values of another."""
    wider = {"b1": "u1", "f2": "f4", "f16": "f8", "f12": "f8"}.get(f"{dtype.kind}{dtype.itemsize}")
    return np.dtype(wider) if wider else dtype
