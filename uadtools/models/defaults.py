"""How a model is used when the user says nothing, and what it knows of healthy scans. No torch here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from uadtools.settings import Config, Count, Deviation, PositiveFloat, PositiveInt


class ChainConfig(Config):
    """The steps between score and detection that suit a model; by default those of pDDPM and cDDPM."""

    median: Count = 5
    smooth: Deviation = 0.0
    erode: Annotated[int, Field(ge=0, le=256)] = 3
    min_size: Annotated[int, Field(ge=0)] = 7


class DefaultsConfig(Config):
    """How this model is used when the user says nothing: the method, its t (none: the method's own) and its draws.

    metric: of the score; chain: of the detection; thresholds: of detection on that score after that chain, by the way
    of healing they were found for: "sss 300"; "sss 300,400" for the mean of two; "sss 300 x4" for the mean of four
    draws; "ae" for a method without noise; with " dark" or " bright" behind for scores of one sign, which else have the
    same. floors: by the same names, the noise floor that 19 in 20 healthy scans' scores stay under.
    """

    method: str = ""
    t: tuple[Annotated[int, Field(ge=0)], ...] = ()
    samples: PositiveInt = 1
    metric: Literal["l1", "product", "relative", "anomaly"] = "l1"
    chain: ChainConfig = ChainConfig()
    thresholds: dict[str, PositiveFloat] = Field(default_factory=dict)
    floors: dict[str, PositiveFloat] = Field(default_factory=dict)


class ReferenceConfig(Config):
    """From how many healthy scans a model knows how far healed ones are from them, at each place of its grid.

    smooth: deviation in voxels of the Gaussian over which places share what they have. contrasts: those that it knows
    by scans of their own, with how many these were.
    """

    scans: PositiveInt
    smooth: PositiveFloat
    contrasts: dict[str, PositiveInt] = Field(default_factory=dict)
