"""Images of other programs that are read as they are: FreeSurfer's .mgz and .mgh, and NRRD."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from uadtools.errors import UadError
from uadtools.grids.placement import Placement
from uadtools.volume.header import Bytes, Header, checked, damaged
from uadtools.volume.unpacked import Source, exactly, unpacked

FOREIGN = (".mgz", ".mgh", ".nrrd", ".nhdr")
MGH_START, NRRD_START = b"\0\0\0\1", b"NRRD"
_MGH, _NRRD = "FreeSurfer", "NRRD"
_MGH_HEADER, _GOOD_RAS = 284, slice(28, 30)
"""Bytes of FreeSurfer's header, and which of them say whether it knows where its voxels lie."""
_NRRD_HEADER = 1 << 16
"""No text before the voxels is longer."""
_SPACES = {
    "right-anterior-superior": (1, 1, 1), "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1), "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1), "lps": (-1, -1, 1),
}  # fmt: skip
"""The worlds of NRRD that are a patient's, and how their axes run against NIfTI's; others say nothing of a patient."""
_UNITS = {"m": 1, "mm": 2, "um": 3, "µm": 3}
"""NIfTI's codes of units of length."""


def other_header(start: bytes, source: Source, name: str) -> tuple[Header, Source] | None:
    """Read the header of an image that begins with these 4 bytes, and return what its voxels are read from, too.

    None where it is neither FreeSurfer's nor NRRD. Raises UadError about `name`.
    """
    if start == MGH_START:
        return _of_mgh(start + exactly(source, _MGH_HEADER - 4, name, "header", before=4), name), source
    if start == NRRD_START:
        return _of_nrrd(start, source, name)
    return None


def _of_mgh(raw: Bytes, name: str) -> Header:
    try:
        fields = MGHHeader(bytes(raw), check=False)
        shape, dtype = tuple(int(n) for n in fields["dims"]), fields.get_data_dtype()
    except (HeaderDataError, KeyError, ValueError) as error:
        raise damaged(name, error, _MGH) from None
    sizes = tuple(float(size) for size in fields["delta"])
    known = int.from_bytes(raw[_GOOD_RAS], "big", signed=True) > 0
    with np.errstate(all="ignore"):  # a place that makes no sense is told of where all images are asked for theirs
        placement = _placement(fields.get_affine() if known else None, sizes)
    return checked(Header(shape, dtype, None, None, 0, placement, "", ">", False), name, _MGH)


def _of_nrrd(start: bytes, source: Source, name: str) -> tuple[Header, Source]:
    try:
        import nrrd
    except ImportError:
        advice = "pip install 'uadtools[nrrd]', or convert it with c3d, of Convert3D"
        raise UadError(f"{name}: NRRD needs the package pynrrd ({advice})") from None
    lines = _lines(start, source, name)
    try:
        fields: dict[str, Any] = {key.replace(" ", ""): value for key, value in nrrd.read_header(lines).items()}
        sizes, fields["encoding"] = [int(n) for n in fields["sizes"]], str(fields["encoding"]).lower()
        one = {"type": fields["type"], "endian": fields.get("endian", ""), "encoding": "raw"}
        one |= {"dimension": 1, "sizes": np.array([1])}
        dtype = nrrd.read_data(one, io.BytesIO(bytes(16))).dtype
        shape, placement = _in_space(fields, sizes, name)
    except KeyError as error:
        raise damaged(name, f"it has no field {error}", _NRRD) from None
    except (nrrd.NRRDError, ValueError, TypeError, IndexError, OverflowError, StopIteration) as error:
        raise damaged(name, error, _NRRD) from None
    header = checked(Header(shape, dtype, None, None, 0, placement, "", "<", False), name, _NRRD)
    return header, _voxels_of(fields, header, source, name)


def _lines(start: bytes, source: Source, name: str) -> list[bytes]:
    """Read the text before the voxels, up to the empty line that ends it, or up to the end of a file of text alone."""
    text = bytearray(start)
    while not text.endswith((b"\n\n", b"\n\r\n")) and (character := source.read(1)):
        text += character
        if len(text) > _NRRD_HEADER:
            raise damaged(name, "it does not end", _NRRD)
    return bytes(text).splitlines()


def _in_space(fields: dict[str, Any], sizes: list[int], name: str) -> tuple[tuple[int, ...], Placement]:
    """Return the axes, those in space first, and where they lie. Raises UadError for axes in another order."""
    directions = np.asarray(fields.get("spacedirections", np.empty((0, 3))), dtype=np.float64)
    spacings = np.asarray(fields.get("spacings", ()), dtype=np.float64)
    in_space = [bool(np.isfinite(row).all()) for row in directions] or [bool(s > 0) for s in spacings]
    axes = [axis for axis in range(len(sizes)) if (axis < len(in_space) and in_space[axis]) or sizes[axis] > 1]
    space = [axis for axis, there in enumerate(in_space) if there]
    if in_space and axes[: len(space)] != space:
        raise UadError(f"{name}: {sizes[axes[0]]} numbers per voxel (one real number per voxel is needed)")
    signs, affine = _SPACES.get(str(fields.get("space", "")).lower()), None
    lengths = np.linalg.norm(directions[space], axis=1) if len(directions) else spacings[space]
    if signs and directions[space].shape == (3, 3):
        affine = np.eye(4)
        affine[:3, :3] = directions[space].T
        affine[:3, 3] = np.asarray(fields.get("spaceorigin", np.zeros(3)), dtype=np.float64)
        affine[:3] *= np.array(signs)[:, None]
    units = {str(unit).lower() for unit in fields.get("spaceunits", fields.get("units", ())) if unit} or {"mm"}
    if len(units) > 1 or not units <= _UNITS.keys():
        raise UadError(f"{name}: unit {', '.join(sorted(units))} of voxel sizes is unknown (there are m, mm and um)")
    pixdim = tuple(float(length) for length in lengths[:3]) if len(lengths) >= 3 else (0.0, 0.0, 0.0)
    return tuple(sizes[axis] for axis in axes) if in_space else tuple(sizes), _placement(affine, pixdim, *units)


def _placement(affine: NDArray[np.float64] | None, sizes: tuple[float, ...], unit: str = "mm") -> Placement:
    """Say as a NIfTI header does where voxels lie, in its precision; none: nothing is known but their sizes."""
    rows = np.zeros(12) if affine is None else affine[:3].astype(np.float32).ravel()
    coded = int(affine is not None)
    return Placement(coded, 0, (1.0, *sizes), (0.0,) * 3, (0.0,) * 3, tuple(rows.tolist()), _UNITS[unit])


def _voxels_of(fields: dict[str, Any], header: Header, source: Source, name: str) -> Source:
    """Return what voxels are read from: what follows the header, or the file that it names. Raises UadError."""
    if fields["encoding"] not in ("raw", "gzip", "gz"):
        raise UadError(f"{name}: its voxels are packed as {fields['encoding']} (save it as raw or gzip)")
    if fields.get("byteskip") or fields.get("lineskip"):
        raise UadError(f"{name}: its voxels begin in the middle of a file (convert it with c3d, of Convert3D)")
    if file := fields.get("datafile"):
        path, several = Path(name).parent / file, "%" in file or file.startswith("LIST")
        if several or Path(file).is_absolute() or ".." in Path(file).parts:
            raise UadError(f"{name}: its voxels are in {file}, which is not one file beside it (save it as one .nrrd)")
        if not Path(name).is_file():
            raise UadError(f"{name}: its voxels are in another file, {file} (name the .nhdr)")
        try:
            with path.open("rb") as voxels:
                source = io.BytesIO(voxels.read(math.prod(header.shape) * header.dtype.itemsize + _NRRD_HEADER))
        except (OSError, ValueError) as error:
            raise UadError(f"{name}: its voxels are in {path}: {getattr(error, 'strerror', '') or error}") from None
    return source if fields["encoding"] == "raw" else unpacked(source, name)
