import math
from typing import get_args

import numpy as np
import pytest

from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.scoring.score import EDGE, LEAST, LEAST_SPREAD, WIDTHS, Metric, case_score, score, shift
from uadtools.volume.io import Image
from uadtools.volume.roles import default_metric
from uadtools.volume.stream import Study

SHAPE = (4, 5, 6)
GRID = Grid(SHAPE, np.diag([2.0, 2, 2, 1]))
BRAIN = np.indices(SHAPE).sum(axis=0) < 9


def drawn(seed):
    return np.where(BRAIN, np.random.default_rng(seed).uniform(0.1, 1, SHAPE), 0).astype(np.float32)


def study(*roles, grid=GRID, scan=None, healed=None):
    healing = {"study": "a", "history": [{"tool": "uad-heal"}]}
    data = {
        "scan": drawn(0) if scan is None else scan,
        "healed": drawn(1) if healed is None else healed,
        "brain": BRAIN.astype(np.uint8),
        "spread": drawn(2) / 10,
        "probability": drawn(3),
        "expected": drawn(4) / 5,
        "anomaly": drawn(5) * 2,
        "perceptual": drawn(6) * 3,
    }
    return Study(
        "a", {r: Image(data[r], grid if r == "healed" else GRID, r, healing if r == "healed" else {}) for r in roles}
    )


WHOLE = ("healed", "scan", "brain", "spread")
MAPPED = ("probability", "anomaly", "perceptual")
"""Metrics that are a map, whatever the residual."""
RESTORED = (*WHOLE, *MAPPED, "expected")
METRICS = ("l1", "l2", "product", "relative", *MAPPED, "ssim", "gradient", "mahalanobis", "equalised")


def filled(shape, **data):
    """A study of these arrays, or of single numbers for every voxel."""
    grid = Grid(shape, np.eye(4))
    return Study("a", {r: Image(np.broadcast_to(d, shape).astype(np.float32), grid, r) for r, d in data.items()})


def scores(*args, metric, signed="both"):
    return score(*args, metric=metric, signed=signed).need("score").data


@pytest.mark.parametrize(
    ("options", "formula"),
    [
        ({}, abs),
        ({"metric": "l1"}, abs),
        ({"metric": "l2"}, lambda d: d**2),
        ({"signed": "bright"}, lambda d: np.maximum(d, 0)),
        ({"signed": "dark"}, lambda d: np.maximum(-d, 0)),
        ({"metric": "l2", "signed": "bright"}, lambda d: np.maximum(d, 0) ** 2),
        ({"metric": "l2", "signed": "dark"}, lambda d: np.minimum(d, 0) ** 2),
        ({"metric": "mahalanobis"}, lambda d: abs(d) / np.sqrt((drawn(2) / 10) ** 2 + LEAST_SPREAD**2)),
        ({"metric": "probability"}, lambda d: drawn(3)),
        ({"metric": "probability", "signed": "dark"}, lambda d: drawn(3) * (d < 0)),
        ({"metric": "anomaly"}, lambda d: drawn(5) * 2),
        ({"metric": "anomaly", "signed": "bright"}, lambda d: drawn(5) * 2 * (d > 0)),
        ({"metric": "perceptual"}, lambda d: drawn(6) * 3),
        ({"metric": "product"}, lambda d: abs(d) * np.sqrt(drawn(3))),
        ({"metric": "product", "signed": "bright"}, lambda d: np.maximum(d, 0) * np.sqrt(drawn(3))),
        ({"metric": "relative"}, lambda d: abs(d) * np.sqrt(drawn(3)) / np.where(BRAIN, drawn(4) / 5, 1)),
    ],
)
def test_the_score_is_the_formula_inside_the_brain(options, formula):
    roles = WHOLE if options.get("metric") not in (*MAPPED, "product", "relative") else RESTORED
    found = score(study(*roles), **options).need("score")
    expected = np.maximum(formula(drawn(0).astype(float) - drawn(1)), LEAST)
    np.testing.assert_allclose(found.data[BRAIN], expected[BRAIN], rtol=1e-5)
    assert (found.data[~BRAIN] == 0).all()
    assert found.data.dtype == np.float32


@pytest.mark.parametrize("signed", ["both", "bright", "dark", "hyperintense"])
@pytest.mark.parametrize("metric", METRICS)
def test_it_is_above_0_exactly_inside_the_brain(metric, signed):
    same = study(*RESTORED, healed=drawn(0))
    found = score(same, metric=metric, signed=signed).product
    np.testing.assert_array_equal(found.data > 0, BRAIN)
    if metric not in MAPPED or signed != "both":
        assert found.data.max() == np.float32(LEAST)


@pytest.mark.parametrize("metric", METRICS)
def test_a_sign_keeps_the_score_where_the_residual_has_it(metric):
    both, bright, dark = (scores(study(*RESTORED), metric=metric, signed=s) for s in ("both", "bright", "dark"))
    brighter = BRAIN & (drawn(0) > drawn(1))
    np.testing.assert_array_equal(bright, np.where(brighter, both, np.float32(LEAST) * BRAIN))
    np.testing.assert_array_equal(dark, np.where(BRAIN & ~brighter, both, np.float32(LEAST) * BRAIN))
    assert (both[BRAIN] > LEAST).all() or metric == "equalised"  # few voxels have places that are the same


def test_hyperintense_is_bright_times_what_lies_above_the_middle_of_the_brain():
    bright, weighed = (scores(study(*RESTORED), metric="product", signed=s) for s in ("bright", "hyperintense"))
    above = np.maximum(drawn(0) - np.median(drawn(0)[BRAIN]), 0)
    np.testing.assert_allclose(weighed, np.where(BRAIN, np.maximum(bright * above, LEAST), 0), rtol=1e-5)
    assert (weighed[BRAIN] > LEAST).mean() > 0.1


@pytest.mark.parametrize("metric", METRICS)
def test_what_lies_outside_the_brain_has_no_influence(metric):
    noise = np.random.default_rng(3).uniform(-9, 9, (2, *SHAPE))
    scan, healed = (np.where(BRAIN, drawn(i), noise[i]).astype(np.float32) for i in range(2))
    other = study(*RESTORED, scan=scan, healed=healed)
    maps = [other.need(role) for role in (*MAPPED, "expected")]
    other = other.adding(*other.images.values(), *(m.derive(np.where(BRAIN, m.data, -7), m.role) for m in maps))
    np.testing.assert_array_equal(scores(other, metric=metric), scores(study(*RESTORED), metric=metric))


@pytest.mark.parametrize("metric", [metric for metric in METRICS if metric != "equalised"])
def test_slices_are_scored_by_themselves(metric):
    whole = scores(study(*RESTORED), metric=metric)
    for z in range(SHAPE[2]):
        kept = np.arange(SHAPE[2]) == z
        roles = (role for role in RESTORED if role != "brain")
        alone = study(*roles, scan=drawn(0) * kept, healed=drawn(1) * kept)
        np.testing.assert_allclose(scores(alone, metric=metric)[..., z], whole[..., z], rtol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shape", [(9, 8, 1), (1, 1, 1), (1, 7, 2)])
def test_thin_volumes_are_scored(metric, shape):
    roles = ("healed", "scan", "spread", *MAPPED, "expected")
    drawn_maps = np.random.default_rng(0).uniform(0.1, 1, (len(roles), *shape))
    made = scores(filled(shape, **dict(zip(roles, drawn_maps, strict=True))), metric=metric)
    assert made.shape == shape
    assert (made > 0).all()


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (0.2, 0.8), (1, 0.1)])
def test_ssim_of_constants_is_that_of_their_means(a, b):
    expected = 1 - (2 * a * b + 1e-4) / (a**2 + b**2 + 1e-4)
    found = scores(filled((9, 9, 2), healed=a, scan=b), metric="ssim")
    np.testing.assert_allclose(found, max(expected, LEAST), rtol=1e-5)


def test_ssim_is_above_1_for_opposite_structures():
    waves = 0.5 + 0.4 * np.sin(np.arange(30)[:, None, None])
    noise = np.random.default_rng(0).uniform(0.1, 0.9, (30, 9, 1))
    opposite = scores(filled((30, 9, 1), healed=waves, scan=1 - waves), metric="ssim")
    unrelated = scores(filled((30, 9, 1), healed=waves, scan=noise), metric="ssim")
    assert 0.5 < unrelated.mean() < 1 < opposite.mean() < 2


def test_ssim_weighs_the_window_most_that_finds_the_structures_most_unlike(monkeypatch):
    found = {}
    for widths in (*((w,) for w in WIDTHS), WIDTHS):
        monkeypatch.setattr("uadtools.scoring.score.WIDTHS", widths)
        found[widths] = scores(study(*WHOLE), metric="ssim")[BRAIN].astype(float)
    each = np.stack([found[(w,)] for w in WIDTHS])
    np.testing.assert_allclose(found[WIDTHS], np.average(each, axis=0, weights=np.exp(each)), rtol=1e-5)


def test_the_gradient_of_a_ramp_is_its_slope():
    x, y, z = np.indices((30, 30, 3))
    made = scores(filled((30, 30, 3), healed=1, scan=1 + 0.03 * x - 0.04 * y + 0.5 * z), metric="gradient")
    reach = int(4 * EDGE) + 1
    np.testing.assert_allclose(made[reach:-reach, reach:-reach], 0.05, rtol=1e-3)


def test_a_residual_that_is_the_same_everywhere_has_no_gradient_not_even_at_the_border():
    shifted = np.where(BRAIN, drawn(0) + np.float32(0.25), 0)
    assert scores(study(*WHOLE, healed=shifted), metric="gradient").max() < 1e-5


def test_the_gradient_sees_an_edge_that_turned_round():
    edge = np.where(np.arange(20) < 10, 0.4, 0.6)[:, None, None]
    made = scores(filled((20, 5, 1), healed=edge, scan=1 - edge), metric="gradient")
    assert made[9:11].min() > 20 * made[:2].max()


def test_equalised_is_the_change_of_place_by_hand_and_the_same_under_any_rising_curve():
    scan = np.array([0.1, 0.2, 0.3, 0.4, 0], np.float32).reshape(5, 1, 1)
    brain, healed = scan > 0, np.where(scan > 0, np.float32(0.25), 0)
    np.testing.assert_allclose(shift(scan, healed, brain).ravel(), [0.25, 0, 0.25, 0.5, 0])
    np.testing.assert_array_equal(shift(scan**2, healed**2, brain), shift(scan, healed, brain))


def test_integers_do_not_wrap_around():
    low, high = (np.where(BRAIN, v, 0).astype(np.uint8) for v in (10, 200))
    found = score(study(*WHOLE, scan=low, healed=high), signed="dark").product
    assert (found.data[BRAIN] == 190).all()


def test_the_score_comes_first_and_the_rest_stays():
    before = study(*WHOLE)
    made = score(before, metric="l2", signed="dark")
    assert list(made.images) == ["score", *WHOLE]
    assert all(made.images[r] is before.images[r] for r in WHOLE)
    history = made.product.provenance["history"]
    assert [line["tool"] for line in history] == ["uad-heal", "uad-score"]
    assert history[-1]["arguments"] == {"metric": "l2", "signed": "dark"}
    assert before.need("healed").provenance["history"] == [{"tool": "uad-heal"}]


def test_without_a_mask_the_scan_says_where_the_brain_is():
    np.testing.assert_array_equal(score(study("healed", "scan")).product.data > 0, BRAIN)


@pytest.mark.parametrize("role", ["scan", "healed", "brain"])
def test_any_image_says_where_the_brain_is(role):
    np.testing.assert_array_equal(study(role).brain(), BRAIN)


def test_the_mask_goes_before_the_scan():
    np.testing.assert_array_equal(study("scan", "brain", scan=np.ones(SHAPE)).brain(), BRAIN)


def test_grids_that_differ_are_told_both():
    other = Grid(SHAPE, np.diag([2.0, 2, 3, 1]))
    with pytest.raises(UadError) as caught:
        score(study(*WHOLE, grid=other))
    message = str(caught.value)
    assert message.startswith("a: scan and healed lie on different grids: ")
    assert str(GRID) in message
    assert str(other) in message


def test_a_mask_on_another_grid_is_told_too():
    small = Image(np.ones((2, 2, 2)), Grid((2, 2, 2), GRID.affine), "brain")
    with pytest.raises(UadError, match=r"scan and brain lie on different grids: 4x5x6 .* and 2x2x2 "):
        score(study("healed", "scan").adding(small))


def test_mahalanobis_needs_the_spread_of_several_draws():
    with pytest.raises(UadError, match=r"^a: no image of role 'spread', .*`uad-heal --samples 8`.*--spread"):
        score(study("healed", "scan"), metric="mahalanobis")
    elsewhere = study("healed", "scan").adding(Image(np.ones((2, 2, 2)), Grid((2, 2, 2), GRID.affine), "spread"))
    with pytest.raises(UadError, match="scan and spread lie on different grids"):
        score(elsewhere, metric="mahalanobis")
    assert score(elsewhere).need("score").data.max() > LEAST


@pytest.mark.parametrize(
    ("metric", "role", "said"),
    [
        ("product", "probability", "`uad-heal --method restore`.*--probability"),
        ("probability", "probability", "`uad-heal --method restore`.*--probability"),
        ("anomaly", "anomaly", "uad-heal with a method that makes one"),
        ("perceptual", "perceptual", "`uad-heal --perceptual`, or write it with --maps"),
        ("relative", "expected", r"uad-heal makes it with a model that has a reference: uad-models reference\)$"),
    ],
)
def test_a_missing_map_is_told_with_what_makes_it(metric, role, said):
    with pytest.raises(UadError, match=rf"^a: no image of role '{role}', which {metric} needs \(.*{said}"):
        score(study(*(r for r in RESTORED if r != role)), metric=metric)


@pytest.mark.parametrize(
    ("metric", "role"),
    [
        ("product", "probability"),
        *zip(MAPPED, MAPPED, strict=True),
        ("relative", "expected"),
        ("relative", "probability"),
    ],
)
def test_a_map_on_another_grid_is_told_where_the_metric_looks_at_it(metric, role):
    elsewhere = study(*RESTORED).adding(Image(np.ones((2, 2, 2)), Grid((2, 2, 2), GRID.affine), role))
    with pytest.raises(UadError, match=f"scan and {role} lie on different grids"):
        score(elsewhere, metric=metric)
    assert score(elsewhere, metric="l1").need("score").data.max() > LEAST


@pytest.mark.parametrize(
    ("maps", "metric"),
    [
        ((), "l1"),
        (("probability",), "product"),
        (("expected",), "relative"),
        (("probability", "expected"), "relative"),
        (("perceptual",), "l1"),
        (("probability", "expected", "anomaly"), "anomaly"),
    ],
)
def test_the_default_metric_is_the_first_that_there_are_maps_for(maps, metric):
    whole = study(*WHOLE, *maps)
    assert default_metric(whole.images) == metric
    made = score(whole).need("score")
    assert made.provenance["history"][-1]["arguments"] == {"metric": metric, "signed": "both"}
    np.testing.assert_array_equal(made.data, scores(whole, metric=metric))


def test_relative_is_in_units_of_what_is_expected_also_without_a_probability():
    certain = filled((4, 4, 2), scan=0.8, healed=0.5, expected=0.1)
    np.testing.assert_allclose(scores(certain, metric="relative"), 3, rtol=1e-5)
    unsure = filled((4, 4, 2), scan=0.8, healed=0.5, expected=0.1, probability=0.25)
    np.testing.assert_allclose(scores(unsure, metric="relative"), 1.5, rtol=1e-5)


def test_a_probability_is_between_0_and_1():
    odd = filled((4, 4, 2), scan=0.8, healed=0.5, probability=7)
    np.testing.assert_allclose(scores(odd, metric="product"), 0.3, rtol=1e-5)
    np.testing.assert_allclose(scores(odd, metric="probability"), 1)


@pytest.mark.parametrize("missing", ["scan", "healed"])
def test_a_missing_image_is_told(missing):
    with pytest.raises(UadError, match=f"^a: no image of role '{missing}'"):
        score(study(*(r for r in WHOLE if r != missing)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metric": "l3"}, f"--metric l3: there are {', '.join(get_args(Metric))}"),
        ({"signed": "up"}, "--signed up: there are both, bright, dark, hyperintense"),
    ],
)
def test_unknown_options_are_told_with_those_there_are(options, said):
    with pytest.raises(UadError, match=f"^{said}$"):
        score(study(*WHOLE), **options)


def test_the_case_score_is_the_mean_inside_the_brain():
    made = score(study(*WHOLE))
    assert case_score(made) == pytest.approx(abs(drawn(0) - drawn(1))[BRAIN].mean(), rel=1e-5)


def test_the_case_score_of_no_brain_is_not_a_number():
    empty = study(*WHOLE, scan=np.zeros(SHAPE)).adding(Image(np.zeros(SHAPE), GRID, "brain"))
    assert math.isnan(case_score(score(empty)))


def test_a_regions_border_is_smoothed_in_the_axial_slice_alone():
    """The slices were healed one by one, and the one above says nothing of this one."""
    whole = study("healed", "scan", "brain")
    region = np.zeros(SHAPE, np.uint8)
    region[1, 2, 2] = 1
    made = score(whole.adding(Image(region, GRID, "region"))).need("score").data
    assert (made[BRAIN & (np.indices(SHAPE)[2] != 2)] == np.float32(LEAST)).all()
    assert (made[1:3, 2, 2] > 100 * LEAST).all()


def test_a_region_that_reaches_the_edge_of_the_brain_keeps_the_score_there():
    """A cortical lesion counts as one in the middle: smoothing looks at the brain alone."""
    whole = study("healed", "scan", "brain")
    full = score(whole.adding(Image(BRAIN.astype(np.uint8), GRID, "region"))).need("score").data
    np.testing.assert_allclose(full, score(whole).need("score").data, rtol=1e-5)


@pytest.mark.parametrize("roles", [("anomaly", "scan", "brain"), ("anomaly", "scan"), (*RESTORED, "anomaly")])
def test_the_methods_own_map_is_the_score_where_it_made_one(roles):
    """Before all other metrics, and without a healed scan, too."""
    for metric in (None, "anomaly"):
        made = score(study(*roles), metric=metric)
        np.testing.assert_allclose(made.product.data, 2 * drawn(5), rtol=1e-6)
        assert made.product.role == "score"
        assert made.product.provenance["history"][-1]["arguments"] == {"metric": "anomaly", "signed": "both"}


def test_a_sign_of_the_methods_own_map_is_that_of_the_residual():
    both, bright = (score(study(*RESTORED, "anomaly"), signed=s).product.data for s in ("both", "bright"))
    brighter = BRAIN & (drawn(0) > drawn(1))
    np.testing.assert_array_equal(bright[brighter], both[brighter])
    assert (bright[BRAIN & ~brighter] == np.float32(LEAST)).all()


@pytest.mark.parametrize(("asked", "said"), [({"metric": "l1"}, "--metric l1"), ({"signed": "dark"}, "--signed dark")])
def test_what_needs_a_healed_scan_is_refused_where_there_is_none(asked, said):
    with pytest.raises(UadError, match=f"a: {said} needs a healed scan, and its method heals nothing"):
        score(study("anomaly", "scan", "brain"), **asked)


def two(**more):
    """A study of two contrasts, T1 and FLAIR, healed by one model."""
    first = study("healed", "scan", "brain", **more)
    noted = {"study": "a", "history": [{"tool": "uad-heal", "contrasts": ["T1", "FLAIR"]}]}
    others = {"scan:FLAIR": drawn(7), "healed:FLAIR": drawn(8)}
    images = {r: Image(i.data, i.grid, r, noted if r == "healed" else {}) for r, i in first.images.items()}
    return Study("a", images | {role: Image(data, GRID, role) for role, data in others.items()})


@pytest.mark.parametrize("metric", ["l1", "ssim", "gradient"])
@pytest.mark.parametrize("signed", ["both", "dark"])
def test_contrasts_are_scored_each_by_itself_and_joined(metric, signed):
    first = scores(study("healed", "scan", "brain"), metric=metric, signed=signed)
    other = scores(study("healed", "scan", "brain", scan=drawn(7), healed=drawn(8)), metric=metric, signed=signed)
    joined = {
        c: score(two(), metric=metric, signed=signed, contrast=c).need("score") for c in ("mean", "max", "T1", "FLAIR")
    }
    np.testing.assert_array_equal(joined["T1"].data, first)
    np.testing.assert_array_equal(joined["FLAIR"].data, other)
    np.testing.assert_allclose(joined["max"].data, np.maximum(first, other))
    np.testing.assert_allclose(joined["mean"].data[BRAIN], ((first + other) / 2)[BRAIN], atol=1e-6)
    said = [image.provenance["history"][-1]["arguments"].get("contrast") for image in joined.values()]
    assert said == ["mean", "max", "T1", "FLAIR"]


def test_a_contrast_that_was_not_healed_is_no_part_of_the_score():
    whole = two()
    alone = Study("a", {role: image for role, image in whole.images.items() if role != "healed:FLAIR"})
    np.testing.assert_array_equal(scores(alone, metric="l1"), scores(study("healed", "scan", "brain"), metric="l1"))
    with pytest.raises(UadError, match="--contrast T2: what was healed is of T1, FLAIR"):
        score(whole, contrast="T2")
    with pytest.raises(UadError, match="--contrast FLAIR: what was healed is of one contrast"):
        score(study("healed", "scan", "brain"), contrast="FLAIR")
    with pytest.raises(UadError, match="no image of role 'scan:FLAIR'"):
        score(Study("a", {role: image for role, image in whole.images.items() if role != "scan:FLAIR"}))
