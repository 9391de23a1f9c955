"""Healing without torch: the exported forms that ship, by onnxruntime; what needs torch says so."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import uadtools
from uadtools.volume.stream import last_by

pytest.importorskip("onnxruntime")
DATA = Path(__file__).parents[2] / "examples/data"
BLOCKED = "import sys; sys.modules['torch'] = None; from uadtools.cli.{} import main; main()"
"""Runs a command where torch cannot be imported."""


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A real scan, prepared."""
    out = tmp_path_factory.mktemp("real") / "flair.nii.gz"
    without_torch("preprocess", DATA / "patient19_FLAIR.nii.gz", "-o", out)
    return out


def without_torch(name, *words, status=0, **options):
    command = [sys.executable, "-c", BLOCKED.format(name), *map(str, words)]
    done = subprocess.run(
        command, capture_output=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}, **options
    )
    assert done.returncode == status, done.stderr.decode()
    return done


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


@pytest.mark.parametrize("more", [(), ("--flips", "-t", "600", "-t", "999", "--batch", "7")])
def test_both_engines_heal_to_the_same_voxels(uad, scan, here, more):
    words = ("heal", scan, "--device", "cpu", "--precision", "fp32", "--maps", *more)
    for engine in ("torch", "onnx"):
        done = uad(*words, "--engine", engine, "-o", f"{engine}.nii.gz")
        assert done.status == 0, done.err
    for role in ("", "_probability", "_expected" if not more else "_spread"):
        ours, theirs = (uadtools.read(f"{engine}{role}.nii.gz").data for engine in ("onnx", "torch"))
        assert np.abs(ours - theirs).max() < 2e-3
        assert ours.max() > 0
    assert [last_by(uadtools.read(f"{engine}.nii.gz"), "uad-heal")["engine"] for engine in ("onnx", "torch")] == [
        "onnx", "torch",
    ]  # fmt: skip


def test_the_pipe_and_the_run_need_no_torch_and_detect_the_same(uad, scan, here):
    raw = DATA / "patient19_FLAIR.nii.gz"
    stream = without_torch("preprocess", raw, "-o", "-").stdout
    stream = without_torch("heal", input=stream).stdout
    stream = without_torch("score", input=stream).stdout
    stream = without_torch("postproc", "--native", "-o", "-", input=stream).stdout
    without_torch("report", "-", "-o", "page.html", input=stream)
    assert b"niivue" in (here / "page.html").read_bytes()
    without_torch("run", raw, "-o", "out", "--json")
    for engine in ("torch", "auto"):
        done = uad("run", raw, "-o", engine, "--set", f"heal.engine={engine}", "--precision", "fp32", "--device", "cpu")
        assert done.status == 0, done.err
    found = [uadtools.read(next(Path(where).glob("*_detection.nii.gz"))).data > 0 for where in ("torch", "auto", "out")]
    assert found[0].sum() > 100
    assert min(dice(found[0], found[1]), dice(found[0], found[2])) >= 0.99


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--method", "sss"], "--method sss draws noise, as torch alone does"),
        (["--method", "disyre"], "--method disyre asks the network in many steps, as torch alone does"),
        (["--precision", "bf16"], "computes in fp32 (leave --precision bf16 out)"),
        (["--device", "cuda"], "computes on a CPU (leave --device cuda out)"),
        (["--adapt", "curve"], "--adapt fits the network"),
    ],
)
def test_what_has_no_exported_form_is_refused_by_name_before_all_else(uad, scan, words, why):
    uad("heal", scan, "-o", "a.nii.gz", "--engine", "onnx", *words).fails("heal", 2, f"--engine onnx: {why}")


def test_an_engine_without_a_model_is_refused(uad, prepared):
    words = ("heal", prepared, "--method", "blur", "--engine", "onnx", "-o", "a.nii.gz")
    uad(*words).fails("heal", 2, "--engine onnx: --method blur needs no model (leave it out)")


def test_what_needs_torch_says_so_in_one_line(scan):
    for name, words in {
        "heal": [scan, "--method", "sss", "-o", "a.nii.gz"],
        "models": ["check", "any-small"],
        "train": [scan.parent, "--recipe", "any-small", "-o", "a.safetensors", "--device", "cpu"],
    }.items():
        said = without_torch(name, *words, status=1).stderr.decode()
        assert said.count("\n") == 1, said
        assert "needs torch (pip install torch)" in said


def test_what_needs_matplotlib_says_so_in_one_line(scan):
    without = BLOCKED.format("report").replace("torch", "matplotlib")
    words = [sys.executable, "-c", without, str(scan), "-o", str(scan.parent / "page.html")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "uad-report: error: this needs matplotlib (pip install matplotlib)\n")


def test_a_model_of_ones_own_heals_by_the_graph_beside_it(uad, prepared, tiny_guided, here):
    pytest.importorskip("onnxscript")
    model = here / "own.safetensors"
    model.write_bytes(tiny_guided["restoration"].read_bytes())
    heal = ("heal", prepared, "--model", model, "--precision", "fp32")
    why = f"has no exported form for this (uad-models export {model} -o {here / 'own.onnx'})"
    uad(*heal, "--engine", "onnx", "-o", "a.nii.gz").fails("heal", 2, why)
    assert uad("models", "export", model, "-o", "own.onnx").status == 0
    healed = uad(*heal, "--engine", "onnx", "-o", "a.nii.gz", "-v")
    assert healed.status == 0
    assert ", cpu, float32, onnx, tiny-restoration:" in healed.lines[-1]
    again = (*heal, "-o", "a.nii.gz", "--engine")
    assert "1 of 1 done before" in uad(*again, "onnx").err
    uad(*again, "torch").fails("heal", 1, "a.nii.gz: exists, and was made with other settings")
    assert uad(*heal, "--engine", "torch", "-o", "b.nii.gz").status == 0
    assert np.abs(uadtools.read("a.nii.gz").data - uadtools.read("b.nii.gz").data).max() < 2e-3
    checked = uad("models", "check", model, "--exported", "own.onnx", "--scan", prepared)
    assert b"ok; own.onnx says the same (healed to " in checked.out
    uad("models", "export", model, "-o", "own.onnx").fails("models", 1, "own.onnx", "--force")
    uad("models", "check", model, "--scan", prepared).fails("models", 2, "--exported")
    flipped = (*heal, "--flips", "-o", "c.nii.gz")
    uad(*flipped, "--engine", "onnx").fails("heal", 2, "has no exported form for this")
    assert uad(*flipped).status == 0  # auto takes torch
    assert last_by(uadtools.read("c.nii.gz"), "uad-heal")["engine"] == "torch"
    other = uad("models", "settle", model, "--set", "name=other", "--force")
    assert other.status == 0, other.err
    uad(*heal, "-o", "d.nii.gz", "--engine", "onnx").fails("heal", 1, "own.onnx: was made of")
    refused = without_torch("heal", *heal[1:], "-o", "d.nii.gz", status=1).stderr.decode()
    assert refused.count("\n") == 1
    assert "own.onnx: was made of" in refused
    assert not (here / "d.nii.gz").exists()
    for damage in (b"", b"no graph"):
        (here / "own.onnx").write_bytes(damage or (here / "own.onnx").read_bytes())
        left = uad(*heal, "-o", "d.nii.gz", "--force")
        assert left.status == 0
        assert len([line for line in left.lines if line.endswith("; torch heals in its place")]) == 1, left.err
        assert last_by(uadtools.read("d.nii.gz"), "uad-heal")["engine"] == "torch"


def test_the_graphs_that_ship_are_those_of_the_models_that_ship():
    """One for each architecture and way of healing, without weights, which the model files have."""
    from uadtools.healing.plan import plan, settled
    from uadtools.models.checkpoint import bundled, read_config
    from uadtools.models.exported import GRAPHS, bundled_graph

    wanted = {
        bundled_graph(config, "restore", settled(plan(config, flips=flips).options[0]))
        for config in map(read_config, bundled())
        for flips in (False, True)
        if config.kind == "restoration"
    }
    assert set(GRAPHS.iterdir()) == wanted
    assert sum(path.stat().st_size for path in wanted) < 1_000_000
