"""Figures of bounding boxes in a report, and tables of true boxes."""

from dataclasses import replace

import numpy as np
import pytest

from uadtools.errors import UadError
from uadtools.evaluation.boxes import BoxTable
from uadtools.evaluation.evaluate import case, evaluate
from uadtools.grids.grid import Grid
from uadtools.volume.io import Image
from uadtools.volume.stream import Study

GRID = Grid((12, 10, 8), np.diag([2.0, 2.0, 2.0, 1.0]))


def image(data, role):
    return Image(data, GRID, role)


def mask(*places):
    data = np.zeros(GRID.shape, np.uint8)
    for place in places:
        data[place] = 1
    return data


ONE, OTHER = np.s_[0:4, 0:4, 0:4], np.s_[8:10, 0:2, 0:2]
HALF = np.s_[0:4, 0:4, 0:2]


def detections(*pairs):
    return [
        (Study(f"s{i}", {"detection": image(mask(*found), "detection")}), image(mask(*true), "truth"))
        for i, (found, true) in enumerate(pairs)
    ]


def test_boxes_of_detections_by_hand():
    report = evaluate(detections(((HALF,), (ONE, OTHER)), ((), ()), ((ONE, OTHER), (ONE,))), boxes=True)
    first, empty, last = report["scans"]
    assert first["box_iou"] == 0.25
    assert [first[f"box_recall_at_{level}_iou"] for level in (10, 30, 50)] == [0.5, 0.5, 0.5]
    assert [first[f"box_precision_at_{level}_iou"] for level in (10, 30, 50)] == [1, 1, 1]
    assert (first["boxes"], first["boxes_detected"]) == (2, 1)
    assert empty["box_iou"] is empty["box_recall_at_50_iou"] is empty["box_precision_at_50_iou"] is None
    assert last["box_precision_at_50_iou"] == 0.5
    assert "response_inside" not in first
    pooled = report["pooled"]
    assert (pooled["boxes"], pooled["boxes_detected"]) == (3, 3)
    assert pooled["box_recall_at_50_iou"] == pooled["box_precision_at_50_iou"] == pytest.approx(2 / 3)
    assert pooled["box_iou"] == pytest.approx(1.5 / 3)
    assert report["mean"]["box_iou"] == pytest.approx((0.25 + 1) / 2)
    listed = report["boxes"]
    assert [(row["scan"], row["of"], row["iou"]) for row in listed] == [
        ("s0", "truth", 0.5), ("s0", "truth", 0), ("s0", "detection", 0.5),
        ("s2", "truth", 1), ("s2", "detection", 1), ("s2", "detection", 0),
    ]  # fmt: skip
    assert [listed[2][end] for end in ("x0", "y0", "z0", "x1", "y1", "z1")] == [0, 0, 0, 3, 3, 1]


def test_intervals_of_boxes_are_those_of_scans():
    report = evaluate(detections(*[((HALF,), (ONE, OTHER)), ((ONE,), (ONE,))] * 4), boxes=True)
    low, high = report["intervals"]["pooled"]["box_recall_at_50_iou"]
    assert 0.5 <= low < report["pooled"]["box_recall_at_50_iou"] < high <= 1


def test_a_score_answers_inside_and_outside_of_boxes():
    score = np.where(mask(np.s_[0:10]), 0.1, 0).astype(np.float32)
    score[ONE] = 0.4
    study = Study("s", {"score": image(score, "score")})
    truth = image(mask(ONE), "truth")
    (row,) = evaluate([(study, truth)], boxes=True)["scans"]
    assert row["response_inside"] == pytest.approx(0.4)
    assert row["response_outside"] == pytest.approx(0.1)
    assert row["response_ratio"] == pytest.approx(4)
    assert row["boxes"] == 1
    assert "box_iou" not in row
    (row,) = evaluate([(study, truth)], boxes=True, threshold=0.2)["scans"]
    assert row["box_iou"] == 1
    assert row["response_inside"] == pytest.approx(0.4)


def test_boxes_of_a_table_that_lie_on_one_another_are_two():
    ((study, truth),) = detections(((ONE,), (np.s_[0:6, 0:4, 0:4],)))
    two = np.array([[[0, 0, 0], [4, 4, 4]], [[2, 0, 0], [6, 4, 4]]])
    (row,) = evaluate([replace(case(study, truth), boxes=two)], boxes=True)["scans"]
    assert (row["boxes"], row["box_recall_at_50_iou"]) == (2, 0.5)
    assert row["box_iou"] == pytest.approx((1 + 1 / 3) / 2)
    (row,) = evaluate([(study, truth)], boxes=True)["scans"]
    assert (row["boxes"], row["box_iou"]) == (1, pytest.approx(2 / 3))


def test_without_asking_nothing_is_said_of_boxes():
    report = evaluate(detections(((ONE,), (ONE,))))
    assert "boxes" not in report
    assert not any("box" in key or "response" in key for key in report["scans"][0])


def test_a_reconstruction_has_no_boxes():
    scan = image(np.full(GRID.shape, 0.5, np.float32), "scan")
    study = Study("s", {"healed": scan.derive(scan.data, "healed"), "scan": scan})
    with pytest.raises(UadError, match="s: a reconstruction has no bounding boxes"):
        evaluate([(study, image(mask(ONE), "truth"))], boxes=True)


HEAD = "name,x0,y0,z0,x1,y1,z1\n"


def test_a_table_has_the_boxes_of_scans(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text(HEAD + "s,0,0,0,3,3,3\ns,2,0,0,5,3,3\nother,1,1,1,1,1,1\n")
    table = BoxTable.read(path)
    boxes, truth = table.truth("s", image(mask(), "detection"))
    assert boxes.tolist() == [[[0, 0, 0], [4, 4, 4]], [[2, 0, 0], [6, 4, 4]]]  # that lie on one another
    assert (truth.role, truth.data.sum()) == ("truth", 6 * 16)
    boxes, truth = table.truth("healthy", image(mask(), "detection"))
    assert (boxes.shape, truth.data.any()) == ((0, 2, 3), False)
    assert table.left() == ["other"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,x0\ns,1\n", r"no table of boxes \(columns name, x0, y0, z0, x1, y1, z1\) \(it has no column y0\)"),
        (HEAD + "s,0,0,0,3,3,a\n", "s: 0, 0, 0, 3, 3, a is no box"),
        (HEAD + "s,0,0,-1,3,3,3\n", "s: 0, 0, -1, 3, 3, 3 is no box"),
        (HEAD + f"s,0,0,0,3,3,{10**20}\n", "is no box"),
        (HEAD + "s,4,0,0,3,3,3\n", r"is no box \(it ends before it begins\)"),
        (HEAD + "s,0,0,0,12,3,3\n", "s: a box leaves the prediction's 12 x 10 x 8 voxels"),
    ],
)
def test_boxes_that_are_none_are_told(tmp_path, text, said):
    path = tmp_path / "boxes.csv"
    path.write_text(text)
    with pytest.raises(UadError, match=said) as fault:
        BoxTable.read(path).truth("s", image(mask(), "detection"))
    assert str(path) in str(fault.value)
    assert "\n" not in str(fault.value)
