"""The steps after healing, on files, in one call each from Python."""

import json

import numpy as np
import pytest

from uadtools import UadError, calibrate_all, evaluate_all, postproc_all, read, score, score_all, simulate_all
from uadtools.cohort.calibrate import learn_all
from uadtools.cohort.files import save
from uadtools.errors import Misuse
from uadtools.volume.io import Image

RAW = {"median": 1, "erode": 0, "min_size": 1}
LESION = np.s_[6:9, 6:9, 2:5]


@pytest.fixture
def scan(phantom, tmp_path):
    save(phantom.need("scan"), tmp_path / "p.nii.gz")
    return tmp_path / "p.nii.gz"


@pytest.fixture
def healed(phantom, tmp_path):
    """The phantom, a little darker everywhere."""
    image = phantom.need("scan")
    save(Image(image.data * np.float32(0.9), image.grid, "healed"), tmp_path / "p_healed.nii.gz")
    return tmp_path / "p_healed.nii.gz"


@pytest.fixture
def files(phantom, tmp_path):
    """Score maps of ten healthy scans and of one with a lesion, and its truth."""
    brain, paths = phantom.need("brain"), []
    rng = np.random.default_rng(0)
    for k in range(11):
        data = np.where(brain.data > 0, rng.uniform(0.001, 0.1, brain.data.shape), 0).astype(np.float32)
        data[LESION] += k // 10
        paths.append(tmp_path / f"s{k}.nii.gz")
        save(Image(data, brain.grid, "score"), paths[-1])
    truth = np.zeros(brain.data.shape, np.uint8)
    truth[LESION] = 1
    save(Image(truth, brain.grid, "truth"), tmp_path / "t.nii.gz")
    return paths[:-1], paths[-1], tmp_path / "t.nii.gz"


def test_a_pair_is_scored_named_and_written(scan, healed, phantom, tmp_path, capfd):
    told = []
    (row,) = score_all([scan, healed], tmp_path / "out", signed="bright", tell=told.append, verbose=True)
    assert (row["name"], row["metric"], row["signed"]) == ("p", "l1", "bright")
    assert row["output"] == str(tmp_path / "out" / "p_score.nii.gz")
    expected = score(phantom.adding(*phantom.images.values(), read(healed)), signed="bright").product.data
    np.testing.assert_allclose(read(row["output"]).data, expected, rtol=0, atol=1e-6)
    assert [line.startswith("p: case score 0.0") for line in told] == [True]
    assert capfd.readouterr() == ("", "")


def test_detections_are_made_and_judged_with_their_truths(files, tmp_path):
    healthy, sick, truth = files
    rows = postproc_all([healthy[0], sick], tmp_path / "out", threshold=0.5, **RAW)
    assert [(row["name"], row["detected_voxels"]) for row in rows] == [("s0", 0), ("s10", 27)]
    told = []
    report = evaluate_all(rows[1]["output"], truth=truth, lesions=True, tell=told.append, verbose=True)
    assert (report["mean"]["dice"], report["pooled"]["lesion_recall"]) == (1, 1)
    assert len(told) == 1
    assert told[0].startswith("s10: ")


def test_a_threshold_is_found_written_and_used(files, tmp_path):
    healthy, sick, truth = files
    told, output = [], tmp_path / "t.json"
    report = calibrate_all(healthy, output, power=sick, truth=truth, level=0.1, tell=told.append, verbose=True, **RAW)
    assert told == [f"s{k}" for k in range(11)]
    assert 0.09 < report["threshold"] < 0.11
    assert report["power"]["recall"] == 1
    assert json.loads(output.read_text()) == report
    (row,) = postproc_all(sick, tmp_path / "out", threshold=output)
    assert (row["threshold"], row["detected_voxels"]) == (report["threshold"], 27)


def test_what_healthy_scores_are_like_is_learnt(files, scan, healed, tmp_path):
    healthy, *_ = files
    about = learn_all(healthy, tmp_path / "reference.nii.gz", per="slice")
    assert (about["residuals"], about["per"], about["scans"]) == (str(tmp_path / "reference.nii.gz"), "slice", 10)
    with pytest.raises(UadError, match="not made as that of the reference"):
        score_all([scan, healed], tmp_path / "out", reference=tmp_path / "reference.nii.gz")


def test_several_draws_are_named_and_written(scan, tmp_path):
    rows = simulate_all(scan, tmp_path / "out", kind="coarse", copies=2, strength=0.5, picture=tmp_path / "drawn")
    assert [row["name"] for row in rows] == ["p_1", "p_2"]
    assert [row["truth"] for row in rows] == [str(tmp_path / "out" / f"p_{k}_truth.nii.gz") for k in (1, 2)]
    assert not (read(rows[0]["output"]).data == read(rows[1]["output"]).data).all()
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["p_1_simulated.png", "p_2_simulated.png"]


@pytest.mark.parametrize(
    ("call", "options", "named"),
    [
        (score_all, {"spread": "s.nii"}, "--spread"),
        (postproc_all, {"median": 4}, "--median"),
        (postproc_all, {"threshold": -1}, "--threshold"),
        (simulate_all, {"kind": "masks"}, "--kind"),
        (simulate_all, {"kind": "blobs", "strength": 2}, "--strength"),
        (calibrate_all, {"percentile": 99}, "--percentile"),
        (calibrate_all, {"power": "s.nii"}, "--truth"),
        (evaluate_all, {"truth": ["a.nii", "b.nii"]}, "--truth"),
    ],
)
def test_what_does_not_go_together_is_raised(scan, call, options, named):
    with pytest.raises(Misuse, match=f"^{named}: "):
        call(scan, **options)


@pytest.mark.parametrize("call", [score_all, postproc_all, calibrate_all, evaluate_all])
def test_no_scan_is_no_stream(call):
    with pytest.raises(UadError, match="no scan is named"):
        call([])
