"""What uad-simulate draws: the kinds, their options and what these may be."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from uadtools.errors import Misuse, UadError
from uadtools.simulation import acquisition, glioma, lesions, sprites
from uadtools.simulation.acquisition import Interpolation
from uadtools.simulation.lesions import Box, Tone
from uadtools.volume.io import Image

SimulationKind = Literal[
    "blobs", "masks", "cavities", "sprites", "coarse", "motion", "ghost", "bias", "contrast", "blur", "thick", "shift",
    "glioma", "crop",
]  # fmt: skip
TONED: tuple[SimulationKind, ...] = ("blobs", "masks", "glioma")
MASKED: tuple[SimulationKind, ...] = ("masks", "cavities")
BOXES: dict[str, Box] = {"ms": lesions.MASKS_BOX, "mni152": lesions.MNI152_BOX}
"""By name: the tissue of the brains that masks were drawn on."""
LEVELS: dict[SimulationKind, float] = {"contrast": 2.0, "blur": 1.0, "thick": 3.0, "shift": 0.5, "crop": 20.0}
"""What `level` is where none is given: a power, mm, mm, voxels, and mm."""
SMALLEST_SPRITE = 3
"""In pixels; some that are smaller would cover no pixel by half, and have no truth."""
MOST_BLOBS, STRONGEST, MOST_CROPPED = 100, 10, 100
"""MOST_CROPPED: in mm."""


@dataclass(frozen=True)
class Simulation:
    """What to draw into a scan.

    tone: of blobs, masks and glioma. size: smallest and largest diameter, of blobs and of a whole glioma in mm, of
    sprites in pixels; None: the protocol's. count: fewest and most blobs. masks: by name, those that one is drawn from;
    masks_box: see `box`.
    strength: of coarse noise and artefacts; 1 is the publication's. level: of contrast, the power that intensities are
    raised to; of blur, thick and crop in mm, of shift in voxels; None: that of LEVELS. interpolation: of shift.
    """

    kind: SimulationKind
    tone: Tone = "dark"
    size: tuple[float, float] | None = None
    count: tuple[int, int] = lesions.BLOBS
    masks: Mapping[str, Image] = field(default_factory=dict)
    masks_box: str | tuple[float, ...] | None = None
    strength: float = 1.0
    level: float | None = None
    interpolation: Interpolation = "linear"

    @property
    def diameters(self) -> tuple[float, float]:
        own = {"sprites": sprites.DIAMETERS, "glioma": glioma.DIAMETERS}
        return self.size or own.get(self.kind, lesions.DIAMETERS)

    @property
    def degree(self) -> float:
        return LEVELS.get(self.kind, 1.0) if self.level is None else self.level

    @property
    def box(self) -> Box:
        """The tissue box (see `lesions.tissue_box`) of the brains that the masks were drawn on, mm.

        By default that of the MS masks of Lesjak et al. 2018, for cavities the MNI152 template's. Raises UadError.
        """
        box = self.masks_box or ("mni152" if self.kind == "cavities" else "ms")
        if isinstance(box, str):
            if box not in BOXES:
                raise UadError(
                    f"--masks-box {box}: there are {', '.join(BOXES)}, or XMIN,YMIN,ZMIN,XMAX,YMAX,ZMAX in mm"
                )
            return BOXES[box]
        ends = np.array(box, dtype=float)
        if ends.shape != (6,) or not np.isfinite(ends).all() or not (ends[:3] < ends[3:]).all():
            listed = ",".join(f"{end:g}" for end in box)
            raise UadError(
                f"--masks-box {listed}: XMIN,YMIN,ZMIN,XMAX,YMAX,ZMAX in mm are needed, each MIN below its MAX"
            )
        return ends.reshape(2, 3)

    @property
    def key(self) -> str:
        """What the random generator is chosen by."""
        return f"{self.tone} {self.kind}" if self.kind in TONED else self.kind

    @property
    def arguments(self) -> dict[str, Any]:
        """What goes into the provenance: everything that has an effect on this kind."""
        by_kind: dict[SimulationKind, dict[str, Any]] = {
            "blobs": {"tone": self.tone, "size": list(self.diameters), "count": list(self.count)},
            "masks": {"tone": self.tone, "masks": list(self.masks), "masks_box": self.box.ravel().tolist()},
            "cavities": {"masks": list(self.masks), "masks_box": self.box.ravel().tolist()},
            "sprites": {"size": list(self.diameters)},
            "glioma": {"tone": self.tone, "size": list(self.diameters)},
            "shift": {"level": self.degree, "interpolation": self.interpolation},
            **{kind: {"level": self.degree} for kind in LEVELS if kind != "shift"},
        }
        return {"kind": self.kind, **by_kind.get(self.kind, {"strength": self.strength})}

    def __post_init__(self) -> None:
        for name, value, choice in (("kind", self.kind, SimulationKind), ("tone", self.tone, Tone)):
            if value not in get_args(choice):
                raise UadError(f"--{name} {value}: there are {', '.join(get_args(choice))}")
        (small, large), (fewest, most) = self.diameters, self.count
        if not 0 < small <= large < math.inf:
            raise UadError(f"--size {small:g},{large:g}: the smallest and the largest diameter are needed, above 0")
        if self.kind == "sprites" and small < SMALLEST_SPRITE:
            raise UadError(f"--size {small:g},{large:g}: no sprite is smaller than {SMALLEST_SPRITE} pixels")
        if not 1 <= fewest <= most <= MOST_BLOBS:
            raise UadError(f"--count {fewest},{most}: the fewest and the most are needed, 1 to {MOST_BLOBS}")
        if not 0 <= self.strength <= STRONGEST:
            raise UadError(f"--strength {self.strength:g}: 0 to {STRONGEST}")
        most = MOST_CROPPED if self.kind == "crop" else STRONGEST
        if not 0 < self.degree <= most:
            raise UadError(f"--level {self.degree:g}: above 0, to {most}")
        if self.interpolation not in acquisition.ORDERS:
            raise UadError(f"--interpolation {self.interpolation}: there are {', '.join(acquisition.ORDERS)}")
        _ = self.box


def require_masks(kind: SimulationKind, masks: Collection[Any]) -> None:
    """Raise Misuse where a kind draws from masks and there are none."""
    if kind in MASKED and not masks:
        raise Misuse(f"--kind: {kind} needs lesion masks to draw from (--masks DIR|FILE...)")
