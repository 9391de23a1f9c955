"""Models as ONNX files: their graphs, and the texts that stand beside them."""

import json

import numpy as np
import pytest

from uadtools.errors import UadError

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
from uadtools.exporting.export import TOLERANCE, check_exported, export, how_exported, random_slices
from uadtools.models.checkpoint import KEY, read_config, save_model
from uadtools.models.exported import Exported, packed_floats, unpacked_floats
from uadtools.volume.io import save


@pytest.fixture(scope="module")
def restoring(tiny_guided, tmp_path_factory):
    """The tiny model of restoration, exported."""
    out = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    return tiny_guided["restoration"], out, export(tiny_guided["restoration"], out)


def test_a_graph_takes_any_batch_and_any_t_and_says_what_the_model_says(restoring):
    import torch

    from uadtools import methods
    from uadtools.models.model import load_model

    source, out, _ = restoring
    model, graph, restore = load_model(source, device="cpu", precision="fp32"), Exported(out), methods.get("restore")
    for batch, t in ((1, 5), (4, 400)):
        x = np.random.default_rng(batch).uniform(-1, 1, (batch, 5, 16, 16)).astype(np.float32)
        expected = restore.heal(model, torch.from_numpy(x), restore.Options(t=t), lambda: None)
        made = graph(x, t)
        assert made["healed"].shape == (batch, 1, 16, 16)
        np.testing.assert_allclose(made["healed"], expected.healed.detach(), atol=TOLERANCE)
        np.testing.assert_allclose(made["probability"], expected.maps["probability"].detach(), atol=TOLERANCE)
    assert np.abs(graph(x, 5)["healed"] - graph(x, 900)["healed"]).max() > 1e-4  # it is told its t


def test_the_texts_tell_settings_form_and_source(restoring):
    source, out, told = restoring
    graph = Exported(out)
    settings = json.loads(graph.texts[KEY])
    assert settings["grid"]["shape"] == [16, 16, 8]
    assert settings["defaults"]["method"] == graph.form.method == told["method"] == "restore"
    assert (graph.form.t, dict(graph.form.options)) == (999, {"flips": False})
    assert graph.form.source == told["source"]
    assert told["bits"] == 16
    assert told["bytes"] < 0.8 * source.stat().st_size or told["bytes"] < 110_000


def test_references_travel_with_the_graph(measured_model, tmp_path):
    export(measured_model, tmp_path / "a.onnx")
    expected = np.linspace(0.05, 0.2, 8 * 8 * 4, dtype=np.float32).reshape(8, 8, 4)
    text = Exported(tmp_path / "a.onnx").texts["reference.expected"]
    np.testing.assert_allclose(unpacked_floats(text), expected, rtol=1e-3)


def test_what_is_packed_is_plain_base64_of_halves():
    assert json.loads(packed_floats(np.array([[1.0, -2.0]]))) == {"shape": [1, 2], "float16": "ADwAwA=="}


@pytest.mark.parametrize("kind", ["ae", "svae", "dae"])
def test_kinds_without_noise_are_exported(kind, tiny_models, tmp_path):
    told = export(tiny_models[kind], tmp_path / "a.onnx")
    assert told["method"] == kind
    assert check_exported(tiny_models[kind], tmp_path / "a.onnx")["healed"] <= TOLERANCE


def test_noise_is_an_input_of_methods_that_draw_it(tiny_model, tmp_path):
    export(tiny_model, tmp_path / "a.onnx")
    graph = Exported(tmp_path / "a.onnx")
    assert graph.form.method == "sss"
    assert list(graph.inputs) == ["x", "t", "noise"]
    x = random_slices(read_config(tiny_model))
    noises = [np.random.default_rng(seed).standard_normal(x.shape, np.float32) for seed in (1, 2)]
    assert np.abs(np.subtract(*(graph(x, 200, noise)["healed"] for noise in noises))).max() > 1e-3


@pytest.mark.parametrize("kind", ["pddpm", "ldm", "distilled"])
def test_methods_that_walk_have_no_graph(kind, tiny_guided):
    with pytest.raises(UadError, match=rf"models of kind '{kind}' have no exported form: .*step by step"):
        how_exported(read_config(tiny_guided[kind]), tiny_guided[kind])


def test_masked_autoencoders_are_refused_for_what_they_do(tiny_models):
    with pytest.raises(UadError, match="mae, which heals with it, asks the network step by step, at random or many"):
        how_exported(read_config(tiny_models["mae"]), tiny_models["mae"])


def test_kinds_that_heal_nothing_have_no_graph(tiny_guided):
    with pytest.raises(UadError, match="heal nothing"):
        how_exported(read_config(tiny_guided["spark"]), tiny_guided["spark"])


def test_a_graph_is_compared_with_its_source(restoring, fine_model, tmp_path):
    source, out, _ = restoring
    assert set(check_exported(source, out)) == {"healed", "probability"}
    with pytest.raises(UadError, match=r"tiny.onnx: was made of .*, not of "):
        check_exported(fine_model, out)


def test_a_graph_that_says_otherwise_is_found(restoring, tmp_path):
    """One whose text names the source, and whose weights are others."""
    import onnx
    from onnx import numpy_helper

    source, out, _ = restoring
    graph = onnx.load(out)
    (weight,) = [one for one in graph.graph.initializer if one.name.startswith("out_conv.bias")]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + np.float32(0.01), weight.name))
    onnx.save(graph, tmp_path / "other.onnx")
    with pytest.raises(UadError, match=r"other.onnx: says otherwise than .*: healed by 0.0"):
        check_exported(source, tmp_path / "other.onnx")


def test_real_scans_are_compared_too(restoring, phantom, tmp_path):
    source, out, _ = restoring
    save(phantom.need("scan"), tmp_path / "scan.nii.gz")
    assert check_exported(source, out, [str(tmp_path / "scan.nii.gz")])["healed"] <= TOLERANCE


def test_weights_that_16_bits_would_change_stay_in_32(tiny_guided, tmp_path, monkeypatch):
    monkeypatch.setattr("uadtools.exporting.export.TOLERANCE", 1e-5)
    from uadtools.models.checkpoint import read_tensors

    weights = {name: value.float() * 1.01 + 3e-5 for name, value in read_tensors(tiny_guided["restoration"]).items()}
    save_model(tmp_path / "a.safetensors", read_config(tiny_guided["restoration"]), weights, half=False)
    assert export(tmp_path / "a.safetensors", tmp_path / "a.onnx")["bits"] == 32


def test_no_other_onnx_file_is_taken(restoring, tmp_path):
    import onnx

    _, out, _ = restoring
    graph = onnx.load(out)
    del graph.metadata_props[:]
    onnx.save(graph, tmp_path / "foreign.onnx")
    with pytest.raises(UadError, match="an ONNX file that this version did not export"):
        Exported(tmp_path / "foreign.onnx")
    (tmp_path / "broken.onnx").write_bytes(out.read_bytes()[:1000])
    with pytest.raises(UadError, match="not an ONNX file, or damaged"):
        Exported(tmp_path / "broken.onnx")
