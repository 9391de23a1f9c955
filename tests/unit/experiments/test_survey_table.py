import numpy as np
import pytest
from loading import load

import uadtools
from uadtools.volume.stream import Study

for needed in ("healers", "real_patients"):
    load(needed)
survey = load("survey_table")
METHODS = {"blur": survey.Method({"method": "blur"}, model=""), "ddpm": survey.Method({"method": "blur"}, model="")}


@pytest.fixture
def cases(layered, tmp_path, monkeypatch):
    """One head with bright blobs."""
    monkeypatch.setattr(survey, "LESIONS", {"bright blobs": survey.LESIONS["bright blobs"]})
    monkeypatch.setattr(survey, "patients", lambda folder: iter(()))
    (tmp_path / "val").mkdir()
    uadtools.save(layered, tmp_path / "val" / "a_preprocessed.nii.gz")
    return list(survey.heads(tmp_path / "val", {}))


def test_a_head_is_judged_on_the_slice_with_most_of_its_lesions_and_on_one_above(cases):
    (case,) = cases
    areas = (case.truth.data > 0).sum(axis=(0, 1))
    chosen = np.flatnonzero(case.study.brain().any(axis=(0, 1)))
    assert chosen.tolist() == [areas.argmax(), areas.argmax() + survey.ABOVE]
    assert case.whole.brain().sum() > 5 * case.study.brain().sum() > 0
    np.testing.assert_array_equal(case.study.need("scan").data, case.whole.need("scan").data)


def test_figures_are_those_of_the_chosen_slices_alone(cases):
    (case,) = cases
    found = survey.Judge().figures(case, METHODS["blur"])
    assert set(found) > {"auprc, both", "auprc, told", "best_dice, both", "healthy l1", "seconds a slice"}
    healed = uadtools.heal(case.study, method="blur")
    away = np.abs(healed.need("healed").data - case.study.need("scan").data)
    assert found["healthy l1"] == pytest.approx(away[case.study.brain() & (case.truth.data == 0)].mean())
    assert survey.intensities(case)["auprc, told"] > survey.intensities(case)["auprc, both"]


def test_the_filter_stays_in_the_slice(layered):
    study, truth = Study("a", {"scan": layered}), np.zeros(layered.data.shape, np.uint8)
    truth[20:28, 20:28, 24] = 1
    score = survey.scored(layered, truth * 1.0, layered.data > 0)
    found = survey.judged(study.adding(score), layered.derive(truth, "truth"))
    assert found["auprc"] > 0.5  # corners are lost; across slices all would be


def test_methods_are_judged_once_and_tested_against_the_published_one(cases, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(survey, "METHODS", METHODS)
    monkeypatch.setattr(survey, "read_masks", lambda sources: {})
    figures = tmp_path / "figures.json"
    survey.main(tmp_path, tmp_path, figures, markdown=tmp_path / "table.md")
    table = (tmp_path / "table.md").read_text()
    assert capsys.readouterr().out == table
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == ["intensity threshold", "blur", "ddpm"]
    assert table.splitlines()[3].endswith("| 1.000 |")
    assert table.splitlines()[4].endswith("|  |")
    monkeypatch.setattr(survey, "judged", None)  # and nothing is judged again
    survey.main(tmp_path, tmp_path, figures)
