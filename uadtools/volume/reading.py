"""How a file is to be read, where that is open: what users choose with --volume, --geometry, --nan and --series."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import Misuse, UadError
from uadtools.grids.placement import Form
from uadtools.volume.background import surrounding_nan_filled


@dataclass(frozen=True)
class Reading:
    """How to read what a file leaves open.

    volume: which one of a 4-D image; geometry: which form is right where a header has several, or none; nan: what NaN
    in a scan become; surrounded: NaN around a scan become background, which is for raw scans; series: which of a folder
    of DICOM, by its number, UID or description. Raises Misuse for a nan that is no number.
    """

    volume: int | None = None
    geometry: Form | None = None
    nan: float | None = None
    surrounded: bool = False
    series: str | None = None

    def __post_init__(self) -> None:
        if self.nan is not None and not math.isfinite(self.nan):
            raise Misuse(f"--nan: {self.nan}: a number is expected, such as 0")

    @property
    def beside(self) -> Reading:
        """How to read another image of the same scan, such as its mask."""
        return Reading(geometry=self.geometry)

    @property
    def arguments(self) -> dict[str, Any]:
        """What goes into the provenance; of a series its number alone, as its other names may tell of a patient."""
        number = self.series if self.series and self.series.isdecimal() else None
        chosen = {"geometry": self.geometry, "nan": self.nan, "series": number}
        return {"volume": self.volume} | {key: value for key, value in chosen.items() if value is not None}

    def numbers(self, data: NDArray[Any], role: str, name: str) -> NDArray[Any]:
        """Give NaN in a scan the values that they are to have. Raises UadError for others, and for infinity."""
        if data.dtype.kind != "f":
            return data
        if np.isfinite(data).all():
            if data.itemsize > 4 and data.size and (most := np.abs(data).max()) > np.finfo(np.float32).max:
                raise UadError(f"{name}: holds {most:.3g}, more than 32 bits have (make its numbers smaller first)")
            return data
        if role == "scan" and self.nan is not None:
            data = np.where(np.isnan(data), np.asarray(self.nan, data.dtype), data)
        elif role == "scan" and self.surrounded:
            data = surrounding_nan_filled(data)
            if strange := int(np.isnan(data).sum()):
                raise UadError(f"{name}: {strange:,} voxels inside of the scan are NaN (--nan 0 makes them 0)")
        if strange := int(data.size - np.isfinite(data).sum()):
            raise UadError(f"{name}: {strange:,} voxels are NaN or infinite (replace them first)")
        return data


AS_IT_IS = Reading()
