"""Brain extractors that users install by themselves, by stand-ins on the PATH; CT; and what is strange about a mask."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from uadtools.anatomy.brain import by_program, concerns, from_air
from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.models.config import GridConfig, IntensityConfig
from uadtools.preparing.preparation import Preparation
from uadtools.preparing.preprocess import prepare
from uadtools.volume.io import Image

CALLED = {
    "hd-bet": ["hd-bet"],
    "synthstrip": ["mri_synthstrip", "nipreps-synthstrip", "synthstrip-docker"],
}
PROGRAMS = [(name, program) for name, programs in CALLED.items() for program in programs]
GRID = GridConfig(shape=(40, 48, 36), spacing=(4, 4, 4))


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a shell script of this name on the PATH, among nothing but the system's own programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")

    def put(name, script):
        (folder / name).write_text(f"#!/bin/sh\ncd '{tmp_path}'\n{script}\n")
        (folder / name).chmod(0o755)

    return put


@pytest.fixture
def answers(install, tmp_path):
    """Put a program on the PATH that notes how it is called and gives this image back."""

    def put(name, data, affine):
        nib.save(nib.Nifti1Image(data, affine), tmp_path / "answer.nii.gz")
        install(name, f"echo {name} $# $* > called\ncp $2 seen.nii.gz\ncp answer.nii.gz $4")

    return put


@pytest.mark.parametrize(("name", "program"), PROGRAMS)
def test_a_program_gets_the_scan_and_gives_the_stripped_one(name, program, answers, head, stripped, tmp_path):
    answers(program, stripped.data, stripped.grid.affine)
    found = by_program(name, head.data, head.grid)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, stripped.data > 0)
    seen = nib.load(tmp_path / "seen.nii.gz")
    assert seen.get_data_dtype() == np.float32
    np.testing.assert_array_equal(seen.get_fdata(), head.data)
    np.testing.assert_array_equal(seen.affine, head.grid.affine)
    called, count, first, scan, second, out = (tmp_path / "called").read_text().split()
    assert (called, count, first, second) == (program, "4", "-i", "-o")
    assert scan != out
    assert not Path(out).parent.exists()


def test_of_several_programs_the_first_is_taken(answers, stripped, tmp_path):
    for program in reversed(CALLED["synthstrip"]):
        answers(program, stripped.data, stripped.grid.affine)
    by_program("synthstrip", stripped.data, stripped.grid)
    assert (tmp_path / "called").read_text().startswith("mri_synthstrip ")


def test_holes_in_what_a_program_gives_are_brain(answers, head, stripped, brain):
    holed = stripped.data.copy()
    holed[24:27, 29:32, 24:27] = 0
    answers("hd-bet", holed, head.grid.affine)
    np.testing.assert_array_equal(by_program("hd-bet", head.data, head.grid), brain.data > 0)


def test_a_volume_of_four_axes_is_one_volume(answers, head, stripped, brain):
    answers("hd-bet", stripped.data[..., None], head.grid.affine)
    np.testing.assert_array_equal(by_program("hd-bet", head.data, head.grid), brain.data > 0)


@pytest.mark.parametrize("name", CALLED)
def test_a_missing_program_is_told_with_all_its_names(name, install, head):
    with pytest.raises(UadError) as caught:
        by_program(name, head.data, head.grid)
    programs = " or ".join(CALLED[name])
    assert str(caught.value) == f"--brain {name}: no program {programs} is installed (install it, or --brain FILE)"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo working\necho first >&2\necho the last >&2\necho >&2\nexit 3", "failed with status 3 (the last)"),
        ("echo only this\nexit 1", "failed with status 1 (only this)"),
        ("exit 4", "failed with status 4 (it said nothing)"),
        ("echo nothing found", "failed with status 0 (nothing found)"),
        ("printf 'caf\\351\\n' >&2\nexit 1", "failed with status 1 (caf\N{REPLACEMENT CHARACTER})"),
        ("kill -9 $$", "failed with status -9 (it said nothing)"),
        ("cp answer.nii.gz $4\nexit 2", "failed with status 2 (it said nothing)"),
    ],
)
def test_a_failing_program_is_told_with_its_last_line(script, said, answers, install, stripped):
    answers("hd-bet", stripped.data, stripped.grid.affine)
    install("hd-bet", script)
    with pytest.raises(UadError) as caught:
        by_program("hd-bet", stripped.data, stripped.grid)
    assert str(caught.value) == f"hd-bet {said}"


@pytest.mark.parametrize("script", ["echo text > $4", ": > $4", "head -c 300 $2 > $4", "head -c 5000 $2 > $4"])
def test_what_cannot_be_read_is_told(script, install, head):
    install("hd-bet", script)
    with pytest.raises(UadError, match="hd-bet"):
        by_program("hd-bet", head.data, head.grid)


@pytest.mark.parametrize("change", ["moved", "cut", "turned", "series"])
def test_another_grid_is_refused(change, answers, stripped):
    data, affine = stripped.data, stripped.grid.affine
    data = {"cut": data[1:], "turned": data.transpose(0, 2, 1)}.get(change, data)
    if change == "moved":
        affine = affine + np.eye(4, 4, 3) * 0.01
    if change == "series":
        data = np.stack([data, data], axis=-1)
    answers("synthstrip-docker", data, affine)
    with pytest.raises(UadError, match=r"^synthstrip gave back another grid than it got, so its brain is of no use$"):
        by_program("synthstrip", stripped.data, stripped.grid)


def test_a_program_finds_the_brain_of_a_scan_that_is_prepared(answers, head, stripped, brain):
    """It sees the scan in RAS, as the rest of the preparation does."""
    ras = nib.as_closest_canonical(nib.Nifti1Image(stripped.data, stripped.grid.affine))
    answers("mri_synthstrip", np.asarray(ras.dataobj), ras.affine)
    made = prepare(head, Preparation(grid=GRID, brain="synthstrip"), name="a")
    assert made.study.need("brain").data.sum() == brain.data.sum()
    assert made.concerns == ()
    assert made.study.product.provenance["history"][-1]["arguments"]["brain"] == "synthstrip"


def hounsfield(head, brain):
    """The head as CT: air, scalp and brain of 30 to 50, bone between them."""
    texture = np.random.default_rng(1).integers(30, 50, head.grid.shape)
    data = np.select([brain.data > 0, head.data == 900, head.data == 50], [texture, 20, 1200], -1000)
    return data.astype(np.int16)


def test_synthstrip_leaves_the_brain_of_a_ct_scan(answers, head, brain):
    """Its own line: image[mask == 0] = np.min([0, image.min()])."""
    data = hounsfield(head, brain)
    answers("mri_synthstrip", np.where(brain.data > 0, data, data.min()), head.grid.affine)
    np.testing.assert_array_equal(by_program("synthstrip", data, head.grid), brain.data > 0)


def test_what_is_no_air_is_the_head_with_its_cavities_and_without_the_table(head, brain):
    data = hounsfield(head, brain)
    data[24:27, 40:44, 24:27] = -1000
    lying = data.copy()
    lying[5:45, 1, 5:45] = 300  # a table of one voxel
    lying[20:24, 54:59, 4:7] = 100  # a pillow
    np.testing.assert_array_equal(from_air(lying), from_air(data))
    found, whole = from_air(data), head.data > 0
    assert found[24:27, 40:44, 24:27].all()
    assert not (found & ~whole).any()
    assert found.sum() > 0.99 * whole.sum()


def test_without_a_mask_a_ct_scan_is_all_that_is_no_air(head, brain):
    scan = head.derive(hounsfield(head, brain), "scan")
    ct = IntensityConfig(kind="ct")
    large = GridConfig(shape=(48, 56, 48), spacing=(4, 4, 4))
    made = prepare(scan, Preparation(grid=large, intensity=ct, brain="none"))
    assert made.study.need("brain").data.sum() == pytest.approx((head.data > 0).sum(), rel=0.01)
    assert made.concerns == ()
    with pytest.raises(UadError, match="this CT scan has its skull"):
        prepare(scan, Preparation(grid=large, intensity=ct))


def test_a_brain_as_it_should_be_is_of_no_concern(brain):
    assert concerns(brain.data > 0, brain.grid) == []


@pytest.mark.parametrize(
    ("millilitres", "strange"), [(799, True), (801, False), (2199, False), (2201, True), (5.2, True)]
)
def test_a_brain_of_no_adult_is_told(millilitres, strange, brain):
    size = (millilitres / (brain.data.sum() * brain.grid.voxel_volume)) ** (1 / 3)
    grid = Grid(brain.grid.shape, brain.grid.affine @ np.diag([size, size, size, 1]))
    said = concerns(brain.data > 0, grid)
    assert len(said) == strange
    if strange:
        (concern,) = said
        assert (concern.code, concern.value) == ("brain-size", pytest.approx(millilitres, abs=0.1))
        assert concern.text.startswith(f"the brain has {millilitres:,.0f} mL; 800 to 2,200 is what adults have")
        assert "--save-brain" in concern.text


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("end", [0, -1])
def test_a_brain_that_is_cut_off_is_told_with_how_much_is_missing(axis, end, brain):
    """Sides of 3, 4 and 5 mm; cut through the middle, so that half a brain is left."""
    grid = Grid(brain.grid.shape, np.diag([3.0, 4.0, 5.0, 1.0]))
    middle = brain.grid.shape[axis] // 2
    kept = slice(middle, None) if end == 0 else slice(None, middle)
    cut = np.moveaxis(np.moveaxis(brain.data > 0, axis, 0)[kept], 0, axis)
    face = cut.take(end, axis).sum() * 60 / (3, 4, 5)[axis] / 100
    assert face > 100
    (said,) = [one for one in concerns(cut, Grid(cut.shape, grid.affine)) if one.code == "brain-cut-by-scan"]
    assert said.value == pytest.approx(face, abs=0.1)
    assert said.text == f"the brain touches the border of the scan over {face:.0f} cm2, so a part of it is missing"


@pytest.mark.parametrize(("columns", "strange"), [(31, False), (32, True)])
def test_a_little_of_the_border_is_no_concern(columns, strange, brain):
    """62 or 64 voxels of 16 mm2 are just under, and just over, 10 cm2."""
    mask = brain.data > 0
    mask[5 : 5 + columns, 10:12, 0] = True
    assert any("border" in str(concern) for concern in concerns(mask, brain.grid)) == strange


def ball(radius=60.0, spacing=(1.0, 1.0, 3.0)):
    """905 mL in voxels as thick as those of clinical scans."""
    shape = [round(130 / side) for side in spacing]
    middle = [(count - 1) / 2 for count in shape]
    away = sum(((n - m) * side) ** 2 for n, m, side in zip(np.indices(shape), middle, spacing, strict=True))
    return away < radius**2, Grid(tuple(shape), np.diag([*spacing, 1.0]))


@pytest.mark.parametrize(("millimetres", "strange"), [(0, False), (3, False), (12, True), (60, True)])
@pytest.mark.parametrize("end", [0, -1])
def test_a_brain_whose_last_millimetres_are_beyond_a_thick_slice_is_of_no_concern(millimetres, strange, end):
    """The last slice of a clinical scan shows 10 cm2 and more of a brain of which nothing to speak of is missing."""
    mask, grid = ball()
    filled = np.flatnonzero(mask.any(axis=(0, 1)))
    cut = mask[:, :, filled[0] + millimetres // 3 :] if end == 0 else mask[:, :, : filled[-1] + 1 - millimetres // 3]
    said = [one.code for one in concerns(cut, Grid(cut.shape, grid.affine))]
    assert ("brain-cut-by-scan" in said) == strange
    if millimetres == 3:
        assert cut[:, :, end].sum() / 100 > 10


def test_a_brain_in_a_box_that_is_just_as_large_is_of_no_concern():
    mask, grid = ball()
    box = mask[np.ix_(*(np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))))]
    assert concerns(box, Grid(box.shape, grid.affine)) == []


def test_the_cord_may_leave_the_scan_below():
    mask, grid = ball()
    mask[57:73, 57:73, : grid.shape[2] // 2] |= np.hypot(*np.indices((16, 16)) - 7.5)[..., None] < 8
    assert mask[:, :, 0].sum() == pytest.approx(200, abs=10)
    assert concerns(mask, grid) == []


def test_concerns_are_told_of_every_mask_but_of_no_single_slices(stripped, brain):
    half = stripped.derive(np.where(np.arange(50) < 25, stripped.data, 0), "scan")
    made = prepare(half, Preparation(grid=GRID))
    assert [str(concern).split(";")[0] for concern in made.concerns] == ["the brain has 607 mL"]
    mask = brain.derive(np.where(np.arange(50) < 25, brain.data, 0), "brain")
    assert prepare(stripped, Preparation(grid=GRID, brain=mask)).concerns == made.concerns
    flat = GridConfig(shape=(48, 56, 1), spacing=(4, 4, 4))
    assert prepare(Image(half.data, half.grid), Preparation(grid=flat)).concerns == ()
