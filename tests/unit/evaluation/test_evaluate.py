import json
import math
from dataclasses import replace
from weakref import ref

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from uadtools.errors import UadError
from uadtools.evaluation.cases import kind_of, with_scan
from uadtools.evaluation.evaluate import Wanted, case, evaluate, judge
from uadtools.grids.grid import Grid
from uadtools.metrics.image import histogram_kld, psnr, ssim
from uadtools.metrics.lesions import lesionwise
from uadtools.metrics.overlap import overlap
from uadtools.volume.io import Image
from uadtools.volume.stream import Study

SHAPE = (12, 12, 10)
GRID = Grid(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))
BRAIN = np.zeros(SHAPE, dtype=bool)
BRAIN[1:-1, 1:-1, 1:-1] = True


def image(data, role):
    return Image(np.asarray(data), GRID, role, {"study": "s"})


def lesions(seed, count=2):
    """Cubes of 3 voxels a side: 0.216 mL."""
    rng = np.random.default_rng(seed)
    data = np.zeros(SHAPE, dtype=bool)
    for corner in rng.integers(1, 7, (count, 3)):
        data[tuple(slice(c, c + 3) for c in corner)] = True
    return data


def scored(seed, *, scan=False):
    """A score map and its truth, perhaps with the scan, of which the score knows something."""
    rng = np.random.default_rng(seed + 100)
    truth = lesions(seed)
    healthy = np.where(BRAIN, 0.3 + 0.4 * rng.random(SHAPE) ** 4, 0).astype(np.float32)
    score = np.where(BRAIN, np.abs(rng.normal(0, 0.2, SHAPE)) + 0.3 * truth + 1e-6, 0).astype(np.float32)
    images = {"score": image(score, "score"), "truth": image(truth.astype(np.uint8), "truth")}
    if scan:
        images["scan"] = image(np.where(truth & BRAIN, 0.45, healthy), "scan")
    return Study(f"s{seed}", images)


def detected(seed, truth=None):
    truth = lesions(seed) if truth is None else truth
    found = np.roll(lesions(seed), 1, axis=0)
    images = {"detection": image(found.astype(np.uint8), "detection"), "truth": image(truth.astype(np.uint8), "truth")}
    return Study(f"s{seed}", images)


def healed(seed, truth=True):
    """A healed scan that differs by .3 inside of lesions and .1 elsewhere in the brain."""
    scan = np.where(BRAIN, 0.5, 0).astype(np.float32)
    made = np.where(BRAIN, 0.4 - 0.2 * lesions(seed), 0).astype(np.float32)
    images = {"healed": image(made, "healed"), "scan": image(scan, "scan")}
    return Study(f"s{seed}", images | ({"truth": image(lesions(seed).astype(np.uint8), "truth")} if truth else {}))


def report(studies, **options):
    made = evaluate((case(study) for study in studies), **options)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    return made


def test_the_truth_of_the_study_is_used_unless_another_is_given():
    study = detected(0)
    assert report([study])["pooled"]["dice"] < 1
    found = study.product.derive(study.product.data, "truth")
    assert evaluate([case(study, found)])["pooled"]["dice"] == 1


def test_without_truth_there_is_nothing_to_hold_a_detection_against():
    alone = Study("a", {"detection": detected(0).product})
    with pytest.raises(UadError, match="a: no truth"):
        case(alone)


def test_figures_of_score_maps_are_those_of_scikit_learn_pooled_and_per_scan():
    studies = [scored(seed) for seed in range(4)]
    made = report(studies)
    truths = [s.need("truth").data[BRAIN] for s in studies]
    scores = [s.product.data[BRAIN] for s in studies]
    for key, judge_of in (("auprc", average_precision_score), ("auroc", roc_auc_score)):
        each = [judge_of(*pair) for pair in zip(truths, scores, strict=True)]
        assert [row[key] for row in made["scans"]] == pytest.approx(each, abs=1e-12)
        assert made["mean"][key] == pytest.approx(np.mean(each), abs=1e-12)
        assert made["pooled"][key] == pytest.approx(judge_of(np.concatenate(truths), np.concatenate(scores)), abs=1e-12)


def test_false_positive_rates_at_given_true_positive_rates():
    made = report([scored(0)])["pooled"]
    score, truth = scored(0).product.data[BRAIN], lesions(0)[BRAIN]
    for key, rate in (("fpr_at_95_tpr", 0.95), ("fpr_at_80_tpr", 0.8)):
        values = np.sort(score[truth])[::-1]
        level = values[math.ceil(rate * values.size - 1e-9) - 1]
        assert made[key] == np.mean(score[~truth] >= level)


def test_intervals_lie_around_their_figures():
    made = report([scored(seed) for seed in range(8)], best=True, threshold=0.4, lesions=True)
    told = made["intervals"]
    assert (told["level"], told["rounds"], made["seed"]) == (0.95, 2000, 0)
    for which in ("mean", "pooled"):
        assert {"dice", "auprc", "auroc", "best_dice", "fpr", "lesion_f1"} <= told[which].keys()
        for key, ends in told[which].items():
            if ends is not None:
                assert ends[0] <= made[which][key] <= ends[1], (which, key)
    assert "best_threshold" not in told["pooled"]
    assert told["pooled"]["auprc"][0] < told["pooled"]["auprc"][1]


def test_the_seed_decides_the_intervals():
    studies = [scored(seed) for seed in range(8)]
    first = report(studies, seed=1)["intervals"]
    assert report(studies, seed=1)["intervals"] == first
    again = report(studies, seed=2)["intervals"]
    assert again["mean"]["auprc"] != first["mean"]["auprc"]
    assert again["pooled"]["auprc"] != first["pooled"]["auprc"]


def test_one_scan_has_no_interval():
    told = report([scored(0)], best=True, threshold=0.4, lesions=True)["intervals"]
    assert set(told["mean"].values()) == set(told["pooled"].values()) == {None}
    assert told["why"] == "an interval needs at least 4 scans, and there are 1"
    assert report([scored(seed) for seed in range(4)])["intervals"]["why"] is None


def test_the_false_positive_rate_is_told_where_healthy_voxels_are_brain():
    assert "fpr" not in report([detected(0)])["pooled"]
    brain = image(BRAIN.astype(np.uint8), "brain")
    made = evaluate([case(detected(0), None, brain)])
    truth, found = lesions(0), detected(0).product.data > 0
    assert made["pooled"]["fpr"] == np.sum(found & ~truth & BRAIN) / np.sum(~truth & BRAIN)
    assert "fpr" in report([scored(0)], threshold=0.4)["scans"][0]


@pytest.mark.parametrize(("count", "codes"), [(3, []), (4, ["lesions-in-one"])])
def test_a_component_that_reaches_many_lesions_is_told(count, codes):
    grid = Grid((24, 24, 6), GRID.affine)
    truth, found = np.zeros((2, *grid.shape), np.uint8)
    for x, y in ((2, 2), (2, 20), (20, 2), (20, 20))[:count]:
        truth[x : x + 2, y : y + 2, 2:4] = 1
        found[2 : x + 2, y, 2] = found[2, 2:22, 2] = 1
    made = report(
        [Study("s", {r: Image(d, grid, r) for r, d in (("detection", found), ("truth", truth))})], lesions=True
    )
    assert [concern["code"] for concern in made["concerns"]] == codes
    told = "s: one detected component reaches 4 lesions, so that figures per lesion say little"
    assert [concern["text"] for concern in made["concerns"]] == [told] * len(codes)


def test_lesions_one_by_one():
    studies = [detected(seed) for seed in range(4)]
    made = report(studies, lesions=True)
    each = [lesionwise(s.product.data > 0, lesions(i), GRID.spacing) for i, s in enumerate(studies)]
    row = made["scans"][0]
    assert (row["lesions"], row["lesions_found"], row["false_lesions"]) == (
        each[0].count,
        each[0].found,
        each[0].false_positives,
    )
    assert row["lesion_dice"] == each[0].dice
    assert row["truth_ml"] == pytest.approx(lesions(0).sum() * 0.008)
    assert row["volume_error_ml"] == pytest.approx(row["detected_ml"] - row["truth_ml"], abs=1e-12)
    assert row["relative_volume_error"] == pytest.approx(row["volume_error_ml"] / row["truth_ml"])
    assert row["hd95"] == pytest.approx(2)
    total = sum(scan.count for scan in each)
    assert made["pooled"]["lesions"] == total == len(made["lesions"])
    assert made["pooled"]["lesion_recall"] == sum(scan.found for scan in each) / total
    assert {lesion["scan"] for lesion in made["lesions"]} == {"s0", "s1", "s2", "s3"}
    assert sum(size["lesions"] for size in made["by_size"]) == total
    assert made["by_size"][1]["lesion_recall"] == 1
    assert made["by_size"][0] == {
        "from_ml": 0, "to_ml": 0.1, "lesions": 0, "lesions_found": 0, "lesion_recall": None, "interval": None,
    }  # fmt: skip
    assert made["by_size"][-1]["to_ml"] is None


def test_pooled_lesion_figures_are_the_middle_of_their_own_bootstrap():
    """The statistic of the rounds is that of the figures: where all scans are alike, so are all rounds."""
    made = report([Study(name, detected(0).images) for name in "abcd"], lesions=True)
    for key in ("lesion_recall", "lesion_precision", "lesion_f1", "lesion_dice", "lesion_hd95"):
        assert made["intervals"]["pooled"][key] == pytest.approx([made["pooled"][key]] * 2, abs=1e-12)


def test_lesions_outside_the_brain_do_not_count():
    half = BRAIN.copy()
    half[6:] = False
    truth = np.zeros(SHAPE, dtype=bool)
    truth[2:5, 2:5, 2:5] = truth[8:11, 2:5, 2:5] = True
    made = evaluate([case(detected(0, truth), None, image(half.astype(np.uint8), "brain"))], lesions=True)
    row = made["scans"][0]
    assert (row["lesions"], row["lesion_voxels"], row["lesion_voxels_outside"]) == (1, 27, 27)
    assert row["truth_ml"] == made["lesions"][0]["ml"] == pytest.approx(0.216)


def test_a_scan_without_lesion_and_detection_is_undefined_but_has_volumes():
    nothing = np.zeros(SHAPE, np.uint8)
    empty = Study("e", {"detection": image(nothing, "detection"), "truth": image(nothing, "truth")})
    row = report([empty], lesions=True)["scans"][0]
    undefined = ("dice", "recall", "precision", "lesion_recall", "lesion_f1", "hd95", "relative_volume_error")
    assert {row[key] for key in undefined} == {None}
    assert (row["truth_ml"], row["detected_ml"], row["volume_error_ml"], row["lesions"]) == (0, 0, 0, 0)


def test_distance_to_nothing_is_undefined():
    nothing = np.zeros(SHAPE, dtype=bool)
    assert report([detected(0, nothing)], lesions=True)["scans"][0]["hd95"] is None


def test_score_maps_turned_into_detections_have_both_kinds_of_figures():
    made = report([scored(0), scored(1)], threshold=0.4, lesions=True)
    found = scored(0).product.data > np.float32(0.4)
    assert made["scans"][0]["dice"] == overlap(found & BRAIN, lesions(0) & BRAIN).dice
    assert {"auprc", "lesion_recall", "hd95"} <= made["scans"][0].keys()


def test_the_intensity_threshold_stands_beside_a_score_whose_scan_is_known():
    studies = [scored(seed, scan=True) for seed in range(3)]
    made = report(studies, best=True)
    base = made["baseline"]
    assert base["name"] == "intensity threshold"
    values = []
    for study in studies:
        scan = study.need("scan").data[BRAIN]
        values.append(np.abs(scan - np.median(scan)))
    truths = [study.need("truth").data[BRAIN] for study in studies]
    each = [average_precision_score(*pair) for pair in zip(truths, values, strict=True)]
    assert [row["auprc"] for row in base["scans"]] == pytest.approx(each)
    assert base["pooled"]["auprc"] == pytest.approx(
        average_precision_score(np.concatenate(truths), np.concatenate(values))
    )
    assert {"best_dice", "auroc"} <= base["intervals"]["pooled"].keys()
    assert "baseline" not in report([scored(0)])
    assert "baseline" not in report([scored(0), scored(1, scan=True)])


def test_a_reconstruction_is_compared_with_its_scan():
    study = healed(0)
    made = report([study, healed(1)])
    assert made["kind"] == "reconstruction"
    row = made["scans"][0]
    lesion, brain = lesions(0) & BRAIN, BRAIN
    assert row["l1_lesion"] == pytest.approx(0.3, abs=1e-6)
    assert row["l1_healthy"] == pytest.approx(0.1, abs=1e-6)
    assert row["l1_ratio"] == pytest.approx(3, abs=1e-4)
    assert row["l1"] == pytest.approx((0.3 * lesion.sum() + 0.1 * (brain & ~lesion).sum()) / brain.sum(), abs=1e-6)
    pair = study.need("scan").data, study.product.data, brain
    assert (row["ssim"], row["psnr"], row["kld"]) == (ssim(*pair), psnr(*pair), histogram_kld(*pair))
    assert made["mean"]["l1_ratio"] == pytest.approx(3, abs=1e-4)
    assert made["pooled"] == {
        "voxels": 2 * brain.sum(),
        "lesion_voxels": lesion.sum() + (lesions(1) & BRAIN).sum(),
        "lesion_voxels_outside": 0,
    }


def test_a_reconstruction_can_do_without_truth():
    row = report([healed(0, truth=False)])["scans"][0]
    assert [row[key] for key in ("l1_lesion", "l1_healthy", "l1_ratio")] == [None] * 3
    assert row["l1"] == pytest.approx(
        (0.3 * (lesions(0) & BRAIN).sum() + 0.1 * (BRAIN & ~lesions(0)).sum()) / BRAIN.sum()
    )


def test_a_scan_that_is_its_own_healed_one_has_no_finite_psnr():
    scan = healed(0).need("scan")
    study = Study("s", {"healed": scan.derive(scan.data, "healed"), "scan": scan, "truth": healed(0).need("truth")})
    row = report([study])["scans"][0]
    assert (row["psnr"], row["ssim"], row["l1"], row["kld"], row["l1_ratio"]) == (None, pytest.approx(1), 0, 0, None)


def test_a_score_whose_study_holds_scan_and_healed_tells_of_the_reconstruction_too():
    row = report([Study("s0", scored(0).images | healed(0).images)])["scans"][0]
    assert row["l1_ratio"] == pytest.approx(3, abs=1e-4)
    assert 0 < row["auprc"] < 1


def test_a_reconstruction_needs_its_scan_on_its_grid():
    study = healed(0)
    with pytest.raises(UadError, match="s0: no scan to hold the healed one against"):
        case(Study("s0", {"healed": study.product}))
    moved = Image(study.need("scan").data, Grid(SHAPE, np.diag([3.0, 2, 2, 1])), "scan")
    with pytest.raises(UadError, match="s0: scan and healed lie on different grids"):
        case(Study("s0", {"healed": study.product, "scan": moved}), brain=image(BRAIN.astype(np.uint8), "brain"))


def test_a_scan_given_beside_a_file_says_what_the_file_is():
    scan = healed(0).need("scan")
    foreign = Study("f", {"scan": image(healed(0).product.data, "scan")})
    assert kind_of(foreign) == "score"
    assert kind_of(with_scan(foreign, scan)) == "reconstruction"
    mask = Study("f", {"scan": image(BRAIN.astype(np.float32), "scan")})
    assert kind_of(with_scan(mask, scan)) == "detection"
    kept = with_scan(scored(0), scan)
    assert (kind_of(kept), kept.need("scan").data is scan.data) == ("score", True)
    assert kind_of(with_scan(Study("h", {"healed": healed(0).product}), scan)) == "reconstruction"


def test_kinds_do_not_mix_and_options_have_their_kind():
    with pytest.raises(UadError, match="score maps and detections in one call"):
        report([detected(0), scored(0)])
    with pytest.raises(UadError, match="reconstructions and other images in one call"):
        report([detected(0), healed(0)])
    with pytest.raises(UadError, match="a reconstruction has no thresholds left"):
        report([healed(0)], best=True)
    with pytest.raises(UadError, match="a score map has no lesions to count"):
        report([scored(0)], lesions=True)
    with pytest.raises(UadError, match="a reconstruction has no lesions to count"):
        report([healed(0)], lesions=True)
    with pytest.raises(UadError, match="nothing to evaluate"):
        report([])


def test_cases_are_taken_one_at_a_time():
    """So that a cohort needs the memory of a scan or two, and that of the sorted scores."""
    made = []

    def cases():
        for seed in range(4):
            each = case(scored(seed))
            made.append(ref(each))
            yield each
            assert not any(earlier() for earlier in made[:-1])

    judge(cases(), Wanted())
    assert len(made) == 4


def test_labels_of_wide_types_are_counted_and_narrow_ones_cannot_have_too_many():
    study = detected(0)
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    with pytest.raises(UadError, match="s0: truth: holds more than 256 different values"):
        case(study, image(values.astype(np.int16), "scan"))
    assert case(study, image((values % 251).astype(np.uint8), "scan")).truth.sum() > 0


def test_the_contrast_is_that_of_the_history_of_any_image():
    line = {"tool": "uad-simulate", "arguments": {"kind": "contrast", "level": 2}}
    study = healed(0)
    assert "contrast" not in report([study])["scans"][0]
    told = replace(study.need("scan"), provenance={"history": [line]})
    assert report([Study("s", study.images | {"scan": told})])["scans"][0]["contrast"] == 2
