import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

import uadtools
from uadtools.errors import UadError
from uadtools.volume.clean import median
from uadtools.volume.grid import Grid
from uadtools.volume.intensity import FLOOR
from uadtools.volume.io import Image
from uadtools.volume.stream import Study, read_image

EXAMPLES = Path(__file__).parents[3] / "examples"
SPACING = (2.0, 2.0, 2.0)
SHAPE = (48, 48, 48)
CSF, GM, WM = 0.2, 0.53, 0.8


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


lesions, lesion_figures, simulated = (load(n) for n in ("lesions", "lesion_figures", "simulated_lesions"))
MIDDLE = lesions.MASKS_BOX.mean(axis=0)
BESIDE = MIDDLE + np.array([25, 0, 0])


def ball(centre, radius, shape=SHAPE):
    offset = np.moveaxis(np.indices(shape), 0, -1) - centre
    return np.linalg.norm(offset, axis=-1) <= radius


def phantom(noise=0.01):
    """A round brain: fluid around grey around white matter, and a ventricle left of the middle."""
    data = np.zeros(SHAPE, np.float32)
    for radius, level in ((21, CSF), (19, GM), (15, WM)):
        data[ball((23.5, 23.5, 23.5), radius)] = level
    data[ball((18, 23, 23), 3)] = CSF
    brain = data > 0
    data[brain] += noise * np.random.default_rng(0).standard_normal(int(brain.sum()))
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = (-50, -60, -40)
    return Image(data, Grid(SHAPE, affine))


def mni_mask(*centres, radius=4.0):
    """Balls at places in mm in a mask whose first axis runs to the left, as the published ones do."""
    affine = np.diag([-2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (90, -126, -72)
    shape = (91, 109, 91)
    data = np.zeros(shape, np.uint8)
    for centre in centres:
        data |= ball((np.linalg.inv(affine) @ [*centre, 1])[:3], radius, shape)
    return Image(data, Grid(shape, affine))


@pytest.fixture(scope="module")
def scan():
    return phantom()


def test_tissue_levels_are_those_of_the_phantom(scan):
    assert lesions.tissue_levels(scan.data[scan.data > 0]) == pytest.approx((CSF, GM, WM), abs=0.01)


def test_smoothing_stays_inside_the_brain():
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


def test_the_soft_edge_changes_most_of_the_way_exactly_in_the_mask():
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


def test_texture_survives_in_the_lesion():
    brain = ball((23.5, 23.5, 23.5), 20)
    fine = 0.05 * (-1.0) ** np.indices(SHAPE).sum(axis=0)
    lesion = ball((24, 24, 24), 8)
    changed = lesions.paint(np.where(brain, WM + fine, 0), lesion, 0.4, brain)
    core = ball((24, 24, 24), 5)
    np.testing.assert_allclose(changed[core], 0.4 + fine[core], atol=0.01)


def test_painted_values_stay_in_range(scan):
    brain = scan.data > 0
    for level in (-1.0, 2.0):
        changed = lesions.paint(scan.data, ball((24, 24, 4), 8) & brain, level, brain)
        assert FLOOR <= changed[brain].min() <= changed[brain].max() <= 1
        assert not changed[~brain].any()


@pytest.mark.parametrize("kind", lesions.KINDS)
def test_a_simulated_scan_changes_in_and_around_its_lesions_alone(scan, kind):
    made = lesions.simulate(scan, kind, [mni_mask(BESIDE)], name="a", seed=3)
    brain = scan.data > 0
    assert made.truth.any()
    assert not (made.truth & ~brain).any()
    near = ndimage.binary_dilation(made.truth, iterations=9)
    np.testing.assert_array_equal(made.image[~near], scan.data[~near])
    assert made.image[brain].min() >= FLOOR
    assert not made.image[~brain].any()
    white = made.truth & ndimage.binary_erosion(made.truth) & ball((23.5, 23.5, 23.5), 13)
    level = made.image[white].mean()
    assert (level > WM + 0.05) if kind == "bright" else (CSF < level < GM)


def test_number_and_sizes_of_blobs_are_within_the_protocol(scan):
    made = [lesions.simulate(scan, "dark", [], name="a", seed=seed) for seed in range(12)]
    assert {len(m.diameters) for m in made} == {1, 2, 3}
    sizes = [d for m in made for d in m.diameters]
    assert 5 <= min(sizes) < 10
    assert 20 < max(sizes) <= 30
    for m in made:
        assert int(m.label.max()) == len(m.diameters)


def test_the_draw_hangs_on_seed_name_and_kind(scan):
    first = lesions.simulate(scan, "dark", [], name="a", seed=1)
    again = lesions.simulate(scan, "dark", [], name="a", seed=1)
    np.testing.assert_array_equal(first.image, again.image)
    for kind, name, seed in (("dark", "a", 2), ("dark", "b", 1), ("bright", "a", 1)):
        other = lesions.simulate(scan, kind, [], name=name, seed=seed)
        assert (first.label != other.label).any()


def test_a_mask_is_brought_to_the_same_place_of_the_subject_s_box(scan):
    box = lesions.tissue_box(scan.data, scan.grid, lesions.Levels(CSF, GM, WM))
    for share in ((0.5, 0.5, 0.5), (0.75, 0.4, 0.6)):
        mask = mni_mask(lesions.MASKS_BOX[0] + share * (lesions.MASKS_BOX[1] - lesions.MASKS_BOX[0]), radius=6)
        moved = lesions.brought_over(mask, scan, box)
        found = scan.grid.affine[:3, :3] @ np.argwhere(moved).mean(axis=0) + scan.grid.affine[:3, 3]
        np.testing.assert_allclose(found, box[0] + share * (box[1] - box[0]), atol=1)


def test_ms_lesions_stay_out_of_fluid(scan):
    made = lesions.simulate(scan, "ms", [mni_mask(MIDDLE, radius=12)], name="a")
    ventricle = ball((18, 23, 23), 3)
    assert made.truth[ndimage.binary_dilation(ventricle)].any()
    assert not made.truth[ventricle].any()


def test_a_mask_without_lesion_in_this_brain_is_passed_over(scan):
    outside, inside = mni_mask((0, 85, 100)), mni_mask(BESIDE)
    assert {lesions.simulate(scan, "ms", [outside, inside], name="a", seed=s).origin for s in range(4)} == {1}
    with pytest.raises(UadError, match="none of 1 MS masks"):
        lesions.simulate(scan, "ms", [outside], name="a")


def test_the_filter_in_the_brain_s_box_is_that_of_the_whole_volume(scan):
    study = Study("a", {"scan": scan})
    healed = lesions.smooth(scan.data, scan.data > 0, 3.0)
    whole = median(uadtools.score(study.adding(scan.derive(healed, "healed"))).product.data, 5)
    np.testing.assert_array_equal(simulated.score_map(study, healed), whole)


@pytest.fixture(scope="module")
def judged(scan):
    """Healed by somebody who remembers the untouched scan."""
    bench = simulated.Bench([mni_mask(BESIDE)], seed=1, heal=lambda study: scan.data)
    return simulated.judge(Study("a", {"scan": scan}), bench, "dark")


def test_perfect_healing_finds_the_lesions_and_nothing_in_the_untouched_scan(judged):
    found = simulated.summed_up([judged])
    assert set(found) == set(lesions.KINDS)
    for methods in found.values():
        assert set(simulated.SHOWN) <= set(methods)
        assert methods["diffusion"]["auprc"] > 0.8
        assert methods["diffusion"]["untouched_share"] == 0
        assert methods["blur best"]["auprc"] == max(methods[f"blur {s}"]["auprc"] for s in simulated.SIGMAS)


def test_the_signed_threshold_looks_for_bright_or_dark(judged, scan):
    brain = scan.data > 0
    for kind, flipped in (("bright", False), ("dark", True), ("ms", True)):
        image = judged.lesions[kind].image
        wanted = median(np.where(brain, 1 - image if flipped else image, 0), 5)[brain]
        np.testing.assert_allclose(judged.cases[kind, simulated.SIGNED].score, wanted, atol=1e-5)
    both = {kind: judged.cases[kind, simulated.SIGNED].untouched for kind in lesions.KINDS}
    np.testing.assert_array_equal(both["dark"], both["ms"])
    assert both["bright"].mean() != both["dark"].mean()


def test_figures_by_size_leave_the_other_blobs_out():
    label = np.array([0, 0, 0, 1, 1, 2], np.uint8)
    score = np.array([0.1, 0.2, 0.3, 0.9, 0.9, 0.5])
    case = lesion_figures.Case(score, label, score, (25.0, 6.0))
    found = lesion_figures.figures([case])["by_size"]
    assert found["5-10"]["auprc"] == found["20-30"]["auprc"] == 1
    assert found["10-20"] == {"scans": 0}


def test_the_mean_over_scans_and_the_pooled_figure_differ():
    truth = np.array([True, False])
    high, low = (np.array([0.9, 0.8]), truth), (np.array([0.2, 0.1]), truth)
    found = lesion_figures.summary([high, low])
    assert found["auprc"] == 1
    assert found["auprc_pooled"] == pytest.approx(1 / 2 + 1 / 3)
    assert found["dice_pooled"] == pytest.approx(4 / 5)


def test_a_row_of_the_picture_fills_its_frame(judged, tmp_path):
    assert judged.row.title == "a-dark"
    cut = lesion_figures._cropped([volume[:, :, judged.row.z].T for volume in judged.row.volumes])
    assert all((cut[0][edge] > 0).any() for edge in (1, -2, (slice(None), 1), (slice(None), -2)))
    lesion_figures.picture([judged.row, judged.row], tmp_path / "rows.png")
    assert (tmp_path / "rows.png").read_bytes().startswith(b"\x89PNG")


def test_the_script_prints_a_table_and_writes_figures_and_scans(scan, tmp_path, capsys):
    healthy, masks, out = tmp_path / "healthy", tmp_path / "masks", tmp_path / "figures.json"
    healthy.mkdir()
    masks.mkdir()
    for name in ("a", "b"):
        uadtools.save(scan, healthy / f"{name}_preprocessed.nii.gz")
    uadtools.save(mni_mask(BESIDE), masks / "m.nii.gz")
    simulated.main(healthy, masks, baselines=True, first=1, json_file=out, save_to=tmp_path / "saved")
    found = json.loads(out.read_text())
    assert list(found["lesions"]) == ["a"]
    assert "blur best" in found["figures"]["ms"]
    assert "untouched" in capsys.readouterr().out
    lesioned = read_image(tmp_path / "saved/scans/a-bright.nii.gz")
    truth = read_image(tmp_path / "saved/truth/a-bright.nii.gz")
    assert int(truth.data.sum()) == found["lesions"]["a"]["bright"]["voxels"]
    assert lesioned.provenance["study"] == "a-bright"
    with pytest.raises(UadError, match="exists"):
        simulated.main(healthy, masks, baselines=True, json_file=out)


def test_an_empty_folder_and_a_picture_of_nothing_are_refused(tmp_path):
    with pytest.raises(UadError, match="no NIfTI files"):
        simulated.main(tmp_path, tmp_path, baselines=True)
    with pytest.raises(UadError, match="leave out --baselines"):
        simulated.main(tmp_path, tmp_path, baselines=True, picture_file=tmp_path / "rows.png")
