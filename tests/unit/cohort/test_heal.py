"""Many scans healed in one call from Python."""

from contextlib import contextmanager

import numpy as np
import pytest

from uadtools import UadError, heal, heal_all, load_model, read
from uadtools.cohort.files import save
from uadtools.errors import Misuse


@pytest.fixture
def scans(phantom, tmp_path):
    """Three prepared scans in files."""
    paths = [tmp_path / f"{name}.nii.gz" for name in "abc"]
    for path in paths:
        save(phantom.need("scan"), path)
    return paths


@pytest.fixture
def on_cpu(tiny_model):
    return {"model": tiny_model, "device": "cpu", "precision": "fp32", "t": 5}


def test_one_call_heals_names_and_writes(scans, on_cpu, tmp_path, capfd):
    results = heal_all(scans, tmp_path / "out", **on_cpu)
    assert [(row["name"], row["output"]) for row in results] == [
        (name, str(tmp_path / "out" / f"{name}_healed.nii.gz")) for name in "abc"
    ]
    assert capfd.readouterr() == ("", "")
    alone = heal(read(scans[1]), load_model(on_cpu["model"], device="cpu", precision="fp32"), t=5)
    np.testing.assert_allclose(read(results[1]["output"]).data, alone.product.data, rtol=0, atol=5e-6)


def test_a_scan_that_fails_does_not_stop_the_others(scans, on_cpu, tmp_path):
    """One that cannot be read, and one that does not suit the model among those that share its batch."""
    scans[0].write_bytes(b"no scan")
    image = read(scans[1])
    save(image.derive(image.data * 2, "scan"), scans[1], force=True)
    told, faults = [], []
    results = heal_all(scans, tmp_path / "out", prepared=True, batch=64, tell=told.append, fail=faults.append, **on_cpu)
    assert [("error" in row, row["name"]) for row in results] == [
        (True, str(scans[0])), (True, str(scans[1])), (False, "c")
    ]  # fmt: skip
    assert [row["error"] for row in results[:2]] == faults
    assert faults[0].startswith(f"{scans[0]}: not a NIfTI image")
    assert faults[1].startswith("b: not prepared for model")
    assert not told
    assert [path.name for path in (tmp_path / "out").glob("*.nii.gz")] == ["c_healed.nii.gz"]


def test_a_file_that_cannot_be_written_does_not_stop_the_others(scans, on_cpu, tmp_path, monkeypatch):
    from uadtools.datasets import sink

    def full_for_a(image, path, **options):
        if path.name.startswith("a_"):
            raise UadError(f"{path}: No space left on device")
        save(image, path, **options)

    monkeypatch.setattr(sink, "save", full_for_a)
    results = heal_all(scans, tmp_path / "out", batch=1, **on_cpu)
    assert [row.get("error", "").partition(": ")[2] for row in results] == ["No space left on device", "", ""]


def test_what_is_wrong_with_an_only_scan_is_raised(scans, on_cpu, tmp_path):
    scans[0].write_bytes(b"no scan")
    faults = []
    with pytest.raises(UadError, match=r"a\.nii\.gz: not a NIfTI image"):
        heal_all(scans[0], tmp_path / "out.nii.gz", fail=faults.append, **on_cpu)
    assert not faults


def test_what_is_wrong_with_the_model_is_raised_before_any_scan_is_healed(scans, on_cpu, tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(on_cpu["model"].read_bytes()[:-100])
    faults = []
    with pytest.raises(UadError, match=r"broken\.safetensors: damaged or cut short"):
        heal_all(scans, tmp_path / "out", fail=faults.append, **on_cpu | {"model": broken})
    assert not faults


def test_what_is_wrong_with_all_scans_is_told_once(scans, on_cpu, tiny_guided, tmp_path):
    faults = []
    with pytest.raises(UadError, match=r"^--condition has no effect with --method sss"):
        heal_all(scans, tmp_path / "out", condition=scans[0], fail=faults.append, **on_cpu)
    models = {"model": [on_cpu["model"], tiny_guided["restoration"]]}
    with pytest.raises(UadError, match=r"^the models make different maps"):
        heal_all(scans, tmp_path / "out", fail=faults.append, **models)
    assert not faults


def test_progress_and_details_are_told(scans, on_cpu, tmp_path):
    seen, told = [], []

    @contextmanager
    def progress(text):
        yield lambda done, total: seen.append((text, done == total))

    heal_all(scans[:1], tmp_path / "out", progress=progress, tell=told.append, verbose=True, **on_cpu)
    assert seen[-1] == ("healing a", True)
    (line,) = told
    assert line.startswith("a: ")
    assert ", t 5, cpu, " in line


def test_options_that_do_not_go_together_are_an_error(scans, on_cpu, tmp_path):
    with pytest.raises(Misuse, match=r"^--combine: one -t leaves nothing to combine"):
        heal_all(scans, tmp_path / "out", combine="vote", **on_cpu)
    with pytest.raises(Misuse, match=r"^--output: .* is one file, and there are 3 inputs"):
        heal_all(scans, tmp_path / "out.nii.gz", **on_cpu)
    with pytest.raises(UadError, match=r"^no scan is named"):
        heal_all([], tmp_path / "out", **on_cpu)
