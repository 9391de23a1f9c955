"""Models exported: one ONNX graph, from slices to healed slices, and whether it says what its source says."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uadtools import methods
from uadtools.errors import UadError
from uadtools.files import check_free, written
from uadtools.healing.plan import is_noisy, one_graph, plan, settled
from uadtools.models.checkpoint import KEY, REFERENCE, as_text, located, read_config
from uadtools.models.config import ModelConfig, NoisedSettings
from uadtools.models.exported import FORM, SUFFIX, Exported, Form, packed_floats
from uadtools.volume.stream import read_path

if TYPE_CHECKING:
    from onnx import ModelProto

    from uadtools.models.model import Model

Floats = NDArray[np.float32]
OPSET = 20
TOLERANCE = 2e-3
"""In the units of [0, 1] and of probabilities, by which an exported model may differ from its source."""
LARGE = 64
"""Weights of fewer numbers stay in 32 bits."""
NEEDS_ONNX = "needs the packages onnx, onnxscript and onnxruntime (pip install 'uadtools[export]')"


def export(path: Path, out: Path, *, force: bool = False) -> dict[str, Any]:
    """Write a model's healing as an ONNX file, which models.exported.Form explains; returns what is told of it.

    Weights are stored in 16 bits where the graph then still says what the model says, to half of TOLERANCE. Raises
    UadError for a model whose methods walk, for packages that are not there, and where the graph says otherwise.
    """
    if out.suffix != SUFFIX:
        raise UadError(f"{out}: an exported model ends in {SUFFIX} (change -o)")
    check_free(out, force=force)
    path = located(path)
    how = how_exported(read_config(path), path)
    from uadtools.models.model import load_model

    model = load_model(path, device="cpu", precision="fp32", fold=False)
    graph = graph_of(model, *how)
    for name, text in texts(model, *how).items():
        graph.metadata_props.add(key=name, value=text)
    with written(out, force=force) as part:
        for bits, most in ((16, TOLERANCE / 2), (32, TOLERANCE)):
            part.write_bytes((_halved(graph) if bits == 16 else graph).SerializeToString())
            apart = max(differences(model, Exported(part), random_slices(model.config)).values())
            if apart <= most:
                break
        else:
            raise UadError(f"{path}: its exported form would say otherwise, by {apart:.2g} (a fault of uadtools)")
    told = {"exported": str(out), "source": model.name, "method": how[0], "opset": OPSET, "bits": bits}
    return told | {"bytes": out.stat().st_size, "apart": apart}


def check_exported(path: Path, exported: Path, scans: Sequence[str] = ()) -> dict[str, float]:
    """Compare an exported model with its source on random slices, and those of scans prepared for it.

    Returns the largest difference of each output, healed slices in the units of [0, 1]. Raises UadError where one is
    above TOLERANCE, or the file was made of another model.
    """
    from uadtools.models.model import load_model

    model = load_model(path, device="cpu", precision="fp32")
    graph = Exported(exported)
    if graph.form.source != model.name:
        raise UadError(f"{exported}: was made of {graph.form.source}, not of {model.name} (uad-models export)")
    apart = dict[str, float]()
    for slices in [random_slices(model.config), *(_slices_of(Path(scan), model) for scan in scans)]:
        for name, value in differences(model, graph, slices).items():
            apart[name] = max(value, apart.get(name, 0.0))
    if not max(apart.values()) <= TOLERANCE:
        told = ", ".join(f"{name} by {value:.2g}" for name, value in apart.items())
        raise UadError(f"{exported}: says otherwise than {path}: {told} (export it anew)")
    return apart


def how_exported(config: ModelConfig, path: Path) -> tuple[str, Any]:
    """Return the method, and its options, that a model is exported with: its default one, else the first that can be.

    Raises UadError where all that heal with it walk.
    """
    names = sorted(methods.able(config.kind), key=lambda name: name != config.defaults.method)
    plans = [plan(config, method=name) for name in names or [config.defaults.method]]
    for how in plans:
        if one_graph(how.options[0]):
            return how.method, how.options[0]
    one = "s" * (len(names) == 1)
    asks = f"ask{one} the network step by step, at random or many times"
    walks = f"{' and '.join(names)}, which heal{one} with it, {asks}"
    raise UadError(f"{path}: models of kind '{config.kind}' have no exported form: {walks}")


def graph_of(model: Model, method: str, options: Any, *, optimize: bool = True) -> ModelProto:
    """Return a method's healing as an ONNX graph, with the weights by their names in the model file, in 32 bits.

    optimize: let what follows from the weights alone be computed already, so that some weights are other ones.
    """
    import torch
    from torch import nn

    try:
        import onnxscript  # noqa: F401  what torch exports with
    except ImportError:
        raise UadError(f"uad-models export {NEEDS_ONNX}") from None
    heal = methods.get(method).heal
    x = torch.from_numpy(random_slices(model.config)[:2])
    more, maps = _given(model.config, options, x.shape), list[str]()

    class Healer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = model.net

        def forward(
            self, x: torch.Tensor, t: torch.Tensor | None = None, noise: torch.Tensor | None = None
        ) -> tuple[torch.Tensor, ...]:
            told = options if t is None else replace(options, t=t.expand(x.shape[0]))
            healing = heal(model, x, told, lambda: noise)
            maps[:] = healing.maps
            return healing.healed, *healing.maps.values()

    healer, batch = Healer().eval(), {0: "batch"}
    shapes = {"x": batch, **{name: batch if name == "noise" else None for name in more}}
    with _quiet(), torch.no_grad():
        given = {name: torch.from_numpy(value) for name, value in more.items()}
        healer(x, **given)  # tells the maps
        program = torch.onnx.export(
            healer, (x,), kwargs=given, dynamo=True, opset_version=OPSET, dynamic_shapes=shapes, verbose=False,
            optimize=optimize,
            input_names=["x", *more], output_names=["healed", *maps],
        )  # fmt: skip
    assert program is not None
    graph = program.model_proto
    _rename(graph)
    return graph


def _given(config: ModelConfig, options: Any, shape: Sequence[int]) -> dict[str, NDArray[Any]]:
    """Return what a graph is given beside slices of a shape: its usual t, and noise of a fixed seed."""
    given: dict[str, NDArray[Any]] = {"t": np.array([options.t], np.int64)} if hasattr(options, "t") else {}
    if isinstance(config, NoisedSettings) and is_noisy(type(options)):
        noise = np.random.default_rng(1).standard_normal((shape[0], *config.noise_shape(shape[2:])), np.float32)
        given["noise"] = noise
    return given


def differences(model: Model, graph: Exported, x: Floats) -> dict[str, float]:
    """Return how far a graph is from the model it was made of, at most, by output; healed in the units of [0, 1]."""
    import torch

    options = methods.get(graph.form.method).Options(**graph.form.options)
    options = options if graph.form.t is None else replace(options, t=graph.form.t)
    noise = _given(model.config, options, x.shape).get("noise")
    with torch.inference_mode():
        draw = (lambda: None) if noise is None else lambda: torch.from_numpy(noise)
        healing = methods.get(graph.form.method).heal(model, torch.from_numpy(x), options, draw)
    made = graph(x, noise=noise)
    apart = {name: float(np.abs(made[name] - tensor.numpy()).max()) for name, tensor in healing.maps.items()}
    return {"healed": float(np.abs(made["healed"] - healing.healed.numpy()).max()) / 2, **apart}


def random_slices(config: ModelConfig) -> Floats:
    """Return three slices of noise in [-1, 1] as a model sees them, the same ones every time."""
    columns, rows, depth = config.grid.shape
    shape = (depth, rows, columns) if config.solid else (rows, columns)
    return np.random.default_rng(0).uniform(-1, 1, (3, config.seen, *shape)).astype(np.float32)


def _slices_of(scan: Path, model: Model) -> Floats:
    """Return what a model sees of a prepared scan. Raises UadError where it was not prepared for it."""
    from uadtools.healing.batches import Seen
    from uadtools.healing.heal import slices_of

    return Seen.of(model, [slices_of(next(read_path(scan)), model)]).slices(slice(None))


def texts(model: Model, method: str, options: Any) -> dict[str, str]:
    """Return what stands beside the graph: settings, form and references, by their names."""
    form = Form(method=method, t=getattr(options, "t", None), options=settled(options), source=model.name)
    texts = {KEY: as_text(model.config), FORM: form.text()}
    for contrast, expected in model.expected.items():
        texts[f"{REFERENCE}.{contrast}" if contrast else REFERENCE] = packed_floats(expected)
    return texts


def _rename(graph: ModelProto) -> None:
    """Call the weights as the model file does, and leave out what the exporter notes of its work."""
    names = {weight.name: weight.name.removeprefix("net.") for weight in graph.graph.initializer}
    for weight in graph.graph.initializer:
        weight.name = names[weight.name]
    for node in graph.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        del node.metadata_props[:]
        node.doc_string = ""
    for part in (*graph.graph.value_info, *graph.graph.input, *graph.graph.output, *graph.graph.initializer):
        del part.metadata_props[:]
    del graph.graph.value_info[:], graph.graph.metadata_props[:], graph.metadata_props[:]


def _halved(graph: ModelProto) -> ModelProto:
    """Return a graph with its larger weights in 16 bits, which are read as 32."""
    from onnx import ModelProto, TensorProto, helper, numpy_helper

    small = ModelProto()
    small.CopyFrom(graph)
    for weight in small.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < LARGE:
            continue
        half = f"{weight.name}.half"
        small.graph.node.insert(0, helper.make_node("Cast", [half], [weight.name], to=TensorProto.FLOAT))
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), half))
    return small


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks from users, who could do nothing about them."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)
