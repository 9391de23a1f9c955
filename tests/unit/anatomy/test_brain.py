import sys
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest

from uadtools.anatomy.brain import deepbet, from_background, is_stripped
from uadtools.errors import UadError
from uadtools.grids.grid import Grid, oriented
from uadtools.volume.background import background


def voxels_of(grid, size):
    return Grid(grid.shape, grid.affine @ np.diag([size, size, size, 1]))


@pytest.fixture
def extraction(monkeypatch):
    """Put a class in the place of deepbet's; run(scan) is what the test gives."""

    def replace(run):
        module = ModuleType("deepbet.bet")
        module.BrainExtraction = type(
            "Fake", (), {"__init__": lambda self, no_gpu: None, "run": lambda self, s: run(s)}
        )
        monkeypatch.setitem(sys.modules, "deepbet", ModuleType("deepbet"))
        monkeypatch.setitem(sys.modules, "deepbet.bet", module)

    return replace


def test_background_is_what_is_exactly_0():
    data = np.array([[[0, -0.0, 1e-30, -1, 2]]])
    np.testing.assert_array_equal(background(data), [[[True, True, False, False, False]]])


def test_a_stripped_scan_is_told_from_a_head(head, stripped):
    assert is_stripped(stripped.data, stripped.grid)
    assert not is_stripped(head.data, head.grid)


def test_what_is_larger_than_a_brain_is_none(stripped):
    assert is_stripped(stripped.data, voxels_of(stripped.grid, 1.2))
    assert not is_stripped(stripped.data, voxels_of(stripped.grid, 1.25))


def test_a_stripped_scan_is_known_in_a_tight_box_and_with_negative_values(stripped):
    tight = stripped.data[np.ix_(*(np.flatnonzero(stripped.data.any(axis=a)) for a in ((1, 2), (0, 2), (0, 1))))]
    grid = Grid(tight.shape, stripped.grid.affine)
    assert is_stripped(tight, grid)
    scored = np.where(tight > 0, (tight - 500.5) / 100, 0)
    assert (scored < 0).any()
    assert is_stripped(scored, grid)


def test_a_small_scan_with_a_few_zeros_is_not_stripped():
    noise = np.random.default_rng(0).integers(0, 9, (20, 20, 20))
    assert (noise == 0).mean() > 0.1
    assert not is_stripped(noise, Grid(noise.shape, np.diag([4, 4, 4, 1.0])))


def test_a_head_in_noise_is_not_stripped(head):
    noise = np.random.default_rng(0).integers(1, 9, head.data.shape)
    assert not is_stripped(head.data + noise, head.grid)


def test_the_brain_is_all_that_is_not_background_and_what_it_encloses(stripped, brain):
    data = stripped.data - 500.5 * (brain.data > 0)
    data[24:27, 29:32, 24:27] = 0
    assert (data < 0).any()
    np.testing.assert_array_equal(from_background(data), brain.data > 0)


def test_a_constant_background_is_no_brain(stripped, brain):
    data = np.where(brain.data > 0, stripped.data - 1000, 7)
    np.testing.assert_array_equal(from_background(data), brain.data > 0)


def test_a_bay_is_no_hole():
    data = np.arange(1.0, 126).reshape(5, 5, 5)
    data[2, 2, :3] = 0
    np.testing.assert_array_equal(from_background(data), data > 0)


@pytest.mark.parametrize("missing", ["deepbet", "deepbet.bet", "torch"])
def test_a_missing_deepbet_is_told_with_every_way_out(missing, head, monkeypatch):
    for module in [m for m in sys.modules if m.startswith("deepbet")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UadError) as caught:
        deepbet(head.data, head.grid)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert all(part in message for part in ("pip install 'uadtools[deepbet]'", "--brain FILE", "--brain none"))


def test_deepbet_gets_the_scan_and_gives_the_mask(head, brain, extraction):
    data, ras = oriented(head.data, head.grid)
    truth, _ = oriented(brain.data, brain.grid)
    seen = []

    def run(scan):
        seen.append(scan)
        return scan, nib.Nifti1Image(truth, ras.affine), 1.0

    extraction(run)
    found = deepbet(data, ras)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, truth > 0)
    np.testing.assert_array_equal(seen[0].get_fdata(), data)
    np.testing.assert_array_equal(seen[0].affine, ras.affine)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (AssertionError("Not enough foreground"), "Not enough foreground"),
        (ValueError("attempt to get argmax of an empty sequence"), "attempt to get argmax"),
        (RuntimeError("a torch error\nwith\na trace"), r"\(a torch error; pass"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_a_deepbet_that_finds_nothing_is_told_in_one_line(error, said, head, extraction):
    def run(scan):
        raise error

    extraction(run)
    with pytest.raises(UadError, match=r"^deepbet finds no brain in it \(.*pass --brain FILE\)$") as caught:
        deepbet(head.data, head.grid)
    assert caught.match(said)
