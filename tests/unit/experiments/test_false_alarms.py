import json

import numpy as np
import pytest
from loading import load

import uadtools
from uadtools.errors import UadError
from uadtools.simulation.plan import Simulation

_, alarms = load("healers"), load("false_alarms")


@pytest.fixture
def folder(tmp_path, layered):
    for name, shade in (("a", 1.0), ("b", 0.9)):
        scan = layered.derive((layered.data * shade).astype(np.float32), "scan")
        uadtools.save(scan, tmp_path / "healthy" / f"{name}_preprocessed.nii.gz", force=True)
    return tmp_path / "healthy"


@pytest.fixture(autouse=True)
def changes(monkeypatch, tmp_path):
    (tmp_path / "healthy").mkdir(exist_ok=True)
    monkeypatch.setattr(alarms, "CHANGES", {"none": None, "blur": Simulation("blur", level=2)})


def test_alarms_are_what_the_chain_detects_after_the_change(folder):
    files = {"json_file": folder.parent / "f.json", "markdown_file": folder.parent / "f.md"}
    alarms.main(folder, ["blur"], no_template=True, **files)
    report = json.loads(files["json_file"].read_text())
    assert report["heads"] == 2
    assert len(report["scans"]) == 2 * 2
    study = next(alarms.read_path(folder / "b_preprocessed.nii.gz"))
    changed = uadtools.simulate(study, Simulation("blur", level=2), seed=0)
    scored = uadtools.score(uadtools.heal(changed, None, alarms.Healer.of("blur").how))
    found = uadtools.postproc(scored).product
    (row,) = (row for row in report["scans"] if (row["scan"], row["change"]) == ("b", "blur"))
    assert row["ml"] == pytest.approx(found.data.sum() * 0.008)
    assert row["ml"] > 0
    assert row["threshold_from"] == "otsu"
    with pytest.raises(UadError, match="exists"):
        alarms.main(folder, ["blur"], no_template=True, **files)


def test_the_template_counts_by_itself():
    rows = [
        {"scan": scan, "change": change, "model": "m", "metric": "l1", "threshold_from": "model", "ml": ml}
        for scan, ml in (("a", 1.0), ("b", 2.0), ("c", 6.0), (alarms.TEMPLATE, 500.0))
        for change in ("blur", "none")
    ]
    found = alarms.summed_up(rows)
    assert [row["change"] for row in found] == ["none", "blur"]
    assert found[0] | {"change": ""} == found[1] | {"change": ""}
    assert (found[0]["median"], found[0]["decile"], found[0]["template"]) == (2.0, pytest.approx(5.2), 500.0)
    assert "| none | m | l1 | model | 2.0 | 5.2 | 500.0 |" in alarms.markdown(found)
    (alone,) = alarms.summed_up(rows[:1])
    assert alone["template"] is None
    assert alarms.markdown([alone]).endswith("| 1.0 | 1.0 |  |\n")


def test_every_change_of_the_protocol_leaves_the_truth_empty(layered):
    fresh = load("false_alarms")
    assert len(fresh.CHANGES) == 10
    for plan in filter(None, fresh.CHANGES.values()):
        made = uadtools.simulate(fresh.Study("a", {"scan": layered}), plan)
        assert not made.need("truth").data.any()
        assert (made.need("scan").data != layered.data).any()
