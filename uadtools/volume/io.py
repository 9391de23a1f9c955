"""One NIfTI image: from bytes and files to arrays, and back."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import Nifti1Extension
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from uadtools.errors import UadError
from uadtools.files import check_free, written
from uadtools.volume.grid import Grid

SUFFIXES = (".nii.gz", ".nii", ".hdr", ".img", ".img.gz", ".hdr.gz")
_COMMENT = 6  # the NIfTI extension code for text


@dataclass(frozen=True)
class Image:
    """A volume with its place in the world, its role in a study, and where it came from.

    data: (X, Y, Z); provenance: {"study": name, "chain": [grid steps], "history": [one record per tool]}.
    """

    data: NDArray[Any]
    grid: Grid
    role: str = "scan"
    provenance: dict[str, Any] = field(default_factory=dict)
    nifti2: bool = False

    def derive(self, data: NDArray[Any], role: str, grid: Grid | None = None) -> Image:
        """Make another image of the same study, on the same grid unless another is given."""
        return replace(self, data=data, role=role, grid=grid or self.grid)


def read_images(file: BinaryIO, name: str, volume: int | None = None) -> Iterator[Image]:
    """Read the NIfTI images that follow one another in a stream of bytes, plain or gzipped, one at a time.

    volume: which one to take of a 4-D image. Raises UadError, starting with `name`, for anything that is no such image.
    """
    source = _plain(file, name)
    found = False
    while start := _take(source, 4, name, at_start=not found):
        found = True
        yield _to_image(*_one_image(source, start, name), name, volume)
    if not found:
        raise UadError(f"{name}: empty (a NIfTI image was expected; did the command before it fail?)")


def read_pair(path: Path, volume: int | None = None) -> Image:
    """Read an image kept as .hdr and .img. Raises UadError."""
    try:
        loaded = nib.load(path)
        voxels = np.asanyarray(cast(Any, loaded).dataobj)
    except FileNotFoundError:
        raise UadError(f"{path}: no such file, or its .hdr or .img half is missing") from None
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error) as error:
        raise UadError(f"{path}: not a readable NIfTI pair ({_first_line(error)})") from None
    return _to_image(loaded, voxels, str(path), volume)


def stem(path: Path) -> str:
    """Return the file's name without folder and without .nii.gz and its kin."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def to_bytes(image: Image, *, provenance: bool = True, nifti2: bool = False) -> bytes:
    """Encode an image as uncompressed NIfTI-1 (or -2), its role in intent_name, its provenance in an extension."""
    data = image.data.astype(np.uint8) if image.data.dtype == bool else image.data
    made = (nib.Nifti2Image if nifti2 else nib.Nifti1Image)(data, image.grid.affine)
    made.header.set_sform(image.grid.affine, code="scanner")
    made.header.set_qform(image.grid.affine, code="scanner", strip_shears=True)
    made.header.set_xyzt_units("mm")
    made.header["intent_name"] = image.role.encode()[:15]
    if provenance and image.provenance:
        text = json.dumps({"uadtools": image.provenance}).encode()
        made.header.extensions.append(Nifti1Extension(_COMMENT, text))
    return cast(bytes, made.to_bytes())


def save(image: Image, path: Path, *, force: bool = False, provenance: bool = True) -> None:
    """Write an image (.nii or .nii.gz) and, unless provenance is False, its provenance as JSON beside it.

    Raises UadError when a file is in the way (and not force), the suffix is another, or the disk is full.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        raise UadError(f"{path}: images are written as .nii or .nii.gz (change the name)")
    sidecar = path.with_name(stem(path) + ".json")
    keep = provenance and bool(image.provenance)
    if keep:
        check_free(sidecar, force=force)
    data = to_bytes(image, provenance=provenance, nifti2=image.nifti2)
    with written(path, force=force) as part:
        part.write_bytes(gzip.compress(data, 4, mtime=0) if path.name.endswith(".gz") else data)
    if keep:
        with written(sidecar, force=force) as part:
            part.write_text(json.dumps(image.provenance, indent=1) + "\n")


def _plain(file: BinaryIO, name: str) -> BinaryIO:
    """Unpack gzip when the first two bytes say so; file need not be seekable."""
    buffered = io.BufferedReader(cast(io.RawIOBase, file)) if not hasattr(file, "peek") else file
    magic = cast(io.BufferedReader, buffered).peek(2)[:2]
    return cast(BinaryIO, gzip.GzipFile(fileobj=buffered)) if magic == b"\x1f\x8b" else cast(BinaryIO, buffered)


def _take(source: BinaryIO, count: int, name: str, *, at_start: bool = False) -> bytes:
    """Read exactly count bytes; nothing at all is allowed at an image's start. at_start: of the whole file."""
    chunks, missing = [], count
    try:
        while missing and (chunk := source.read(min(missing, 1 << 24))):
            chunks.append(chunk)
            missing -= len(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UadError(f"{name}: its gzip data are cut short or damaged ({_first_line(error)})") from None
    got = b"".join(chunks)
    if missing and got and at_start:
        raise UadError(f"{name}: not a NIfTI image (only {len(got)} bytes)")
    return got


def _one_image(source: BinaryIO, start: bytes, name: str) -> tuple[Any, NDArray[Any]]:
    """Read the rest of an image whose first 4 bytes were read: the header says how long the rest is."""
    size = {348: 348, 540: 540}.get(int.from_bytes(start, "little")) or {348: 348, 540: 540}.get(
        int.from_bytes(start, "big")
    )
    if size is None:
        raise UadError(f"{name}: not a NIfTI image (only NIfTI-1 and NIfTI-2 are read; convert DICOM with dcm2niix)")
    kind = nib.Nifti2Image if size == 540 else nib.Nifti1Image
    raw = start + _take(source, size - 4, name)
    try:
        header = kind.header_class(raw, check=False)
        magic = bytes(header["magic"].tobytes())[:3]
        if magic != (b"n+2" if size == 540 else b"n+1"):
            raise UadError(f"{name}: the header of an image in two files (give the name of its .hdr or .img)")
        offset = max(int(header["vox_offset"]), size)
        count = int(np.prod([max(int(n), 0) for n in header.get_data_shape()], dtype=object))
        length = count * header.get_data_dtype().itemsize
    except (ImageFileError, HeaderDataError, ValueError) as error:
        raise UadError(f"{name}: damaged NIfTI header ({_first_line(error)})") from None
    if offset > 1 << 28 or length > 1 << 36:
        raise UadError(f"{name}: damaged NIfTI header (it promises {length:,} bytes of voxels)")
    rest = _take(source, offset - size + length, name)
    if len(rest) < offset - size + length:
        raise UadError(f"{name}: cut short ({len(rest):,} of {offset - size + length:,} bytes after the header)")
    try:
        loaded = kind.from_bytes(raw + rest)
        return loaded, np.asanyarray(loaded.dataobj)
    except (ImageFileError, HeaderDataError, ValueError, OSError) as error:
        raise UadError(f"{name}: damaged NIfTI image ({_first_line(error)})") from None


def _to_image(loaded: Any, voxels: NDArray[Any], name: str, volume: int | None) -> Image:
    header = loaded.header
    if voxels.dtype.kind not in "iufb":
        raise UadError(f"{name}: {_type_name(voxels.dtype)} voxels (one real number per voxel is needed)")
    data = _three_axes(voxels, name, volume)
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        raise UadError(f"{name}: {int((~np.isfinite(data)).sum()):,} voxels are NaN or infinite (replace them first)")
    codes = [int(header[c]) if c in header else 0 for c in ("sform_code", "qform_code")]
    affine = np.asarray(loaded.affine, dtype=np.float64)
    if not any(codes):
        raise UadError(f"{name}: no affine: it does not say where its voxels lie (set sform or qform first)")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise UadError(f"{name}: its affine is zero or singular (set a valid sform or qform first)")
    x, y, z = data.shape
    role = bytes(header["intent_name"].tobytes()).split(b"\0")[0].decode("ascii", "replace").strip()
    return Image(
        data=data,
        grid=Grid((x, y, z), affine),
        role=role or "scan",
        provenance=_provenance(header),
        nifti2=isinstance(loaded, nib.Nifti2Image),
    )


def _three_axes(voxels: NDArray[Any], name: str, volume: int | None) -> NDArray[Any]:
    if voxels.ndim < 2 or 0 in voxels.shape:
        raise UadError(f"{name}: {voxels.ndim} axes of {voxels.shape} voxels (a volume has three)")
    data = voxels[..., None] if voxels.ndim == 2 else voxels.reshape(*voxels.shape[:3], -1)
    if voxels.ndim == 2:
        return data
    if volume is None:
        if data.shape[3] > 1:
            raise UadError(f"{name}: {data.shape[3]} volumes (choose one with --volume N, counted from 0)")
        return data[..., 0]
    if not 0 <= volume < data.shape[3]:
        raise UadError(f"{name}: has no volume {volume} (it has {data.shape[3]}, counted from 0)")
    return data[..., volume]


def _provenance(header: Any) -> dict[str, Any]:
    """Return what a uad tool wrote into the header, or nothing."""
    for extension in getattr(header, "extensions", []):
        if extension.get_code() == _COMMENT:
            content = extension.get_content()
            text = content if isinstance(content, bytes) else str(content).encode()
            try:
                found = json.loads(text.rstrip(b"\0"))["uadtools"]
            except (ValueError, KeyError, TypeError):
                continue
            if isinstance(found, dict):
                return found
    return {}


def _type_name(dtype: np.dtype[Any]) -> str:
    return {"c": "complex", "V": "RGB"}.get(dtype.kind, str(dtype))


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
