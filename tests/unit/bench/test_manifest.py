"""Manifests: what changes when data, plan or models do, and that nothing is hashed twice."""

from uadtools.bench.manifest import differences, manifest_of
from uadtools.bench.plan import BenchConfig
from uadtools.models.config import parse

SET = {"name": "s", "val": ["a"], "test": ["b"]}


def made(folder, models=None, **plan):
    files = [str(folder / name) for name in ("a.nii.gz", "b.nii.gz")]
    config = parse(BenchConfig, {"name": "p", "set": [SET], "method": [{"name": "m"}], **plan}, "p.toml")
    return manifest_of(config, files, folder, folder / "out", models or {"m": ["1"]})


def test_what_differs_is_told_and_what_was_hashed_is_not_read_again(tmp_path, monkeypatch):
    for name in "ab":
        (tmp_path / f"{name}.nii.gz").write_bytes(name.encode())
    first = made(tmp_path)
    assert first["data"]["a.nii.gz"] == "ca978112ca1bbdca"  # sha256 of "a"
    assert {"torch", "numpy", "python", "uadtools"} <= first["versions"].keys()
    (tmp_path / "b.nii.gz").write_bytes(b"other")
    changed = made(tmp_path, {"m": ["2"]}, seed=1)
    parts = [line.split(":")[0] for line in differences(first, changed)]
    assert parts == ["plan", "data", "models"]
    assert "b.nii.gz" in differences(first, changed)[1]
    monkeypatch.setattr("uadtools.bench.manifest.file_hash", None)
    assert made(tmp_path, {"m": ["2"]}, seed=1) == changed
