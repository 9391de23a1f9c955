"""What real_patients.py and false_alarms.py share: models and methods as they are named, and figures in a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

import uadtools
from uadtools.errors import UadError
from uadtools.files import write_json, written
from uadtools.healing.choice import alternatives, suited
from uadtools.healing.plan import Plan, plan
from uadtools.models.checkpoint import file_hash, located
from uadtools.models.model import Model
from uadtools.preparing.preparation import Preparation
from uadtools.scoring.score import NEEDED, Metric
from uadtools.volume.stream import Study

BASELINES = ("threshold", "blur")
"""Methods that are named without a model."""
USUAL: tuple[Metric, ...] = ("l1", "product", "relative", "anomaly")
"""Metrics to score by where none is named."""
Metrics = Annotated[
    list[str] | None,
    typer.Option(help=f"Repeatable; default: {', '.join(USUAL)}. One that there are no maps for is left out."),
]


@dataclass(frozen=True)
class Healer:
    """A way to heal: a model and how it is used, or a method that needs no model.

    hash: of the model's file; others: models beside this one, of which each scan gets the one that suits it.
    """

    name: str
    model: Model | None
    how: Plan
    hash: str = ""
    others: tuple[Healer, ...] = ()

    @classmethod
    def of(cls, text: str) -> Healer:
        """Understand MODEL, MODEL:METHOD, threshold or blur. Raises UadError.

        MODEL is a file, a bundled model's name, or "bundled": for each scan that which uad-heal would take.
        """
        if text in BASELINES:
            return cls(text, None, plan(method=text))
        file, _, method = text.partition(":")
        if file == "bundled":
            first, *others = (cls.of(f"{path}:{method}") for path in alternatives(method or None))
            return replace(first, name=f"bundled, {first.how.threshold_key}", others=tuple(others))
        path = located(Path(file))
        model = uadtools.load_model(path)
        how = plan(model.config, method=method or None)
        return cls(f"{path.stem}, {how.threshold_key}", model, how, file_hash(path))

    @property
    def preparation(self) -> Preparation:
        """How scans are prepared for it."""
        return (
            Preparation(grid=self.model.config.grid, intensity=self.model.config.intensity)
            if self.model
            else Preparation()
        )

    def heal(self, study: Study, seed: int = 0) -> Study:
        healers = (self, *self.others)
        configs = [healer.model.config for healer in healers if healer.model]
        fits = healers[suited(study, configs)]
        return uadtools.heal(study, fits.model, fits.how, seed=seed)

    @property
    def about(self) -> dict[str, object]:
        """What is to be reported of it."""
        others = {"others": [other.about for other in self.others]} if self.others else {}
        return {"name": self.name, "model": self.hash, **self.how.arguments, **others}


def metrics(healed: Study, chosen: tuple[str, ...] = ()) -> list[Metric]:
    """Name the metrics to score by: those chosen, else the usual ones, as far as there are maps for them.

    Raises UadError for a name that is no metric's.
    """
    known: tuple[Metric, ...] = get_args(Metric)
    if unknown := set(chosen) - set(known):
        raise UadError(f"--metric {min(unknown)}: there are {', '.join(known)}")
    return [m for m in known if m in (chosen or USUAL) and NEEDED.get(m, "healed") in healed.images]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table in Markdown."""
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *rows))


def report(
    text: str, figures: dict[str, Any], json_file: Path | None, markdown_file: Path | None, *, force: bool
) -> None:
    """Print a table, and write the figures and the table to the files that are named."""
    print(text, end="")
    if json_file:
        write_json(json_file, figures, force=force)
    if markdown_file:
        with written(markdown_file, force=force) as part:
            part.write_text(text)
