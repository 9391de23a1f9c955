import json

import numpy as np
import pytest
from loading import load

from uadtools.errors import UadError
from uadtools.volume.io import save

ROWS = ["l1", "ssim", "gradient", "mahalanobis", "equalised"]


@pytest.fixture(scope="module")
def example():
    return load("score_metrics")


@pytest.fixture
def lesions(tmp_path, phantom):
    """One scan with a lesion of each of two kinds, as simulated_lesions.py --save writes them."""
    scan = phantom.need("scan")
    truth = np.zeros(scan.data.shape, dtype=np.uint8)
    truth[6:10, 6:10, 3:6] = 1
    for folder, image in (("scans", scan), ("truth", scan.derive(truth, "truth"))):
        (tmp_path / "lesions" / folder).mkdir(parents=True)
        for kind in ("dark", "ms"):
            save(image, tmp_path / "lesions" / folder / f"p-1-{kind}.nii.gz")
    return tmp_path / "lesions"


def test_every_metric_is_judged_by_kind(example, lesions, tiny_model, tmp_path):
    report = tmp_path / "m.json"
    healthy = {"healthy": lesions / "scans", "count": 2}
    example.main(lesions, model=tiny_model, samples=2, json_file=report, **healthy)
    found = json.loads(report.read_text())
    assert (found["samples"], found["healthy"]) == (2, 2)
    assert found["auprc"].keys() == {"dark", "ms"}
    of_scan = found["auprc"]["ms"]["p-1"]
    assert list(of_scan) == [*ROWS, *(f"{m}, voxel" for m in ROWS), "l1, slice"]
    assert all(0 < value < 1 for value in of_scan.values())


def test_what_one_draw_does_not_allow_is_left_out(example, lesions, tiny_model, tmp_path):
    report = tmp_path / "m.json"
    example.main(lesions, model=tiny_model, json_file=report)
    assert list(json.loads(report.read_text())["auprc"]["dark"]["p-1"]) == [row for row in ROWS if row != "mahalanobis"]


def test_the_maps_of_a_model_of_restoration_are_metrics_too(example, lesions, measured_model, tmp_path):
    report = tmp_path / "m.json"
    example.main(lesions, model=measured_model, json_file=report)
    rows = ["l1", "product", "relative", "probability", "ssim", "gradient", "equalised"]
    assert list(json.loads(report.read_text())["auprc"]["dark"]["p-1"]) == rows


def test_an_empty_folder_is_told(example, tiny_model, tmp_path):
    with pytest.raises(UadError, match="no lesioned scans in it"):
        example.main(tmp_path, model=tiny_model)
