import math
from itertools import product

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from skimage.measure import label

from uadtools.errors import UadError
from uadtools.metrics.lesions import OVERLAP, UNMATCHED, Lesion, Lesionwise, lesionwise, recall_by_size
from uadtools.metrics.overlap import overlap
from uadtools.metrics.surface import hd95

SIZE = (20, 18, 16)
MM = (1.0, 1.0, 1.0)


def box(*corners, size=SIZE):
    """A mask of boxes, each from one voxel up to another, with both."""
    mask = np.zeros(size, dtype=bool)
    for low, high in corners:
        mask[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))] = True
    return mask


def spots(rng, count, size=SIZE):
    """Random boxes of one to four voxels a side, some of them at the border or upon one another."""
    lows = [rng.integers(0, np.array(size)) for _ in range(count)]
    return box(*((low, low + rng.integers(0, 4, size=3)) for low in lows), size=size)


def grow(mask, layers):
    """Add the neighbours across faces and edges, layer by layer, in a volume with room around it."""
    grown = np.pad(mask, layers + 1)
    for _ in range(layers):
        steps = [step for step in product((-1, 0, 1), repeat=3) if np.abs(step).sum() <= 2]
        grown = np.any([np.roll(grown, step, (0, 1, 2)) for step in steps], axis=0)
    return grown[(slice(layers + 1, -layers - 1),) * 3]


def all_distances(a, b, spacing):
    """HD95 from all distances between voxels with a face outside."""
    points = []
    for mask in (a, b):
        around = np.pad(mask, 1)
        inner = np.all([np.roll(around, step, axis) for step in (-1, 1) for axis in range(3)], axis=0)
        points.append(np.argwhere(around & ~inner) * spacing)
    distances = cdist(*points)
    return max(np.percentile(distances.min(axis=axis), 95) for axis in (0, 1))


def one_by_one(detection, truth, spacing, dilation, smallest):
    """The evaluation of BraTS 2023 in its own order: every lesion looks for its components in the whole volume."""
    components = label(detection, connectivity=3)
    areas = label(grow(truth, dilation), connectivity=3)
    lesions, touched = [], set()
    for number in range(1, areas.max() + 1):
        lesion = truth & (areas == number)
        near = set(np.unique(components[grow(lesion, dilation)])) - {0}
        touched |= near
        there = np.isin(components, list(near))
        mm3 = lesion.sum() * np.prod(spacing)
        if mm3 > smallest:
            dice = 2 * (lesion & there).sum() / (lesion.sum() + there.sum())
            distance = all_distances(there, lesion, spacing) if near else 374.0
            lesions.append((mm3 / 1000, dice, distance, bool(near)))
    return lesions, components.max() - len(touched), components.max()


@pytest.mark.parametrize("spacing", [MM, (0.8, 1.5, 3.0)])
@pytest.mark.parametrize("dilation", [0, 1, 3])
@pytest.mark.parametrize("smallest", [0, 10, 60])
def test_random_lesions_fare_as_when_looked_at_one_by_one(spacing, dilation, smallest):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        detection, truth = spots(rng, 3 * seed), spots(rng, 5)
        found = lesionwise(detection, truth, spacing, overlap=0, dilation=dilation, smallest=smallest)
        lesions, false_positives, detected = one_by_one(detection, truth, spacing, dilation, smallest)
        ours = sorted((lesion.ml, lesion.dice, lesion.hd95, lesion.found) for lesion in found.lesions)
        np.testing.assert_allclose(np.array(ours), np.array(sorted(lesions)), rtol=0, atol=1e-9)
        assert (found.false_positives, found.detected) == (false_positives, detected)


def test_a_case_done_by_hand():
    """Of three lesions one is found, half of it; one small lesion does not count; and two detections are made up."""
    large, missed = ((0, 0, 0), (3, 3, 7)), ((12, 0, 0), (15, 3, 3))
    small, far = ((0, 16, 0), (0, 16, 0)), ((15, 12, 10), (18, 15, 15))
    truth = box(large, missed, small, far)
    detection = box(((0, 0, 0), (3, 3, 3)), small, ((19, 17, 0), (19, 17, 0)), ((19, 0, 15), (19, 0, 15)))
    found = lesionwise(detection, truth, MM)
    assert [lesion.ml for lesion in found.lesions] == [0.128, 0.064, 0.096]
    assert [lesion.found for lesion in found.lesions] == [True, False, False]
    assert (found.count, found.found, found.false_positives, found.detected) == (3, 1, 2, 4)
    assert found.lesions[0].dice == pytest.approx(2 / 3, abs=1e-15)
    assert found.lesions[0].hd95 == 4
    assert found.recall == pytest.approx(1 / 3, abs=1e-15)
    assert found.precision == pytest.approx(1 / 3, abs=1e-15)
    assert found.f1 == pytest.approx(2 / 6, abs=1e-15)
    assert found.dice == pytest.approx(2 / 3 / 5, abs=1e-15)
    assert found.hd95 == pytest.approx((4 + 4 * 374) / 5, abs=1e-12)


def test_a_perfect_detection():
    truth = box(((2, 2, 2), (6, 6, 6)), ((14, 12, 10), (18, 16, 14)))
    found = lesionwise(truth, truth, MM)
    assert (found.count, found.detected) == (2, 2)
    assert (found.recall, found.precision, found.f1, found.dice, found.hd95) == (1, 1, 1, 1, 0)


@pytest.mark.parametrize(("gap", "count"), [(6, 1), (7, 2)])
def test_fragments_are_one_lesion_where_their_grown_selves_touch(gap, count):
    """Grown by three layers each, two fragments with six voxels between them leave none, and with seven one."""
    truth = box(((0, 5, 5), (3, 9, 9)), ((4 + gap, 5, 5), (7 + gap, 9, 9)))
    assert lesionwise(truth, truth, MM).count == count
    assert lesionwise(truth, truth, MM, dilation=0).count == 2


@pytest.mark.parametrize("step", [(2, 2, 2), (3, 3, 0), (3, 2, 1)])
def test_a_lesion_is_found_by_what_lies_within_its_three_layers(step):
    """A layer crosses faces and edges, not corners: (2, 2, 2) is three layers away, (3, 3, 3) is five."""
    truth = box(((4, 4, 4), (9, 9, 9)))
    near, far = tuple(9 + n for n in step), (12, 12, 12)
    (lesion,) = lesionwise(box((near, near)), truth, MM, overlap=0).lesions
    assert lesion.found
    assert lesion.dice == 0
    assert lesion.hd95 < UNMATCHED
    assert lesionwise(box((far, far)), truth, MM).false_positives == 1


def test_one_component_over_two_lesions_finds_both_and_a_component_at_each_is_none_too_many():
    truth = box(((0, 0, 0), (5, 5, 5)), ((14, 0, 0), (19, 5, 5)))
    bridge = lesionwise(box(((0, 0, 0), (19, 5, 5))), truth, MM)
    assert (bridge.found, bridge.detected, bridge.false_positives) == (2, 1, 0)
    assert [lesion.dice for lesion in bridge.lesions] == [pytest.approx(2 * 6 / 26, abs=1e-15)] * 2
    crumbs = lesionwise(box(((0, 0, 0), (0, 0, 0)), ((0, 0, 4), (0, 0, 4))), truth, MM, overlap=0)
    assert (crumbs.found, crumbs.detected, crumbs.false_positives) == (1, 2, 0)


def test_a_lesion_of_exactly_the_smallest_volume_does_not_count():
    truth = box(((4, 4, 4), (8, 8, 5)))
    assert lesionwise(truth, truth, MM).count == 0
    assert lesionwise(truth, truth, MM).false_positives == 0
    assert lesionwise(truth, truth, MM, smallest=49).count == 1
    assert lesionwise(truth, truth, (1, 1, 1.1)).count == 1


def test_a_lesion_of_one_voxel():
    voxel = box(((3, 4, 5), (3, 4, 5)))
    assert lesionwise(voxel, voxel, (2, 2, 2), smallest=0).lesions == (Lesion(0.008, 1.0, 0.0, True),)
    assert lesionwise(~voxel & False, voxel, (2, 2, 2), smallest=0).lesions == (Lesion(0.008, 0.0, 374.0, False),)
    assert lesionwise(voxel, voxel, (2, 2, 2)) == Lesionwise(detected=1)


def test_what_is_undefined_is_nan_and_nothing_else_is():
    nothing, something = box(), box(((4, 4, 4), (9, 9, 9)))
    figures = ("recall", "precision", "f1", "dice", "hd95")

    def told(found):
        return {name: getattr(found, name) for name in figures if not math.isnan(getattr(found, name))}

    assert told(lesionwise(nothing, nothing, MM)) == {}
    assert told(lesionwise(something, nothing, MM)) == {"precision": 0, "f1": 0, "dice": 0, "hd95": 374}
    assert told(lesionwise(nothing, something, MM)) == {"recall": 0, "f1": 0, "dice": 0, "hd95": 374}


def test_of_one_lesion_and_one_component_the_figures_are_those_of_the_masks():
    detection, truth = box(((3, 4, 4), (9, 9, 9))), box(((4, 4, 4), (9, 9, 12)))
    (lesion,) = lesionwise(detection, truth, (1, 2, 3)).lesions
    assert lesion.dice == pytest.approx(overlap(detection, truth).dice, abs=1e-15)
    assert lesion.hd95 == pytest.approx(hd95(detection, truth, (1, 2, 3)), abs=1e-12)


def test_the_order_of_the_voxels_in_memory_does_not_matter():
    rng = np.random.default_rng(0)
    detection, truth = spots(rng, 12), spots(rng, 5)
    expected = lesionwise(detection, truth, (1, 2, 3))
    assert lesionwise(np.asfortranarray(detection), np.asfortranarray(truth), (1, 2, 3)) == expected


def test_scans_pool_by_lesion():
    one = Lesionwise((Lesion(1.0, 0.5, 2.0, True),), false_positives=1, detected=2)
    other = Lesionwise((Lesion(2.0, 0.0, 374.0, False),), false_positives=0, detected=0)
    both = sum([one, other], Lesionwise())
    assert both == Lesionwise(one.lesions + other.lesions, 1, 2)
    assert both.dice == pytest.approx(0.5 / 3, abs=1e-15)


def test_recall_by_size_of_lesions_of_several_scans():
    volumes = {0.05: False, 0.1: True, 0.5: False, 0.99: True, 3.0: True, 100.0: True}
    lesions = [Lesion(ml, 0.5, 1.0, found) for ml, found in volumes.items()]
    bins = recall_by_size(lesions, (0.1, 1, 2, math.inf))
    assert [(b.low, b.high, b.count, b.found) for b in bins] == [(0.1, 1, 3, 2), (1, 2, 0, 0), (2, math.inf, 2, 2)]
    assert [bins[0].recall, bins[2].recall] == [pytest.approx(2 / 3, abs=1e-15), 1]
    assert math.isnan(bins[1].recall)
    assert recall_by_size([], (0, 1))[0].count == 0


@pytest.mark.parametrize("edges", [(0, 1, 1), (2, 1), (0, math.nan)])
def test_sizes_that_do_not_rise_are_told(edges):
    with pytest.raises(UadError, match="do not rise"):
        recall_by_size([], edges)


def test_what_is_no_mask_is_told():
    truth = box(((4, 4, 4), (9, 9, 9)))
    with pytest.raises(UadError, match="detection has float64 voxels"):
        lesionwise(np.full(SIZE, np.nan), truth, MM)
    with pytest.raises(UadError, match="shapes differ"):
        lesionwise(truth, truth.T, MM)


@pytest.mark.parametrize("options", [{"dilation": -1}, {"smallest": -1}, {"smallest": math.nan}])
def test_options_out_of_range_are_told(options):
    with pytest.raises(UadError, match="out of range"):
        lesionwise(box(), box(), MM, **options)


def test_half_a_brain_finds_no_lesion_in_it():
    """A component of which less than the share is lesion is a false one; touching is enough where the share is 0."""
    truth = box(((2, 2, 2), (5, 5, 5)), ((14, 2, 2), (17, 5, 5)))
    blob = box(((0, 0, 0), (19, 19, 19)))
    share = truth.sum() / blob.sum()
    found = lesionwise(blob, truth, MM)
    assert share < OVERLAP
    assert (found.found, found.false_positives, found.f1, found.most) == (0, 1, 0, 2)
    assert {(lesion.dice, lesion.hd95) for lesion in found.lesions} == {(0.0, UNMATCHED)}
    assert lesionwise(blob, truth, MM, overlap=0.99 * share).found == 2
    touching = lesionwise(blob, truth, MM, overlap=0)
    assert (touching.found, touching.false_positives, touching.f1) == (2, 0, 1)


def test_a_lesion_is_found_by_a_share_of_it_and_what_lies_in_it_is_never_false():
    truth = box(((2, 2, 2), (11, 11, 2)))
    part = box(((2, 2, 2), (10, 2, 2)))
    found = lesionwise(part, truth, MM)
    assert (found.count, found.found, found.false_positives) == (1, 0, 0)
    assert lesionwise(box(((2, 2, 2), (11, 2, 2))), truth, MM).found == 1
    apart = box(((2, 2, 2), (6, 2, 2)), ((2, 4, 2), (6, 4, 2)))
    assert lesionwise(apart, truth, MM).found == 1


@pytest.mark.parametrize("overlap", [-0.1, 1.1, float("nan")])
def test_an_overlap_out_of_range_is_told(overlap):
    with pytest.raises(UadError, match=r"--overlap .*: out of range"):
        lesionwise(box(), box(), MM, overlap=overlap)


def test_volumes_are_those_of_the_voxels_that_are_given():
    truth = box(((2, 2, 2), (5, 5, 5)))
    (lesion,) = lesionwise(truth, truth, MM, voxel_ml=0.002).lesions
    assert lesion.ml == pytest.approx(0.128)
    assert lesionwise(truth, truth, MM, voxel_ml=0.0005).count == 0
