"""The settings of noise. No torch here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from uadtools.settings import Config, Count, PositiveFloat


class NoiseConfig(Config):
    """gaussian; simplex with its octaves; pyramid, Gaussian noise of several scales; poisson or speckle.

    scale: of simplex noise, raw (as published) or unit variance per field. levels, discount: of a pyramid, how many
    scales at most, and what each weighs of the one before. photons, looks: the mean count of poisson, and how many
    images speckle is the mean of.
    """

    kind: Literal["gaussian", "simplex", "pyramid", "poisson", "speckle"] = "simplex"
    octaves: Count = 6
    persistence: PositiveFloat = 0.8
    frequency: PositiveFloat = 2.0**-6
    scale: Literal["raw", "unit"] = "raw"
    levels: Count = 10
    discount: Annotated[float, Field(gt=0, le=1)] = 0.8
    photons: Annotated[float, Field(ge=0.01, le=1e6)] = 4.0
    looks: Annotated[float, Field(ge=0.01, le=1e6)] = 1.0
