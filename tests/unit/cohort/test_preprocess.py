"""Many scans prepared in one call from Python."""

import pytest

from uadtools import UadError, preprocess_all, read
from uadtools.cohort.files import save
from uadtools.errors import Misuse

GRID = {"shape": "16,16,8", "spacing": "2", "brain": "none"}


@pytest.fixture
def raw(stripped, tmp_path):
    """A folder of a scan, and one of nothing."""
    (tmp_path / "raw").mkdir()
    save(stripped, tmp_path / "raw" / "a.nii.gz")
    save(stripped.derive(stripped.data * 0, "scan"), tmp_path / "raw" / "b.nii.gz")
    return tmp_path / "raw"


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_call_prepares_skips_and_goes_on(raw, tmp_path, jobs, capfd):
    told, faults = [], []
    calls = [
        preprocess_all(raw, tmp_path / "out", jobs=jobs, tell=told.append, fail=faults.append, **GRID) for _ in range(2)
    ]
    first, second = (sorted(results, key=lambda row: row["name"]) for results in calls)
    assert first[0]["name"] == str(raw / "b.nii.gz")
    assert first[0]["error"] == second[0]["error"] == faults[0] == faults[1]
    assert (first[1]["name"], first[1]["output"]) == ("a", str(tmp_path / "out" / "a_preprocessed.nii.gz"))
    assert second[1] == {key: first[1][key] for key in ("name", "output", "concerns")} | {"skipped": True}
    assert read(first[1]["output"]).grid.shape == (16, 16, 8)
    assert told == [f"a: {concern['text']}" for concern in first[1]["concerns"]]
    assert capfd.readouterr() == ("", "")


def test_an_only_scan_that_fails_is_an_error(raw, tmp_path):
    with pytest.raises(UadError, match="all voxels have one value"):
        preprocess_all(raw / "b.nii.gz", tmp_path / "out", **GRID)


def test_a_mask_is_a_word_too_and_never_replaced(raw, stripped, tmp_path):
    mask = tmp_path / "a_preprocessed.nii.gz"
    save(stripped.derive((stripped.data > 0).astype("uint8"), "brain"), mask)
    grid = GRID | {"brain": mask}
    (row,) = preprocess_all(raw / "a.nii.gz", tmp_path / "out", **grid)
    assert read(row["output"]).provenance["history"][-1]["arguments"]["brain"] == "file"
    with pytest.raises(UadError, match="is an input, and would be replaced"):
        preprocess_all(raw / "a.nii.gz", mask, force=True, **grid)


def test_options_that_do_not_go_together_are_an_error(raw, tmp_path):
    with pytest.raises(Misuse, match=r"^--bids: takes its scans from the data set"):
        preprocess_all(raw, tmp_path / "out", bids=raw)
    with pytest.raises(Misuse, match=r"^--shape: 2,2: expected one positive number or three"):
        preprocess_all(raw, tmp_path / "out", shape="2,2")
    with pytest.raises(UadError, match=r"^no scan is named"):
        preprocess_all([], tmp_path / "out")
