"""The images that a model takes: their grid and their intensities. No torch here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from uadtools.grids.grid import MOST_VOXELS
from uadtools.settings import Config, PositiveFloat, PositiveInt

if TYPE_CHECKING:
    from uadtools.grids.grid import Grid


class GridConfig(Config):
    """The grid a model works on: voxels and their size in mm; slices are axial, and axes run to RAS.

    A grid of one slice is that of a 2-D model: it takes any number of slices, of any thickness, one by one, turned as
    pictures are (LPS: from the front of the head down, the patient's right side on the left).
    """

    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (96, 96, 96)
    spacing: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (2.0, 2.0, 2.0)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if math.prod(self.shape) > MOST_VOXELS:
            raise ValueError(f"shape = {self.shape}: more than {MOST_VOXELS:,} voxels")
        return self

    @property
    def flat(self) -> bool:
        return self.shape[2] == 1

    @property
    def orientation(self) -> str:
        return "LPS" if self.flat else "RAS"

    def misfit(self, grid: Grid) -> bool:
        """Tell whether an image on this grid has to be brought to the model's first."""
        axes = 2 if self.flat else 3
        off = max(abs(there - here) for there, here in list(zip(grid.spacing, self.spacing, strict=True))[:axes])
        return bool(grid.shape[:axes] != self.shape[:axes] or off > 0.01 or grid.orientation != self.orientation)

    def __str__(self) -> str:
        shape = "x".join(map(str, self.shape[:2] if self.flat else self.shape))
        return f"{shape} voxels of {' x '.join(f'{s:g}' for s in self.spacing)} mm, {self.orientation}"


class IntensityConfig(Config):
    """How raw intensities become [0, 1].

    percentile: low and high inside the brain; zscore: 3 standard deviations around the mean inside the brain; ct: a
    window of Hounsfield units, from center - width / 2 to center + width / 2; none: they already are in [0, 1].
    """

    kind: Literal["percentile", "zscore", "ct", "none"] = "percentile"
    low: Annotated[float, Field(ge=0, le=100)] = 1.0
    high: Annotated[float, Field(ge=0, le=100)] = 99.0
    center: float = 40.0
    width: PositiveFloat = 80.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low = {self.low} must be below high = {self.high}")
        return self

    def __str__(self) -> str:
        limits = {"percentile": f":{self.low:g},{self.high:g}", "ct": f":{self.center:g},{self.width:g}"}
        return self.kind + limits.get(self.kind, "")
