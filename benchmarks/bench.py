#!/usr/bin/env python3
"""Time and memory of the commands, as whole processes: python benchmarks/bench.py [--json OUT] [--runs N].

Prints medians over the runs (after one that is not counted) and, where two things are compared, the ratio within the
same run. The scan is examples/data/patient19_T1w.nii.gz.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

EXAMPLES = Path(__file__).parent.parent / "examples"
BIN = Path(sys.executable).parent
LIBRARIES = "from uadtools.program.command import import_nibabel; import_nibabel(); "
START = LIBRARIES + "from uadtools.datasets.sink import Sink; import uadtools; uadtools.load_model()"
"""All that uad-heal does before it has a scan to work on."""
OPEN = (
    "from uadtools.models import checkpoint; path = checkpoint.default_path(); "
    "engines.load(path, plan.plan(checkpoint.read_config(path)), engine='{}')"
)
"""The same by an engine."""
COMMANDS = ("preprocess", "train", "heal", "score", "postproc", "report", "eval")


def at_least(least: int) -> Callable[[str], int]:
    """Make what reads such a number from the command line."""

    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text}: at least {least} is needed")
        return int(text)

    return number


def writable(text: str) -> Path:
    """Read a file to write from the command line; hours may pass before it is written."""
    if not Path(text).absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: no such folder")
    return Path(text)


def report(found: dict[str, Any], file: Path | None) -> None:
    """Print what was found as JSON, and write it to a file if there is one."""
    text = json.dumps(found, indent=1)
    print(text)
    if file:
        file.write_text(text + "\n")


def measured(words: list[str]) -> tuple[float, float, float]:
    """Run a command; return its wall time in seconds, its largest resident size in MB, and its processor time."""
    start = time.perf_counter()
    process = subprocess.Popen([str(BIN / words[0]), *words[1:]], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(words)}: status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def median(words: list[str], runs: int) -> dict[str, float]:
    return in_turn({"": words}, runs)[""]


def in_turn(rows: dict[str, list[str]], runs: int) -> dict[str, dict[str, float]]:
    """Run commands one after the other, again and again, so that what else the machine does meets all alike."""
    turns = [{name: measured(words) for name, words in rows.items()} for _ in range(runs + 1)][1:]
    return {
        name: {
            "seconds": statistics.median(turn[name][0] for turn in turns),
            "slowest": max(turn[name][0] for turn in turns),
            "megabytes": max(turn[name][1] for turn in turns),
            "processor": statistics.median(turn[name][2] for turn in turns),
        }
        for name in rows
    }


def engines(raw: str, folder: Path, runs: int) -> dict[str, dict[str, float]]:
    """Compare the engines of uad-heal: a prepared scan, the start alone, and the pipe from the stripped scan."""
    prepared, healed, found = (str(folder / f"scan_{name}.nii.gz") for name in ("prepared", "healed", "found"))
    measured(["uad-preprocess", raw, "-o", prepared])
    rows = {}
    for engine in ("onnx", "torch"):
        heal = f"uad-heal --engine {engine}"
        pipe = f"uad-preprocess {raw} -o - | {heal} | uad-score | uad-postproc --native -o {found} --force --quiet"
        start = f"{LIBRARIES}from uadtools.cohort import heal; from uadtools.healing import engines, plan; {OPEN}"
        rows |= {
            heal: [*heal.split(), prepared, "-o", healed, "--force"],
            f"{heal}: start": ["python", "-c", start.format(engine)],
            f"{heal}: pipe": ["/bin/sh", "-c", f"PATH={BIN}:$PATH; {pipe}"],
        }
    return in_turn(rows, runs)


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def healing(prepared: Path) -> dict[str, float]:
    """Time one healing in process, by the default and by t1-ddpm: sss, the network's part of reading, healing and
    writing, sss's noise alone, and a part of ddpm, which is then scaled to all its steps.
    """
    import uadtools
    from uadtools.grids.slices import filled
    from uadtools.healing.heal import heal
    from uadtools.healing.plan import plan
    from uadtools.models.checkpoint import located
    from uadtools.models.model import Model
    from uadtools.noise.source import SliceNoise
    from uadtools.terminal import keep_memory
    from uadtools.volume.stream import Study

    keep_memory()
    model, scan = uadtools.load_model(located(Path("t1-ddpm"))), uadtools.read(prepared)
    study = Study("scan", {"scan": scan})
    default = uadtools.load_model()
    heal(study, default)
    keys = [(0, int(z), 300, 0) for z in filled(scan.data > 0)]
    shape = (scan.data.shape[1], scan.data.shape[0])
    one = plan(model.config, method="sss", t=[300], samples=1)
    heal(study, model, one)
    turns = [(seconds(lambda: heal(study, default)), seconds(lambda: heal(study, model, one))) for _ in range(5)]
    restore, sss = (statistics.median(times) for times in zip(*turns, strict=True))
    draw = SliceNoise(model.config.noise, (1, *shape), keys, model.device)
    noise = statistics.median(seconds(draw) for _ in range(3))
    asked, predict = [], Model.predict

    def timed(*what: Any, **how: Any) -> Any:
        start = time.perf_counter()
        made = predict(*what, **how)
        asked.append(time.perf_counter() - start)
        return made

    def work() -> None:
        made = heal(Study("scan", {"scan": uadtools.read(prepared)}), model, one)
        uadtools.save(made.product, prepared.with_name("again.nii.gz"), force=True)

    Model.predict = timed  # type: ignore[method-assign]
    shares = []
    for _ in range(3):
        asked.clear()
        shares.append((seconds(work), sum(asked)))
    Model.predict = predict  # type: ignore[method-assign]
    few = 24
    ddpm = seconds(lambda: heal(study, model, plan(model.config, method="ddpm", t=[few])))
    return {
        "slices": len(keys),
        "restore_seconds": restore,
        "sss_seconds": sss,
        "restore_over_sss": statistics.median(first / second for first, second in turns),
        "read_heal_write_seconds": statistics.median(whole for whole, _ in shares),
        "network_share": statistics.median(network / whole for whole, network in shares),
        "noise_seconds": noise,
        "noise_share": noise / sss,
        "ddpm_251_over_sss": ddpm / (few + 1) * 251 / sss,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=at_least(1), default=5)
    parser.add_argument("--json", type=writable)
    parser.add_argument("--engines", action="store_true", help="compare the engines of uad-heal alone")
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        roles = ("preprocessed", "healed", "score", "detection")
        prepared, healed, score, found = (str(Path(folder) / f"scan_{role}.nii.gz") for role in roles)
        raw, truth = (str(EXAMPLES / "data" / f"patient19_{kind}.nii.gz") for kind in ("T1w", "lesion"))
        os.environ |= {"PYTHONPYCACHEPREFIX": folder, "PYTHONDONTWRITEBYTECODE": ""}  # compiled, as pip installs them
        if settings.engines:
            report(engines(raw, Path(folder), settings.runs), settings.json)
            return
        rows = {f"uad-{name} --help": median([f"uad-{name}", "--help"], settings.runs) for name in COMMANDS}
        rows["start of uad-heal, model loaded"] = median(["python", "-c", START], settings.runs)
        for words in (
            ["uad-preprocess", raw, "-o", prepared, "--force"],
            ["uad-heal", prepared, "--method", "sss", "-t", "300", "-o", healed, "--force"],
            ["uad-heal", prepared, "-o", healed, "--force"],
            ["uad-score", prepared, healed, "-o", score, "--force"],
            ["uad-postproc", score, "--native", "-o", found, "--force", "--quiet"],
            ["uad-report", found, "-o", f"{folder}/scan.html", "--force"],
            ["uad-eval", found, "--truth", truth, "--json"],
        ):
            rows[" ".join(w for w in words[:1] + words[2:-2] if not w.startswith(folder) and w != "-o")] = median(
                words, settings.runs
            )
        pipe = f"uad-preprocess {raw} -o - | uad-heal | uad-score | uad-postproc --native -o {found} --force --quiet"
        rows["from the stripped scan to its detection, in a pipe"] = median(["/bin/sh", "-c", pipe], settings.runs)
        inside = healing(Path(prepared))
    for name, row in rows.items():
        print(f"{name:<52}{row['seconds']:8.2f} s   (slowest {row['slowest']:.2f}){row['megabytes']:8.0f} MB")
    for name, value in inside.items():
        print(f"{name:<52}{value:8.3f}")
    machine = (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, NumPy {np.__version__}"
    )
    print(machine)
    if settings.json:
        settings.json.write_text(json.dumps({"machine": machine, "commands": rows, "healing": inside}, indent=1) + "\n")


if __name__ == "__main__":
    main()
