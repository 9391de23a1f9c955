import json

import numpy as np
import pytest
from scipy import ndimage

from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.metrics.overlap import overlap
from uadtools.metrics.ranking import rank
from uadtools.scoring.calibrate import calibrate, has_lesion, peak
from uadtools.scoring.postproc import Calibrated, Steps, detect, postproc, prepare
from uadtools.scoring.threshold_files import read_steps
from uadtools.volume.io import Image
from uadtools.volume.stream import Study

PLAIN = Steps(median=1, erode=0, min_size=1)
"""No step but the threshold."""
CHAINS = [PLAIN, Steps(3, 1, "model", 7), Steps(1, 0, "model", 4, dilate=2), Steps(3, 1, "model", 3, largest=True)]
L1 = {"tool": "uad-score", "arguments": {"metric": "l1", "signed": "both"}}
HEAL = {"tool": "uad-heal", "arguments": {"method": "sss", "t": [300], "samples": 1}, "model": "m:1", "seed": 0}
HISTORY = [HEAL, L1]


@pytest.fixture
def scan(phantom):
    """Make a scored study: random scores in the phantom's brain, or those given, and a truth."""
    brain = phantom.need("brain")

    def make(seed=0, *, score=None, truth=None, history=HISTORY, grid=brain.grid, scale=1.0):
        rng = np.random.default_rng(seed)
        values = scale * ndimage.gaussian_filter(rng.random(brain.grid.shape), 1) if score is None else score
        data = np.where(brain.data > 0, values, 0).astype(np.float32)
        about = {"study": f"scan{seed}", "history": history}
        images = {"score": Image(data, grid, "score", about), "brain": Image(brain.data, grid, "brain", about)}
        if truth is not None:
            images["truth"] = Image(truth.astype(np.uint8), grid, "truth", about)
        return Study(f"scan{seed}", images)

    return make


@pytest.fixture
def lesioned(phantom, scan):
    """Make a study with a box of 4x4x3 voxels, 384 mm3, that scores this much."""

    def make(seed, value):
        score = np.full(phantom.need("brain").grid.shape, 0.1)
        truth = np.zeros(score.shape, dtype=bool)
        truth[6:10, 6:10, 3:6] = True
        score[truth] = value
        return scan(seed, score=score, truth=truth)

    return make


@pytest.fixture
def healthy(scan):
    return [scan(seed, scale=1 + seed / 40) for seed in range(40)]


@pytest.mark.parametrize("steps", CHAINS)
def test_from_its_peak_on_a_scan_is_silent_and_below_it_is_not(scan, steps):
    for seed in range(5):
        ready = prepare(scan(seed), steps)
        found = peak(ready, steps)
        assert found in ready.smooth[ready.eroded]
        assert not detect(ready.smooth, ready.eroded, steps, found).any()
        assert detect(ready.smooth, ready.eroded, steps, np.nextafter(np.float32(found), np.float32(0))).any()


@pytest.mark.parametrize("ml", [0.05, 0.4])
def test_a_volume_may_be_allowed(scan, healthy, ml):
    """At the threshold no more than that is found in a scan, and just below it more is."""
    for study in healthy[:5]:
        ready = prepare(study, PLAIN)
        found = peak(ready, PLAIN, ml)
        volume = [detect(ready.smooth, ready.eroded, PLAIN, level).sum() * 0.008 for level in (found, found - 1e-6)]
        assert volume[0] <= ml < volume[1]
    strict, allowing = (calibrate(healthy, "scanwise", PLAIN, allowed_ml=by) for by in (0.0, ml))
    assert allowing["threshold"] < strict["threshold"]
    assert (strict["allowed_ml"], allowing["allowed_ml"]) == (0.0, ml)
    assert allowing["healthy"]["alarms"] <= 2


def test_a_volume_is_allowed_scanwise_alone(healthy):
    with pytest.raises(UadError, match="--allow 1: has an effect only with --rule scanwise"):
        calibrate(healthy, "voxelwise", PLAIN, allowed_ml=1.0)


def test_without_smallest_component_the_peak_is_the_maximum(scan):
    ready = prepare(scan(), PLAIN)
    assert peak(ready, PLAIN) == ready.smooth.max()


def test_peaks_of_equal_scores(scan, phantom):
    ready = prepare(scan(score=np.full(phantom.need("brain").grid.shape, 0.5)), Steps(1, 0))
    assert peak(ready, Steps(1, 0)) == 0.5


@pytest.mark.parametrize("steps", CHAINS)
def test_scanwise_detects_what_uad_postproc_does(healthy, steps):
    """Of 39 scans at 5%, all but one are silent: by the count of the report, and by detecting."""
    report = calibrate(healthy[:39], "scanwise", steps)
    chain = Steps(**steps.chain, threshold=report["threshold"])
    loud = sum(bool(postproc(study, chain).product.data.any()) for study in healthy[:39])
    assert loud == report["healthy"]["alarms"] == 1
    assert report["healthy"] | {"scans": 39, "needed": 19, "share": pytest.approx(0, abs=0.01)} == report["healthy"]


def test_the_healthy_scans_case_scores_are_kept(healthy, lesioned):
    report = calibrate([lesioned(99, 5.0), *healthy[:20]], "scanwise", PLAIN)
    kept = report["healthy"]["case_scores"]
    highest = sorted(float(study.need("score").data.max()) for study in healthy[:20])
    assert kept["peak"] == pytest.approx(highest, rel=1e-4)
    assert kept.keys() == {"case_score", "top", "peak"}
    assert all(scores == sorted(scores) and len(scores) == 20 for scores in kept.values())


def test_the_promise_holds_for_scans_not_seen(scan):
    """With the whole chain, in splits of 60 scans: at most 10%, within the interval of their mean."""
    steps, rng = Steps(1, 1, min_size=3), np.random.default_rng(0)
    pool = [scan(seed, scale=1 + 0.3 * rng.random()) for seed in range(60)]
    peaks = np.array([peak(prepare(study, steps), steps) for study in pool])
    seen = []
    for _ in range(20):
        order = rng.permutation(60)
        found = calibrate([pool[i] for i in order[:29]], "scanwise", steps, level=0.1)
        seen.append(np.mean(peaks[order[29:]] > found["threshold"]))
    assert np.mean(seen) - 1.96 * np.std(seen, ddof=1) / np.sqrt(20) <= 0.1


def test_voxelwise_counts_the_eroded_brain(healthy):
    steps = Steps(1, 1)
    report = calibrate(healthy, "voxelwise", steps, level=0.1)
    shares = []
    for study in healthy:
        ready = prepare(study, steps)
        shares.append(np.mean(ready.smooth[ready.eroded] > report["threshold"]))
    assert report["healthy"]["share"] == pytest.approx(np.mean(shares), abs=1e-12)
    assert (sum(shares) + 1) / 41 <= 0.1 < (sum(shares) + 1) / 41 + 0.01


def test_what_the_chain_drops_only_helps_voxelwise_and_what_it_adds_is_refused(healthy):
    report = calibrate(healthy, "voxelwise", Steps(1, 1, min_size=20), level=0.1)
    ready = [prepare(study, Steps(1, 1)) for study in healthy]
    found = [
        detect(r.smooth, r.eroded, Steps(1, 1, min_size=20), report["threshold"]).sum() / r.eroded.sum() for r in ready
    ]
    assert np.mean(found) <= report["healthy"]["share"]
    with pytest.raises(UadError, match="--dilate 0"):
        calibrate(healthy, "voxelwise", Steps(dilate=1))


def test_percentile_is_that_of_all_voxels(healthy):
    report = calibrate(healthy[:3], "percentile", Steps(3, 1), percentile=90)
    ready = [prepare(study, Steps(3, 1)) for study in healthy[:3]]
    voxels = np.concatenate([r.smooth[r.eroded] for r in ready])
    assert report["threshold"] == np.percentile(voxels, 90)
    assert report["healthy"] | {"scans": 3, "needed": None, "alarms_95": None} == report["healthy"]
    assert (report["level"], report["percentile"]) == (None, 90)


def test_percentile_works_with_one_scan_and_has_no_effect_without(scan):
    assert calibrate([scan()], "percentile", PLAIN)["threshold"] > 0
    with pytest.raises(UadError, match="no healthy scan"):
        calibrate([scan(truth=scan().need("brain").data)], "percentile", PLAIN)


def test_best_dice_is_that_of_all_voxels_of_the_eroded_brain(scan):
    rng = np.random.default_rng(0)
    truths = [scan(seed).product.data + 0.05 * rng.normal(size=(16, 16, 8)) > 0.55 for seed in range(3)]
    studies = [scan(seed, truth=truth) for seed, truth in enumerate(truths)] + [scan(9)]
    report = calibrate(studies, "best-dice", PLAIN)
    scores = np.stack([study.product.data for study in studies])
    found = overlap(scores > report["threshold"], np.stack([*truths, np.zeros_like(truths[0])]))
    assert report["best_dice"] == found.dice
    inside = scores > 0
    assert rank(scores[inside], np.stack([*truths, truths[0] & False])[inside]).best_dice().dice == found.dice > 0.3


def test_best_dice_knows_the_lesions_that_erosion_takes(lesioned):
    """A threshold that finds all that is left is still not perfect."""
    report = calibrate([lesioned(0, 0.9)], "best-dice", Steps(1, 2))
    ready = prepare(lesioned(0, 0.9), Steps(1, 2))
    left = (ready.eroded & (ready.smooth > 0.5)).sum()
    assert 0 < left < 48
    assert report["best_dice"] == 2 * left / (left + 48)


def test_best_dice_needs_a_lesion(healthy):
    with pytest.raises(UadError, match=r"no lesion in any truth.*--truth"):
        calibrate(healthy, "best-dice", PLAIN)


def test_scans_whose_truth_is_empty_are_healthy(scan):
    empty = np.zeros((16, 16, 8))
    studies = [scan(seed, truth=empty) if seed % 2 else scan(seed) for seed in range(20)]
    report = calibrate(studies, steps=PLAIN)
    assert (report["healthy"]["scans"], report["power"]) == (20, None)
    assert not has_lesion(studies[1])


def test_power_is_told_by_size_and_lesioned_scans_do_not_choose(healthy, lesioned):
    chosen = calibrate(healthy, steps=PLAIN)["threshold"]
    report = calibrate([lesioned(50, chosen + 0.1), *healthy, lesioned(51, chosen - 0.1)], steps=PLAIN)
    assert report["threshold"] == chosen
    power = report["power"]
    assert (power["scans"], power["lesions"], power["found"], power["recall"]) == (2, 2, 1, 0.5)
    assert (power["lesion_ml"], power["detected_ml"]) == pytest.approx((48 * 0.008, 24 * 0.008))
    assert [(s["low"], s["high"], s["count"], s["found"], s["recall"]) for s in power["by_size"]] == [
        (0.0, 0.5, 2, 1, 0.5),
        (0.5, 4.0, 0, 0, None),
        (4.0, None, 0, 0, None),
    ]


def test_lesions_too_small_to_count_have_no_recall(healthy, scan):
    truth = np.zeros((16, 16, 8))
    truth[8, 8, 4] = 1
    power = calibrate([*healthy, scan(90, truth=truth)], steps=PLAIN)["power"]
    assert (power["scans"], power["lesions"], power["recall"]) == (1, 0, None)


def test_too_few_scans(healthy):
    with pytest.raises(UadError, match=r"18 healthy scans, and a level of 0.05 needs at least 19"):
        calibrate(healthy[:18], steps=PLAIN)
    with pytest.raises(UadError, match="no scan"):
        calibrate([])


def test_mistakes_are_found_before_any_scan_is_read():
    def never():
        raise AssertionError
        yield

    for told, options in (
        ("out of range", {"level": 1}),
        ("out of range", {"rule": "percentile", "percentile": 101}),
        ("--rule best", {"rule": "best"}),
    ):
        with pytest.raises(UadError, match=told):
            calibrate(never(), **options)


def test_a_brain_of_which_nothing_is_left_is_told(scan):
    with pytest.raises(UadError, match=r"scan0: no brain is left after 9 erosions"):
        calibrate([scan()], "percentile", Steps(erode=9))


def test_several_ways_of_scoring_are_refused(scan, phantom):
    l2 = [HEAL, {"tool": "uad-score", "arguments": {"metric": "l2", "signed": "both"}}]
    other = [{**HEAL, "model": "m:2"}, L1]
    wide = Grid(phantom.need("brain").grid.shape, np.diag([2.0, 2.0, 3.0, 1.0]))
    for told, options in (
        ("metric l2, not l1", {"history": l2}),
        ("model m:2, not m:1", {"history": other}),
        ("unknown, not", {"history": []}),
        ("voxels 2.0,2.0,3.0, not 2.0,2.0,2.0", {"grid": wide}),
    ):
        with pytest.raises(UadError, match=rf"scan7: not scored as the scans before it: .*{told}"):
            calibrate([scan(0), scan(7, **options)], "percentile", PLAIN)


def test_voxels_may_differ_by_rounding(scan, phantom):
    almost = Grid(phantom.need("brain").grid.shape, np.diag([2.0, 2.0, 2.0001, 1.0]))
    assert calibrate([scan(0), scan(7, grid=almost)], "percentile", PLAIN)["healthy"]["scans"] == 2


@pytest.fixture
def file(healthy, tmp_path):
    """A threshold file, and what is in it."""
    report = calibrate(healthy, steps=Steps(3, 1, min_size=2))
    path = tmp_path / "t.json"
    path.write_text(json.dumps(report, allow_nan=False))
    return path, report


def test_the_file_holds_the_whole_chain(file, healthy):
    path, report = file
    steps = read_steps(path, median=3)
    assert steps == Calibrated(
        3, 1, report["threshold"], 2, 0, False, 0.0, "scanwise", report["way"], "t.json", report["floor"]
    )
    made = postproc(healthy[0], steps).product
    assert (
        made.provenance["history"][-1]["arguments"] | {"median": 3, "threshold_from": "scanwise"}
        == (made.provenance["history"][-1]["arguments"])
    )
    np.testing.assert_array_equal(
        made.data, postproc(healthy[0], Steps(3, 1, report["threshold"], min_size=2)).product.data
    )


def test_other_steps_than_the_files_are_refused(file):
    with pytest.raises(UadError, match=r"--min-size 7: the threshold of t.json was found with 2 \(leave it out\)"):
        read_steps(file[0], min_size=7)


def test_a_score_made_in_another_way_is_refused(file, scan):
    steps = read_steps(file[0])
    other = [{**HEAL, "arguments": {**HEAL["arguments"], "samples": 4}}, L1]
    with pytest.raises(
        UadError, match=r"scan0: t.json was not found on scores such as this: uad-heal samples 4, not 1"
    ):
        postproc(scan(history=other), steps)
    with pytest.raises(UadError, match="unknown, not"):
        postproc(scan(history=[]), steps)


def test_another_seed_is_no_other_way(file, scan):
    postproc(scan(history=[{**HEAL, "seed": 5}, L1]), read_steps(file[0]))


def test_a_calibrated_threshold_that_does_not_fit_is_told(file, scan):
    told = []
    postproc(scan(scale=9), read_steps(file[0]), tell=told.append)
    assert "the calibrated threshold does not fit this scan" in told[0]


@pytest.mark.parametrize(
    "damage",
    [{"chain": None}, {"chain": {"median": 5}}, {"chain": []}, {"way": 3}, {"rule": None}, {"way": None}],
)
def test_a_damaged_file_is_told(file, damage):
    path, report = file
    path.write_text(json.dumps(report | damage))
    with pytest.raises(UadError, match=r"t.json: damaged"):
        read_steps(path)


BIG = {"median": 2**63}


def test_damage_of_a_step_is_told(file):
    path, report = file
    for step in (
        {"median": "5"},
        {"median": 5.5},
        {"largest": 1},
        {"more": 1},
        {"median": 0},
        {"median": 4},
        {"erode": -1},
        BIG,
    ):
        path.write_text(json.dumps(report | {"chain": report["chain"] | step}))
        with pytest.raises(UadError, match=r"t.json: damaged"):
            read_steps(path)


def test_labels_of_truths_are_read_as_in_uad_eval(lesioned, scan):
    """255 in 8 bits with a sign is -1, and lesion; label 2 beside 1 counts neither way, though it scores most."""
    study = lesioned(0, 0.5)
    minus = study.need("truth").derive(-study.need("truth").data.astype(np.int8), "truth")
    made = calibrate([study.adding(*study.images.values(), minus)], "best-dice", PLAIN)
    assert (made["best_dice"], [concern["value"] for concern in made["concerns"]]) == (1, ["-1"])
    score, truth = np.full(minus.grid.shape, 0.1), np.array(study.need("truth").data)
    truth[10:12, 6:10, 3:6] = 2
    score[truth > 0] = 0.4 + truth[truth > 0] / 10
    made = calibrate([scan(1, score=score, truth=truth)], "best-dice", PLAIN)
    assert (made["best_dice"], [concern["value"] for concern in made["concerns"]]) == (1, ["1,2"])


def test_volumes_after_registration_are_the_persons(scan, lesioned, registered):
    """A lesion of 384 mm3 of the template's has 48 of the person's, and so little is not counted."""
    for study, ml, count in ((lesioned(0, 0.5), 0.384, 1), (registered(lesioned(0, 0.5)), 0.048, 0)):
        made = calibrate([study], "best-dice", PLAIN)["power"]
        assert (made["lesion_ml"], made["detected_ml"]) == pytest.approx((ml, ml))
        assert made["lesions"] == count
    ready = prepare(registered(scan()), PLAIN)
    found = peak(ready, PLAIN, 0.05)
    volume = [detect(ready.smooth, ready.eroded, PLAIN, level).sum() * 0.001 for level in (found, found - 1e-6)]
    assert volume[0] <= 0.05 < volume[1]
