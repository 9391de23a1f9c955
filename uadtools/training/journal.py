"""What a training run notes on the way: the log, what was drawn, and TensorBoard's events."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

from uadtools.errors import UadError
from uadtools.files import parse_json, read_lines, read_rows, written
from uadtools.training.loop import Progress

COLUMNS = ("step", "loss", "validation", "seconds_per_step")


def row(progress: Progress) -> list[str]:
    shown = "" if progress.validation is None else f"{progress.validation:.6f}"
    return [str(progress.step), f"{progress.loss:.6f}", shown, f"{progress.seconds_per_step:.3f}"]


def kept_rows(path: Path, step: int) -> list[list[str]]:
    """Return the log's rows up to a step: later ones will be written again. Raises UadError for another file."""
    if not path.exists():
        return []
    rows = [[row[column] for column in COLUMNS] for row in read_rows(path, COLUMNS, "not the log of a training run")]
    try:
        return [row for row in rows if all(row[:2]) and int(row[0]) <= step]
    except ValueError:
        raise UadError(f"{path}: not the log of a training run, or damaged (move it away)") from None


def write_log(path: Path, rows: list[list[str]]) -> None:
    with written(path, force=True) as part, part.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])


def board_of(folder: Path | None, step: int) -> Callable[[Progress], None]:
    """Return a writer of what was drawn (drawn.jsonl) and, where it is installed, of TensorBoard events into folder."""
    if folder is None:
        return lambda progress: None
    record = _recorder(folder / "drawn.jsonl", step)
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return record
    events = SummaryWriter(str(folder), purge_step=step or None)

    def write(progress: Progress) -> None:
        record(progress)
        events.add_scalar("loss", progress.loss, progress.step)
        if progress.validation is not None:
            events.add_scalar("validation", progress.validation, progress.step)
        events.flush()

    return write


def _recorder(path: Path, step: int) -> Callable[[Progress], None]:
    """Return a writer of how the slices of a step were changed, a line of JSON each; lines after `step` go."""
    lines = read_lines(path) if path.exists() and step else []
    try:
        kept = [line for line in lines if line.endswith("}") and parse_json(line)["step"] <= step]
    except (ValueError, TypeError, KeyError):
        raise UadError(f"{path}: not what a training run drew, or damaged (move it away)") from None
    path.write_text("".join(f"{line}\n" for line in kept))

    def write(progress: Progress) -> None:
        with path.open("a") as file:
            file.write(json.dumps({"step": progress.step, "slices": progress.drawn.rows()}) + "\n")

    return write
