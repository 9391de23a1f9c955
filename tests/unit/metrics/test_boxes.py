"""Bounding boxes, by hand."""

import math

import numpy as np
import pytest

from uadtools.metrics.boxes import LEVELS, Boxwise, boxes_of, boxwise, filled, ious, response

SIZE = (12, 10, 8)


def boxes(*ends):
    """Boxes from a voxel to another, the last one not in it."""
    return np.array(ends, dtype=int).reshape(-1, 2, 3)


def test_boxes_are_those_of_components_that_touch_nowhere():
    mask = np.zeros(SIZE, bool)
    mask[1, 2, 3] = mask[2, 3, 4] = True  # by a corner
    mask[6:9, 1, 1:3] = mask[6, 1:4, 1] = True
    expected = boxes([[1, 2, 3], [3, 4, 5]], [[6, 1, 1], [9, 4, 3]])
    np.testing.assert_array_equal(boxes_of(mask), expected)
    np.testing.assert_array_equal(boxes_of(filled(expected, SIZE)), expected)
    assert filled(expected, SIZE).sum() == 8 + 18
    assert boxes_of(np.zeros(SIZE, bool)).shape == (0, 2, 3)


def test_overlap_worked_out_by_hand():
    a = boxes([[0, 0, 0], [4, 4, 4]], [[8, 0, 0], [10, 2, 2]])
    b = boxes([[2, 2, 2], [6, 6, 6]], [[0, 0, 0], [4, 4, 2]], [[4, 0, 0], [8, 4, 4]])
    np.testing.assert_allclose(ious(a, b), [[8 / 120, 32 / 64, 0], [0, 0, 0]])
    masks = [[filled(boxes(box), SIZE) for box in some] for some in (a, b)]
    by_voxels = [[(one & other).sum() / (one | other).sum() for other in masks[1]] for one in masks[0]]
    np.testing.assert_allclose(ious(a, b), by_voxels)


def test_each_box_finds_one_at_most_and_as_many_are_found_as_can_be():
    """The first detected box lies on both true ones; the second on the first alone, which is therefore its."""
    true = boxes([[0, 0, 0], [4, 2, 2]], [[4, 0, 0], [8, 2, 2]])
    detected = boxes([[1, 0, 0], [7, 2, 2]], [[0, 0, 0], [2, 2, 2]], [[0, 8, 6], [1, 9, 7]])
    overlaps = ious(true, detected)
    made = boxwise(overlaps)
    np.testing.assert_allclose(overlaps, [[3 / 7, 0.5, 0], [3 / 7, 0, 0]])
    assert LEVELS == (0.1, 0.3, 0.5)
    assert made == Boxwise(2, 3, (2, 2, 1), 0.5 + 3 / 7)
    assert made.recalls == [1, 1, 0.5]
    assert made.precisions == pytest.approx([2 / 3, 2 / 3, 1 / 3])
    assert made.iou == pytest.approx((0.5 + 3 / 7) / 2)
    assert boxwise(ious(true, detected[:1])) == Boxwise(2, 1, (1, 1, 0), 6 / 7)


def test_no_boxes_have_no_figures_and_sums_are_of_all():
    none, some = boxes(), boxes([[0, 0, 0], [1, 1, 1]])
    missed, made_up = boxwise(ious(some, none)), boxwise(ious(none, some))
    assert missed.recalls == [0, 0, 0]
    assert all(map(math.isnan, missed.precisions))
    assert made_up.precisions == [0, 0, 0]
    assert all(map(math.isnan, (*made_up.recalls, made_up.iou)))
    together = sum([missed, made_up, boxwise(ious(some, some))], Boxwise())
    assert together == Boxwise(2, 2, (1, 1, 1), 1.0)


def test_the_response_inside_and_outside_of_boxes_is_that_of_the_brain():
    score, within = np.zeros(SIZE, np.float32), np.zeros(SIZE, bool)
    within[:6] = True
    score[0] = 4.0
    score[8] = 100.0  # no brain
    inside, outside = response(score, boxes([[0, 0, 0], [2, 10, 8]], [[0, 0, 0], [1, 1, 1]]), within)
    assert (inside, outside) == (2.0, 0.0)
    inside, outside = response(score, boxes(), within)
    assert math.isnan(inside)
    assert outside == pytest.approx(4 / 6)
