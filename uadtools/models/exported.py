"""Exported models: ONNX files, their texts beside the graph, and asking them by onnxruntime. No torch here."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import UadError
from uadtools.models.checkpoint import REFERENCE, by_contrast, default_path, file_hash, read_arrays, read_config

Floats = NDArray[np.float32]
FORM = "uadtools.exported"
"""The text of an ONNX file that says what its graph does: see Form. The settings stand under checkpoint.KEY, as in a
model file, and each reference under its tensor's name there, such as reference.expected.FLAIR, as `packed_floats`.
"""
SUFFIX = ".onnx"
GRAPHS = default_path().parents[1] / "graphs"
"""Graphs of bundled models, which have their weights from the model files."""
NOT_IN_GRAPH = {"name", "licence", "intensity", "defaults", "quantiles", "likeness", "reference", "training"}
"""Settings that no graph depends on."""
NEEDS_ONNXRUNTIME = "needs the package onnxruntime (pip install 'uadtools[light]')"


@dataclass(frozen=True)
class Form:
    """What an exported graph does: a method's healing with a model, its options settled but for t.

    The graph's inputs are `x`, (B, C (2 reach + 1), H, W) float32 in [-1, 1], as the method gets it; where the method
    has a t, `t`, (1,) int64; and where it draws noise, `noise`, (B, C, H, W) float32. Its outputs are `healed`, (B, C,
    H, W) float32 in the units of [-1, 1], not cut off, and the method's maps by their names, (B, 1, H, W).

    options: of the method, but for t; t: the usual one, none where there is none. source: the model it was made of, as
    provenance names it.
    """

    method: str
    options: Mapping[str, Any]
    t: int | None
    source: str

    def text(self) -> str:
        """Return it as JSON."""
        return json.dumps({"format": 1, **self.__dict__})

    @classmethod
    def of(cls, texts: Mapping[str, str], path: Path) -> Form:
        """Read it from the texts of an ONNX file. Raises UadError where there is none, or one of another format."""
        try:
            data = json.loads(texts[FORM])
            if data.pop("format") == 1:
                return cls(**data)
        except (KeyError, TypeError, ValueError):
            pass
        raise UadError(f"{path}: an ONNX file that this version did not export (uad-models export MODEL -o {path})")


@dataclass(frozen=True)
class ExportedModel:
    """A model that onnxruntime asks: what there is in the place of models.model.Model without torch. Fields as there.

    graph: its healing, see Form.
    """

    ENGINE: ClassVar[str] = "onnx"
    device: ClassVar[str] = "cpu"
    precision: ClassVar[np.dtype[Any]] = np.dtype(np.float32)

    config: Any
    graph: Exported
    name: str
    expected: Mapping[str, Floats]

    @property
    def channels(self) -> int:
        return int(self.config.channels)


def load_exported(path: Path, graph: Path) -> ExportedModel:
    """Load a model to be asked by onnxruntime. graph: exported from it, or a bundled one, which takes its weights.

    Raises UadError where the file is damaged, the weights do not fit or are not finite, or the graph is another's.
    """
    config, tensors = read_config(path), read_arrays(path)
    name, expected = f"{config.name}:{file_hash(path)}", by_contrast(tensors)
    weights = {key: value for key, value in tensors.items() if not key.startswith(REFERENCE)}
    if bad := [key for key, value in weights.items() if not np.isfinite(value).all()]:
        raise UadError(f"{path}: {bad[0]} holds NaN or infinity")
    shared = graph.parent == GRAPHS
    asked = Exported(graph, weights if shared else None)
    if not shared and asked.form.source != name:
        raise UadError(f"{graph}: was made of {asked.form.source}, not of {name} (uad-models export {path} -o {graph})")
    return ExportedModel(config, asked, name, expected)


def bundled_graph(config: Any, method: str, options: Mapping[str, Any]) -> Path:
    """Return where the graph without weights ships, if it does, for models with these settings and this healing."""
    settings = config.model_dump(mode="json", exclude=NOT_IN_GRAPH)
    settings["grid"] = settings["grid"]["shape"] if config.solid else settings["grid"]["shape"][:2]
    text = json.dumps([settings, method, dict(options)], sort_keys=True)
    return GRAPHS / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}{SUFFIX}"


class Exported:
    """A graph that onnxruntime computes, on as many cores as there are or OMP_NUM_THREADS says."""

    def __init__(self, path: Path, weights: Mapping[str, Floats] | None = None) -> None:
        """Load an ONNX file. weights: by name, those that it does not hold itself.

        Raises UadError where onnxruntime is not installed, or cannot read the file.
        """
        try:
            import onnxruntime
        except ImportError:
            raise UadError(f"{path}: {NEEDS_ONNXRUNTIME}") from None
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
        settings.log_severity_level = 3
        settings.enable_mem_pattern = False  # it takes more than it saves
        if weights:
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(one) for one in weights.values()]
            settings.add_external_initializers(list(weights), values)
        try:
            self._session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own have no common base
            why = str(error).splitlines()[0]
            raise UadError(f"{path}: not an ONNX file, or damaged ({why})") from None
        self._settings = onnxruntime.RunOptions()  # its layers' memory is for what comes after it, too
        self._settings.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self.texts: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.form = Form.of(self.texts, path)
        self.inputs: dict[str, list[Any]] = {given.name: given.shape for given in self._session.get_inputs()}
        self._outputs = [made.name for made in self._session.get_outputs()]

    def __call__(self, x: Floats, t: int | None = None, noise: Floats | None = None) -> dict[str, Floats]:
        """Return what the graph makes of slices, by name: see Form."""
        at = self.form.t if t is None else t
        given = {"x": x, "noise": noise, "t": None if at is None else np.array([at], np.int64)}
        made = self._session.run(None, {name: given[name] for name in self.inputs}, self._settings)
        return dict(zip(self._outputs, made, strict=True))


def packed_floats(values: NDArray[Any]) -> str:
    """Write an array as JSON: its shape, and its values as base64 of little-endian float16, the last axis fastest."""
    half = np.ascontiguousarray(values, dtype="<f2")
    return json.dumps({"shape": half.shape, "float16": base64.b64encode(half.tobytes()).decode()})


def unpacked_floats(text: str) -> Floats:
    """Read what `packed_floats` wrote."""
    data = json.loads(text)
    values = np.frombuffer(base64.b64decode(data["float16"]), "<f2")
    return values.reshape(data["shape"]).astype(np.float32)
