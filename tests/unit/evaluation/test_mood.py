"""The scores of MOOD, by numbers that were worked out by hand."""

import numpy as np
import pytest

from uadtools.errors import UadError
from uadtools.evaluation.mood import mood
from uadtools.grids.grid import Grid
from uadtools.volume.io import Image, save

GRID = Grid((4, 1, 1), np.eye(4))


def put(path, values, grid=GRID, kind=np.float32):
    path.parent.mkdir(parents=True, exist_ok=True)
    save(Image(np.array(values, kind).reshape(grid.shape), grid), path)


@pytest.fixture
def toy(tmp_path):
    """Two cases: one with two sick voxels of four, and a healthy one."""
    for name, mask, sick in (("a", [1, 0, 1, 0], 1), ("b", [0, 0, 0, 0], 0)):
        put(tmp_path / f"toy_label/pixel/{name}.nii.gz", mask, kind=np.uint8)
        text = tmp_path / f"toy_label/sample/{name}.nii.gz.txt"
        text.parent.mkdir(exist_ok=True)
        text.write_text(f"{sick}\n")
    put(tmp_path / "scores/a.nii.gz", [0.9, 0.8, 0.2, 0.0])
    put(tmp_path / "scores/b.nii.gz", [0.5, 0.1, 0.0, 0.0])
    return tmp_path


def judged(toy, said=None):
    return mood(str(toy / "scores"), toy / "toy_label", (said if said is not None else []).append)


def test_voxels_of_all_cases_are_ranked_together_those_of_score_0_too(toy):
    # from the top: .9 sick, .8, .5, .2 sick, .1 and three of 0: (1/1 + 2/4) / 2
    assert judged(toy)["pixel_ap"] == 0.75


def test_cases_are_ranked_by_the_mean_of_what_is_above_0(toy):
    report = judged(toy)
    assert [row["case_score"] for row in report["scans"]] == pytest.approx([1.9 / 3, 0.3])
    assert (report["sample_ap"], report["case_scores"]) == (1.0, "mean")


def test_cases_are_ranked_by_their_own_scores_where_all_have_one(toy):
    (toy / "scores/a.nii.gz.txt").write_text("0.2")
    assert judged(toy)["case_scores"] == "mean"
    (toy / "scores/b.nii.gz.txt").write_text("0.7\n")
    report = judged(toy)
    assert (report["sample_ap"], report["case_scores"]) == (0.5, "told")  # the only sick case is second of two


def test_scores_are_cut_to_0_to_1_and_ties_count_together(toy):
    put(toy / "scores/c/a.nii.gz", [3.0, 2.0, -1.0, 0.0])
    said = []
    report = mood([str(toy / "scores/c/a.nii.gz"), str(toy / "scores/b.nii.gz")], toy / "toy_label", said.append)
    # two of 1, one of them sick; .5; .1; then four of 0, one of them sick: (1/2 + 2/8) / 2
    assert report["pixel_ap"] == 0.375
    assert "scores of -1 to 3 are cut to 0 to 1" in said[0]


def test_a_case_without_a_prediction_has_0_everywhere_and_is_told(toy):
    (toy / "scores/a.nii.gz").unlink()
    said = []
    report = judged(toy, said)
    assert report["pixel_ap"] == pytest.approx(2 / 8)  # both sick voxels among six of 0, behind two others
    assert "1 of 2 cases have no prediction, and count as 0, such as a" in said[0]


def test_without_labels_of_cases_there_are_voxels_alone(toy):
    for text in (toy / "toy_label/sample").glob("*"):
        text.unlink()
    (toy / "toy_label/sample").rmdir()
    report = judged(toy)
    assert (report["pixel_ap"], report["sample_ap"]) == (0.75, None)


def test_what_is_no_case_or_on_another_grid_or_no_number_is_told(toy):
    put(toy / "scores/c.nii.gz", [0.5, 0.1, 0.0, 0.0])
    with pytest.raises(UadError, match=r"c\.nii\.gz: no case of .*pixel is called c"):
        judged(toy)
    (toy / "scores/c.nii.gz").unlink()
    (toy / "scores/b.nii.gz").unlink()
    put(toy / "scores/b.nii.gz", [0.5, 0.1, 0.0], Grid((3, 1, 1), np.eye(4)))
    with pytest.raises(UadError, match=r"b\.nii\.gz: not on the grid of its case: .*--native"):
        judged(toy)
    for name in "ab":
        (toy / f"scores/{name}.nii.gz.txt").write_text("high")
    with pytest.raises(UadError, match="'high' is no score of a case"):
        judged(toy)


def test_a_folder_without_labels_and_scores_that_are_missing_are_told(toy):
    (toy / "empty").mkdir()
    with pytest.raises(UadError, match=r"empty: no folder pixel/ in it \(name MOOD's folder of labels"):
        mood(str(toy / "scores"), toy / "empty", print)
    with pytest.raises(UadError, match=r"nothing: no such file or folder"):
        mood(str(toy / "nothing"), toy / "toy_label", print)
    with pytest.raises(UadError, match=r"empty: no NIfTI file in this folder"):
        mood(str(toy / "empty"), toy / "toy_label", print)
