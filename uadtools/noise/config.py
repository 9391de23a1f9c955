"""The settings of noise. No torch here."""

from __future__ import annotations

from typing import Literal

from uadtools.settings import Config, Count, PositiveFloat


class NoiseConfig(Config):
    """gaussian, or simplex with its octaves; scale: raw (as published) or unit variance per field."""

    kind: Literal["gaussian", "simplex"] = "simplex"
    octaves: Count = 6
    persistence: PositiveFloat = 0.8
    frequency: PositiveFloat = 2.0**-6
    scale: Literal["raw", "unit"] = "raw"
