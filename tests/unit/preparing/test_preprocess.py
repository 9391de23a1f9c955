import io
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from uadtools.errors import UadError
from uadtools.grids.grid import Grid, oriented
from uadtools.models.config import GridConfig, IntensityConfig
from uadtools.preparing import preprocess as room
from uadtools.preparing.preprocess import preprocess
from uadtools.volume.chain import native_grid
from uadtools.volume.io import Image, read_images, to_bytes
from uadtools.volume.roles import ROLES
from uadtools.volume.stream import read_image

IXI = Path(__file__).parents[2] / "data" / "ixi033_T1w.nii.gz"
GRID = GridConfig(shape=(40, 48, 36), spacing=(4, 4, 4))
RAW = IntensityConfig(kind="none")


def prepared(scan, **options):
    return preprocess(scan, **{"name": "a", "grid": GRID, **options})


def check_promise(study, shape):
    """The scan is float32 in [0, 1] in RAS, above 0 exactly inside the brain."""
    scan, brain = study.need("scan"), study.need("brain")
    assert scan.grid.shape == brain.grid.shape == scan.data.shape == tuple(shape)
    assert scan.grid is brain.grid
    assert scan.grid.orientation == "RAS"
    assert (scan.data.dtype, brain.data.dtype) == (np.float32, np.uint8)
    assert set(np.unique(brain.data)) == {0, 1}
    np.testing.assert_array_equal(scan.data > 0, brain.data == 1)
    assert scan.data.min() == 0
    assert scan.data.max() <= 1


def turned(image, orientation):
    """The same image, its axes stored in another order and direction."""
    now = nib.orientations.io_orientation(image.grid.affine)
    turn = nib.orientations.ornt_transform(now, nib.orientations.axcodes2ornt(orientation))
    data = nib.orientations.apply_orientation(image.data, turn)
    affine = image.grid.affine @ nib.orientations.inv_ornt_aff(turn, image.grid.shape)
    return image.derive(np.ascontiguousarray(data), image.role, Grid(data.shape, affine))


@pytest.fixture(autouse=True)
def no_deepbet(request, monkeypatch):
    """Only the tests of the real scan may look for a brain with deepbet."""
    if "real" not in request.fixturenames:
        monkeypatch.setattr(room.brains, "deepbet", lambda data, grid: pytest.fail("deepbet was asked"))


@pytest.fixture(scope="module")
def real():
    return read_image(IXI), preprocess(read_image(IXI), name="ixi033")


def test_deepbet_finds_the_brain_of_a_real_head(real):
    scan, study = real
    check_promise(study, (96, 96, 96))
    product = study.product
    assert study.name == "ixi033"
    np.testing.assert_allclose(product.grid.spacing, 2, atol=1e-5)
    millilitres = study.need("brain").data.sum() * product.grid.voxel_volume
    assert 1300 < millilitres < 1800
    assert native_grid(product.provenance["chain"]).same(scan.grid)
    inner = product.data[product.data > 0]
    assert 0.3 < np.median(inner) < 0.8
    assert inner.std() > 0.15


def test_a_stripped_scan_is_not_stripped_again(stripped, brain):
    study = prepared(stripped)
    check_promise(study, GRID.shape)
    assert study.need("brain").data.sum() == brain.data.sum()


def test_a_mask_is_used_as_it_is(head, brain):
    study = prepared(head, brain=brain)
    check_promise(study, GRID.shape)
    assert study.need("brain").data.sum() == brain.data.sum()
    assert study.product.provenance["history"][-1]["arguments"]["brain"] == "file"


def test_without_mask_everything_above_background_is_brain(head):
    study = prepared(head, brain="none", grid=GridConfig(shape=(48, 56, 48), spacing=(4, 4, 4)))
    check_promise(study, (48, 56, 48))
    assert study.need("brain").data.sum() == (head.data > 0).sum()


def test_a_head_needs_deepbet_and_its_absence_is_told_in_one_line(head, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "deepbet.bet", None)
    for brain in ("auto", "deepbet"):
        with pytest.raises(UadError, match=r"^[^\n]*pip install 'uadtools\[deepbet\]'[^\n]*--brain FILE[^\n]*$"):
            prepared(head, brain=brain)


def test_deepbet_on_demand_is_asked_for_a_stripped_scan_too(stripped, brain, monkeypatch):
    asked = []
    monkeypatch.setattr(room.brains, "deepbet", lambda data, grid: asked.append(grid.orientation) or data > 400)
    prepared(stripped, brain="deepbet")
    assert asked == ["RAS"]


def test_another_way_to_find_a_brain_is_refused(head):
    with pytest.raises(UadError, match="no way to find a brain is called 'bet' "):
        prepared(head, brain="bet")


def test_a_mask_on_another_grid_is_refused_with_both_grids(head, brain):
    moved = Grid(head.grid.shape, head.grid.affine + np.eye(4, 4, 3))
    with pytest.raises(UadError) as caught:
        prepared(head, brain=brain.derive(brain.data, "brain", moved))
    assert str(caught.value).count(str(head.grid)) == 2
    assert "up to 1 mm apart (resample the mask first)" in str(caught.value)
    small = Image(np.ones((3, 4, 5)), Grid((3, 4, 5), np.eye(4)), "brain")
    with pytest.raises(UadError, match=r"3x4x5 voxels of 1 x 1 x 1 mm, RAS and 50x60x50 voxels of 4 x 4 x 4 mm, LAS"):
        prepared(head, brain=small)


def test_a_mask_that_says_nothing_is_refused(head, brain):
    with pytest.raises(UadError, match="the brain mask is empty"):
        prepared(head, brain=brain.derive(np.zeros_like(brain.data), "brain"))


def test_a_brain_of_one_voxel_is_lost_in_larger_ones(head, brain):
    dot = np.zeros_like(brain.data)
    dot[25, 30, 25] = 1
    with pytest.raises(UadError, match="the brain is smaller than a voxel of 20 x 20 x 20 mm"):
        prepared(head, brain=brain.derive(dot, "brain"), grid=GridConfig(shape=(10, 10, 10), spacing=(20, 20, 20)))


def test_a_mask_with_nothing_in_its_middle_is_refused(head, brain):
    ends = np.zeros_like(brain.data)
    ends[25, 3:6, 25] = ends[25, 54:57, 25] = 1
    with pytest.raises(UadError, match="nothing in its middle, where the grid of 10x10x10 lies"):
        prepared(head, brain=brain.derive(ends, "brain"), grid=GridConfig(shape=(10, 10, 10), spacing=(4, 4, 4)))


@pytest.mark.parametrize(("value", "said"), [(0, "one value, 0 "), (7, "one value, 7 "), (-3, "one value, -3 ")])
def test_a_scan_of_one_value_is_refused(value, said, head):
    with pytest.raises(UadError, match=said):
        prepared(head.derive(np.full_like(head.data, value), "scan"))


@pytest.mark.parametrize("role", sorted(ROLES.keys() - {"scan"}))
def test_what_was_made_of_a_scan_is_refused(role, head):
    with pytest.raises(UadError, match=f"^is a {role}, not a scan"):
        preprocess(head.derive(head.data, role), brain="none")


def test_a_scan_without_a_voxel_above_0_is_refused(head):
    with pytest.raises(UadError, match="no voxel above background"):
        prepared(head.derive(-head.data, "scan"))


def test_a_scan_that_is_background_but_for_rounding_is_refused(head):
    almost = np.full(head.data.shape, 1000, np.float32)
    almost[8, 8, 8] = 1000.001
    with pytest.raises(UadError, match="no voxel above background, 1000 "):
        prepared(head.derive(almost, "scan"))


def test_a_brain_of_one_value_is_refused(head, brain):
    flat = head.derive(np.where(brain.data > 0, 400, head.data), "scan")
    with pytest.raises(UadError, match="the brain is all of one value, 400 "):
        prepared(flat, brain=brain)


def test_negative_values_in_the_brain_are_brain(stripped, brain):
    scored = np.where(brain.data > 0, (stripped.data - 500.5) / 120, 0)
    study = prepared(stripped.derive(scored, "scan"))
    check_promise(study, GRID.shape)
    np.testing.assert_allclose(study.product.data, prepared(stripped).product.data, atol=1e-5)


def test_a_brain_larger_than_the_grid_is_told(stripped, brain):
    said = []
    study = prepared(stripped, grid=GridConfig(shape=(20, 48, 36), spacing=(4, 4, 4)), tell=said.append)
    check_promise(study, (20, 48, 36))
    whole, kept = int(brain.data.sum()), int(study.need("brain").data.sum())
    assert said == [f"{(whole - kept) / whole:.1%} of the brain lies outside the grid of 20x48x36 and is cut off"]
    assert kept < whole


def test_nothing_is_told_when_all_is_well(stripped):
    prepared(stripped, tell=pytest.fail)


def test_the_brain_lies_in_the_middle_of_the_grid(stripped):
    found = np.argwhere(prepared(stripped).need("brain").data)
    before, behind = found.min(axis=0), np.array(GRID.shape) - 1 - found.max(axis=0)
    assert (abs(before - behind) <= 1).all()


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PSR", "ILA", "SRP"])
def test_how_the_axes_are_stored_does_not_matter(orientation, head, brain):
    one = prepared(head, brain=brain)
    other = prepared(turned(head, orientation), brain=turned(brain, orientation))
    assert one.product.grid.same(other.product.grid)
    np.testing.assert_array_equal(one.product.data, other.product.data)


MARKED = [
    ("LAS", (1, 1, 1), (0, 0, 0)),
    ("PSR", (0.9, 0.9, 4), (15, -10, 5)),
    ("RIA", (1.2, 3, 0.8), (-8, 20, 12)),
    ("LPI", (2.7, 2.7, 2.7), (3, 3, -25)),
]


@pytest.mark.parametrize(("orientation", "spacing", "angles"), MARKED)
@pytest.mark.parametrize("seed", range(3))
def test_a_marker_stays_where_it_is_in_the_world(orientation, spacing, angles, seed):
    """A bright ball in a grey one, at random; what comes out is bright within a voxel of where the ball was."""
    rng = np.random.default_rng(seed)
    a, b, c = np.radians(angles)
    turn = nib.eulerangles.euler2mat(c, b, a)
    axes = nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(orientation), (1, 1, 1))[:3, :3].round()
    shape = tuple(int(96 / s) for s in spacing)
    affine = np.eye(4)
    affine[:3, :3] = turn @ axes @ np.diag(spacing)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2) + rng.uniform(-50, 50, 3)
    grid = Grid(shape, affine)
    middle = grid.affine @ [*((np.array(shape) - 1) / 2), 1]
    centre = middle[:3] + rng.uniform(-15, 15, 3)
    places = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    data = np.where(np.linalg.norm(places - middle[:3], axis=-1) < 44, 0.2, 0)
    data[np.linalg.norm(places - centre, axis=-1) < 7] = 1
    study = preprocess(Image(data, grid), grid=GridConfig(shape=(48, 48, 48)), intensity=RAW, brain="none")
    found = study.product
    bright = found.data > 0.6
    assert bright.any()
    where = (found.grid.affine @ [*np.argwhere(bright).mean(axis=0), 1])[:3]
    true = places[data == 1].mean(axis=0)
    assert np.linalg.norm(where - true) < 1


def test_the_chain_leads_back_to_the_scan(head, brain):
    study = prepared(head, brain=brain)
    for content in (to_bytes(image) for image in study.images.values()):
        (image,) = read_images(io.BytesIO(content), "stream")
        chain = image.provenance["chain"]
        assert [link["step"] for link in chain] == ["input", "reorient", "resample", "crop_pad"]
        np.testing.assert_array_equal(native_grid(chain).affine, head.grid.affine)
        assert native_grid(chain).shape == head.grid.shape
        assert Grid.from_json(chain[-1]["grid"]).same(image.grid)
        assert image.provenance["study"] == "a"


@pytest.mark.parametrize("spacing", [2.5, 3, 5, 6.5])
def test_a_brain_keeps_its_volume_at_any_voxel_size(spacing, stripped, brain):
    study = prepared(stripped, grid=GridConfig(shape=(60, 72, 56), spacing=(spacing,) * 3))
    found = study.need("brain")
    before = brain.data.sum() * brain.grid.voxel_volume
    assert found.data.sum() * found.grid.voxel_volume == pytest.approx(before, rel=0.02)


def test_a_scan_prepared_twice_is_refused_in_one_line(stripped):
    once = prepared(stripped)
    with pytest.raises(UadError, match=r"^was prepared by uad-preprocess already, 40x48x36 [^\n]*uad-heal takes it"):
        prepared(once.product)


def test_a_scan_that_another_program_moved_leads_back_to_where_it_was_moved(stripped):
    once = prepared(stripped).product
    moved = once.derive(once.data, "scan", Grid(once.grid.shape, once.grid.affine + np.eye(4, 4, 3)))
    assert native_grid(prepared(moved, intensity=RAW).product.provenance["chain"]).same(moved.grid)


def test_history_says_what_was_done(stripped):
    line = prepared(stripped).product.provenance["history"][-1]
    assert line["tool"] == "uad-preprocess"
    assert line["arguments"]["brain"] == "auto"
    assert line["arguments"]["grid"] == {"shape": [40, 48, 36], "spacing": [4.0, 4.0, 4.0]}
    assert {"kind": "percentile", "low": 1.0, "high": 99.0}.items() <= line["arguments"]["intensity"].items()


def test_what_the_scan_brought_along_is_kept_and_the_scan_left_alone(stripped):
    scan = replace(stripped, provenance={"note": 1, "history": [{"tool": "other"}]})
    before = scan.data.copy()
    study = prepared(scan)
    assert study.product.provenance["note"] == 1
    assert [line["tool"] for line in study.product.provenance["history"]] == ["other", "uad-preprocess"]
    assert scan.provenance == {"note": 1, "history": [{"tool": "other"}]}
    np.testing.assert_array_equal(scan.data, before)


def test_percentiles_come_from_the_brain_inside_the_grid(stripped):
    window = IntensityConfig(low=5, high=80)
    found = prepared(stripped, intensity=window).product.data
    inner = found[found > 0]
    assert (inner <= np.float32(1e-3)).mean() == pytest.approx(0.05, abs=0.01)
    assert (inner == 1).mean() == pytest.approx(0.2, abs=0.01)


def test_intensities_in_0_to_1_are_taken_as_they_are(stripped, brain):
    scan = stripped.derive(np.float32(stripped.data / 1000), "scan")
    found = prepared(scan, intensity=RAW).product
    same, _ = oriented(scan.data, scan.grid)
    np.testing.assert_allclose(np.sort(found.data[found.data > 0]), np.sort(same[same > 0]), atol=1e-6)


@pytest.mark.parametrize(("factor", "offset", "said"), [(1, 0, "300 to 699"), (1e-3, -0.5, "-0.2 to 0.199")])
def test_other_intensities_are_refused_when_they_should_be_ready(factor, offset, said, stripped, brain):
    scan = stripped.derive(np.where(brain.data > 0, stripped.data * factor + offset, 0), "scan")
    with pytest.raises(UadError, match=rf"run from {said}, not 0 to 1 \(--intensity percentile\)"):
        prepared(scan, intensity=RAW)


def test_one_slice_is_a_volume_too(head, brain):
    grid = Grid((50, 60, 1), head.grid.affine)
    flat, mask = (i.derive(i.data[:, :, 25:26], i.role, grid) for i in (head, brain))
    study = prepared(flat, brain=mask)
    check_promise(study, GRID.shape)
    assert study.need("brain").data.sum() == mask.data.sum()
