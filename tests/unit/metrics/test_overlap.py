import math

import numpy as np
import pytest

from uadtools.errors import UadError
from uadtools.metrics.overlap import Load, Overlap, load, overlap

DETECTION = np.array([[1, 1, 1, 0], [0, 0, 0, 0]], dtype=bool)
TRUTH = np.array([[1, 1, 0, 1], [1, 1, 0, 0]], dtype=bool)


def test_counts_and_ratios_of_a_case_done_by_hand():
    found = overlap(DETECTION, TRUTH)
    assert found == Overlap(tp=2, fp=1, fn=3, tn=2)
    assert found.dice == found.f1 == pytest.approx(4 / 8, abs=1e-15)
    assert found.iou == pytest.approx(2 / 6, abs=1e-15)
    assert found.precision == pytest.approx(2 / 3, abs=1e-15)
    assert found.recall == pytest.approx(2 / 5, abs=1e-15)
    assert found.fpr == pytest.approx(1 / 3, abs=1e-15)


def test_counts_are_plain_integers_that_json_can_write():
    found = overlap(DETECTION, TRUTH)
    assert {type(n) for n in (found.tp, found.fp, found.fn, found.tn)} == {int}


def test_only_voxels_within_the_mask_count():
    within = np.array([[1, 0, 1, 1], [0, 0, 0, 1]], dtype=bool)
    assert overlap(DETECTION, TRUTH, within) == Overlap(tp=1, fp=1, fn=1, tn=1)


def test_f1_is_the_harmonic_mean_of_precision_and_recall():
    found = Overlap(tp=5, fp=3, fn=8, tn=11)
    assert found.f1 == pytest.approx(2 / (1 / found.precision + 1 / found.recall), abs=1e-15)


@pytest.mark.parametrize(
    ("counts", "undefined"),
    [
        (Overlap(), {"dice", "f1", "iou", "precision", "recall", "fpr"}),
        (Overlap(tn=4), {"dice", "f1", "iou", "precision", "recall"}),
        (Overlap(fp=4), {"recall"}),
        (Overlap(fn=4), {"precision", "fpr"}),
        (Overlap(tp=4), {"fpr"}),
    ],
)
def test_undefined_is_nan_and_nothing_else_is(counts, undefined):
    ratios = ("dice", "f1", "iou", "precision", "recall", "fpr")
    assert {name for name in ratios if math.isnan(getattr(counts, name))} == undefined


def test_nothing_found_of_something_is_zero_not_nan():
    assert Overlap(fn=4, tn=2).dice == 0
    assert Overlap(fp=4, tn=2).dice == 0


def test_counts_pool_over_scans():
    scans = [Overlap(1, 2, 3, 4), Overlap(50, 60, 70, 80)]
    assert sum(scans, Overlap()) == Overlap(51, 62, 73, 84)
    assert sum(scans, Overlap()).dice == pytest.approx(102 / 237, abs=1e-15)


def test_pooling_two_halves_is_the_whole():
    halves = overlap(DETECTION[:1], TRUTH[:1]) + overlap(DETECTION[1:], TRUTH[1:])
    assert halves == overlap(DETECTION, TRUTH)


@pytest.mark.parametrize("within", [None, np.ones((2, 4), dtype=bool)])
def test_shapes_that_differ_are_told(within):
    with pytest.raises(UadError, match=r"detection \(2, 4\), truth \(4, 2\)"):
        overlap(DETECTION, TRUTH.T, within)


def test_a_mask_of_another_shape_is_told():
    with pytest.raises(UadError, match=r"within \(2, 3\)"):
        overlap(DETECTION, TRUTH, np.ones((2, 3), dtype=bool))


@pytest.mark.parametrize("masks", [(DETECTION.astype(float), TRUTH), (DETECTION, TRUTH, TRUTH.astype(np.uint8))])
def test_what_is_no_mask_is_told(masks):
    with pytest.raises(UadError, match=r"(detection has float64|within has uint8) voxels, so it is no mask"):
        overlap(*masks)


def test_lesion_volumes_are_in_millilitres():
    volumes = load(Overlap(tp=1000, fp=250, fn=1500, tn=9), 0.002)
    assert volumes == Load(truth=5.0, detection=2.5)
    assert volumes.volume_error == -2.5
    assert volumes.relative_volume_error == -0.5


def test_without_lesion_the_volume_error_is_not_relative_to_anything():
    volumes = load(Overlap(fp=500), 0.001)
    assert volumes.volume_error == 0.5
    assert math.isnan(volumes.relative_volume_error)
