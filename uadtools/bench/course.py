"""How the model of a method is trained in a comparison: by which recipe, on which scans, for how many steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from uadtools.bench.data import Scans, stamp
from uadtools.bench.plan import MethodConfig
from uadtools.bench.stored import StoredPace, StoredTraining, key, read_stored
from uadtools.errors import UadError
from uadtools.files import is_name, read_rows, write_json
from uadtools.interface.recipe import Recipe
from uadtools.models.config import ModelConfig
from uadtools.models.model import pick_device
from uadtools.training.loop import Progress
from uadtools.training.recipe import load_recipe
from uadtools.training.train import train

MEASURED, BEFORE, SCANS, SECONDS = 12, 2, 4, 120
"""Steps that are taken to measure how long one takes, those of them that do not count, the scans they are taken on, and
how long that lasts at most.
"""


@dataclass(frozen=True)
class Course:
    """The training of a method's recipe on the scans of a fold. out: the comparison's folder; the rest as in Bench."""

    method: MethodConfig
    scans: Scans
    out: Path
    device: str
    precision: str

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe, of as many steps as fit into the method's minutes, if it has these. Raises UadError."""
        recipe = self._named
        if self.method.minutes is None:
            return recipe
        steps = self.fitting(self.pace)
        training = recipe.training.model_copy(update={"steps": steps})
        rate = recipe.optimiser
        falling = {"warmup": min(rate.warmup, steps // 10), "decay": min(rate.decay, steps // 3)}
        optimiser = rate.model_copy(update=falling)
        return recipe.model_copy(update={"training": training, "optimiser": optimiser})

    def fitting(self, pace: float) -> int:
        """Return how many steps are taken if one takes so many seconds."""
        if self.method.minutes is None:
            return self._named.training.steps
        return max(1, round(60 * self.method.minutes / pace))

    @property
    def is_paced(self) -> bool:
        """Tell whether the number of steps is known: it is, or follows from a measurement that was kept."""
        return self.method.minutes is None or self._pace_path.exists()

    @cached_property
    def _named(self) -> Recipe:
        """The recipe as the plan names it."""
        assert self.method.recipe
        recipe = load_recipe(self.method.recipe, self.method.changes)
        if not is_name(recipe.name):
            raise UadError(f"{self.method.recipe}: its name, {recipe.name!r}, cannot be that of a file (change it)")
        if recipe.LABELLED and not self.scans.config.data.labels:
            raise UadError(f"recipe {recipe.name} learns from masks of lesions (name them as data.labels)")
        return recipe

    @property
    def settings(self) -> ModelConfig:
        """The settings of the model, of which nothing need be trained."""
        return self._named.model({})

    @cached_property
    def masks(self) -> dict[str, Any]:
        return self.scans.masks() if self._named.LABELLED else {}

    @property
    def pace(self) -> float:
        """Seconds that a step takes here, as measured once for all folds and kept, so that all take as many steps."""
        path = self._pace_path
        if not path.exists():
            measured = self.measured()
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(UadError):  # another machine was faster
                write_json(path, {"seconds_per_step": measured}, force=False)
        return float(read_stored(StoredPace, path)["seconds_per_step"])

    @property
    def known_pace(self) -> float | None:
        """The seconds that a step took in this training, by its log, or when it was measured; none: nobody knows."""
        if self.is_paced:
            rows = read_rows(self.path.with_suffix(".csv")) if self.path.with_suffix(".csv").exists() else []
            if rows:
                return 60 * minutes_of(rows) / int(rows[-1]["step"])
        return float(read_stored(StoredPace, self._pace_path)["seconds_per_step"]) if self._pace_path.exists() else None

    @property
    def _pace_path(self) -> Path:
        about = [self._named.model_dump(mode="json"), self.device, self.precision]
        return self.out / "paces" / f"{self._named.name}-{key(about)}.json"

    def measured(self) -> float:
        """Take a few steps on a few scans, and return the median of the seconds they took; nothing is kept.

        On a CPU these are of processor time, over the threads, so that it does not matter who else computes there.
        """
        import torch

        alone = pick_device(self.device).type == "cpu"

        def now() -> float:
            return time.process_time() / torch.get_num_threads() if alone else time.perf_counter()

        short = {"steps": MEASURED, "log_every": 1}
        training = self._named.training.model_copy(update=short)
        files = self.scans.learnt
        ends = [now()]
        with TemporaryDirectory() as folder:
            train(
                files if self.masks else files[:SCANS],
                Path(folder) / "measured.safetensors",
                self._named.model_copy(update={"training": training}),
                validation=self.scans.tuned if self.masks else (),
                **self.masks,
                seconds=SECONDS,
                device=self.device,
                precision=self.precision,
                watch=lambda progress: ends.append(now()),
            )
        took = [after - before for before, after in pairwise(ends)]
        if not took:
            raise UadError(f"{self.method.name}: not one step fits into {SECONDS} s (give training.steps, not minutes)")
        return median(took[BEFORE:] or took[-1:])

    @cached_property
    def path(self) -> Path:
        """The file of the model; what decides its weights decides its name."""
        data = [[stamp(file) for file in files] for files in (self.scans.learnt, self.scans.tuned)]
        about = [self.recipe.model_dump(mode="json"), data, self.scans.config.seed]
        about += [[{**self.masks, "labels": [stamp(f) for f in self.masks["labels"]]}]] if self.masks else []
        return self.out / "models" / f"{self.recipe.name}-{key(about)}.safetensors"

    @property
    def _done(self) -> Path:
        return self.path.with_suffix(".json")

    @property
    def is_done(self) -> bool:
        return self._done.exists()

    @property
    def steps_taken(self) -> int:
        """How far it is: all steps, or those of the state it would go on from."""
        log = self.path.with_suffix(".csv")
        if self.is_done:
            return self.recipe.training.steps
        return int((read_rows(log) or [{"step": "0"}])[-1]["step"]) if self._state.exists() and log.exists() else 0

    @property
    def _state(self) -> Path:
        return self.path.with_suffix(".resume.safetensors")

    def trained(self, tell: Callable[[str], None], watch: Callable[[Progress, int], None]) -> Path:
        """Train the recipe, go on with it, or find it trained already; returns the model's file. Raises UadError."""
        recipe, path = self.recipe, self.path
        if not self.is_done:
            tell(f"{self.method.name}: training {recipe.name}, {recipe.training.steps:,} steps ({path})")
            path.parent.mkdir(parents=True, exist_ok=True)
            summary = train(
                self.scans.learnt,
                path,
                recipe,
                validation=self.scans.tuned,
                **self.masks,
                seed=self.scans.config.seed,
                resume=self._state.exists(),
                force=True,
                device=self.device,
                precision=self.precision,
                watch=lambda progress: watch(progress, recipe.training.steps),
            )
            known = {**summary, "minutes": minutes_of(read_rows(Path(summary["log"])))}
            write_json(self._done, {name: known[name] for name in StoredTraining.model_fields}, force=True)
        return path

    @property
    def summary(self) -> dict[str, Any]:
        """What is to be said of how the model was trained."""
        summary = read_stored(StoredTraining, self._done)
        return {name: summary[name] for name in StoredTraining.model_fields}


def minutes_of(log: list[dict[str, str]]) -> float:
    """Return how long all steps of a training log took, those before a stop as well."""
    rows = [(int(row["step"]), float(row["seconds_per_step"])) for row in log]
    ends = [0, *(step for step, _ in rows)]
    return sum((step - before) * seconds for before, (step, seconds) in zip(ends, rows, strict=False)) / 60
