"""One method of a comparison: healed, scored and judged with it, each scan once and for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uadtools import __version__
from uadtools.bench.case import Ready, likeness
from uadtools.bench.course import Course
from uadtools.bench.data import Item, singles, slice_by_slice, spread
from uadtools.bench.plan import MethodConfig, SetConfig
from uadtools.bench.stored import StoredReport, StoredScore, key, read_stored
from uadtools.bench.summary import curve_of, figures_of, histogram_of, image_thresholds
from uadtools.concerns import told
from uadtools.errors import UadError
from uadtools.evaluation.evaluate import Wanted, judge
from uadtools.evaluation.reports import Row
from uadtools.files import write_json
from uadtools.healing.choice import bundled_for
from uadtools.healing.heal import heal
from uadtools.healing.plan import Plan, plan
from uadtools.models.checkpoint import file_hash, located, read_config
from uadtools.models.model import Model, load_model
from uadtools.scoring.case_scores import BOUNDS, mean_bounds
from uadtools.scoring.score import score
from uadtools.volume.io import Image, save
from uadtools.volume.stream import Study, concerns_of, read_image, record

if TYPE_CHECKING:
    from uadtools.bench.run import Bench
    from uadtools.models.config import ModelConfig

REPORTS = 4
"""Of what a report consists: another number where that changes."""


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
        chain = config.chain_of(self.method).model_dump()
        about = [REPORTS, part.name, chain, config.data.unit, config.data.slices]
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
        tuning = list(self._ready(val, concerns))
        tuned = judge((ready.ranked for ready in tuning), Wanted(best=True), seed=seed).report
        level = self.bench.config.chain_of(self.method).threshold or tuned["pooled"]["best_threshold"]
        if level is None:
            raise UadError(f"{part.name}: no lesion in the scans for the threshold (name others as val)")
        cases = [(ready.ranked, ready.detected(level), ready.row(level)) for ready in self._ready(test, concerns)]
        judged = judge((case for case, _, _ in cases), Wanted(best=True), seed=seed)
        ranked = judged.report
        detected = judge((case for _, case, _ in cases), Wanted(lesions=volumes), seed=seed).report
        sick = [row for _, _, row in cases]
        healthy, others = ([ready.row(level) for ready in self._untouched(part, items)] for items in (test, val))
        known = image_thresholds(others, [ready.row(level) for ready in tuning])
        figures = figures_of(level, ranked, detected, healthy, sick, known=known, seed=seed)
        rows = [one | other for one, other in zip(ranked["scans"], detected["scans"], strict=True)]
        report: Row = {"method": self.method.name, "set": part.name, "figures": figures, "scans": rows}
        report |= {"concerns": concerns, "curve": curve_of(judged.ranking, level)}
        report |= {"histogram": histogram_of((case for case, _, _ in cases), level)}
        if volumes:  # what is noted of a slice is that of its stack
            report |= {"scans": [row | noted for row, noted in zip(rows, sick, strict=True)], "untouched": healthy}
        return report

    def _untouched(self, part: SetConfig, items: Sequence[Item]) -> Iterator[Ready]:
        """Score the scans as they were before lesions were simulated in them; none where none were."""
        return self._ready(dict.fromkeys(item.untouched for item in items) if part.simulate else ())

    def _ready(self, items: Iterable[Item], concerns: list[Row] | None = None) -> Iterator[Ready]:
        """Score the scans, each once and for all, and bring them to where only the threshold is missing.

        concerns: gets what speaks against scans and truths.
        """
        steps = self.bench.config.chain_of(self.method).steps
        for item in items:
            whole = self._scored(item)
            noted = whole.product.provenance["history"][-1]["arguments"]
            told_of = told(concern.about(whole.name) for concern in concerns_of(*whole.images.values()))
            if concerns is not None:
                concerns.extend(told_of)
            cases = singles(whole) if self._by_slice else [whole]
            for i in spread(whole, self.bench.config.data.slices) if self._by_slice else [0]:
                if ((study := cases[i]).product.data > 0).any():
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
            return self.course.trained(self.bench.tell, self.bench.watch)
        if self.method.model == "bundled":
            return bundled_for(self.method.heal.get("method"))
        return located(Path(self.method.model), self.bench.base) if self.method.model else None

    @cached_property
    def _model(self) -> Model | None:
        if self._path is None:
            return None
        return load_model(self._path, device=self.bench.device, precision=self.bench.precision)

    @cached_property
    def _plan(self) -> Plan:
        return self._planned(lambda: read_config(self._path) if self._path else None)

    def check_options(self) -> None:
        """Raise UadError for options of healing that do not fit the model, which need not be trained for that."""
        if self.method.recipe:
            self._planned(lambda: self.course.settings)
        else:
            self._plan  # noqa: B018  names the model's file, too

    @property
    def _options(self) -> dict[str, Any]:
        """Of healing, with the path of its file of features."""
        heal = self.method.heal
        return heal | ({"features": str(self.bench.base / heal["features"])} if "features" in heal else {})

    def _planned(self, config: Callable[[], ModelConfig | None]) -> Plan:
        try:
            return plan(config(), **self._options)
        except (TypeError, UadError) as error:
            raise UadError(f"method '{self.method.name}': {error}") from None

    @cached_property
    def _identity(self) -> list[Any]:
        """Everything that decides what this method makes of a scan."""
        options = [self._plan.arguments, self.method.metric, self.method.signed]
        return [*options, self.model_hash, self.bench.config.seed, __version__]

    @cached_property
    def model_hash(self) -> str | None:
        return file_hash(self._path) if self._path else None

    @property
    def about(self) -> Row:
        """What the method is: how it heals, the kind of its model, and where the recipe of that is from."""
        config = read_config(self._path) if self._path else None
        source = config.training.get("source") if config else None
        return {"heals_by": self._plan.method, "kind": config.kind if config else None, "source": source}

    @cached_property
    def course(self) -> Course:
        bench = self.bench
        return Course(self.method, bench.scans, bench.out, bench.device, bench.precision)
