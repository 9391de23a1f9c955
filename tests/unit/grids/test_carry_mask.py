"""What is drawn on the model's grid, brought to the scan's and forward again, is still there, and is no larger."""

import itertools
import json
from functools import cache

import nibabel as nib
import numpy as np
import pytest
from orientations import ORIENTATIONS, rotation
from scipy import ndimage

from uadtools.errors import UadError
from uadtools.grids.grid import CORNERS, Grid, carry_mask, cropped_grid, oriented, spaced_grid
from uadtools.volume.chain import in_model_space, in_scan_space, link, native_grid, seen_from, to_native
from uadtools.volume.io import Image

HALF_ML = 62  # voxels of 2 mm
CELL = 16  # every lesion has a cube of this many voxels to itself, and keeps 2 voxels away from its sides


def matrix_of(linear, shift=(0, 0, 0)):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = linear, shift
    return matrix


RIGID = matrix_of(rotation(12, -8, 5), (7, -4, 11))
STEEP = matrix_of(rotation(30, 40, 25), (-3, 9, 2))
AFFINE = matrix_of(rotation(7, -5, 11) @ [[1.1, 0.08, 0], [0, 0.93, -0.05], [0.04, 0, 1.05]], (4, -13, 8))


def grid_of(shape, spacing, orientation="RAS", turn=None, origin=(-20, 13, 5)):
    """A grid whose axes run in `orientation`, then turned; its first voxel lies at `origin`."""
    affine = np.zeros((4, 4))
    for axis, (world, way) in enumerate(nib.orientations.axcodes2ornt(orientation)):
        affine[int(world), axis] = way * spacing[axis]
    affine[:3, :3] = (np.eye(3) if turn is None else turn) @ affine[:3, :3]
    affine[:, 3] = [*origin, 1]
    return Grid(tuple(int(n) for n in shape), affine)


def middle(grid):
    return grid.affine @ [*((np.array(grid.shape) - 1) / 2), 1]


def world(grid):
    """The RAS coordinates of all voxels: (X, Y, Z, 3)."""
    indices = np.moveaxis(np.indices(grid.shape), 0, -1)
    return indices @ grid.affine[:3, :3].T + grid.affine[:3, 3]


def covering(size, spacing, orientation="RAS", turn=None, more=0):
    """A scan of so many mm, or a voxel less; more: voxels added along each axis."""
    return grid_of(np.round(size / np.array(spacing)) + more, spacing, orientation, turn)


def way_of(native, size=48, matrix=None):
    """The chain of a scan that uad-preprocess brings onto a grid of size^3 voxels of 2 mm, and that grid."""
    ras = oriented(np.zeros(native.shape, np.uint8), native)[1]
    chain = [link("input", native), link("reorient", ras)]
    base = ras
    if matrix is not None:
        chain.append(link("register", Grid(ras.shape, matrix @ ras.affine), matrix))
        base = grid_of((size, size, size), (2, 2, 2))  # the template's, with the scan in its middle
        base.affine[:3, 3] += (matrix @ middle(native) - middle(base))[:3]
    spaced = spaced_grid(base, (2, 2, 2))
    model = cropped_grid(spaced, (size, size, size), (np.array(spaced.shape) - 1) / 2)
    return [*chain, link("resample", spaced), link("crop_pad", model)], model


def there(mask, chain, model):
    """Bring a detection to the scan, as uad-postproc --native does."""
    return to_native(Image(mask.astype(np.uint8), model, "detection", {"chain": chain}), "a").data > 0


def back(mask, chain, model):
    """Bring a mask drawn on the scan to the model, as uad-eval does."""
    return carry_mask(mask, in_model_space(chain, native_grid(chain)), model)


def lesion(rng):
    """A blob of at least half a millilitre, one component, in a patch of 12^3: an ellipsoid somehow turned, dented."""
    places = np.indices((12, 12, 12)) - rng.uniform(5, 6, (3, 1, 1, 1))
    while True:
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0] / rng.uniform(1.5, 4.5, (3, 1))
        dents = ndimage.gaussian_filter(rng.normal(size=(12, 12, 12)), 1.5)
        inner = (np.tensordot(turn, places, 1) ** 2).sum(axis=0) + 0.2 * dents / dents.std() < 1
        labels, count = ndimage.label(inner, CORNERS)
        if count and (sizes := np.bincount(labels.ravel())[1:]).max() >= HALF_ML:
            return labels == sizes.argmax() + 1


@cache
def lesions(size, seed=0):
    """A mask of size^3 voxels with one lesion in every cell."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((size, size, size), dtype=bool)
    for corner in itertools.product(range(0, size, CELL), repeat=3):
        mask[tuple(slice(c + 2, c + 14) for c in corner)] = lesion(rng)
    return mask


def flat_lesions(thickness, start):
    """Sheets of 10x10 voxels, this many slices thick, that start at each of these slices of their cells."""
    mask = np.zeros((48, 48, 48), dtype=bool)
    for x, y, z in itertools.product(range(3, 48, CELL), range(3, 48, CELL), range(start, 48, CELL)):
        mask[x : x + 10, y : y + 10, z : z + thickness] = True
    return mask


def single_voxels(pitch=4):
    """Voxels each on its own, `pitch` voxels from one to the next."""
    mask = np.zeros((32, 32, 32), dtype=bool)
    mask[pitch // 2 :: pitch, pitch // 2 :: pitch, pitch // 2 :: pitch] = True
    return mask


def by_cell(mask):
    """The number of voxels in each cell."""
    n = mask.shape[0] // CELL
    return mask.reshape(n, CELL, n, CELL, n, CELL).sum(axis=(1, 3, 5))


def dice_of_each(mask, found):
    return 2 * by_cell(mask & found) / (by_cell(mask) + by_cell(found))


def dice(mask, found):
    return 2 * (mask & found).sum() / (mask.sum() + found.sum())


def components(mask):
    return ndimage.label(mask, CORNERS)[1]


def volumes_ml(mask, grid):
    """The volume of every component."""
    labels, count = ndimage.label(mask, CORNERS)
    return np.bincount(labels.ravel(), minlength=count + 1)[1:] * grid.voxel_volume


def check_round_trip(native, matrix=None, size=48):
    """Every lesion keeps 95% Dice, and on the way there and back none is lost, comes apart or joins another."""
    chain, model = way_of(native, size, matrix)
    mask = lesions(size)
    on_scan = there(mask, chain, model)
    found = back(on_scan, chain, model)
    assert components(mask) == components(on_scan) == components(found) == (size // CELL) ** 3
    assert dice_of_each(mask, found).min() >= 0.95


def test_lesions_are_lesions():
    mask = lesions(48)
    assert components(mask) == 27
    assert by_cell(mask).min() >= HALF_ML
    assert by_cell(mask).max() > 4 * HALF_ML


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("spacing", [(1, 1, 1), (1, 0.5, 2)])
def test_in_any_orientation_a_detection_comes_back_as_it_was(orientation, spacing):
    native = covering(64, spacing, orientation)
    assert native.orientation == orientation
    chain, model = way_of(native, 32)
    assert model.orientation == "RAS"
    on_scan = there(lesions(32), chain, model)
    assert on_scan.sum() * native.voxel_volume == pytest.approx(lesions(32).sum() * 0.008)
    np.testing.assert_array_equal(back(on_scan, chain, model), lesions(32))


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PSR", "ILA", "SRP", "ALI"])
def test_a_scan_with_an_odd_number_of_voxels_keeps_detections(orientation):
    """The borders of the model's voxels lie in the middle of the scan's then."""
    check_round_trip(covering(64, (1, 1, 1), orientation, more=1), size=32)


@pytest.mark.parametrize(
    ("spacing", "more"),
    [
        ((0.8, 0.8, 0.8), 0),
        ((0.8, 0.8, 0.8), 1),
        ((0.9375, 0.9375, 0.9375), 0),
        ((0.9375, 0.9375, 0.9375), 1),
        ((0.9, 0.9, 1.5), 0),
        ((0.9, 0.9, 1.5), (1, 0, 1)),
        ((0.9, 0.9, 1.5), 1),
        ((0.5, 0.5, 2), 0),
        ((0.5, 0.5, 2), 1),
        ((1, 1, 2), 0),
        ((1, 1, 2), (1, 0, 1)),
        ((1, 1, 2), 1),
        ((1, 1, 1.2), 1),
        ((1.2, 1.2, 1.2), 0),
        ((1.25, 1.25, 1.25), 0),
        ((1.5, 1.5, 1.5), 0),
        ((1.5, 1.5, 1.5), 1),
        ((2, 2, 2), 0),
        ((2, 2, 2), 1),
    ],
)
def test_a_scan_that_is_not_coarser_than_the_model_keeps_detections(spacing, more):
    check_round_trip(covering(96, spacing, "LPS", more=more))


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PSR", "ILA"])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (1, 1, 2), (2, 2, 2)])
def test_an_oblique_scan_keeps_detections(spacing, orientation):
    check_round_trip(covering(64, spacing, orientation, rotation(20, -15, 10)), size=32)


@pytest.mark.parametrize(
    ("spacing", "matrix"),
    [
        ((1, 1, 1), RIGID),
        ((1, 1, 1), STEEP),
        ((1, 1, 1), AFFINE),
        ((0.8, 0.8, 0.8), STEEP),
        ((0.8, 0.8, 0.8), AFFINE),
        ((0.9, 0.9, 1.5), RIGID),
        ((0.9, 0.9, 1.5), AFFINE),
        ((0.5, 0.5, 2), RIGID),
        ((0.5, 0.5, 2), AFFINE),
        ((1, 1, 2), RIGID),
        ((1, 1, 2), STEEP),
        ((1, 1, 2), AFFINE),
        ((1.5, 1.5, 1.5), RIGID),
        ((1.5, 1.5, 1.5), STEEP),
        ((1.5, 1.5, 1.5), AFFINE),
    ],
)
def test_a_registered_scan_keeps_detections(spacing, matrix):
    """Its voxels lie at an angle to those of the model, and AFFINE stretches and shears them."""
    check_round_trip(covering(100, spacing, "LPS"), matrix, size=32)


@pytest.mark.parametrize("matrix", [None, RIGID, STEEP, AFFINE])
@pytest.mark.parametrize("spacing", [(1.75, 1.75, 1.75), (1.9, 1.9, 1.9), (2, 2, 2)])
def test_a_scan_nearly_as_coarse_as_the_model_and_out_of_step_keeps_most_of_a_detection(spacing, matrix):
    """Of a border that falls between two of its voxels, such a grid cannot show more."""
    native = covering(110, spacing, "LPS")
    chain, model = way_of(native, 32, matrix)
    on_scan = there(lesions(32), chain, model)
    found = back(on_scan, chain, model)
    assert components(on_scan) == components(found) == 8
    assert dice(lesions(32), found) > 0.92
    assert dice_of_each(lesions(32), found).min() > 0.85


@pytest.mark.parametrize("matrix", [None, RIGID, STEEP, AFFINE])
@pytest.mark.parametrize(
    ("spacing", "least", "least_of_one"),
    [((0.7, 0.7, 3), 0.89, 0.8), ((1, 1, 4), 0.84, 0.7)],
)
def test_thick_slices_keep_every_detection_as_well_as_they_can_show_it(spacing, least, least_of_one, matrix):
    """A slice of 3 or 4 mm is in the mask or not, where the model had two: what is thinner cannot be shown."""
    native = covering(110, spacing, "LPS")
    chain, model = way_of(native, 32, matrix)
    on_scan = there(lesions(32), chain, model)
    found = back(on_scan, chain, model)
    assert components(on_scan) >= 8
    assert by_cell(found).min() > 0
    assert dice(lesions(32), found) > least
    assert dice_of_each(lesions(32), found).min() > least_of_one


@pytest.mark.parametrize("slices", [(1, 1, 4), (0.9, 0.9, 4), (0.7, 0.7, 3)])
def test_no_flat_detection_is_lost_on_thick_slices(slices):
    chain, model = way_of(covering(96, slices))
    for thickness, start in itertools.product((1, 2), range(3, 7)):
        assert components(there(flat_lesions(thickness, start), chain, model)) == 27


@pytest.mark.parametrize("thickness", [1, 2, 3, 4])
@pytest.mark.parametrize("slices", [(1, 1, 4), (0.9, 0.9, 4)])
def test_a_flat_detection_keeps_at_least_half_of_its_volume_on_thick_slices(slices, thickness):
    native = covering(96, slices)
    chain, model = way_of(native)
    for start in range(3, 7):
        on_scan = there(flat_lesions(thickness, start), chain, model)
        volumes = volumes_ml(on_scan, native) / (thickness * 0.8)
        assert len(volumes) == 27
        assert (volumes > 0.45).all()
        assert (volumes < 2.1).all()


@pytest.mark.parametrize(
    ("spacing", "matrix"),
    [
        ((1, 1, 1), RIGID),
        ((1, 1, 1), AFFINE),
        ((0.9, 0.9, 1.5), STEEP),
        ((0.9, 0.9, 1.5), AFFINE),
        ((1, 1, 2), RIGID),
        ((1.5, 1.5, 1.5), AFFINE),
        ((2, 2, 2), STEEP),
        ((2, 2, 2), AFFINE),
        ((1, 1, 2), AFFINE),
        ((1, 1, 3), RIGID),
        ((1, 1, 4), RIGID),
    ],
)
def test_volume_is_kept_on_average(spacing, matrix):
    native = covering(110, spacing)
    chain, model = way_of(native, 32, matrix)
    volumes = volumes_ml(there(lesions(32), chain, model), native)
    truth = lesions(32).sum() * in_scan_space(chain, model).voxel_volume
    assert volumes.sum() == pytest.approx(truth, rel=0.03)


@pytest.mark.parametrize(
    ("spacing", "more", "grown"),
    [
        ((1, 1, 1), 0, 1),
        ((1, 1, 1), (1, 0, 0), 1.12),
        ((1, 1, 1), 1, 1.15),
        ((0.9, 0.9, 1.5), 0, 1),
        ((1, 1, 2), 0, 1),
        ((1, 1, 2), 1, 1.16),
        ((2, 2, 2), 1, 1),
        ((1, 1, 3), 0, 1),
        ((1, 1, 4), 0, 1.25),
    ],
)
def test_volume_is_kept_on_average_where_axes_are_parallel(spacing, more, grown):
    """Where borders meet the middle of voxels, half is covered, which is enough: known, and told in the documents."""
    native = covering(96, spacing, more=more)
    chain, model = way_of(native)
    volumes = volumes_ml(there(lesions(48), chain, model), native)
    assert volumes.sum() == pytest.approx(grown * lesions(48).sum() * 0.008, rel=0.06)


@pytest.mark.parametrize(("more", "voxels"), [(0, 8), ((1, 0, 1), 10), (1, 7)])
@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PSR", "ILA"])
def test_one_voxel_of_2_mm_is_eight_of_1_mm(orientation, more, voxels):
    """Or, where borders lie in the middle of voxels, those around one that are covered by half: a cross."""
    native = covering(64, (1, 1, 1), orientation, more=more)
    chain, model = way_of(native, 32)
    on_scan = there(single_voxels(), chain, model)
    np.testing.assert_allclose(volumes_ml(on_scan, native), [voxels / 1000] * single_voxels().sum())


def test_the_eight_voxels_are_those_that_the_one_was():
    chain, model = way_of(covering(64, (1, 1, 1)), 32)
    on_scan = there(single_voxels(), chain, model)
    np.testing.assert_array_equal(on_scan, np.kron(single_voxels(), np.ones((2, 2, 2), dtype=bool)))


@pytest.mark.parametrize("matrix", [RIGID, STEEP], ids=["rigid", "steep"])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.8, 0.8, 0.8)])
def test_one_voxel_neither_vanishes_nor_bleeds_on_an_oblique_grid(spacing, matrix):
    native = covering(98, spacing)
    chain, model = way_of(native, 32, matrix)
    on_scan = there(single_voxels(), chain, model)
    volumes = volumes_ml(on_scan, native)
    assert len(volumes) == single_voxels().sum() == 512
    assert (volumes > 0.499 * 0.008).all()
    assert (volumes < 1.6 * 0.008).all()
    assert volumes.mean() == pytest.approx(0.008, rel=0.03)
    np.testing.assert_array_equal(back(on_scan, chain, model), single_voxels())


@pytest.mark.parametrize("matrix", [None, RIGID, STEEP, AFFINE])
@pytest.mark.parametrize("spacing", [(4, 4, 4), (1, 1, 4)])
def test_one_voxel_survives_on_a_grid_of_4_mm(spacing, matrix):
    native = covering(110, spacing)
    chain, model = way_of(native, 32, matrix)
    on_scan = there(single_voxels(8), chain, model)
    assert components(on_scan) == single_voxels(8).sum() == 64
    assert on_scan.sum() <= 64 * 4 * (4 if spacing[0] == 1 else 1)


@pytest.mark.parametrize(
    ("spacing", "matrix"),
    [
        ((1.5, 1.5, 1.5), STEEP),
        ((1.75, 1.75, 1.75), STEEP),
        ((2, 2, 2), RIGID),
        ((2, 2, 2), STEEP),
        ((2, 2, 2), AFFINE),
        ((3, 3, 3), STEEP),
    ],
)
def test_one_voxel_survives_on_a_grid_at_an_angle_that_is_about_as_coarse(spacing, matrix):
    native = covering(110, spacing)
    chain, model = way_of(native, 32, matrix)
    on_scan = there(single_voxels(8), chain, model)
    assert components(on_scan) == 64
    assert on_scan.sum() <= 64 * max(1, 3 * 8 / np.prod(spacing))


def test_what_is_too_small_gets_the_voxel_that_holds_most_of_it():
    fine, coarse = grid_of((20, 20, 20), (1, 1, 1), origin=(0, 0, 0)), grid_of((5, 5, 5), (4, 4, 4), origin=(1.5,) * 3)
    mask = np.zeros(fine.shape, dtype=bool)
    mask[3:6, 9, 9] = True  # one in the first coarse voxel, two in the second
    found = carry_mask(mask, fine, coarse)
    np.testing.assert_array_equal(np.argwhere(found), [[1, 2, 2]])


def test_half_is_enough_and_less_is_not():
    fine, coarse = grid_of((20, 20, 20), (1, 1, 1), origin=(0, 0, 0)), grid_of((5, 5, 5), (4, 4, 4), origin=(1.5,) * 3)
    for depth, slices in ((5, 1), (6, 2), (7, 2)):
        mask = np.zeros(fine.shape, dtype=bool)
        mask[:, :, :depth] = True
        found = carry_mask(mask, fine, coarse)
        np.testing.assert_array_equal(found, np.broadcast_to(np.arange(5) < slices, found.shape))


@pytest.mark.parametrize("nudge", [0, 1e-6])
def test_on_an_equal_grid_it_is_a_copy(nudge):
    grid = grid_of((32, 32, 32), (2, 2, 2), "LPS", rotation(3, 4, 5))
    mask = lesions(32).copy()
    found = carry_mask(mask, grid, Grid(grid.shape, grid.affine + nudge))
    np.testing.assert_array_equal(found, mask)
    found[:] = True
    np.testing.assert_array_equal(mask, lesions(32))


def test_on_a_cropped_scan_everything_within_is_kept_and_what_lies_outside_is_lost():
    """A slab through the middle of the model's grid: of the three layers of lesions, it holds the middle one."""
    whole = covering(96, (1, 1, 1), "LAS")
    chain, model = way_of(whole)
    slab = cropped_grid(whole, (96, 96, 34), np.array([47.5, 47.5, 47.5]))
    chain = [link("input", slab), *chain[1:]]
    on_scan = there(lesions(48), chain, model)
    assert on_scan.shape == (96, 96, 34)
    assert components(on_scan) == 9
    found = back(on_scan, chain, model)
    np.testing.assert_array_equal(found[:, :, 16:32], lesions(48)[:, :, 16:32])
    assert not found[:, :, :16].any()
    assert not found[:, :, 32:].any()


def test_of_a_detection_that_the_scan_cuts_what_lies_within_is_kept():
    source = grid_of((12, 12, 12), (2, 2, 2), origin=(0, 0, 0))
    target = grid_of((10, 24, 24), (1, 1, 1), origin=(-0.5, -0.5, -0.5))
    mask = np.zeros(source.shape, dtype=bool)
    mask[3:8, 4:8, 4:8] = True
    expected = np.zeros(target.shape, dtype=bool)
    expected[6:, 8:16, 8:16] = True
    np.testing.assert_array_equal(carry_mask(mask, source, target), expected)


def test_nothing_stays_nothing_and_everything_everything():
    chain, model = way_of(covering(64, (0.9, 0.9, 1.5)), 32, RIGID)
    assert not there(np.zeros(model.shape, dtype=bool), chain, model).any()
    within = way_of(covering(30, (0.9, 0.9, 1.5)), 32, RIGID)
    assert there(np.ones(model.shape, dtype=bool), *within).all()


def test_a_chain_without_registration_moves_nothing():
    chain, model = way_of(covering(96, (1, 1, 1), "PSR"))
    for move in (in_scan_space, in_model_space):
        assert move(chain, model).shape == model.shape
        np.testing.assert_array_equal(move(chain, model).affine, model.affine)


@pytest.mark.parametrize("matrix", [RIGID, STEEP, AFFINE], ids=["rigid", "steep", "affine"])
def test_scan_space_and_model_space_are_inverse_to_each_other(matrix):
    chain, model = way_of(covering(96, (0.9, 0.9, 1.5), "LPS"), 32, matrix)
    for first, second in ((in_scan_space, in_model_space), (in_model_space, in_scan_space)):
        moved = first(chain, model)
        assert not moved.same(model)
        np.testing.assert_allclose(second(chain, moved).affine, model.affine, atol=1e-9)
    np.testing.assert_allclose(in_model_space(chain, model).affine, matrix @ model.affine)


def test_several_registrations_follow_one_another():
    grid = grid_of((4, 5, 6), (1, 2, 3))
    chain = [link("input", grid), link("register", grid, STEEP), link("resample", grid), link("register", grid, AFFINE)]
    np.testing.assert_allclose(in_model_space(chain, grid).affine, AFFINE @ STEEP @ grid.affine)
    np.testing.assert_allclose(in_scan_space(chain, in_model_space(chain, grid)).affine, grid.affine, atol=1e-9)


def test_a_link_survives_json_exactly():
    grid = grid_of((4, 5, 6), (0.9375, 1, 1.1), "PSR", rotation(1, 2, 3))
    assert "matrix" not in link("crop_pad", grid)
    made = link("register", grid, AFFINE)
    again = json.loads(json.dumps(made))
    assert again == made
    assert again["step"] == "register"
    np.testing.assert_array_equal(Grid.from_json(again["grid"]).affine, grid.affine)
    np.testing.assert_array_equal(in_model_space([again], Grid((1, 1, 1), np.eye(4))).affine, AFFINE)


def test_only_the_grid_of_the_scan_is_seen_from_the_model():
    native = covering(64, (1, 1, 1), "LPS")
    chain, model = way_of(native, 32, AFFINE)
    np.testing.assert_allclose(seen_from(chain, native).affine, AFFINE @ native.affine)
    assert seen_from(chain, model) is model
    assert seen_from([], native) is native


def detection_of(chain, model, role="detection", data=None):
    return Image(lesions(32).astype(np.uint8) if data is None else data, model, role, {"chain": chain, "study": "b"})


def test_a_detection_on_the_scan_is_still_a_mask_of_as_many_components():
    chain, model = way_of(covering(110, (0.9, 0.9, 1.5), "LPS"), 32, AFFINE)
    made = to_native(detection_of(chain, model), "a")
    assert made.grid.same(native_grid(chain))
    assert (made.role, made.data.dtype) == ("detection", np.uint8)
    assert set(np.unique(made.data)) == {0, 1}
    assert components(made.data > 0) == 8
    assert made.provenance == {"chain": chain, "study": "b"}


def test_any_value_above_0_is_detected():
    chain, model = way_of(covering(64, (1, 1, 1)), 32)
    data = lesions(32) * np.float32(0.25)
    expected = to_native(detection_of(chain, model), "a").data
    np.testing.assert_array_equal(to_native(detection_of(chain, model, data=data), "a").data, expected)


@pytest.mark.parametrize("matrix", [None, RIGID, AFFINE])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.9, 0.9, 1.5)])
def test_a_ramp_of_a_score_stays_a_ramp_on_the_scan(spacing, matrix):
    """A value at a place of the model's world is found at the place of the scan from which registration moved it."""
    native = covering(90, spacing, "PSR")
    chain, model = way_of(native, 32, matrix)
    slope = np.array([1.0, 0.3, -0.7])
    score = (world(model) @ slope + 500).astype(np.float32)
    made = to_native(detection_of(chain, model, "score", score), "a")
    assert (made.role, made.data.dtype, made.data.shape) == ("score", np.float32, native.shape)
    moved = in_model_space(chain, native)
    places = (world(moved) - model.affine[:3, 3]) / 2
    inner, outer = ((places > a).all(axis=-1) & (places < 31 - a).all(axis=-1) for a in (0, -0.51))
    assert inner.sum() > 50000 / native.voxel_volume / 1000
    np.testing.assert_allclose(made.data[inner], (world(moved) @ slope + 500)[inner], atol=1e-3)
    assert not made.data[~outer].any()


@pytest.mark.parametrize("provenance", [{}, {"chain": []}, {"chain": None}, {"chain": [3]}, {"chain": {"a": 1}}])
def test_a_result_that_does_not_say_where_it_came_from_is_told_with_its_name(provenance):
    image = Image(lesions(32).astype(np.uint8), grid_of((32, 32, 32), (2, 2, 2)), "detection", provenance)
    with pytest.raises(UadError, match=r"^patient-7: does not say which grid it came from .*uad-preprocess\)$"):
        to_native(image, "patient-7")


DAMAGED = [
    None,
    3,
    "matrix",
    [],
    [[1, 2], [3]],
    np.eye(3).tolist(),
    np.zeros((4, 4)).tolist(),
    np.diag([1, 1, 0, 1]).tolist(),
    np.full((4, 4), np.nan).tolist(),
    np.diag([1, 1, np.inf, 1]).tolist(),
    [["a"] * 4] * 4,
]


@pytest.mark.parametrize("matrix", DAMAGED)
def test_a_damaged_registration_is_told_with_the_name_of_the_study(matrix):
    chain, model = way_of(covering(64, (1, 1, 1)), 32, RIGID)
    chain = [step | {"matrix": matrix} if "matrix" in step else step for step in chain]
    for move in (in_scan_space, in_model_space):
        with pytest.raises(UadError, match="does not say how it was registered"):
            move(chain, model)
    with pytest.raises(UadError, match=r"^patient-7: does not say how it was registered .*uad-preprocess\)$") as caught:
        to_native(detection_of(chain, model), "patient-7")
    assert len(str(caught.value).splitlines()) == 1


def test_a_step_that_is_none_is_told():
    chain, model = way_of(covering(64, (1, 1, 1)), 32, RIGID)
    with pytest.raises(UadError, match=r"^patient-7: does not say how"):
        to_native(detection_of([chain[0], 3, *chain[1:]], model), "patient-7")


def test_a_grid_that_went_through_a_file_gives_the_same_mask():
    """NIfTI keeps affines in 32 bits, which moves voxels by a millionth; many are covered by half."""
    turned = np.array([[0.9984, 0.0448, 0.0341], [-0.0456, 0.9987, 0.0232], [-0.0330, -0.0248, 0.9991]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = 2 * np.linalg.qr(turned)[0], (-103.5864, -104.3156, -95.0725)
    source, read = (Grid((12, 12, 12), kept) for kept in (affine, affine.astype(np.float32).astype(np.float64)))
    shift = np.eye(4)
    shift[:3, :3], shift[:3, 3] = np.diag([0.5, 0.5, 0.5]), (-0.25, -0.25, 0.25)
    target = Grid((24, 24, 24), affine @ shift)
    mask = np.random.default_rng(0).random((12, 12, 12)) > 0.6
    half = np.eye(4)
    half[:3, 3] = 0.5
    between = Grid((12, 12, 12), affine @ half)
    for other in (target, between):
        np.testing.assert_array_equal(carry_mask(mask, source, other), carry_mask(mask, read, other))
