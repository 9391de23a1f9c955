import numpy as np
import pytest
from scipy import ndimage

from uadtools.anatomy.intensity import FLOOR
from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.simulation import lesions
from uadtools.simulation.source import generator
from uadtools.volume.io import Image

SPACING = (2.0, 2.0, 2.0)
MIDDLE = lesions.MASKS_BOX.mean(axis=0)
BESIDE = MIDDLE + np.array([25, 0, 0])
CSF, GM, WM = 0.2, 0.53, 0.8


@pytest.fixture
def scan(layered):
    return layered


def blobs(scan, tone="dark", seed=0, **options):
    return lesions.with_blobs(scan, tone, generator(seed, "a", f"{tone} blobs"), **options)


def of_masks(scan, masks, tone="dark", seed=0):
    return lesions.with_masks(scan, masks, tone, generator(seed, "a", f"{tone} masks"))


def test_tissue_levels_are_those_of_the_phantom(scan):
    assert lesions.tissue_levels(scan.data[scan.data > 0]) == pytest.approx((CSF, GM, WM), abs=0.01)


def test_smoothing_stays_inside_the_brain(ball):
    brain = ball((23.5, 23.5, 23.5), 20)
    smooth = lesions.smooth(np.where(brain, 0.7, 5.0), brain, 2.0)
    np.testing.assert_allclose(smooth[brain], 0.7, rtol=1e-5)
    assert not smooth[~brain].any()


@pytest.mark.parametrize("diameter", [5.0, 9.3, 16.0, 30.0])
def test_a_blob_is_one_piece_inside_the_brain_and_of_the_volume_asked_for(scan, diameter):
    brain = scan.data > 0
    blob = lesions.blob(brain, diameter, SPACING, np.random.default_rng(1))
    assert not (blob & ~brain).any()
    assert ndimage.label(blob, np.ones((3, 3, 3)))[1] == 1
    assert blob.sum() * 8 == pytest.approx(np.pi / 6 * diameter**3, rel=0.1, abs=4)


def test_blobs_keep_apart(scan):
    label = lesions.blobs(scan.data > 0, (18.0, 10.0, 6.0), SPACING, np.random.default_rng(2))
    assert set(np.unique(label)) == {0, 1, 2, 3}
    assert ndimage.label(label > 0, np.ones((3, 3, 3)))[1] == 3


def test_a_blob_as_large_as_the_brain_is_refused(scan):
    with pytest.raises(UadError, match=r"no room for a blob of 80 mm in this brain \(choose a smaller --size"):
        blobs(scan, size=(80, 80))
    with pytest.raises(UadError, match="no room for a blob of 25 mm"):
        blobs(scan, size=(25, 25), count=(100, 100))


def test_the_soft_edge_changes_most_of_the_way_exactly_in_the_mask(ball):
    brain = ball((23.5, 23.5, 23.5), 20)
    lesion = ball((20, 24, 24), 5)
    lesion[34, 24, 24] = True
    changed = lesions.paint(np.where(brain, WM, 0), lesion, 0.4, brain)
    share = (WM - changed[brain]) / (WM - 0.4)
    np.testing.assert_array_equal(share > 0.5, lesion[brain])
    rim = ndimage.binary_dilation(lesion) & ~lesion
    assert (WM - changed[rim]).min() > 0
    assert (WM - changed[rim]).max() < 0.25 * (WM - 0.4)
    assert changed[20, 24, 24] == pytest.approx(0.4, abs=1e-3)
    assert not changed[~brain].any()


def test_texture_survives_in_the_lesion(ball):
    brain = ball((23.5, 23.5, 23.5), 20)
    fine = 0.05 * (-1.0) ** np.indices(brain.shape).sum(axis=0)
    lesion = ball((24, 24, 24), 8)
    changed = lesions.paint(np.where(brain, WM + fine, 0), lesion, 0.4, brain)
    core = ball((24, 24, 24), 5)
    np.testing.assert_allclose(changed[core], 0.4 + fine[core], atol=0.01)


def test_painted_values_stay_in_range(scan, ball):
    brain = scan.data > 0
    for level in (-1.0, 2.0):
        changed = lesions.paint(scan.data, ball((24, 24, 4), 8) & brain, level, brain)
        assert FLOOR <= changed[brain].min() <= changed[brain].max() <= 1
        assert not changed[~brain].any()


@pytest.mark.parametrize("kind", ["dark blobs", "bright blobs", "dark masks", "bright masks"])
def test_a_scan_changes_in_and_around_its_lesions_alone(scan, kind, mni_mask, ball):
    tone, of = kind.split()
    made = blobs(scan, tone, seed=3) if of == "blobs" else of_masks(scan, [mni_mask(BESIDE)], tone, seed=3)
    brain = scan.data > 0
    assert made.truth.any()
    assert not (made.truth & ~brain).any()
    near = ndimage.binary_dilation(made.truth, iterations=9)
    np.testing.assert_array_equal(made.image[~near], scan.data[~near])
    assert made.image[brain].min() >= FLOOR
    assert not made.image[~brain].any()
    white = made.truth & ndimage.binary_erosion(made.truth) & ball((23.5, 23.5, 23.5), 13)
    level = made.image[white].mean()
    assert (level > WM + 0.05) if tone == "bright" else (CSF < level < GM)


def test_a_lesion_has_the_level_that_is_told(scan):
    made = blobs(scan, "both", seed=1, size=(14, 16), count=(4, 4))
    assert len(made.levels) == 4
    assert min(made.levels) < GM < WM < max(made.levels)
    for k, level in enumerate(made.levels, start=1):
        core = ndimage.binary_erosion(made.label == k)
        assert made.image[core].mean() == pytest.approx(level, abs=0.03)


def test_number_and_sizes_of_blobs_are_within_the_protocol(scan):
    made = [blobs(scan, seed=seed) for seed in range(12)]
    assert {len(m.diameters) for m in made} == {1, 2, 3}
    sizes = [d for m in made for d in m.diameters]
    assert 5 <= min(sizes) < 10
    assert 20 < max(sizes) <= 30
    for m in made:
        assert int(m.label.max()) == len(m.diameters) == len(m.levels)


def test_number_and_sizes_of_blobs_are_as_asked_for(scan):
    made = [blobs(scan, seed=seed, size=(8, 9), count=(4, 5)) for seed in range(6)]
    assert {len(m.diameters) for m in made} == {4, 5}
    assert all(8 <= d <= 9 for m in made for d in m.diameters)


def test_a_mask_is_brought_to_the_same_place_of_the_subject_s_box(scan, mni_mask):
    levels = lesions.Levels(CSF, GM, WM)
    box = lesions.tissue_box(scan.data, scan.grid, levels)
    for share in ((0.5, 0.5, 0.5), (0.75, 0.4, 0.6)):
        mask = mni_mask(lesions.MASKS_BOX[0] + share * (lesions.MASKS_BOX[1] - lesions.MASKS_BOX[0]), radius=6)
        moved = lesions.brought_over(mask, scan, levels)
        found = scan.grid.affine[:3, :3] @ np.argwhere(moved).mean(axis=0) + scan.grid.affine[:3, 3]
        np.testing.assert_allclose(found, box[0] + share * (box[1] - box[0]), atol=1)


def test_a_mask_of_other_brains_is_laid_over_the_subject_by_their_box(scan, mni_mask):
    levels = lesions.Levels(CSF, GM, WM)
    own = lesions.tissue_box(scan.data, scan.grid, levels)
    box = lesions.MNI152_BOX
    mask = mni_mask(box[0] + 0.7 * (box[1] - box[0]), radius=6)
    places = []
    for chosen in (box, lesions.MASKS_BOX):
        moved = lesions.brought_over(mask, scan, levels, chosen)
        places.append(scan.grid.affine[:3, :3] @ np.argwhere(moved).mean(axis=0) + scan.grid.affine[:3, 3])
    np.testing.assert_allclose(places[0], own[0] + 0.7 * (own[1] - own[0]), atol=1)
    assert np.linalg.norm(places[1] - places[0]) > 4


def test_a_cavity_is_smooth_fluid_with_a_softer_edge_than_a_lesion(scan, mni_mask):
    place = lesions.MNI152_BOX.mean(axis=0) + np.array([28, 0, 0])
    brain = scan.data > 0
    for seed in range(4):
        made = lesions.with_cavities(scan, [mni_mask(place, radius=14)], generator(seed, "a", "cavities"))
        (level,) = made.levels
        assert CSF - 0.1 * (GM - CSF) - 0.01 <= level <= CSF + 0.15 * (GM - CSF) + 0.01
        core = ndimage.binary_erosion(made.truth, iterations=3)
        assert made.image[core].mean() == pytest.approx(level, abs=0.02)
        assert made.image[core].std() < 0.5 * scan.data[core].std()
        assert made.image[core].std() < 0.006 < scan.data[ndimage.binary_erosion(scan.data > 0.7)].std()
        near = ndimage.binary_dilation(made.truth, iterations=9)
        np.testing.assert_array_equal(made.image[~near], scan.data[~near])
        assert not made.image[~brain].any()
    sharp = lesions.paint(scan.data, made.truth, level, brain)
    second = ndimage.binary_dilation(made.truth, iterations=2) & ~ndimage.binary_dilation(made.truth) & brain
    softened, sharpened = (np.abs(image - scan.data)[second].mean() for image in (made.image, sharp))
    assert softened > 2 * sharpened


def test_a_cavity_s_truth_holds_no_fluid_that_was_there_before(scan, mni_mask, ball):
    mask = mni_mask(lesions.MNI152_BOX.mean(axis=0), radius=14)
    made = lesions.with_cavities(scan, [mask], generator(0, "a", "cavities"))
    ventricle = ball((18, 23, 23), 3)
    assert made.truth[ndimage.binary_dilation(ventricle)].any()
    assert not made.truth[ventricle].any()


def test_a_mask_on_the_scan_s_own_grid_stays_where_it_is(scan, ball):
    own = scan.derive(ball((30, 24, 24), 4).astype(np.uint8), "scan")
    np.testing.assert_array_equal(of_masks(scan, [own]).truth, own.data > 0)


def test_lesions_of_masks_stay_out_of_fluid(scan, mni_mask, ball):
    made = of_masks(scan, [mni_mask(MIDDLE, radius=12)])
    ventricle = ball((18, 23, 23), 3)
    assert made.truth[ndimage.binary_dilation(ventricle)].any()
    assert not made.truth[ventricle].any()


def test_a_mask_without_lesion_in_this_brain_is_passed_over(scan, mni_mask):
    outside, inside = mni_mask((0, 85, 100)), mni_mask(BESIDE)
    assert {of_masks(scan, [outside, inside], seed=s).origin for s in range(4)} == {1}
    with pytest.raises(UadError, match="none of 1 masks"):
        of_masks(scan, [outside])


@pytest.mark.parametrize("shape", [(8, 8, 1), (8, 8, 8)])
def test_masks_are_not_moved_into_what_has_no_tissue(shape, mni_mask):
    data = np.full(shape, 0.1, np.float32)
    flat = Image(data, Grid(shape, np.eye(4)))
    with pytest.raises(UadError, match="no brain with tissue brighter than fluid"):
        of_masks(flat, [mni_mask(BESIDE)])


def test_the_draw_hangs_on_seed_name_kind_and_copy(scan):
    def drawn(*key):
        return generator(*key).random(4).tolist()

    assert drawn(1, "a", "dark blobs", 0) == drawn(1, "a", "dark blobs")
    keys = [(1, "a", "dark blobs"), (2, "a", "dark blobs"), (1, "b", "dark blobs"), (1, "a", "motion")]
    keys += [(1, "a", "dark blobs", 1)]
    assert len({tuple(drawn(*key)) for key in keys}) == len(keys)
    np.testing.assert_array_equal(blobs(scan, seed=1).image, blobs(scan, seed=1).image)


def test_the_lesions_of_published_figures_stay_the_same(scan):
    """docs/results.md quotes figures on lesions drawn from these seeds, before the generator knew of copies."""
    made = lesions.with_blobs(scan, "bright", generator(0, "IXI033-HH-1259", "bright blobs"))
    np.testing.assert_allclose(made.diameters, (20.6114405264, 9.0295712899, 8.3808321100), atol=1e-9)
    assert made.truth.sum() == 659
    assert made.image.sum(dtype=float) == pytest.approx(21275.277, abs=0.01)
