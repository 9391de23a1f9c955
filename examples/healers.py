"""Models and methods as they are named on the command line. Used by real_patients.py and false_alarms.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import uadtools
from uadtools.errors import UadError
from uadtools.models.checkpoint import file_hash, located
from uadtools.models.model import Model
from uadtools.pipeline.plan import Plan, plan
from uadtools.pipeline.preprocess import Way
from uadtools.pipeline.score import NEEDED, Metric
from uadtools.volume.stream import Study

BASELINES = ("threshold", "blur")
"""Methods that are named without a model."""


@dataclass(frozen=True)
class Healer:
    """A way to heal: a model and how it is used, or a method that needs no model. hash: of the model's file."""

    name: str
    model: Model | None
    how: Plan
    hash: str = ""

    @classmethod
    def of(cls, text: str) -> Healer:
        """Understand MODEL, MODEL:METHOD (MODEL is a file or "bundled"), threshold or blur. Raises UadError."""
        if text in BASELINES:
            return cls(text, None, plan(method=text))
        file, _, method = text.partition(":")
        path = located(None if file == "bundled" else Path(file))
        model = uadtools.load_model(path)
        how = plan(model.config, method=method or None)
        return cls(f"{model.config.name}, {how.way}", model, how, file_hash(path))

    @property
    def way(self) -> Way:
        """How scans are prepared for it."""
        return Way(grid=self.model.config.grid, intensity=self.model.config.intensity) if self.model else Way()

    def heal(self, study: Study, seed: int = 0) -> Study:
        return uadtools.heal(study, self.model, self.how, seed=seed)

    @property
    def about(self) -> dict[str, object]:
        """What is to be reported of it."""
        return {"name": self.name, "model": self.hash, **self.how.arguments}


def metrics(healed: Study, chosen: tuple[str, ...] = ()) -> list[Metric]:
    """Name the metrics to score by: those chosen, else l1, product and relative, as far as there are maps for them.

    Raises UadError for one that there is not.
    """
    known: tuple[Metric, ...] = get_args(Metric)
    if unknown := set(chosen) - set(known):
        raise UadError(f"--metric {min(unknown)}: there are {', '.join(known)}")
    wanted = chosen or ("l1", "product", "relative")
    return [m for m in known if m in wanted and NEEDED.get(m, "healed") in healed.images]
