#!/usr/bin/env python3
"""Give the commands thousands of damaged and malicious files, and count what they should never do.

    python experiments/hostile.py [--count 100] [--seed 0] [--kinds image,packed] [--minutes 30] [--json COUNTS.json]
    python experiments/hostile.py --replay KIND:SEED

Every case follows from its kind (experiments/hostile_kinds.py) and its seed, and runs in this process, in a folder of
its own. A command may refuse a file in one line that names it, or do its work; everything in FAULTS is a fault of ours.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import nibabel as nib
import numpy as np
import typer
from hostile_kinds import KINDS, Case, good_files

from uadtools.errors import UadError
from uadtools.volume.stream import read_path

FAULTS = {
    "traceback": "an exception that is no UadError",
    "hang": "longer than --hang seconds",
    "memory": "more than --memory MB",
    "status": "an exit status that is none of ours",
    "warning": "a warning of Python's or NumPy's",
    "control": "a control character on the terminal",
    "lines": "an error that is not one line",
    "unnamed": "an error without the name of a file",
    "half": "a file written though the command failed",
    "changed": "a file that was there is another, or gone",
    "outside": "a file written elsewhere than -o says",
    "left": "a temporary file",
    "ran": "code in a file was run",
    "NaN": "a result that is not finite, or no JSON",
    "differs": "an image read otherwise than nibabel reads it",
}
nib.imageglobals.logger.disabled = True  # what it says of the files that it is asked about for comparison
STATUSES = (0, 1, 2, 3, 130, 141)
GROWS = ("train", "bench")
"""Commands that keep what was done before they failed."""


class Late(BaseException):
    """What an alarm raises; a BaseException, so that no command takes it for an error of its own."""


@dataclass(frozen=True)
class Outcome:
    """What a command left: its status, what it said, and what went wrong beyond that."""

    status: int
    out: str
    err: str
    broken: str = ""


class Box:
    """A folder with good files, in which cases are run one after the other."""

    def __init__(self, folder: Path, *, hang: float = 30, memory: int = 2000) -> None:
        self.folder, self.memory = folder, memory
        os.chdir(folder)
        self.hang = 600.0  # a busy machine may take its time to begin
        self.good = good_files(self.run)
        self.hang = hang

    def run(self, words: list[str], stdin: bytes = b"") -> Outcome:
        """Run uad-WORDS in this process, for at most as long and with as much memory as is allowed."""
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak
        before, broken, status = _peak(), "", 0
        with _captured(stdin) as said, warnings.catch_warnings(action="default"):
            signal.setitimer(signal.ITIMER_REAL, self.hang)
            try:
                import_module(f"uadtools.cli.{words[0]}").COMMAND.call(words[1:])
            except SystemExit as leaving:
                status = int(leaving.code or 0)
            except Late:
                broken = f"hang: {traceback.format_exc(limit=-2)}"
            except BaseException as error:
                broken = f"traceback: {type(error).__name__}: {error!s:.100} at {_place(error)}"
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        if not broken and (grown := (_peak() - before) // 1024) > self.memory:
            broken = f"memory: {grown} MB"
        return Outcome(status, said["out"], said["err"], broken)

    def case(self, kind: str, seed: int) -> tuple[Case, Outcome, list[tuple[str, str]]]:
        """Run one case; returns its faults, too, each with what shows it."""
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for name, raw in self.good.items():
            Path(name).write_bytes(raw)
        case = KINDS[kind](random.Random(f"{kind}:{seed}"), self.good)
        Path("out").mkdir(exist_ok=True)
        before = _contents()
        outcome = self.run(case.words, case.stdin)
        if outcome.broken:
            what, _, shown = outcome.broken.partition(": ")
            return case, outcome, [(what, shown)]
        return case, outcome, [*_said(case, outcome), *_written(case, outcome, before)]


def _said(case: Case, outcome: Outcome) -> Iterator[tuple[str, str]]:
    """Find the faults in what a command said."""
    tool, err = f"uad-{case.words[0]}: ", outcome.err
    if outcome.status not in STATUSES:
        yield "status", str(outcome.status)
    if re.search(r"Warning\b|Traceback", err):
        yield "warning", err
    if re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", err + outcome.out):
        yield "control", repr(err or outcome.out)
    if outcome.status in (1, 2):
        errors = [line for line in err.splitlines() if line.startswith(f"{tool}error: ")]
        if len(errors) != 1 and not case.several:
            yield "lines", err
        known = [*case.names, *(Path(word).name.split(".")[0] for word in case.words if "." in word)]
        if outcome.status == 1 and case.names and not any(name in err for name in known):
            yield "unnamed", err
    if any(not line.startswith(tool) for line in err.splitlines()):
        yield "lines", err


def _written(case: Case, outcome: Outcome, before: dict[str, bytes]) -> Iterator[tuple[str, str]]:
    """Find the faults in what a command wrote."""
    now = _contents()
    fresh = sorted(name for name, raw in now.items() if before.get(name) != raw)
    if changed := [name for name in before if now.get(name) != before[name] and not name.startswith(case.own)]:
        yield "changed", str(changed)
    if "RAN" in now:
        yield "ran", "RAN"
    if outside := [name for name in fresh if not name.startswith(("out/", case.own)) and name not in before]:
        yield "outside", str(outside)
    if left := [name for name in fresh if ".uad-" in name]:
        yield "left", str(left)
    if outcome.status in (1, 2) and fresh and case.words[0] not in GROWS and not case.several:
        yield "half", str(fresh)
    if outcome.status == 0:
        yield from (("NaN", name) for name in fresh if not _finite(Path(name)))
        yield from (("differs", said) for name in case.names if (said := _unlike_nibabel(Path(name))))


def _finite(path: Path) -> bool:
    if path.name.endswith((".nii", ".nii.gz")):
        return bool(np.isfinite(nib.load(path).get_fdata()).all())
    try:
        json.loads(path.read_text() if path.suffix == ".json" else "0", parse_constant=int)
    except ValueError:
        return False
    return True


def _unlike_nibabel(path: Path) -> str:
    """Say how we read an image otherwise than nibabel does; nothing where we do not, or do not read it."""
    if not path.name.endswith((".nii", ".nii.gz", ".hdr", ".img")) or not path.is_file():
        return ""
    try:
        ours = next(read_path(path)).product
    except UadError:
        return ""
    with warnings.catch_warnings(action="ignore"):
        try:
            theirs = nib.load(path)
            data = theirs.get_fdata()
        except Exception as error:
            return f"{path}: nibabel does not read it ({error})"
    if data.size != ours.data.size or not np.allclose(ours.data.ravel("F"), data.ravel("F"), rtol=1e-4, atol=1e-6):
        return f"{path}: voxels"
    return "" if np.allclose(theirs.affine, ours.grid.affine, rtol=1e-4, atol=1e-4) else f"{path}: affine"


def _contents() -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(Path().rglob("*")) if p.is_file() and not p.is_symlink()}


def _peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) if found else 0


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "uadtools" in frame.filename] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"


@contextmanager
def _captured(stdin: bytes) -> Iterator[dict[str, str]]:
    """Give a command standard input, and yield what will hold its output: real files, as commands write to both."""
    said: dict[str, str] = {}
    with ExitStack() as opened:
        given, out, err = (opened.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        given.write(stdin)
        given.seek(0)
        before, sys.stdin = sys.stdin, opened.enter_context(os.fdopen(os.dup(given.fileno())))
        copies = [os.fdopen(os.dup(file.fileno()), "w", errors="backslashreplace") for file in (out, err)]
        try:
            with copies[0], copies[1], redirect_stdout(copies[0]), redirect_stderr(copies[1]):
                yield said
        finally:
            sys.stdin = before
            for name, file in (("out", out), ("err", err)):
                file.seek(0)
                raw = file.read()
                said[name] = "" if raw[:4] == b"\x5c\x01\0\0" else raw.decode(errors="replace")


def _late(*_: object) -> None:
    raise Late


@contextmanager
def boxed(**limits: Any) -> Iterator[Box]:
    """Yield a box in a folder that is removed afterwards."""
    here, before = Path.cwd(), signal.signal(signal.SIGALRM, _late)
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    try:
        yield Box(folder, **limits)
    finally:
        signal.signal(signal.SIGALRM, before)
        os.chdir(here)
        shutil.rmtree(folder)


def main(
    *,
    count: Annotated[int, typer.Option(help="Cases of each kind.")] = 100,
    seed: Annotated[int, typer.Option(help="The first; the others follow it.")] = 0,
    kinds: Annotated[str, typer.Option(help="Which, by their names.")] = ",".join(KINDS),
    minutes: Annotated[float, typer.Option(help="Stop after that.")] = 1e9,
    hang: Annotated[float, typer.Option(help="Seconds that a case may take.")] = 30,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the counts here, too.")] = None,
    replay: Annotated[str, typer.Option(help="KIND:SEED: one case again, with all that it says.")] = "",
) -> None:
    """Print what is found, and a table of counts; the status is 1 where anything is."""
    with boxed(hang=hang) as box:
        if replay:
            kind, number = replay.split(":")
            print(*box.case(kind, int(number)), sep="\n")
            return
        table = battery(box, kinds.split(","), range(seed, seed + count), time.monotonic() + 60 * minutes)
    for kind, counts in table.items():
        print(f"{kind:12}" + "  ".join(f"{what} {number}" for what, number in counts.items()))
    if json_file:
        json_file.write_text(json.dumps(table, indent=1) + "\n")
    raise typer.Exit(any(counts.keys() & FAULTS.keys() for counts in table.values()))


def battery(box: Box, kinds: Sequence[str], seeds: Iterable[int], end: float = float("inf")) -> dict[str, Counter[str]]:
    """Run cases of each kind in turn until the end, print what is found, and return how often each thing came about."""
    table: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    for seed, (kind, counts) in product(seeds, table.items()):
        if time.monotonic() > end:
            break
        case, outcome, faults = box.case(kind, seed)
        counts.update(["tried", "refused" if outcome.status else "accepted", *(what for what, _ in faults)])
        for what, shown in faults:
            print(f"{kind}:{seed} {what}: uad-{' '.join(case.words)}\n    {shown[:400]!r}")
    return table


if __name__ == "__main__":
    typer.run(main)
