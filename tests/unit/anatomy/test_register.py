"""Registration of a real brain, that of tests/data, onto itself moved by a known affine, and onto the MNI template."""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from uadtools.anatomy.register import affine, agreement, template
from uadtools.errors import UadError
from uadtools.grids.grid import Grid, carry_mask, oriented, resample
from uadtools.models.config import GridConfig
from uadtools.preparing.preparation import Preparation
from uadtools.preparing.preprocess import prepare
from uadtools.volume.chain import native_grid, to_native
from uadtools.volume.clean import keep_largest
from uadtools.volume.io import Image, save
from uadtools.volume.stream import read_image

IXI = Path(__file__).parents[2] / "data" / "ixi033_T1w.nii.gz"
GRID = GridConfig(shape=(88, 104, 80), spacing=(2, 2, 2))
SEVERAL = {
    "turned": ((10, 0, 0), (0, 0, 0), (1, 1, 1), 0),
    "shifted": ((0, 0, 0), (10, -10, 10), (1, 1, 1), 0),
    "stretched": ((0, 0, 0), (0, 0, 0), (1.1, 0.9, 1.1), 0),
    "sheared": ((0, 0, 0), (0, 0, 0), (1, 1, 1), 0.08),
    "all": ((-9, 10, 8), (10, 7, -10), (0.9, 1.1, 1.05), -0.05),
}
"""Angles in degrees about the three axes, shifts in mm, factors, shear."""


def matrix_of(angles, shift, factors, shear):
    """Turn, stretch and shear about the middle of the brain, which lies near 0 0 0 here, and then shift."""
    matrix = np.eye(4)
    a, b, c = np.radians(angles)
    linear = nib.eulerangles.euler2mat(c, b, a) @ np.diag(factors) @ (np.eye(3) + shear * np.triu(np.ones((3, 3)), 1))
    matrix[:3, :3], matrix[:3, 3] = linear, shift
    return matrix


def places(image):
    """Where the brain's voxels are, in mm: (N, 3)."""
    return np.argwhere(image.data != 0) @ image.grid.affine[:3, :3].T + image.grid.affine[:3, 3]


def apart(one, other, image):
    """How far apart two matrices bring the brain's voxels, in mm: (N,)."""
    off = one - other
    return np.linalg.norm(places(image) @ off[:3, :3].T + off[:3, 3], axis=1)


def moved(image, matrix, spacing=2.2):
    """The image as it looks in the space that the matrix leads to, sampled anew on a grid in the order LPS."""
    ends = places(image) @ matrix[:3, :3].T + matrix[:3, 3]
    high, low = ends.max(axis=0) + 7, ends.min(axis=0) - 7
    shape = tuple(int(n) for n in np.ceil((high - low) / spacing))
    affine = np.diag([-spacing, -spacing, spacing, 1.0])
    affine[:3, 3] = [high[0], high[1], low[2]]
    grid = Grid(shape, affine)
    sampled = resample(image.data, Grid(image.grid.shape, matrix @ image.grid.affine), grid)
    return Image(np.where(sampled > 100, sampled, 0), grid)


@pytest.fixture(scope="module")
def brain():
    """The brain of the real head, roughly, with its middle at 0 0 0."""
    scan = read_image(IXI)
    data, grid = oriented(scan.data.astype(np.float32), scan.grid)
    cross = ndimage.generate_binary_structure(3, 1)
    core = keep_largest(ndimage.binary_erosion((data > 500) & (data < 1800), cross, 3))
    mask = ndimage.binary_fill_holes(ndimage.binary_dilation(core, cross, 3))
    affine = grid.affine.copy()
    affine[:3, 3] = -affine[:3, :3] @ np.argwhere(mask).mean(axis=0)
    return Image(np.where(mask, data, 0).astype(np.float32), Grid(grid.shape, affine))


@pytest.fixture(scope="module")
def small(brain):
    """The same brain at half its size, which has an eighth of the voxels to compare."""
    return Image(brain.data, Grid(brain.grid.shape, np.diag([0.5, 0.5, 0.5, 1]) @ brain.grid.affine))


@pytest.fixture(scope="module")
def onto(brain):
    """The brain, prepared on a template that is itself moved: the known matrix, the template and what was made."""
    matrix = matrix_of((10, -8, 9), (10, -9, 8), (1.1, 0.9, 1.05), 0.05)
    target = moved(brain, matrix)
    return (
        matrix,
        target,
        prepare(brain, Preparation(grid=GRID, register=target, template_name="t.nii", brain="none"), name="a"),
    )


def found_by(made):
    (step,) = [step for step in made.study.product.provenance["chain"] if step["step"] == "register"]
    return np.array(step["matrix"])


def test_the_brain_is_as_large_as_one(brain):
    assert 1200 < (brain.data != 0).sum() * brain.grid.voxel_volume < 1500
    assert np.abs(places(brain).mean(axis=0)).max() < 0.1


def test_a_known_affine_is_recovered(onto, brain):
    matrix, _, made = onto
    assert apart(np.eye(4), matrix, brain).mean() > 15
    off = apart(found_by(made), matrix, brain)
    assert off.mean() < 0.3
    assert off.max() < 0.6


@pytest.mark.parametrize("how", SEVERAL)
def test_each_kind_of_change_is_recovered(how, small):
    """Half a brain's size, so half of what would be allowed for a whole one."""
    matrix = matrix_of(*SEVERAL[how])
    off = apart(affine(small, moved(small, matrix)), matrix, small)
    assert apart(np.eye(4), matrix, small).mean() > 1
    assert off.mean() < 0.4


def test_the_same_seed_gives_the_same_matrix_and_another_seed_another(small):
    target = moved(small, matrix_of(*SEVERAL["all"]))
    one, again, other = (affine(small, target, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert apart(one, other, small).mean() < 0.4


def test_how_voxels_are_stored_does_not_matter(small):
    target = moved(small, matrix_of(*SEVERAL["all"]))
    turned = nib.orientations.axcodes2ornt("PSR")
    data = nib.orientations.apply_orientation(small.data, turned)
    grid = Grid(data.shape, small.grid.affine @ nib.orientations.inv_ornt_aff(turned, small.grid.shape))
    stored = Image(np.ascontiguousarray(data, dtype=np.float64), grid)
    assert apart(affine(stored, target), affine(small, target), small).max() < 0.01


def test_another_contrast_is_brought_to_the_same_place(small):
    """As T2 shows it: what is dark is bright."""
    matrix = matrix_of(*SEVERAL["all"])
    dark = Image(np.where(small.data > 0, 2500 - small.data, 0).astype(np.float32), small.grid)
    assert apart(affine(dark, moved(small, matrix)), matrix, small).mean() < 1


def test_agreement_is_near_1_after_registration_and_lower_before(onto, brain):
    matrix, target, made = onto
    assert agreement(brain, target, found_by(made)) > 0.95
    assert agreement(brain, target, np.eye(4)) < 0.85
    assert agreement(brain, target, matrix) == pytest.approx(agreement(brain, target, found_by(made)), abs=0.01)
    far = np.eye(4)
    far[0, 3] = 500
    assert agreement(brain, target, far) == 0
    assert agreement(brain, brain, np.eye(4)) == pytest.approx(1, abs=1e-3)


def test_a_registration_that_fails_is_a_concern(onto, brain, monkeypatch):
    _, target, made = onto
    assert made.concerns == ()
    monkeypatch.setattr("uadtools.anatomy.register.affine", lambda moving, fixed, seed: np.diag([0.6, 0.6, 0.6, 1]))
    failed = prepare(brain, Preparation(grid=GRID, register=target, brain="none"))
    (said,) = [concern for concern in failed.concerns if concern.code == "registration"]
    assert 0 < said.value < 0.85
    assert said.text.startswith("registration may have failed: scan and template overlap with Dice 0.")


def test_the_matrix_goes_into_the_chain_and_the_name_into_the_history(onto, brain):
    _, _, made = onto
    for image in made.study.images.values():
        chain = image.provenance["chain"]
        assert [step["step"] for step in chain] == ["input", "reorient", "register", "resample", "crop_pad"]
        before, after = (Grid.from_json(chain[n]["grid"]) for n in (1, 2))
        np.testing.assert_allclose(after.affine, found_by(made) @ before.affine)
        assert native_grid(chain).same(brain.grid)
    (line,) = made.study.product.provenance["history"]
    assert line["arguments"]["register"] == "t.nii"
    assert made.seconds.keys() == {"orient", "brain", "register", "grid"}


def test_what_is_prepared_lies_as_the_template_does(onto):
    _, target, made = onto
    product = made.study.product
    assert product.grid.shape == GRID.shape
    there = resample(target.data, target.grid, product.grid)
    both = (there > 0) & (product.data > 0)
    assert both.sum() > 0.95 * (product.data > 0).sum()
    assert np.corrcoef(there[both], product.data[both])[0, 1] > 0.95


def test_a_scan_of_a_cohort_lies_on_the_same_grid_as_the_others(onto, brain):
    """The grid follows from the template alone."""
    _, target, made = onto
    half = Image(np.where(np.arange(brain.grid.shape[2]) < 70, brain.data, 0), brain.grid)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("uadtools.anatomy.register.affine", lambda moving, fixed, seed: found_by(made))
        other = prepare(half, Preparation(grid=GRID, register=target, brain="none"))
    assert other.study.product.grid.same(made.study.product.grid)


LESIONS = [(20, -30, 20), (-30, 10, 0), (0, 35, 25), (25, -10, -15)]
"""Centres of four balls, in mm from the middle of the brain."""


def balls(grid, centres, radius):
    where = np.moveaxis(np.indices(grid.shape), 0, -1) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    return np.any([np.linalg.norm(where - centre, axis=-1) < radius for centre in centres], axis=0)


def drawn_on_the_template(onto):
    """The four balls as the known matrix brings them onto the grid that the scan was prepared on."""
    matrix, _, made = onto
    product = made.study.product
    drawn = balls(product.grid, np.array(LESIONS) @ matrix[:3, :3].T + matrix[:3, 3], 7)
    return product.derive(drawn.astype(np.uint8), "detection")


def test_a_detection_goes_back_to_where_it_was_in_the_scan(onto, brain):
    """Within half a voxel; and none is lost or torn."""
    back = to_native(drawn_on_the_template(onto), "a")
    assert back.grid.same(brain.grid)
    labels, count = ndimage.label(back.data)
    assert count == len(LESIONS)
    middles = np.array(ndimage.center_of_mass(back.data, labels, range(1, count + 1)))
    found = middles @ brain.grid.affine[:3, :3].T + brain.grid.affine[:3, 3]
    for centre in LESIONS:
        assert np.linalg.norm(found - centre, axis=1).min() < 1


def test_a_detection_keeps_its_volume_on_the_way_back(onto, brain):
    matrix, _, _ = onto
    drawn = drawn_on_the_template(onto)
    volume = drawn.data.sum() * drawn.grid.voxel_volume / np.linalg.det(matrix)
    assert to_native(drawn, "a").data.sum() * brain.grid.voxel_volume == pytest.approx(volume, rel=0.05)


def test_a_mask_of_the_scan_survives_the_way_there_and_back(onto, brain):
    """The bound is that of test_carry_mask for a scan as coarse as the model, and out of step with it."""
    _, _, made = onto
    product, drawn = made.study.product, balls(brain.grid, LESIONS, 7)
    there = carry_mask(drawn, Grid(brain.grid.shape, found_by(made) @ brain.grid.affine), product.grid)
    back = to_native(product.derive(there.astype(np.uint8), "detection"), "a").data > 0
    assert ndimage.label(there, np.ones((3, 3, 3)))[1] == ndimage.label(back, np.ones((3, 3, 3)))[1] == len(LESIONS)
    assert 2 * (drawn & back).sum() / (drawn.sum() + back.sum()) > 0.78


def test_a_score_goes_back_linearly(onto, brain):
    """A ramp along an axis of the template is one along the same axis, turned back, in the scan."""
    _, _, made = onto
    product = made.study.product
    indices = np.moveaxis(np.indices(product.grid.shape), 0, -1)
    ramp = indices @ product.grid.affine[0, :3] + product.grid.affine[0, 3]
    back = to_native(product.derive(ramp.astype(np.float32), "score"), "a")
    inner = np.argwhere(ndimage.binary_erosion(brain.data > 0, iterations=4))
    expected = (inner @ brain.grid.affine[:3, :3].T + brain.grid.affine[:3, 3]) @ found_by(made)[0, :3] + found_by(
        made
    )[0, 3]
    np.testing.assert_allclose(back.data[tuple(inner.T)], expected, atol=0.05)


def test_the_mni_template_is_a_brain_of_1_mm():
    pytest.importorskip("nilearn")
    mni = template("mni")
    np.testing.assert_allclose(mni.grid.spacing, 1)
    assert mni.grid.orientation == "RAS"
    assert 1700 < (mni.data > 0).sum() * mni.grid.voxel_volume < 2000
    assert (mni.data == 0).mean() > 0.5
    assert np.abs(places(mni).mean(axis=0) - (0, -20, 10)).max() < 10


def test_a_real_brain_comes_onto_the_mni_template(small):
    """Both at half their size."""
    mni = template("mni")
    target = Image(mni.data, Grid(mni.grid.shape, np.diag([0.5, 0.5, 0.5, 1]) @ mni.grid.affine))
    found = affine(small, target)
    assert agreement(small, target, found) > 0.9
    assert agreement(small, target, found) > agreement(small, target, np.eye(4)) + 0.1
    assert 1 < np.linalg.det(found[:3, :3]) < 1.8
    assert (np.diag(found)[:3] > 0.8).all()


def test_a_template_may_be_a_file(tmp_path, small):
    save(small, tmp_path / "t.nii.gz")
    made = template(str(tmp_path / "t.nii.gz"))
    np.testing.assert_array_equal(made.data, small.data)
    with pytest.raises(UadError, match=r"no\.nii: No such file"):
        template(str(tmp_path / "no.nii"))


def test_a_missing_nilearn_is_told_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "nilearn", None)
    with pytest.raises(
        UadError, match=r"^--register mni needs [^\n]*pip install 'uadtools\[register\]', or name a FILE\)$"
    ):
        template("mni")


def test_a_missing_simpleitk_is_told_with_the_extra(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(UadError, match=r"^--register needs the package SimpleITK \(pip install 'uadtools\[sitk\]'\)$"):
        affine(small, small)


def test_images_of_nothing_are_refused(small):
    empty = Image(np.zeros_like(small.data), small.grid)
    for pair in ((small, empty), (empty, small)):
        with pytest.raises(UadError, match=r"^nothing but background to register \(is this the right file\?\)$"):
            affine(*pair)
    with pytest.raises(UadError, match="nothing but background"):
        agreement(small, empty, np.eye(4))
    assert agreement(empty, small, np.eye(4)) == 0


def test_what_cannot_be_registered_is_told_in_one_line(small):
    """Scan and template are of one value each, so that nothing can be learnt from comparing them."""
    flat = Image((small.data > 0).astype(np.float32), small.grid)
    dot = np.zeros_like(small.data)
    dot[40, 50, 50] = 1
    with pytest.raises(
        UadError, match=r"^registration failed \([^\n]*; is the template of the same contrast, and a brain\?\)$"
    ):
        affine(Image(dot, small.grid), flat)


def test_single_slices_are_not_registered(small):
    with pytest.raises(
        UadError, match=r"^--register is for volumes, and this model takes single slices \(leave it out\)$"
    ):
        prepare(small, Preparation(grid=GridConfig(shape=(64, 64, 1)), register=small))
