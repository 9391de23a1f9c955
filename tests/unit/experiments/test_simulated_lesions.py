import json

import numpy as np
import pytest
from loading import load

import uadtools
from uadtools.errors import UadError
from uadtools.simulation.lesions import MASKS_BOX, smooth
from uadtools.volume.clean import median
from uadtools.volume.stream import Study, read_image

lesion_figures, simulated = (load(n) for n in ("lesion_figures", "simulated_lesions"))
BESIDE = MASKS_BOX.mean(axis=0) + np.array([25, 0, 0])


@pytest.fixture
def scan(layered):
    return layered


def test_the_filter_in_the_brain_s_box_is_that_of_the_whole_volume(scan):
    study = Study("a", {"scan": scan})
    healed = smooth(scan.data, scan.data > 0, 3.0)
    whole = median(uadtools.score(study.adding(scan.derive(healed, "healed"))).product.data, 5)
    np.testing.assert_array_equal(simulated.score_map(study, healed), whole)


@pytest.fixture(scope="module")
def judged(layered, mni_mask):
    """Healed by somebody who remembers the untouched scan."""
    bench = simulated.Bench([mni_mask(BESIDE)], seed=1, heal=lambda study: layered.data)
    return simulated.judge(Study("a", {"scan": layered}), bench, "dark")


def test_perfect_healing_finds_the_lesions_and_nothing_in_the_untouched_scan(judged):
    found = simulated.summed_up([judged])
    assert set(found) == set(simulated.KINDS)
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
    both = {kind: judged.cases[kind, simulated.SIGNED].untouched for kind in simulated.KINDS}
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


def test_the_script_prints_a_table_and_writes_figures_and_scans(scan, mni_mask, tmp_path, capsys):
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
