#!/usr/bin/env python3
"""Kill cohorts, healing, training and comparisons at random moments, and see what that leaves behind.

    python experiments/kills.py FOLDER --kills 125 --tool preprocess [--seed 0]

FOLDER gets phantoms, a tiny model, what a run that nobody disturbs makes of them, and kills.json with a row for each
kill; the same command again adds to it, and --table alone prints what there is. A run is killed by SIGKILL, SIGTERM or
SIGINT (to all of its processes, as a terminal sends it) at a moment drawn from the time an undisturbed run takes, and
goes on by the same command (uad-train with --resume), as often as is drawn from 1 to 3; then it is left to end. A run
that ended before its signal came was not killed: it does not count, and another is drawn. Every time, all that lies
there must read whole, no process may be left, and after SIGTERM and SIGINT no hidden file; in the end there is none,
and what was made equals what the undisturbed run made, bit for bit. Runs are forked from a process that has loaded the
programs already, so that most of their time is work.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

TOOLS = ("preprocess", "heal", "train", "bench")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
INTERRUPTED = 130
PATIENCE = 30
"""Seconds after which a process counts as left."""
PREPARE = "heads -o out --save-brain brains --shape 48 --spacing 4 --brain none --jobs 2".split()  # noqa: SIM905
HEAL = "--model tiny.safetensors -t 200 -t 400 --maps --batch 16 --device cpu -q".split()  # noqa: SIM905
GRID = "grid.shape=[16,16,16] grid.spacing=[8,8,8] network.base=8 network.groups=4 network.heads=1"
TRAINING = "training.validate_every=2 training.log_every=1 training.batch=4 optimiser.warmup=2"
NETWORK = f"{GRID} network.attention=[] network.multipliers=[1,2] {TRAINING}".split()
TRAIN = "prepared/a.nii.gz prepared/b.nii.gz --val prepared/c.nii.gz --steps 8 --device cpu -q".split()  # noqa: SIM905
TRAIN += [word for change in NETWORK for word in ("--set", change)]
PLAN = """
name = "small"
[data]
train = ["prepared/a.nii.gz", "prepared/c.nii.gz"]
val = ["prepared/c.nii.gz"]
[[set]]
name = "dark"
val = ["prepared/a.nii.gz"]
test = ["prepared/b.nii.gz"]
simulate = { kind = "blobs", tone = "dark", size = [12.0, 24.0] }
[[set]]
name = "bright"
val = ["prepared/c.nii.gz"]
test = ["prepared/d.nii.gz"]
simulate = { kind = "blobs", tone = "bright", size = [12.0, 24.0] }
[[method]]
name = "given"
model = "tiny.safetensors"
heal = { t = [300] }
[[method]]
name = "trained"
recipe = "ae"
changes = [CHANGES]
"""
DENSE = "network.multipliers=[1,2] network.latent=8 training.steps=8 optimiser.decay=8 grid.shape=[16,16,16]"
DENSE += " grid.spacing=[8,8,8] network.base=8 network.groups=4"
LOADED = (
    "uadtools.training.train",
    "uadtools.healing.batches",
    "uadtools.bench.run",
    "sklearn.metrics",
    "torch._dynamo",
)
"""What programs load as they begin, which would be most of their time."""
NEVER_EQUAL = {"seconds", "minutes", "seconds_per_step", "seconds_per_scan"}
"""What tells how long something took."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tool", choices=TOOLS)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true")
    settings = parser.parse_args()
    folder = settings.folder.resolve()
    notes = folder / "kills.json"
    rows = json.loads(notes.read_text()) if notes.exists() else []
    if settings.tool and not settings.table:
        (folder / "in").mkdir(parents=True, exist_ok=True)
        trial = Trial(settings.tool, folder / "in", folder / settings.tool)
        rng = np.random.default_rng([settings.seed, TOOLS.index(settings.tool), len(rows)])
        end = len(rows) + settings.kills
        while len(rows) < end:
            rows += trial.killed(rng)
            notes.write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows))
    sys.exit(any(row["faults"] for row in rows))


def table(rows: list[dict[str, Any]]) -> str:
    """Show what was killed how often, and what was wrong, in Markdown."""
    names = [number.name for number in SIGNALS]
    counts = Counter((row["tool"], row["signal"]) for row in rows)
    lines = ["| command | " + " | ".join(names) + " | faults |", "|---|" + "---|" * (len(names) + 1)]
    for tool in [tool for tool in TOOLS if any(row["tool"] == tool for row in rows)]:
        mine = [row for row in rows if row["tool"] == tool]
        figures = [*(str(counts[tool, name]) for name in names), str(sum(bool(row["faults"]) for row in mine))]
        lines.append(f"| `uad-{tool}` | {' | '.join(figures)} |")
    return "\n".join([*lines, *(f"{row['tool']} {row['signal']}: {row['faults']}" for row in rows if row["faults"])])


class Trial:
    """One command, its inputs, and what an undisturbed run makes of them. place: where it runs."""

    def __init__(self, tool: str, inputs: Path, place: Path) -> None:
        self.tool, self.inputs, self.place = tool, inputs, place
        for module in (*LOADED, *(f"uadtools.{room}.{name}" for room in ("cli", "cohort") for name in TOOLS)):
            with suppress(ModuleNotFoundError):
                import_module(module)
        phantoms(inputs)
        if not (inputs / "tiny.safetensors").exists():
            model = Trial("train", inputs, place.with_name("model")) if tool != "train" else self
            shutil.copy(model.place / "made.safetensors", inputs / "tiny.safetensors") if tool != "train" else None
        self.begin()
        start = time.monotonic()
        status = self.run()
        self.time = time.monotonic() - start
        faults = self.faults()
        if status or faults:
            sys.exit(f"{tool}: undisturbed, it ends with {status} {faults}: {self.said()}")
        self.expected = contents(place)

    def begin(self) -> None:
        """Lay the inputs into an empty folder."""
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.inputs, self.place, copy_function=shutil.copy2)

    @property
    def words(self) -> list[str]:
        """The command's arguments: the first time, and after a kill."""
        if self.tool == "preprocess":
            return PREPARE
        if self.tool == "heal":
            return [*(f"prepared/{name}.nii.gz" for name in "abcd"), "-o", "out", *HEAL]
        if self.tool == "train":
            state = self.place / "made.resume.safetensors"
            return [*TRAIN, "-o", "made.safetensors", "--resume" if state.exists() else "--force"]
        return ["plan.toml", "-o", "out", "--device", "cpu", "-q"]

    def run(self, kill: int = 0, after: float = 0) -> int:
        """Run the command, kill it after some seconds if it is to be killed, and return its status."""
        words = self.words
        sys.stdout.flush()
        if not (process := os.fork()):
            self.become(words)
        if kill:
            time.sleep(after)
            os.kill(process, 0)  # it is there, dead or alive, until it is waited for
            (os.killpg if kill == signal.SIGINT else os.kill)(process, kill)
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

    def become(self, words: list[str]) -> None:
        """Turn a forked process into the command; ends with SystemExit, as the command does."""
        os.setsid()
        os.chdir(self.place)
        for number, path in ((0, os.devnull), (1, ".said"), (2, ".said")):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), number)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell runs in the background ignores it
        sys.argv = [f"uad-{self.tool}", *words]
        sys.exit(import_module(f"uadtools.cli.{self.tool}").main())

    def said(self) -> str:
        path = self.place / ".said"
        return path.read_text() if path.exists() else ""  # of a run that was killed before it was one

    def killed(self, rng: np.random.Generator) -> list[dict[str, Any]]:
        """Kill a run and what goes on with it, one to three times, and let the last end; returns a row for each.

        None where the first had ended before it was to be killed.
        """
        self.begin()
        rows: list[dict[str, Any]] = []
        for _ in range(int(rng.integers(1, 4))):
            number, after = SIGNALS[rng.integers(len(SIGNALS))], float(rng.uniform(0.02, self.time))
            if not (status := self.run(number, after)):
                break
            faults = self.faults() + self.hidden() * (number != signal.SIGKILL)
            if status not in (-number, INTERRUPTED):  # the signal's own before the program begins, and after it ends
                faults.append(f"status {status}: {self.said()[-2000:]}")
            rows.append({"tool": self.tool, "signal": number.name, "after": round(after, 3), "faults": faults})
            if faults:
                shutil.copytree(self.place, self.place.with_name(f"fault-{self.tool}-{time.time():.0f}"))
        if not rows:
            return []
        if status := self.run():
            rows[-1]["faults"].append(f"resumed, it ends with {status}: {self.said()[-2000:]}")
        rows[-1]["faults"] += self.faults() + self.hidden()
        made = contents(self.place)
        unlike = sorted(
            name for name in made.keys() | self.expected.keys() if made.get(name) != self.expected.get(name)
        )
        rows[-1]["faults"] += [f"{name}: is not what an undisturbed run makes" for name in unlike]
        return rows

    def faults(self) -> list[str]:
        """Say which files are not whole, and whether a process is left."""
        end = time.monotonic() + PATIENCE
        while (left := processes_in(self.place)) and time.monotonic() < end:
            time.sleep(0.02)
        faults = [f"process {process} is left: {words}" for process, words in left]
        for process, _ in left:
            os.kill(process, signal.SIGKILL)
        for path in files(self.place):
            try:
                content(path)
            except Exception as error:
                faults.append(f"{path.name}: {error}")
        return faults

    def hidden(self) -> list[str]:
        """Say which hidden files there are."""
        return [f"{path.name}: is left" for path in self.place.rglob(".*") if path.name != ".said"]


def processes_in(place: Path) -> list[tuple[int, str]]:
    """List the processes that work in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink() == place:
                found.append((int(entry.name), (entry / "cmdline").read_text().replace("\0", " ")))
        except OSError:
            continue
    return found


def files(place: Path) -> list[Path]:
    return sorted(path for path in place.rglob("*") if path.is_file() and not path.name.startswith("."))


def contents(place: Path) -> dict[str, Any]:
    return {str(path.relative_to(place)): content(path) for path in files(place)}


def content(path: Path) -> Any:
    """Read a file as a whole, and return what must be equal: all of it, but for how long something took."""
    if path.name.endswith(".nii.gz"):
        from uadtools.volume.stream import read_image

        read_image(path)
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        tensors = load_file(path)
        return {name: (value.shape, value.tobytes()) for name, value in tensors.items()}
    if path.suffix == ".csv":
        rows = list(csv.DictReader(path.read_text().splitlines()))
        if any(None in row.values() or None in row for row in rows):
            raise ValueError("a line of it is cut short")
        kept = [row for row in rows if row.get("figure") not in NEVER_EQUAL]
        return [{key: value for key, value in row.items() if key not in NEVER_EQUAL} for row in kept]
    if path.suffix == ".json":
        return timeless(json.loads(path.read_text()))
    return path.read_bytes() if path.suffix not in (".md", ".tex") else len(path.read_text().splitlines())


def timeless(data: Any) -> Any:
    """Leave out what tells how long something took."""
    if isinstance(data, dict):
        return {key: timeless(value) for key, value in data.items() if key not in NEVER_EQUAL}
    return [timeless(value) for value in data] if isinstance(data, list) else data


def phantoms(folder: Path) -> None:
    """Make six raw heads, four prepared ones on the tiny model's grid, and the plan of a comparison that trains."""
    from uadtools.grids.grid import Grid
    from uadtools.volume.io import Image, save

    changes = ", ".join(f'"{change}"' for change in f"{DENSE} {TRAINING}".split())
    (folder / "plan.toml").write_text(PLAN.replace("CHANGES", changes))
    for kind, names, size, spacing in (("heads", "abcdef", 24, 6.0), ("prepared", "abcd", 16, 8.0)):
        (folder / kind).mkdir(exist_ok=True)
        places = np.stack(np.meshgrid(*[np.linspace(-1.2, 1.2, size)] * 3, indexing="ij"))
        away = np.linalg.norm(places, axis=0)
        for seed, name in enumerate(names):
            noise = np.random.default_rng(seed).uniform(0, 0.2, away.shape)
            values = np.where(away < 1, 0.5 + 0.3 * (away < 0.6) + noise - 0.1, 0)
            data = values.astype(np.float32) if kind == "prepared" else (1000 * values).astype(np.int16)
            path = folder / kind / f"{name}.nii.gz"
            if not path.exists():
                affine = np.diag([spacing, spacing, spacing, 1.0])
                affine[:3, 3] = -spacing * (size - 1) / 2
                save(Image(data, Grid(data.shape, affine)), path)


if __name__ == "__main__":
    main()
