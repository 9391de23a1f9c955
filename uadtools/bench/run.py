"""uad-bench: methods compared on the same scans, with the same post-processing and thresholds from validation only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from uadtools import __version__
from uadtools.bench.data import Scans
from uadtools.bench.manifest import manifest_of
from uadtools.bench.plan import BenchConfig, SetConfig
from uadtools.bench.runner import Runner
from uadtools.bench.summary import averaged, cases_of, compared, united_folds
from uadtools.bench.table import SetTable, Table
from uadtools.concerns import read_concerns, tell_concerns, told, united
from uadtools.errors import UadError, near
from uadtools.evaluation.reports import Row
from uadtools.training.loop import Progress


@dataclass(frozen=True)
class Bench:
    """A comparison on one machine. base: the folder that sources are relative to; out: where everything is kept.

    fold: one of the plan's folds, from 0, that alone is done; none: all of them.
    """

    config: BenchConfig
    base: Path
    out: Path
    device: str = "auto"
    precision: str = "auto"
    batch: int = 0
    tell: Callable[[str], None] = lambda text: None
    watch: Callable[[Progress, int], None] = lambda progress, steps: None
    fold: int | None = None

    def run(self) -> Table:
        """Do what is not done yet; return the table, ready for JSON.

        What was trained, scored or judged before with the same settings, data and version is not done again. Raises
        UadError for data that are missing, and for a method that cannot do what is asked of it.
        """
        found = self.found()
        order = self._order
        table: Table = {
            "schema": 1,
            "name": self.config.name,
            "version": __version__,
            "config": self.config.model_dump(mode="json", by_alias=True),
            "folds": [one.fold + 1 for one in self.folds if one.fold is not None],
            "training": averaged([one.training for one in found]),
            "methods": found[0].methods,
            "manifest": manifest_of(self.config, self.scans.all_files(), self.base, self.out, self._models(found)),
            "sets": [self._tabled(part, [one.reports[part.name] for one in found], order) for part in self.config.sets],
        }
        return table

    def found(self) -> list[Found]:
        """Do what is not done yet, a fold after the other; returns what was found in each. Raises UadError as run."""
        self.check()
        return [bench._found() for bench in self.folds]

    def check(self) -> None:
        """Raise UadError for data that are missing, and for options that do not fit, before anything is trained."""
        if self.out.exists() and not self.out.is_dir():
            raise UadError(f"{self.out}: is no folder (name one with -o)")
        for bench in self.folds:
            for part in self.config.sets:
                bench.scans.check(part)
            for method in self.config.methods:
                Runner(bench, method).check_options()

    @cached_property
    def folds(self) -> list[Bench]:
        """The comparison in each of its folds; itself where it has none, or one alone is done."""
        if self.fold is not None or not self.config.folds:
            return [self]
        return [replace(self, fold=fold) for fold in range(self.config.folds)]

    def only(self, method: str) -> Bench:
        """Return the comparison of one method, with all rows of its sweep if it has one. Raises UadError."""
        methods = tuple(m for m in self.config.methods if method in (m.name, m.family))
        if not methods:
            known = [m.family or m.name for m in self.config.methods]
            raise UadError(f"no method '{method}' in this plan{near(method, known)} (there are: {', '.join(known)})")
        return replace(self, config=self.config.model_copy(update={"methods": methods}))

    def _found(self) -> Found:
        runners = [Runner(self, method) for method in self.config.methods]
        for runner in runners:
            runner.check()
        reports = {
            part.name: {runner.method.name: runner.for_set(part).report(part) for runner in runners}
            for part in self.config.sets
        }
        return Found(
            reports,
            {runner.method.name: runner.course.summary for runner in runners if runner.method.recipe},
            {runner.method.name: runner.model_hash for runner in runners if runner.model_hash},
            {runner.method.name: runner.about for runner in runners},
        )

    def _models(self, found: Sequence[Found]) -> dict[str, list[str]]:
        return {name: [one.models[name] for one in found] for name in found[0].models}

    @property
    def _order(self) -> list[str]:
        """The names of the methods, the one that the others are tested against first."""
        names = [method.name for method in self.config.methods]
        against = self.config.reference or names[0]
        return [against, *(name for name in names if name != against)]

    def _tabled(self, part: SetConfig, found: Sequence[dict[str, Row]], order: Sequence[str]) -> SetTable:
        """Return the rows of one test set, and how sure it is that each differs from the reference.

        found: the methods' reports, in each fold.
        """
        seed = self.config.seed
        reports = {name: united_folds([one[name] for one in found], seed) for name in found[0]}
        tests = compared({name: reports[name] for name in order}, seed) if len(reports) > 1 else {}
        rows = [{"method": name, **report["figures"], "tests": tests.get(name, {})} for name, report in reports.items()]
        judged = [row for report in reports.values() for row in (report, *report["scans"])]
        concerns = united(*(read_concerns(row.get("concerns")) for row in judged))
        tell_concerns([concern for concern in concerns if concern.code == "labels"], self.tell)
        return {
            "set": part.name,
            "scans": len(reports[order[0]]["scans"]),
            "against": order[0],
            "rows": rows,
            "cases": {name: cases_of(report) for name, report in reports.items()},
            "curves": {name: [one[name].get("curve") for one in found] for name in reports},
            "histograms": {name: [one[name].get("histogram") for one in found] for name in reports},
            "concerns": told(concerns),
        }

    @cached_property
    def scans(self) -> Scans:
        return Scans(self.config, self.base, self.fold)


@dataclass(frozen=True)
class Found:
    """What one fold has come to: the methods' reports, by test set; how those that were trained were; the hashes of
    their models; and what each method is.
    """

    reports: dict[str, dict[str, Row]]
    training: dict[str, Row]
    models: dict[str, str]
    methods: dict[str, Row]
