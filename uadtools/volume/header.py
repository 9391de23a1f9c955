"""The NIfTI header: what is known of an image before its voxels are read, and every way in which it can be wrong."""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from uadtools.concerns import Concern
from uadtools.errors import UadError
from uadtools.files import parse_json
from uadtools.grids.grid import Grid
from uadtools.grids.placement import MM, UNITS, Form, Placement
from uadtools.volume.roles import ROLES, parted

ROLE_LENGTH = 15
"""In bytes: what intent_name holds, less the 0 at its end."""
COMMENT = 6
"""The NIfTI extension code for text."""
SHEAR = 1.0
"""In degrees; what differs more from a right angle is told."""

Bytes = bytes | bytearray
_KINDS: dict[int, Any] = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_MAGIC = {(348, True): b"n+1", (540, True): b"n+2", (348, False): b"ni1", (540, False): b"ni2"}
_SILENT = logging.Logger("silent", logging.CRITICAL + 1)
_MOST_BYTES = 1 << 36
_MOST_OFFSET = 1 << 28
_PROVENANCE = {"study": str, "chain": list, "history": list, "unlike": dict, "normal": dict, "geometry": str}
_LINE = {
    "tool": str, "arguments": dict, "model": str, "metric": str, "maps": list, "chain": dict, "thresholds": dict,
    "floors": dict,
}  # fmt: skip
"""Of what kind things in provenance are, and in a line of its history."""
_FATAL = 40  # nibabel's level from which a fault cannot be mended


@dataclass(frozen=True)
class Header:
    """What a reader needs to know.

    shape: the 2 to 7 axes in the file; dtype: of the stored numbers, in the file's byte order; slope, inter: a voxel is
    slope * stored + inter, or None; offset: bytes from the start of the file to the voxels.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    slope: float | None
    inter: float | None
    offset: int
    placement: Placement
    intent: str
    order: str
    nifti2: bool


def size_of(start: Bytes) -> int | None:
    """Return the size of the header that begins with these 4 bytes, or None if it is not NIfTI's."""
    sizes = (int.from_bytes(start, "little"), int.from_bytes(start, "big"))
    return next((size for size in sizes if size in _KINDS and len(start) == 4), None)


def parse(raw: Bytes, name: str, *, single: bool = True) -> Header:
    """Understand a header of 348 or 540 bytes. single: it is of an image in one file. Raises UadError about `name`."""
    order = "<" if int.from_bytes(raw[:4], "little") == len(raw) else ">"
    fields = _KINDS[len(raw)](raw, endianness=order, check=False)
    _check_magic(fields, name, single=single)
    shape, placement = _shape(fields, name), Placement.of(fields)
    try:
        fields.check_fix(_SILENT, _FATAL)
        slope, inter = fields.get_slope_inter()
        offset = int(fields["vox_offset"]) or (fields.single_vox_offset if single else 0)
    except (HeaderDataError, ValueError, OverflowError) as error:
        raise damaged(name, error) from None
    intent = fields["intent_name"].tobytes()[:ROLE_LENGTH].split(b"\0")[0].decode("latin-1").strip()
    dtype, nifti2 = fields.get_data_dtype(), len(raw) == 540
    return checked(Header(shape, dtype, slope, inter, offset, placement, intent, order, nifti2), name)


def checked(header: Header, name: str, kind: str = "NIfTI") -> Header:
    """Raise UadError about `name` for voxels that are not one real number each, or that cannot be so many."""
    shape, dtype = header.shape, header.dtype
    if dtype.kind not in "iuf":
        numbers = {"c": "complex", "V": "RGB"}.get(dtype.kind, str(dtype))
        raise UadError(f"{name}: {numbers} voxels (one real number per voxel is needed)")
    if min(shape, default=0) < 1:
        raise damaged(name, f"{' x '.join(map(str, shape))} voxels where a volume has three axes", kind)
    promised = math.prod(shape) * dtype.itemsize
    if promised > _MOST_BYTES or not 0 <= header.offset <= _MOST_OFFSET:
        raise damaged(name, f"it promises {promised:,} bytes of voxels after {header.offset:,} others", kind)
    return header


def placed(header: Header, form: Form | None, name: str) -> tuple[Grid, list[Concern]]:
    """Return where the voxels lie, and what should be known about that.

    form: is taken where the header has it; else sform goes before qform, as other readers have it, and one that makes
    no sense is refused. Raises UadError about `name`.
    """
    x, y, z = (*header.shape[:3], 1)[:3]
    placement, coded = header.placement, header.placement.coded
    if placement.units not in MM:
        units = "1 for metres, 2 for mm, 3 for microns"
        raise UadError(f"{name}: unit {placement.units} of voxel sizes is unknown (set xyzt_units: {units})")
    if not coded and form != "pixdim":
        guess = "and with --geometry pixdim left and right are a guess"
        raise UadError(f"{name}: no affine: it does not say where its voxels lie, {guess} (set sform or qform first)")
    sound, wrong = dict[Form, Grid](), dict[Form, str]()
    for each in placement.said:
        try:
            sound[each] = _checked(Grid((x, y, z), placement.affine(each, (x, y, z)), placement))
        except ValueError as error:
            wrong[each] = str(error)
    asked = form in coded
    taken = form if form and asked else placement.said[0]
    if taken in wrong:
        other = next(iter(sound), None)
        what, advice = (taken, f"--geometry {other}") if other else ("affine", "set a valid sform or qform first")
        raise UadError(f"{name}: its {what} {wrong[taken]} ({advice})")
    concerns = [] if asked else _contradiction(sound, wrong, taken)
    return sound[taken], [*concerns, *_uncertain(sound[taken], coded)]


def provenance(raw: Bytes, order: str) -> dict[str, Any]:
    """Return what a uad tool wrote into the extensions, or nothing. raw: the bytes between header and voxels."""
    for code, content in _extensions(raw, order):
        if code == COMMENT:
            try:
                data = parse_json(content.rstrip(b"\0"))["uadtools"]
            except (ValueError, KeyError, TypeError):
                continue
            if isinstance(data, dict):
                return _well_formed(data)
    return {}


def role(intent: str, provenance: dict[str, Any]) -> str:
    """Return the role that intent_name states. Other programs write other things there: such an image is a scan."""
    base, channel = parted(intent)
    ours = base in ROLES or (provenance and base.isidentifier())
    return intent if ours and (not channel or channel.isalnum()) else "scan"


def _check_magic(fields: Any, name: str, *, single: bool) -> None:
    size = int(fields.sizeof_hdr)
    magic = fields["magic"].tobytes()[:3]
    if magic == _MAGIC[size, single]:
        return
    if magic == _MAGIC[size, True]:
        raise UadError(f"{name}: the header of an image in one file (give that file a name in .nii)")
    if magic == _MAGIC[size, False]:
        raise UadError(f"{name}: the header of an image in two files (give the name of its .hdr or .img)")
    raise UadError(
        f"{name}: not a NIfTI image, but perhaps Analyze 7.5, which has no orientation (convert it to NIfTI)"
    )


def _shape(fields: Any, name: str) -> tuple[int, ...]:
    axes = int(fields["dim"][0])
    if not 1 <= axes <= 7:
        raise damaged(name, f"an image of {axes} axes")
    try:
        shape = tuple(int(n) for n in fields.get_data_shape())
    except HeaderDataError as error:
        raise damaged(name, error) from None
    if axes == 1:
        raise damaged(name, f"{' x '.join(map(str, shape))} voxels where a volume has three axes")
    return shape


def _checked(grid: Grid) -> Grid:
    """Raise ValueError that says what is wrong with an affine."""
    linear = grid.affine[:3, :3]
    if not np.isfinite(grid.affine).all() or not abs(np.linalg.det(linear)) > 1e-6 * math.prod(grid.spacing):
        raise ValueError("is zero or singular")
    if grid.absurd and grid.placement:
        raise ValueError(f"makes no sense: {grid.absurd}{UNITS.get(grid.placement.units, '')}")
    return grid


def _contradiction(sound: dict[Form, Grid], wrong: dict[Form, str], taken: Form) -> list[Concern]:
    """Say how sform and qform contradict each other, where a header has both."""
    for form, reason in wrong.items():
        return [Concern("geometry", f"its {form} {reason}, so the {taken} was taken (--geometry {taken} says so)")]
    if len(sound) < 2:
        return []
    one, other = sound.values()
    assert other.placement
    if one.same(other, other.placement.rounding):
        return []
    mirrored = ", mirrored (left against right)" if np.linalg.det(one.affine) * np.linalg.det(other.affine) < 0 else ""
    far, advice = one.apart(other), "--geometry sform or qform says which is right"
    text = f"its sform and qform lie up to {far:.3g} mm apart{mirrored}, and the {taken} was taken ({advice})"
    return [Concern("geometry", text, round(far, 3))]


def _uncertain(grid: Grid, coded: list[Form]) -> list[Concern]:
    """Say what an affine leaves open."""
    concerns = []
    if not coded:
        concerns.append(Concern("orientation", "it has voxel sizes alone, so left and right are a guess"))
    if grid.shear > SHEAR:
        text = f"its axes are sheared by {grid.shear:.3g} degrees, which other programs may show in another way"
        concerns.append(Concern("sheared", text, round(grid.shear, 2)))
    return concerns


def _extensions(raw: Bytes, order: str) -> Iterator[tuple[int, Bytes]]:
    """Walk through the extensions; at a malformed one the walk ends, as nobody knows where the next begins."""
    at = 4 if raw[:1].strip(b"\0") else len(raw)
    while at + 8 <= len(raw):
        size, code = struct.unpack_from(f"{order}ii", raw, at)
        if size < 8 or at + size > len(raw):
            return
        yield code, raw[at + 8 : at + size]
        at += size


def _well_formed(data: dict[str, Any]) -> dict[str, Any]:
    """Drop what is not as uad tools write it, so that no reader has to ask."""
    known = _fitting(data, _PROVENANCE)
    lines = known.pop("history", None)
    if lines is not None and all(isinstance(line, dict) for line in lines):
        known["history"] = [_fitting(line, _LINE) for line in lines]
    return known


def _fitting(table: dict[str, Any], kinds: Mapping[str, type]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if isinstance(value, kinds.get(key, object))}


def damaged(name: str, what: object, kind: str = "NIfTI") -> UadError:
    return UadError(f"{name}: damaged {kind} header: {' '.join(str(what).split())} (get the file again)")
