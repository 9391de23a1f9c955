"""What is to be done to raw scans, and what of that provenance tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from uadtools.anatomy.brain import PROGRAMS, is_stripped
from uadtools.models.config import GridConfig, IntensityConfig
from uadtools.volume.io import Image
from uadtools.volume.reading import AS_IT_IS, Reading

StepName = Literal["brain", "bias", "register"]
ORDER: tuple[StepName, ...] = get_args(StepName)
BRAIN_EXTRACTORS = ("auto", "none", "deepbet", *PROGRAMS)


@dataclass(frozen=True)
class Preparation:
    """How scans are prepared.

    grid, intensity: what the model works on. brain: a mask on the scan's grid, "none" (everything that is not
    background is brain), "deepbet", "hd-bet", "synthstrip", or "auto" (none for a scan that is stripped already, else
    deepbet, which is for T1 scans of adults). bias_correct: N4. register: the template to bring the brain onto, or
    None; template_name: what it is called in the provenance. order: of the steps that are asked for. quantiles: the
    intensities inside the brain are given this distribution at the end (a model's `quantiles`); none: they are not.
    seed: of the registration. reading: how the scan's file is read. channels: other contrasts of the same person, by
    name, which are brought onto the scan's grid where they lie in its world; align: registered to the scan first.
    """

    grid: GridConfig = field(default_factory=GridConfig)
    intensity: IntensityConfig = field(default_factory=IntensityConfig)
    brain: Image | str = "auto"
    bias_correct: bool = False
    register: Image | None = None
    template_name: str = "file"
    order: tuple[StepName, ...] = ORDER
    quantiles: tuple[float, ...] = ()
    seed: int = 0
    reading: Reading = AS_IT_IS
    channels: Mapping[str, Image] = field(default_factory=dict)
    align: bool = False

    @property
    def steps(self) -> tuple[StepName, ...]:
        """The order, in which the brain comes first where it is to lie on a template that is nothing but a brain."""
        if self.register and is_stripped(self.register.data, self.register.grid):
            return ("brain", *(step for step in self.order if step != "brain"))
        return self.order

    @property
    def arguments(self) -> dict[str, Any]:
        """What goes into the provenance: everything that changes a voxel."""
        return {
            "grid": self.grid.model_dump(mode="json"),
            "intensity": self.intensity.model_dump(mode="json"),
            "brain": self.brain if isinstance(self.brain, str) else "file",
            "bias_correct": self.bias_correct,
            "register": self.template_name if self.register else None,
            "order": list(self.steps),
            "match_histogram": bool(self.quantiles),
            "seed": self.seed if self.register or self.align else None,
            **({"channels": list(self.channels), "align": self.align} if self.channels else {}),
            **self.reading.arguments,
        }
