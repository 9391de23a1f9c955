"""uad-bench: methods compared on the same scans, with the same post-processing and thresholds from validation only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from uadtools import __version__
from uadtools.bench.case import Ready, likeness
from uadtools.bench.data import Item, Scans, key, singles, slice_by_slice, stamp
from uadtools.bench.plan import BenchConfig, MethodConfig, SetConfig
from uadtools.bench.stored import StoredReport, StoredScore, StoredTraining, read_stored
from uadtools.bench.summary import compared, figures_of
from uadtools.bench.table import WRITERS, SetTable, Table
from uadtools.concerns import read_concerns, tell_concerns, told, united
from uadtools.errors import UadError
from uadtools.evaluation.evaluate import Wanted, judge
from uadtools.evaluation.reports import Row
from uadtools.files import is_name, read_rows, write_json, written
from uadtools.healing.choice import bundled_for
from uadtools.healing.heal import heal
from uadtools.healing.plan import plan
from uadtools.models.checkpoint import file_hash, located, read_config
from uadtools.models.model import Model, load_model
from uadtools.scoring.case_scores import BOUNDS, mean_bounds
from uadtools.scoring.score import score
from uadtools.training.loop import Progress
from uadtools.training.recipe import load_recipe
from uadtools.training.train import train
from uadtools.volume.io import Image, save
from uadtools.volume.stream import Study, concerns_of, read_image, record


@dataclass(frozen=True)
class Bench:
    """A comparison on one machine. base: the folder that sources are relative to; out: where everything is kept."""

    config: BenchConfig
    base: Path
    out: Path
    device: str = "auto"
    precision: str = "auto"
    batch: int = 0
    tell: Callable[[str], None] = lambda text: None
    watch: Callable[[Progress, int], None] = lambda progress, steps: None

    def run(self) -> Table:
        """Do what is not done yet; return the table, ready for JSON.

        What was trained, scored or judged before with the same settings, data and version is not done again. Raises
        UadError for data that are missing, and for a method that cannot do what is asked of it.
        """
        if self.out.exists() and not self.out.is_dir():
            raise UadError(f"{self.out}: is no folder (name one with -o)")
        for part in self.config.sets:
            self.scans.check(part)
        runners = [Runner(self, method) for method in self.config.methods]
        for runner in runners:
            runner.check()
        sets = [self._judged(part, runners) for part in self.config.sets]
        trained = {runner.method.name: runner.training for runner in runners if runner.method.recipe}
        return {
            "schema": 1,
            "name": self.config.name,
            "version": __version__,
            "config": self.config.model_dump(mode="json", by_alias=True),
            "training": trained,
            "sets": sets,
        }

    def _judged(self, part: SetConfig, runners: Sequence[Runner]) -> SetTable:
        """Return the rows of one test set, and how sure it is that each differs from the reference."""
        reports = {runner.method.name: runner.for_set(part).report(part) for runner in runners}
        against = self.config.reference or self.config.methods[0].name
        order = [against, *(name for name in reports if name != against)]
        tests = compared({name: reports[name] for name in order}, self.config.seed) if len(reports) > 1 else {}
        rows = [{"method": name, **report["figures"], "tests": tests.get(name, {})} for name, report in reports.items()]
        judged = [row for report in reports.values() for row in (report, *report["scans"])]
        concerns = united(*(read_concerns(row.get("concerns")) for row in judged))
        tell_concerns([concern for concern in concerns if concern.code == "labels"], self.tell)
        return {
            "set": part.name,
            "scans": len(reports[against]["scans"]),
            "against": against,
            "rows": rows,
            "concerns": told(concerns),
        }

    @cached_property
    def scans(self) -> Scans:
        return Scans(self.config, self.base)


@dataclass(frozen=True)
class Runner:
    """One method of a comparison."""

    bench: Bench
    method: MethodConfig

    def check(self) -> None:
        """Train the model if there is none yet. Raises UadError when the method cannot do what is asked of it."""
        self._plan  # noqa: B018  says what is wrong with the options before hours of work

    def for_set(self, part: SetConfig) -> Runner:
        """Return the method as it is used on a test set."""
        return self if (method := self.method.for_set(part)) is self.method else replace(self, method=method)

    def report(self, part: SetConfig) -> Row:
        """Return the method's figures on a test set, from an earlier run if there are any."""
        bench, config = self.bench, self.bench.config
        val, test = (bench.scans.items(part, split) for split in ("val", "test"))
        about = [part.name, config.postproc.model_dump(), config.data.unit]
        stamps = [[bench.scans.stamp(item) for item in items] for items in (val, test)]
        path = bench.out / "reports" / f"{key(self._identity, about, stamps)}.json"
        if path.exists():
            return read_stored(StoredReport, path)
        bench.tell(f"{self.method.name}: {part.name}, {len(val)} scans for the threshold, {len(test)} to be judged")
        report = self._judge(part, val, test)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, report, force=True)
        return report

    def _judge(self, part: SetConfig, val: Sequence[Item], test: Sequence[Item]) -> Row:
        """Find the threshold on val, and measure what the score and the detection are worth on test."""
        seed, volumes = self.bench.config.seed, self.bench.config.data.unit == "scan"
        concerns: list[Row] = []
        tuned = judge((ready.ranked for ready in self._ready(val, concerns)), Wanted(best=True), seed=seed).report
        level = tuned["pooled"]["best_threshold"]
        if level is None:
            raise UadError(f"{part.name}: no lesion in the scans for the threshold (name others as val)")
        cases = [(ready.ranked, ready.detected(level), ready.row(level)) for ready in self._ready(test, concerns)]
        ranked = judge((case for case, _, _ in cases), Wanted(best=True), seed=seed).report
        detected = judge((case for _, case, _ in cases), Wanted(lesions=volumes), seed=seed).report
        sick = [row for _, _, row in cases]
        whole = dict.fromkeys(item.untouched for item in test) if part.simulate else ()
        healthy = [ready.row(level) for ready in self._ready(whole)]
        figures = figures_of(level, ranked, detected, healthy, sick, seed)
        rows = [one | other for one, other in zip(ranked["scans"], detected["scans"], strict=True)]
        report = {"method": self.method.name, "set": part.name, "figures": figures, "scans": rows}
        report["concerns"] = concerns
        if volumes:  # what is noted of a slice is that of its stack
            report |= {"scans": [row | noted for row, noted in zip(rows, sick, strict=True)], "untouched": healthy}
        return report

    def _ready(self, items: Iterable[Item], concerns: list[Row] | None = None) -> Iterator[Ready]:
        """Score the scans, each once and for all, and bring them to where only the threshold is missing.

        concerns: gets what speaks against scans and truths.
        """
        steps = self.bench.config.postproc.steps
        for item in items:
            whole = self._scored(item)
            noted = whole.product.provenance["history"][-1]["arguments"]
            told_of = told(concern.about(whole.name) for concern in concerns_of(*whole.images.values()))
            if concerns is not None:
                concerns.extend(told_of)
            for i, study in enumerate(singles(whole) if self._by_slice else [whole]):
                if (study.product.data > 0).any():
                    yield Ready.of(
                        study,
                        steps,
                        noted | {"concerns": told_of} | {role: noted[role][i] for role in BOUNDS if role in noted},
                    )

    @property
    def _by_slice(self) -> bool:
        return self.bench.config.data.unit == "slice"

    def _scored(self, item: Item) -> Study:
        """Return a study of score and truth. What was scored before is read; its truth is drawn again."""
        scans = self.bench.scans
        path = self.bench.out / "scores" / key(self._identity) / f"{key(scans.stamp(item))}.nii.gz"
        noted = path.with_name(path.name.replace(".nii.gz", ".json"))
        study = scans.study(item)
        truth = {role: image for role, image in study.images.items() if role == "truth"}
        try:
            image = replace(read_image(path), role="score", provenance=read_stored(StoredScore, noted))
        except UadError:  # there is none yet, or it is damaged
            path.parent.mkdir(parents=True, exist_ok=True)
            image = self._score(study)
            save(image, path, force=True, provenance=False)
            write_json(noted, image.provenance, force=True)
        return Study(study.name, {"score": image, **truth})

    def _score(self, study: Study) -> Image:
        """Heal and score a scan; slices that are cases of their own are not mixed with their neighbours."""
        alone = self._by_slice and self._model is None
        start = time.perf_counter()
        healed = slice_by_slice(study, self._healed) if alone else self._healed(study)
        seconds = time.perf_counter() - start
        scored = slice_by_slice(healed, self._of_healed) if self._by_slice else self._of_healed(healed)
        seconds /= study.product.grid.shape[2] if self._by_slice else 1
        bounds = [mean_bounds(case) for case in (singles(healed) if self._by_slice else [healed])]
        listed = {role: [case[role] for case in bounds] for role in BOUNDS}  # a number for each case
        noted = likeness(healed) | listed | {"seconds": seconds}
        return replace(scored.product, provenance=record(scored.product, "uad-bench", noted))

    def _healed(self, study: Study) -> Study:
        return heal(study, self._model, self._plan, seed=self.bench.config.seed, batch=self.bench.batch)

    def _of_healed(self, study: Study) -> Study:
        assert self.method.signed != "told"  # see `for_set`
        return score(study, metric=self.method.metric, signed=self.method.signed)

    @cached_property
    def _path(self) -> Path | None:
        """The model's file, trained first where a recipe is named."""
        if self.method.recipe:
            return self._trained()
        if self.method.model == "bundled":
            return bundled_for(self.method.heal.get("method"))
        return located(Path(self.method.model), self.bench.base) if self.method.model else None

    @cached_property
    def _model(self) -> Model | None:
        if self._path is None:
            return None
        return load_model(self._path, device=self.bench.device, precision=self.bench.precision)

    @cached_property
    def _plan(self) -> Any:
        try:
            return plan(read_config(self._path) if self._path else None, **self.method.heal)
        except (TypeError, UadError) as error:
            raise UadError(f"method '{self.method.name}': {error}") from None

    @cached_property
    def _identity(self) -> list[Any]:
        """Everything that decides what this method makes of a scan."""
        options = [self._plan.arguments, self.method.metric, self.method.signed]
        return [*options, file_hash(self._path) if self._path else None, self.bench.config.seed, __version__]

    def _trained(self) -> Path:
        """Train the recipe, go on with it, or find it trained already."""
        bench, method = self.bench, self.method
        assert method.recipe
        recipe = load_recipe(method.recipe, method.changes)
        if not is_name(recipe.name):
            raise UadError(f"{method.recipe}: its name, {recipe.name!r}, cannot be that of a file (change it)")
        data = [bench.scans.files(part) for part in (bench.config.data.train, bench.config.data.val)]
        masks = bench.scans.masks() if recipe.LABELLED else {}
        if recipe.LABELLED and not masks["labels"]:
            raise UadError(f"recipe {recipe.name} learns from masks of lesions (name them as data.labels)")
        about = [recipe.model_dump(mode="json"), [[stamp(f) for f in files] for files in data], bench.config.seed]
        about += [[{**masks, "labels": [stamp(f) for f in masks["labels"]]}]] if masks else []
        path = bench.out / "models" / f"{recipe.name}-{key(about)}.safetensors"
        done = path.with_suffix(".json")
        if not done.exists():
            bench.tell(f"{method.name}: training {recipe.name}, {recipe.training.steps:,} steps ({path})")
            path.parent.mkdir(parents=True, exist_ok=True)
            summary = train(
                data[0],
                path,
                recipe,
                validation=data[1],
                **masks,
                seed=bench.config.seed,
                resume=path.with_suffix(".resume.safetensors").exists(),
                force=True,
                device=bench.device,
                precision=bench.precision,
                watch=lambda progress: bench.watch(progress, recipe.training.steps),
            )
            known = {**summary, "minutes": _minutes(Path(summary["log"]))}
            write_json(done, {name: known[name] for name in StoredTraining.model_fields}, force=True)
        return path

    @property
    def training(self) -> Row:
        """What is to be said of how the model was trained."""
        assert self._path
        summary = read_stored(StoredTraining, self._path.with_suffix(".json"))
        return {name: summary[name] for name in StoredTraining.model_fields}


def _minutes(log: Path) -> float:
    """Return how long all steps of a training log took, those before a stop as well."""
    rows = [(int(row["step"]), float(row["seconds_per_step"])) for row in read_rows(log)]
    ends = [0, *(step for step, _ in rows)]
    return sum((step - before) * seconds for before, (step, seconds) in zip(ends, rows, strict=False)) / 60


def write_table(table: Table, out: Path) -> list[Path]:
    """Write a comparison's table into a folder: JSON, Markdown, LaTeX and CSV, replacing those of an earlier run."""
    paths = [out / f"{table['name']}.{ending}" for ending in ("json", *WRITERS)]
    write_json(paths[0], table, force=True)
    for path, writer in zip(paths[1:], WRITERS.values(), strict=True):
        with written(path, force=True) as part:
            part.write_text(writer(table))
    return paths
