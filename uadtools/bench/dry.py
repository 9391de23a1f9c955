"""What a comparison would train, and how long that would take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from uadtools.bench.course import Course
from uadtools.bench.plan import MethodConfig
from uadtools.bench.run import Bench
from uadtools.evaluation.reports import Row


def planned(bench: Bench) -> list[Row]:
    """List the trainings of a comparison, fold by fold: steps, those taken, and hours for the rest; nothing is kept.

    Seconds per step are those of this training's log, or of its log in another fold; where there is none, a few steps
    are taken. elsewhere: hours on other machines, by the rates that the plan gives. Methods that share a model are one
    row. Raises UadError for data that are missing and recipes that do not fit.
    """
    bench.check()
    alike: dict[Any, list[MethodConfig]] = {}
    for method in bench.config.methods:
        if method.recipe:
            alike.setdefault((method.recipe, method.changes, method.minutes), []).append(method)
    rows = [row for methods in alike.values() for row in _of_folds(bench, methods)]
    return sorted(rows, key=lambda row: row["fold"] or 0)


def _of_folds(bench: Bench, methods: Sequence[MethodConfig]) -> Iterator[Row]:
    """List the training that some methods share, in each fold."""
    courses = [Course(methods[0], one.scans, one.out, one.device, one.precision) for one in bench.folds]
    pace = next((known for course in courses if (known := course.known_pace)), None) or courses[0].measured()
    for one, course in zip(bench.folds, courses, strict=True):
        taken, steps = (
            (course.steps_taken, course.recipe.training.steps) if course.is_paced else (0, course.fitting(pace))
        )
        rates = {machine: (steps - taken) / rate / 3600 for machine, rate in methods[0].rates.items()}
        yield {
            "fold": None if one.fold is None else one.fold + 1,
            "methods": [method.name for method in methods],
            "recipe": methods[0].recipe,
            "scans": len(course.scans.learnt),
            "steps": steps,
            "taken": taken,
            "seconds_per_step": pace,
            "hours": (steps - taken) * pace / 3600,
            "elsewhere": rates,
        }


def told_of(rows: Sequence[Row]) -> str:
    """Lay out what is planned: a line for each training, and the sum."""
    if not rows:
        return "nothing is trained"
    lines = []
    for row in rows:
        fold = f"fold {row['fold']}: " if row["fold"] else ""
        state = "done" if row["taken"] >= row["steps"] else f"{row['taken']:,} taken, " if row["taken"] else ""
        time = state if state == "done" else state + _times(row["hours"], row["elsewhere"])
        what = f"{row['recipe']}, {row['steps']:,} steps of {row['seconds_per_step']:.3g} s, {row['scans']:,} scans"
        lines.append(f"{fold}{' and '.join(row['methods'])}: {what}: {time}")
    machines = set.intersection(*({*row["elsewhere"]} for row in rows))
    elsewhere = {machine: sum(row["elsewhere"][machine] for row in rows) for machine in sorted(machines)}
    return "\n".join([*lines, f"in all: {_times(sum(row['hours'] for row in rows), elsewhere)}"])


def _times(here: float, elsewhere: dict[str, float]) -> str:
    return ", ".join([f"{_time(here)} here", *(f"{_time(hours)} on {name}" for name, hours in elsewhere.items())])


def _time(hours: float) -> str:
    for unit, parts in (("h", 1), ("min", 60)):
        if hours * parts >= 1:
            return f"{hours * parts:.1f} {unit}"
    return f"{3600 * hours:.1f} s"
