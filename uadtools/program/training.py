"""Telling how a training run goes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uadtools.training.loop import Progress as Report
    from uadtools.training.train import Summary


@contextmanager
def reporting(steps: int, *, quiet: bool, verbose: bool) -> Iterator[Callable[[Report], None]]:
    """Yield a watcher: a bar with loss, speed and time left on a terminal, lines elsewhere.

    Lines come at validations, with verbose at every report.
    """
    if quiet:
        yield lambda report: None
        return
    if not sys.stderr or not sys.stderr.isatty():
        yield (
            lambda report: (
                print(line(report, steps), file=sys.stderr) if verbose or report.validation is not None else None
            )
        )
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("training", total=steps)

        def watch(report: Report) -> None:
            bar.update(task, completed=report.step, description=line(report, steps), refresh=report.step == steps)

        yield watch


def line(report: Report, steps: int) -> str:
    text = f"step {report.step}/{steps}  loss {report.loss:.4f}  {report.seconds_per_step:.2f} s/step"
    if report.validation is not None:
        text += f"  validation {report.validation:.4f}{' (best)' if report.improved else ''}"
    if report.measured is not None:
        text += f"  {report.measured}"
    return text


def steps_of(summary: Summary) -> str:
    """Say how many steps the weights that were kept have seen, of how many, and how many were taken."""
    kept, taken, planned = (summary[name] for name in ("kept_steps", "steps", "planned_steps"))
    text = f"{kept:,} steps" if kept == planned else f"{kept:,} of {planned:,} steps"
    return text if kept == taken else f"{text} (the best of {taken:,} on --val)"
