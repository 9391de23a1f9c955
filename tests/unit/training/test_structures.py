"""Label maps of training scans: which scan's they are, where they lie, and which parts are one."""

from dataclasses import replace

import numpy as np
import pytest

from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.grids.slices import to_slices
from uadtools.models.config import GridConfig
from uadtools.training.data import load_slices
from uadtools.training.structures import label_maps, paired, structures_of
from uadtools.volume.io import Image, save

SHAPE = (16, 12, 8)
GRID = Grid(SHAPE, np.diag([2.0, 2, 2, 1]))


@pytest.fixture
def labels():
    """Four quarters of a box: left and right of one kind in front, two kinds behind; numbers as atlases have them."""
    made = np.zeros(SHAPE, np.int16)
    made[2:8, 7:10, 1:7], made[8:14, 7:10, 1:7] = 1004, 2004
    made[2:8, 2:7, 1:7], made[8:14, 2:5, 1:7] = 17, 53
    return made


@pytest.fixture
def map_file(labels, tmp_path):
    save(Image(labels, GRID), tmp_path / "a_dseg.nii.gz", provenance=False)
    return tmp_path / "a_dseg.nii.gz"


def test_maps_are_found_by_their_studies(map_file):
    (map_file.parent / "a_T1w.nii.gz").touch()
    assert label_maps([str(map_file.parent)]) == {"a": map_file}
    assert label_maps([]) == {}


def test_no_map_at_all_is_an_error(tmp_path):
    (tmp_path / "a_T1w.nii.gz").touch()
    with pytest.raises(UadError, match="no label map"):
        label_maps([str(tmp_path)])


def test_left_and_right_are_one_structure_and_others_are_not(labels):
    numbers = np.unique(labels, return_inverse=True)[1].reshape(SHAPE)
    made = paired(numbers)
    assert made[3, 8, 3] == made[12, 8, 3]
    assert len({made[0, 0, 0], made[3, 8, 3], made[3, 3, 3]}) == 3
    np.testing.assert_array_equal(made == 0, labels == 0)


def test_what_has_no_partner_keeps_its_number():
    """Two lie where the mirror has the third: the larger of them is its partner."""
    numbers = np.array([1, 1, 2, 0, 0, 3, 3, 3])[:, None, None]
    assert paired(numbers).ravel().tolist() == [1, 1, 2, 0, 0, 1, 1, 1]


def test_a_map_on_another_grid_lies_where_the_scan_does(labels, map_file):
    moved = Grid((8, 6, 4), np.array([[-4.0, 0, 0, 29], [0, 4, 0, 1], [0, 0, 4, 1], [0, 0, 0, 1]]))  # mirrored, coarser
    made = structures_of(map_file.parent / "a_preprocessed.nii.gz", label_maps([str(map_file)]), moved)
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made > 0, labels[::-1][1::2, 1::2, 1::2] > 0)


def test_a_scan_without_a_map_and_a_map_elsewhere_are_errors(map_file):
    maps = label_maps([str(map_file)])
    with pytest.raises(UadError, match="no label map b_dseg"):
        structures_of(map_file.parent / "b_preprocessed.nii.gz", maps, GRID)
    away = Grid(SHAPE, np.array([[2.0, 0, 0, 900], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]))
    with pytest.raises(UadError, match="no label lies where"):
        structures_of(map_file.parent / "a.nii.gz", maps, away)


def test_slices_have_the_structures_of_their_scans(phantom, tmp_path):
    scan = phantom.images["scan"]
    save(scan, tmp_path / "s_preprocessed.nii.gz", provenance=False)
    numbers = (scan.data > 0) * (1 + (scan.data > np.median(scan.data[scan.data > 0])))
    save(replace(scan, data=numbers.astype(np.uint8)), tmp_path / "s_dseg.nii.gz", provenance=False)
    grid = GridConfig(shape=scan.grid.shape, spacing=scan.grid.spacing)
    found = load_slices([str(tmp_path / "s_preprocessed.nii.gz")], grid, 0.2, labels=[str(tmp_path)])
    kept = (to_slices(scan.data)[:, 0] > 0).mean(axis=(1, 2)) >= 0.2
    assert found.structures.dtype == np.uint8
    np.testing.assert_array_equal(found.structures > 0, to_slices(numbers)[kept, 0] > 0)
    assert load_slices([str(tmp_path / "s_preprocessed.nii.gz")], grid, 0.2).structures is None
