import json
from dataclasses import replace

import numpy as np
import pytest
from loading import load

import uadtools
from uadtools.errors import UadError
from uadtools.healing import choice
from uadtools.healing.likeness import keep
from uadtools.healing.plan import plan
from uadtools.metrics.ranking import average_precision
from uadtools.models import checkpoint
from uadtools.models.config import GridConfig
from uadtools.models.likeness import Unlike
from uadtools.scoring.postproc import Steps
from uadtools.volume.io import Image
from uadtools.volume.stream import Study

healers, patients = (load(name) for name in ("healers", "real_patients"))


@pytest.fixture
def folder(tmp_path, stripped, monkeypatch):
    """A patient with a bright lesion and one with the same place dark, on one truth of 4 mm voxels."""
    truth = np.zeros(stripped.data.shape, np.uint8)
    truth[22:27, 27:33, 22:27] = 1
    for name, level in (("bright", 1000), ("dark", 10)):
        data = np.where(truth > 0, level, stripped.data).astype(np.int16)
        uadtools.save(stripped.derive(data, "scan"), tmp_path / f"{name}.nii.gz")
    uadtools.save(Image(truth, stripped.grid), tmp_path / "truth.nii.gz")
    scans = [patients.Scan(name, f"{name}.nii.gz", "truth.nii.gz", name) for name in ("bright", "dark")]
    monkeypatch.setattr(patients, "SCANS", scans)
    return tmp_path


def test_the_threshold_is_unsigned_and_told_the_sign(layered):
    study, brain = Study("a", {"scan": layered}), layered.data > 0
    inside = layered.data[brain]
    for told, wanted in (("bright", inside), ("dark", 1 - inside)):
        both, signed = (made.product.data for made in patients.thresholds(study, told))
        np.testing.assert_allclose(both[brain], np.maximum(np.abs(inside - np.median(inside)), 1e-6), rtol=1e-5)
        np.testing.assert_allclose(signed[brain], wanted, rtol=1e-5)
        assert not both[~brain].any()
        assert not signed[~brain].any()


def test_lesions_are_found_by_who_is_told_their_sign(folder):
    for scan in patients.SCANS:
        found = patients.judged(scan, folder, [healers.Healer.of("blur")], (), Steps(median=1, erode=0))
        assert found["lesion_ml"] == pytest.approx(150 * 0.064)
        threshold, blur, named = found["rows"]
        assert threshold["method"] == patients.THRESHOLD
        assert threshold["told"]["auprc"] > 0.7
        assert blur == named
        assert blur["told"]["auprc"] > blur["both"]["auprc"]


def test_a_figure_is_that_of_the_score_inside_the_brain_on_the_truth_s_own_grid(folder):
    scan = patients.SCANS[0]
    raw, truth = (uadtools.read(folder / name) for name in (scan.file, scan.truth))
    grid = {"shape": (40, 50, 40), "spacing": (4, 4, 4)}
    study = uadtools.preprocess(raw, grid=GridConfig.model_validate(grid), name="a")
    score = next(patients.thresholds(study, "bright"))
    label = patients.case(score, truth).truth
    brain = study.need("brain").data > 0
    expected = average_precision(score.product.data[brain], label[brain])
    assert patients.figures_of(score, truth, Steps(median=1, erode=0))["auprc"] == pytest.approx(expected)
    assert patients.figures_of(score, truth, Steps(median=3, erode=0))["auprc"] != pytest.approx(expected)


def test_metrics_are_those_that_there_are_maps_for(layered):
    healed = Study("a", {"healed": layered.derive(layered.data, "healed")})
    assert healers.metrics(healed) == ["l1"]
    probable = healed.adding(layered.derive(layered.data, "probability"))
    assert healers.metrics(probable) == ["l1", "product"]
    assert healers.metrics(probable.adding(layered.derive(layered.data, "expected"))) == ["l1", "product", "relative"]
    assert healers.metrics(probable, ("l2",)) == ["l2"]
    with pytest.raises(UadError, match="--metric best: there are l1, l2, product"):
        healers.metrics(healed, ("best",))


def test_a_model_and_a_method_are_named_by_a_word(tiny_model):
    own, other = healers.Healer.of(str(tiny_model)), healers.Healer.of(f"{tiny_model}:ddim")
    assert (own.name, other.name) == ("tiny, sss 200", "tiny, ddim 250")
    assert own.how == plan(own.model.config)
    assert own.preparation.grid == own.model.config.grid
    assert own.about["model"] == own.hash != ""
    with pytest.raises(UadError, match="no-such"):
        healers.Healer.of("no-such.safetensors")


def test_the_script_writes_figures_and_the_table_it_prints(folder, tmp_path, capsys):
    files = {"json_file": tmp_path / "f.json", "markdown_file": tmp_path / "f.md"}
    patients.main(folder, ["blur"], **files)
    printed = capsys.readouterr().out
    assert files["markdown_file"].read_text() == printed
    assert printed.count("\n") == 2 + 2 * 3
    assert "dark (9.6 mL, dark)" in printed
    found = json.loads(files["json_file"].read_text())
    assert [scan["scan"] for scan in found["scans"]] == ["bright", "dark"]
    with pytest.raises(UadError, match="exists"):
        patients.main(folder, ["blur"], **files)


def test_bundled_is_for_each_scan_what_uad_heal_would_take(
    phantom, tiny_model, healthy_table, tmp_path, ship, monkeypatch
):
    shipped = ship(all=tiny_model, one=keep(tiny_model, healthy_table, tmp_path / "one.safetensors"))
    monkeypatch.setattr(choice, "judged", lambda *given: Unlike(0.4, 1.1, "", 0.8))
    healer = healers.Healer.of("bundled:sss")
    assert (healer.name, [other.hash for other in healer.others]) == (
        "bundled, sss 200", [checkpoint.file_hash(shipped["one"])],
    )  # fmt: skip
    for p, hashed in ((0.5, healer.hash), (1.0, healer.others[0].hash)):
        contrast = {"name": "T1", "p": {"T1": p, "T2": 1 - p}, "away": 0.2}
        scan = replace(phantom.need("scan"), provenance={"contrast": contrast})
        assert healer.heal(phantom.adding(scan)).need("healed").provenance["history"][-1]["model"].endswith(hashed)


def test_scores_of_several_models_are_averaged_in_units_of_their_thresholds(phantom):
    def healed(residual, threshold):
        scan = phantom.need("scan")
        line = {"tool": "uad-heal", "arguments": {}, "metric": "l1", "threshold": threshold}
        image = scan.derive(np.where(scan.data > 0, scan.data - residual, 0).astype(np.float32), "healed")
        return phantom.adding(replace(image, provenance={"history": [line]}))

    brain = phantom.need("brain").data > 0
    mean = patients.mean_of([healed(0.1, 0.2), healed(0.3, 0.1)], "both").need("score").data
    np.testing.assert_allclose(mean[brain], (0.1 / 0.2 + 0.3 / 0.1) / 2, rtol=1e-4)
    assert patients.mean_of([healed(0.1, 0.2), healed(0.3, None)], "both") is None
    assert patients.mean_of([healed(0.1, 0.2)], "both") is None
