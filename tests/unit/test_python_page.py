"""docs/python.md: every block of it runs, in order."""

import re
from pathlib import Path

import numpy as np
import pytest

import uadtools

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


@pytest.fixture
def folder(tmp_path, stripped, monkeypatch):
    """A stripped scan with a dark lesion, and its truth."""
    truth = np.zeros(stripped.data.shape, np.uint8)
    truth[22:27, 27:33, 22:27] = 1
    data = np.where(truth > 0, stripped.data.max() / 10, stripped.data).astype(np.int16)
    uadtools.save(stripped.derive(data, "scan"), tmp_path / "scan.nii.gz")
    uadtools.save(stripped.derive(truth, "scan"), tmp_path / "truth.nii.gz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_runs(folder):
    names = {}
    for block in BLOCKS:
        exec(compile(block, str(PAGE), "exec"), names)
    assert {"healed", "probability", "expected"} <= names["study"].images.keys()
    assert names["detected"].product.grid.same(names["scan"].grid)
    assert names["diffusion"].need("healed").provenance["history"][-1]["arguments"]["t"] == [300]
    assert names["summary"]["steps"] == 1
    assert [(row["name"], row["output"]) for row in names["rows"]] == [("scan", "healed/scan_healed.nii.gz")]
    assert sorted(path.name for path in folder.glob("*.nii.gz")) == [
        "detection.nii.gz", "healthy_preprocessed.nii.gz", "scan.nii.gz", "truth.nii.gz"
    ]  # fmt: skip


def test_the_page_imports_nothing_deeper():
    assert re.findall(r"^(?:from|import) .*", "\n".join(BLOCKS), flags=re.MULTILINE) == ["import uadtools"]
