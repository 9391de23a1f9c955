import sys

import numpy as np
import pytest
from loading import load

from uadtools.grids.grid import Grid
from uadtools.volume.io import Image, save

GRID = Grid((16, 16, 16), np.diag([2.0, 2.0, 2.0, 1.0]))


@pytest.fixture
def check(monkeypatch, capsys):
    """Run the example with these words; returns the rows of its table, and its exit status."""
    module = load("conformal_check")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["conformal_check.py", *map(str, words)])
        with pytest.raises(SystemExit) as leaving:
            module.main()
        rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
        return rows, leaving.value.code

    return run


def scores(folder, count, scale):
    folder.mkdir()
    for seed in range(count):
        rng = np.random.default_rng(seed)
        data = scale * (1 + rng.random()) * (0.1 + rng.random(GRID.shape))
        save(Image(data.astype(np.float32), GRID, "score"), folder / f"s{seed}.nii.gz", provenance=False)
    return folder


def test_promises_hold_among_like_scans_and_nothing_is_promised_elsewhere(check, tmp_path):
    alike, louder = scores(tmp_path / "a", 40, 1), scores(tmp_path / "b", 3, 5)
    rows, status = check(alike, "--splits", 20)
    assert status == 0
    assert [row[:4] for row in rows[:4]] == [
        ["scanwise", "5%", "19", "21"],
        ["voxelwise", "5%", "19", "21"],
        ["scanwise", "5%", "20", "20"],
        ["voxelwise", "5%", "20", "20"],
    ]
    rows, status = check(alike, "--splits", 2, "--elsewhere", louder)
    assert status == 0
    assert all(row[3] == "3" and row[4].startswith("100.00%") for row in rows if row[0] == "scanwise")


def test_a_broken_promise_is_an_exit_status(check, tmp_path, monkeypatch):
    monkeypatch.setattr("uadtools.metrics.conformal.scanwise", lambda peaks, level: float(np.median(peaks)))
    assert check(scores(tmp_path / "a", 21, 1), "--splits", 10)[1] == 1


def test_too_few_scans_are_told(check, tmp_path):
    assert "more than 19 are needed" in check(scores(tmp_path / "a", 19, 1))[1]
