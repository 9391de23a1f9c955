"""What a NIfTI header says of where its voxels lie: read in mm, and written back as it was."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.quaternions import fillpositive, quat2mat
from numpy.typing import NDArray

Form = Literal["sform", "qform", "pixdim"]
"""How a header says where voxels lie; pixdim: their sizes alone, so that left and right are a guess."""


MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres in NIfTI's units of length: none said, metre, millimetre, micron."""
UNITS = {1: ", converted from metres", 3: ", converted from microns"}
_LENGTHS = {"pixdim": 4, "quatern": 3, "offset": 3, "srow": 12}
_FLIPPED_X = np.diag([-1.0, 1.0, 1.0, 1.0])
LAST_CODE = 5
"""Of qform_code and sform_code in NIfTI: another template."""


@dataclass(frozen=True)
class Placement:
    """Fields of a header as they are in the file.

    codes: of sform and qform, 0 where there is none; pixdim: qfac and three voxel sizes; quatern: b, c, d; offset: the
    qform's x, y, z; srow: the sform's three rows; units: of length, NIfTI's code.
    """

    sform_code: int
    qform_code: int
    pixdim: tuple[float, ...]
    quatern: tuple[float, ...]
    offset: tuple[float, ...]
    srow: tuple[float, ...]
    units: int

    @classmethod
    def of(cls, fields: Any) -> Placement:
        """Take them from a header of nibabel's, before it mends any."""
        return cls(
            int(fields["sform_code"]),
            int(fields["qform_code"]),
            tuple(fields["pixdim"][:4].tolist()),
            tuple(float(fields[f"quatern_{axis}"]) for axis in "bcd"),
            tuple(float(fields[f"qoffset_{axis}"]) for axis in "xyz"),
            tuple(float(number) for axis in "xyz" for number in fields[f"srow_{axis}"]),
            int(fields["xyzt_units"]) & 7,
        )

    def write(self, fields: Any) -> None:
        """Put them into a header of nibabel's."""
        fields["sform_code"], fields["qform_code"] = self.sform_code, self.qform_code
        fields["pixdim"][:4] = self.pixdim
        for axis, number in zip("bcd", self.quatern, strict=True):
            fields[f"quatern_{axis}"] = number
        for axis, number, row in zip("xyz", self.offset, np.reshape(self.srow, (3, 4)), strict=True):
            fields[f"qoffset_{axis}"], fields[f"srow_{axis}"] = number, row
        fields["xyzt_units"] = self.units

    def to_json(self) -> dict[str, Any]:
        return {key: [*map(_as_json, v)] if isinstance(v, tuple) else v for key, v in asdict(self).items()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Placement:
        """Raises KeyError, OverflowError, TypeError or ValueError when data are not from to_json."""
        codes = [int(data[key]) for key in ("sform_code", "qform_code", "units")]
        numbers = [np.array([float(number) for number in data[key]]) for key in _LENGTHS]
        if any(not -(2**15) <= code < 2**15 for code in codes) or codes[2] not in MM:
            raise ValueError("codes that no header has")
        if any(held.shape != (length,) for held, length in zip(numbers, _LENGTHS.values(), strict=True)):
            raise ValueError("fields of other lengths")
        pixdim, quatern, offset, srow = (tuple(held.tolist()) for held in numbers)
        return cls(codes[0], codes[1], pixdim, quatern, offset, srow, codes[2])

    @property
    def coded(self) -> list[Form]:
        """The forms that the header has, the one that goes before the other first; a code that NIfTI lacks is none."""
        codes: dict[Form, int] = {"sform": self.sform_code, "qform": self.qform_code}
        return [form for form, code in codes.items() if 0 < code <= LAST_CODE]

    @property
    def said(self) -> list[Form]:
        """The coded forms, or what remains without any."""
        return self.coded or ["pixdim"]

    def affine(self, form: Form, shape: tuple[int, int, int]) -> NDArray[np.float64]:
        """Return what a form says, (4, 4), from voxel indices to RAS mm.

        shape: of the volume, whose middle is at 0 where nothing else is said. Raises ValueError that says what is wrong
        with it.
        """
        affine = np.eye(4)
        sizes, handedness = np.abs(self.pixdim[1:]), -1 if self.pixdim[0] < 0 else 1
        if form == "sform":
            affine[:3] = np.reshape(self.srow, (3, 4))
        elif not (np.isfinite(sizes).all() and sizes.all()):
            shown = " x ".join(f"{size:.3g}" for size in self.pixdim[1:])
            raise ValueError(f"makes no sense: voxels of {shown}")
        elif form == "qform":
            affine[:3, :3] = quat2mat(self._quaternion()) @ np.diag([*sizes[:2], sizes[2] * handedness])
            affine[:3, 3] = self.offset
        else:
            affine[:3, :3] = np.diag(sizes)
            affine[:3, 3] = -sizes * (np.array(shape) - 1) / 2
            affine = _FLIPPED_X @ affine
        affine[:3] *= MM[self.units]
        return affine

    @property
    def rounding(self) -> float:
        """By how many radians the qform may be turned, because its quaternion is kept in 32 bits.

        The a that is computed from b, c and d is unsure where it is small, as in scans that run to left or posterior.
        """
        unsure, a = Nifti1Header.quaternion_threshold, self._quaternion()[0]
        return float(2 * unsure / max(a, np.sqrt(unsure)))

    def _quaternion(self) -> NDArray[np.float64]:
        """Return a, b, c, d. Raises ValueError where b, c and d are longer than 1."""
        if not np.isfinite(self.quatern).all():
            raise ValueError("makes no sense: its quaternion is no number")
        try:
            return np.asarray(fillpositive(self.quatern, Nifti1Header.quaternion_threshold), dtype=np.float64)
        except ValueError as error:
            raise ValueError(f"makes no sense: {error}") from None


def _as_json(number: float) -> float | str:
    """JSON has no word for what a header may hold in the form that is not taken."""
    return number if np.isfinite(number) else str(number)
