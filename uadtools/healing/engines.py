"""What computes a network: torch, or onnxruntime where healing is one exported graph, which starts without torch."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from uadtools.concerns import Tell, silent
from uadtools.errors import Misuse, UadError
from uadtools.healing.plan import Plan, is_noisy, one_graph, plan, settled
from uadtools.models.checkpoint import read_config
from uadtools.models.exported import NEEDS_ONNXRUNTIME, SUFFIX, bundled_graph, load_exported
from uadtools.terminal import keep_memory, return_memory

if TYPE_CHECKING:
    from uadtools.models.exported import ExportedModel
    from uadtools.models.model import Model

Engine = Literal["auto", "torch", "onnx"]
GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""One of which is there where torch may find a GPU, on Linux."""


def load(
    path: Path,
    how: Plan,
    *,
    engine: Engine = "auto",
    device: str = "auto",
    precision: str = "auto",
    tell: Tell = silent,
) -> Model | ExportedModel:
    """Load a model for a way of healing: as its exported form where that does it, else with torch.

    auto: takes the exported form on a CPU where onnxruntime is installed; where that is of another model or damaged,
    torch if there is one, and tells so. Raises UadError as `chosen` and load_model do.
    """
    graph = chosen(path, how, engine, device, precision)
    return_memory()
    model = _opened(path, graph, engine, device, precision, tell)
    keep_memory()
    return model


def load_once(path: Path, how: Plan) -> Model | ExportedModel:
    """Load a model once, however many scans it heals; a file that was written anew since is loaded again."""
    return _kept(path, path.stat().st_mtime_ns, chosen(path, how, "auto", "auto", "auto"))


@lru_cache(maxsize=2)
def _kept(path: Path, written: int, graph: Path | None) -> Model | ExportedModel:
    return _opened(path, graph, "auto", "auto", "auto", silent)


def _opened(
    path: Path, graph: Path | None, engine: Engine, device: str, precision: str, tell: Tell
) -> Model | ExportedModel:
    unfit: UadError | None = None
    if graph:
        try:
            return load_exported(path, graph)
        except UadError as error:
            if engine == "onnx" or not has_torch():
                raise
            unfit = error
    from uadtools.models.model import load_model

    model = load_model(path, device=device, precision=precision)
    if unfit:
        tell(f"{unfit}; torch heals in its place")
    return model


def chosen(path: Path, how: Plan, engine: Engine, device: str, precision: str) -> Path | None:
    """Return the graph to heal with, none for torch. Raises UadError where the engine cannot heal so, or is missing."""
    if engine not in get_args(Engine):
        raise UadError(f"--engine {engine}: there are {', '.join(get_args(Engine))}")
    found = graph_for(path, how, device, precision) if engine != "torch" else "--engine torch"
    if isinstance(found, Path) and (engine == "onnx" or not (device == "auto" and _may_have_gpu())):
        return found
    if engine == "onnx":
        raise Misuse(f"--engine onnx: {found}")
    if not has_torch():
        raise UadError(f"{found}: needs torch (pip install torch)")
    return None


def graph_for(path: Path, how: Plan, device: str, precision: str) -> Path | str:
    """Return the graph that heals so: a bundled one, or that beside the model; or why there is none, and what to do."""
    method, first = how.method, how.options[0]
    hindrances = {
        f"--method {method} {NEEDS_ONNXRUNTIME}": not find_spec("onnxruntime"),
        f"computes on a CPU (leave --device {device} out)": device not in ("auto", "cpu"),
        "computes in fp32 (leave --precision bf16 out)": precision == "bf16",
        "--adapt fits the network, which torch alone can (leave it out)": how.adapt,
        f"--method {method} asks the network in many steps, as torch alone does": not one_graph(first),
        f"--method {method} draws noise, as torch alone does": is_noisy(type(first)),
    }
    for why, hinders in hindrances.items():
        if hinders:
            return why
    config, beside = read_config(path), path.with_suffix(SUFFIX)
    forms, usual = [settled(options) for options in how.options], settled(plan(config, method=method).options[0])
    graph = bundled_graph(config, method, forms[0])
    graph = beside if not graph.exists() and forms[0] == usual else graph
    if not graph.exists() or forms.count(forms[0]) < len(forms):
        return f"{path} has no exported form for this (uad-models export {path} -o {beside})"
    return graph


def has_torch() -> bool:
    """Tell whether torch is installed, without loading it."""
    return find_spec("torch") is not None


def _may_have_gpu() -> bool:
    """Tell, without loading torch, whether it is installed and may find something faster than the CPU."""
    return has_torch() and (sys.platform == "darwin" or any(Path(place).exists() for place in GPUS))
