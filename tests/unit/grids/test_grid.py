import json

import nibabel as nib
import numpy as np
import pytest
from orientations import ORIENTATIONS, rotation

from uadtools.grids.grid import (
    Grid,
    carry_mask,
    cropped_grid,
    oriented,
    resample,
    spaced_grid,
)


def grid_of(shape, spacing, orientation="RAS", turn=None, origin=(-20, 13, 5)):
    """A grid whose axes run in `orientation`, then turned; its first voxel lies at `origin`."""
    axes = nib.orientations.axcodes2ornt(orientation)
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, way) in enumerate(axes):
        affine[int(world), axis] = way * spacing[axis]
    affine[:3, :3] = (np.eye(3) if turn is None else turn) @ affine[:3, :3]
    affine[:3, 3] = origin
    return Grid(tuple(shape), affine)


def world(grid):
    """The RAS coordinates of all voxels: (X, Y, Z, 3)."""
    indices = np.moveaxis(np.indices(grid.shape), 0, -1)
    return indices @ grid.affine[:3, :3].T + grid.affine[:3, 3]


def ramp(grid):
    """A volume that rises linearly through the world, differently along each axis."""
    return (world(grid) @ [1.0, 0.3, -0.7] + 100).astype(np.float32)


def interior(data, layers):
    return data[tuple(slice(layers, n - layers) for n in data.shape)]


def test_there_are_48_orientations():
    assert len(set(ORIENTATIONS)) == 48
    assert {grid_of((2, 3, 4), (1, 1, 1), o).orientation for o in ORIENTATIONS} == set(ORIENTATIONS)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_any_orientation_becomes_ras_and_comes_back(orientation):
    grid = grid_of((3, 4, 5), (1, 2, 3), orientation)
    data = np.random.default_rng(0).integers(0, 99, grid.shape).astype(np.uint8)
    turned, ras = oriented(data, grid)
    assert ras.orientation == "RAS"
    assert (np.diag(ras.affine)[:3] > 0).all()
    for c in range(3):
        np.testing.assert_allclose(oriented(world(grid)[..., c], grid)[0], world(ras)[..., c], atol=1e-12)
    assert turned.dtype == data.dtype
    assert sorted(turned.ravel()) == sorted(data.ravel())
    np.testing.assert_array_equal(resample(turned, ras, grid), data.astype(np.float32))
    np.testing.assert_allclose(resample(turned, ras, grid), data, rtol=1e-6)


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PSR", "ILA"])
def test_an_oblique_scan_keeps_its_voxels_and_their_places(orientation):
    grid = grid_of((4, 5, 6), (0.9, 0.8, 4), orientation, rotation(20, -15, 10))
    data = np.random.default_rng(0).random(grid.shape)
    turned, ras = oriented(data, grid)
    assert ras.orientation == "RAS"
    for c in range(3):
        np.testing.assert_allclose(oriented(world(grid)[..., c], grid)[0], world(ras)[..., c], atol=1e-12)
    np.testing.assert_allclose(resample(turned, ras, grid), data, atol=1e-6)


def test_a_grid_knows_its_voxels():
    grid = grid_of((4, 5, 6), (1, 2, 3), "PSR", rotation(10, 20, 30))
    np.testing.assert_allclose(grid.spacing, (1, 2, 3))
    assert grid.voxel_volume == pytest.approx(0.006)
    assert str(grid_of((4, 5, 6), (1, 0.9375, 3), "PSR")) == "4x5x6 voxels of 1 x 0.938 x 3 mm, PSR"


@pytest.mark.parametrize(
    ("change", "same"), [(0, True), (0.019, True), (0.021, False), (-0.019, True), (-0.021, False)]
)
def test_grids_are_the_same_within_a_hundredth_of_a_voxel(change, same):
    grid = grid_of((10, 20, 30), (2, 2, 2))
    moved = grid_of((10, 20, 30), (2, 2, 2), origin=(-20 + change, 13, 5))
    assert grid.same(moved) is moved.same(grid) is same


def test_a_small_angle_or_stretch_adds_up_over_the_grid():
    grid = grid_of((100, 100, 100), (1, 1, 1))
    assert grid.same(grid_of((100, 100, 100), (1, 1, 1), turn=rotation(0, 0, 0.004)))
    assert not grid.same(grid_of((100, 100, 100), (1, 1, 1), turn=rotation(0, 0, 0.008)))
    assert not grid.same(grid_of((100, 100, 100), (1.0002, 1, 1)))
    assert not grid.same(grid_of((100, 100, 101), (1, 1, 1)))


def test_unlike_says_how_grids_differ():
    one, other = grid_of((2, 3, 4), (1, 1, 1)), grid_of((2, 3, 4), (1, 1, 1), origin=(-20, 13, 8))
    assert one.unlike(other) == f"{one} and {other}, up to 3 mm apart"
    assert one.unlike(grid_of((2, 3, 5), (1, 1, 1))).endswith(
        "2x3x4 voxels of 1 x 1 x 1 mm, RAS and 2x3x5 voxels of 1 x 1 x 1 mm, RAS"
    )


def test_the_same_grid_gives_the_same_data():
    grid = grid_of((5, 6, 7), (1, 2, 3), "LPS", rotation(5, 5, 5))
    data = np.random.default_rng(0).integers(0, 99, grid.shape).astype(np.int16)
    nearly = Grid(grid.shape, grid.affine + 1e-9)
    assert resample(data, grid, nearly) is data


@pytest.mark.parametrize("turn", [None, rotation(8, -5, 12)])
@pytest.mark.parametrize("spacing", [(2, 2, 2), (1.1, 0.7, 1.9), (1, 1, 0.3)])
def test_a_linear_ramp_stays_one_when_nothing_shrinks(spacing, turn):
    source = grid_of((20, 20, 20), (2, 2, 2), "LPS")
    target = spaced_grid(grid_of((20, 20, 20), (2, 2, 2), "RAS", turn, origin=(-57, -23, 6)), spacing)
    places = (world(target) - source.affine[:3, 3]) @ np.linalg.inv(source.affine[:3, :3]).T
    inner = ((places >= 0) & (places <= 19)).all(axis=-1)
    assert inner.sum() > 500
    found = resample(ramp(source), source, target)
    np.testing.assert_allclose(found[inner], ramp(target)[inner], atol=1e-4)


@pytest.mark.parametrize("factor", [1.5, 2, 3])
def test_a_ramp_stays_one_away_from_borders_when_it_shrinks(factor):
    source = grid_of((40, 40, 40), (1, 1, 1))
    target = spaced_grid(source, (factor,) * 3)
    layers = 6
    np.testing.assert_allclose(
        interior(resample(ramp(source), source, target), layers), interior(ramp(target), layers), atol=1e-2
    )


@pytest.mark.parametrize("offset", [0, 0.5])
def test_shrinking_by_two_does_not_alias(offset):
    """Of voxels that alternate between 0 and 100, any voxel of twice the size sees the mean."""
    source = grid_of((40, 40, 40), (1, 1, 1))
    board = 100.0 * (np.indices(source.shape).sum(axis=0) % 2)
    target = grid_of((20, 20, 20), (2, 2, 2), origin=np.array((-20, 13, 5)) + offset)
    found = interior(resample(board, source, target), 3)
    np.testing.assert_allclose(found, 50, atol=0.1)


def test_shrinking_stripes_leaves_little_of_them():
    source = grid_of((40, 40, 40), (1, 1, 1))
    stripes = 100.0 * (np.indices(source.shape)[0] % 2)
    found = interior(resample(stripes, source, grid_of((20, 20, 20), (2, 2, 2))), 3)
    assert abs(found - 50).max() < 2.5


def test_shrinking_keeps_the_mean():
    source = grid_of((60, 50, 40), (1, 1, 1))
    data = np.zeros(source.shape)
    data[15:45, 15:35, 12:28] = np.random.default_rng(0).random((30, 20, 16))
    target = spaced_grid(source, (2, 2, 2))
    assert resample(data, source, target).sum() * 8 == pytest.approx(data.sum(), rel=0.01)


def test_only_the_axes_that_shrink_are_smoothed():
    source = grid_of((40, 40, 10), (1, 1, 4))
    slices = np.broadcast_to(100.0 * (np.arange(10) % 2), source.shape)
    found = resample(slices, source, spaced_grid(source, (2, 2, 4)))
    np.testing.assert_allclose(interior(found, 1), interior(slices[:20, :20], 1), atol=1e-3)


def test_axes_that_shrink_are_smoothed_in_whatever_order_they_are_stored():
    source = grid_of((40, 40, 10), (1, 1, 4))
    data = np.random.default_rng(0).random(source.shape)
    straight = spaced_grid(source, (2, 1, 4))
    for orientation in ("SAR", "PIL", "ASR"):
        turn = nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(orientation)
        )
        expected = nib.orientations.apply_orientation(resample(data, source, straight), turn)
        other = Grid(expected.shape, straight.affine @ nib.orientations.inv_ornt_aff(turn, straight.shape))
        np.testing.assert_allclose(resample(data, source, other), expected, atol=1e-6)


def test_turned_axes_are_smoothed_like_straight_ones():
    """Stripes vanish in voxels of twice their size, also when these lie at 45 degrees."""
    source = grid_of((60, 60, 8), (1, 1, 1), origin=(0, 0, 0))
    stripes = 100.0 * (np.indices(source.shape)[0] % 2)
    target = grid_of((12, 12, 8), (2, 2, 1), turn=rotation(0, 0, 45), origin=(30, 15, 0))
    found = resample(stripes, source, target)
    assert abs(found - 50).max() < 2.5


def test_a_border_voxel_has_its_value_up_to_its_edge_and_beyond_is_nothing():
    source = grid_of((10, 10, 4), (1, 1, 4), origin=(0, 0, 0))
    target = grid_of((10, 10, 12), (1, 1, 2), origin=(0, 0, -5))
    found = resample(np.full(source.shape, 7.0), source, target)
    depth = world(target)[0, 0, :, 2]
    inside = (depth > -2) & (depth < 14)
    assert inside.sum() == 8
    np.testing.assert_array_equal(found, np.broadcast_to(np.where(inside, 7, 0), found.shape))


def test_halfway_between_voxels_the_same_one_is_nearest_everywhere():
    """Thick slices seen on a grid of half their thickness: each thick slice is two fine ones, all over the slice."""
    turn = rotation(13, -7, 21)
    fine = grid_of((30, 30, 40), (1, 1, 2), turn=turn)
    thick = spaced_grid(fine, (1, 1, 4))
    slices = np.broadcast_to(np.arange(20) % 3 == 1, thick.shape)
    found = carry_mask(slices, thick, fine)
    np.testing.assert_array_equal(found, np.broadcast_to(np.repeat(np.arange(20) % 3 == 1, 2), fine.shape))


@pytest.mark.parametrize("spacing", [(2, 2, 2), (1.3, 0.8, 3.3), (500, 500, 500)])
def test_a_spaced_grid_covers_the_box_and_keeps_its_centre(spacing):
    grid = grid_of((30, 41, 17), (1, 1, 4), "LPS", rotation(10, 5, 3))
    spaced = spaced_grid(grid, spacing)
    np.testing.assert_allclose(spaced.spacing, spacing)
    extent, before = np.array(spaced.shape) * spacing, np.array(grid.shape) * grid.spacing
    assert (extent > before - 0.01 * np.array(spacing)).all()
    assert (extent < before + spacing).all()
    middles = [g.affine @ [*((np.array(g.shape) - 1) / 2), 1] for g in (grid, spaced)]
    np.testing.assert_allclose(*middles, atol=1e-9)


def test_a_spacing_that_fits_gives_no_extra_voxel():
    affine = np.diag([0.1, 0.1, 0.1, 1]).astype(np.float32).astype(float)
    assert spaced_grid(Grid((30, 60, 90), affine), (0.3, 0.3, 0.3)).shape == (10, 20, 30)


@pytest.mark.parametrize("shape", [(5, 6, 7), (20, 20, 20), (3, 30, 8)])
@pytest.mark.parametrize("centre", [(4, 4, 4), (0, 9, 3.5), (-30, 4, 4)])
def test_a_cropped_grid_is_in_step_and_moves_no_voxel(shape, centre):
    source = grid_of((10, 11, 12), (2, 2, 2), "LPS", rotation(10, 5, 3))
    target = cropped_grid(source, shape, np.array(centre, dtype=float))
    data = np.random.default_rng(0).integers(1, 99, source.shape).astype(np.int16)
    found = resample(data, source, target)
    assert found.shape == shape
    steps = np.linalg.inv(source.affine) @ target.affine
    np.testing.assert_allclose(steps[:3, :3], np.eye(3), atol=1e-12)
    middle = steps[:3, 3] + (np.array(shape) - 1) / 2
    assert (abs(middle - centre) <= 0.5 + 1e-9).all()
    back = resample(found, target, source)
    np.testing.assert_allclose(back[back > 0], data[back > 0], atol=1e-4)


def route(grid, spacing, shape):
    """Where uad-preprocess would bring a scan: RAS, another spacing, another box."""
    ras = oriented(np.zeros(grid.shape, np.uint8), grid)[1]
    spaced = spaced_grid(ras, spacing)
    return ras, spaced, cropped_grid(spaced, shape, (np.array(spaced.shape) - 1) / 2)


def there_and_back(mask, grid, shape):
    ras, _, target = route(grid, (2, 2, 2), shape)
    turned = oriented(mask.astype(np.float32), grid)[0]
    small = resample(turned, ras, target) > 0.5
    return carry_mask(small, target, grid)


def box(grid, low, high):
    mask = np.zeros(grid.shape, dtype=bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def test_a_detection_returns_to_the_voxels_it_was_found_in():
    grid = grid_of((60, 70, 50), (1, 1, 1), "LAS")
    _, _, target = route(grid, (2, 2, 2), (40, 40, 40))
    small = box(target, (10, 15, 12), (16, 17, 20))
    found = carry_mask(small, target, grid)
    assert found.sum() == 8 * small.sum()
    for reduce in (np.min, np.max):
        before, after = (reduce(world(g)[m], axis=0) for g, m in ((target, small), (grid, found)))
        np.testing.assert_allclose(abs(before - after), 0.5, atol=1e-9)


@pytest.mark.parametrize("corner", [(20, 30, 20), (21, 30, 21), (21, 31, 21)])
def test_a_box_at_1_mm_in_las_returns_from_2_mm_in_ras(corner):
    grid = grid_of((60, 70, 50), (1, 1, 1), "LAS", origin=(30, -35, -25))
    mask = box(grid, corner, [c + n for c, n in zip(corner, (10, 8, 12), strict=True)])
    found = there_and_back(mask, grid, (36, 36, 36))
    edges = [np.array([np.argwhere(m).min(axis=0), np.argwhere(m).max(axis=0)]) for m in (mask, found)]
    assert abs(edges[0] - edges[1]).max() <= 1
    centres = [world(grid)[m].mean(axis=0) for m in (mask, found)]
    assert np.linalg.norm(centres[0] - centres[1]) < 0.5


def test_a_box_that_fits_the_coarse_voxels_returns_exactly():
    grid = grid_of((60, 70, 50), (1, 1, 1), "LAS")
    mask = box(grid, (20, 30, 20), (30, 38, 32))
    np.testing.assert_array_equal(there_and_back(mask, grid, (36, 36, 36)), mask)


@pytest.mark.parametrize("turn", [None, rotation(12, -8, 5)])
def test_a_box_in_thick_slices_returns_from_2_mm(turn):
    grid = grid_of((100, 110, 24), (0.9, 0.9, 4), "LPS", turn)
    mask = box(grid, (40, 45, 9), (60, 62, 14))
    found = there_and_back(mask, grid, (60, 60, 60))
    edges = [np.array([np.argwhere(m).min(axis=0), np.argwhere(m).max(axis=0)]) for m in (mask, found)]
    assert (abs(edges[0] - edges[1]).max(axis=0) <= (2, 2, 1)).all()
    centres = [world(grid)[m].mean(axis=0) for m in (mask, found)]
    assert np.linalg.norm(centres[0] - centres[1]) < 2


def test_a_grid_survives_json_exactly():
    grid = grid_of((4, 5, 6), (0.9375, 1, 1.1), "PSR", rotation(1, 2, 3))
    again = Grid.from_json(json.loads(json.dumps(grid.to_json())))
    assert again.shape == grid.shape
    np.testing.assert_array_equal(again.affine, grid.affine)
