"""A method that heals nothing, from tool to tool: its map `anomaly` takes the healed scan's place."""

import shutil

import nibabel as nib
import numpy as np
import pytest

from uadtools.volume.io import to_bytes
from uadtools.volume.stream import read_image, read_path

ANDI = ("--method", "andi", "-t", 60, "--steps", 3)
CHAIN = ("--median", 1, "--erode", 0, "--min-size", 1)


@pytest.fixture
def made(uad, prepared, tiny_model, here):
    """The prepared scan p.nii.gz and what the method made of it, p_anomaly.nii.gz."""
    result = uad("heal", prepared, "--model", tiny_model, *ANDI)
    assert (result.status, result.out, result.err) == (0, b"", "")
    return here / "p_anomaly.nii.gz"


def test_the_map_is_the_product_and_says_so(made, prepared, here):
    assert sorted(path.name for path in here.glob("*.nii.gz")) == ["p.nii.gz", "p_anomaly.nii.gz"]
    image, brain = read_image(made), read_image(prepared).data > 0
    assert image.role == "anomaly"
    np.testing.assert_array_equal(image.data > 0, brain)
    assert image.data[brain].std() > 0
    (line,) = image.provenance["history"]
    assert line["product"] == "anomaly"
    assert line["arguments"] == {"method": "andi", "t": [60], "steps": 3, "samples": 1, "combine": "mean"}


def test_files_folders_and_a_pipe_give_the_same_score(uad, prepared, made, tiny_model, here):
    assert uad("score", prepared, made, "-o", "files.nii.gz").status == 0
    assert uad("score", ".", "-o", "folder/").status == 0
    stream = uad("heal", prepared, "--model", tiny_model, *ANDI, "-o", "-").out
    assert uad("score", "-o", "pipe.nii.gz", stdin=stream).status == 0
    files, folder, pipe = (read_image(here / name) for name in ("files.nii.gz", "folder/p_score.nii.gz", "pipe.nii.gz"))
    for other in (folder, pipe):
        np.testing.assert_array_equal(files.data, other.data)
    np.testing.assert_array_equal(files.data, read_image(made).data)
    assert files.provenance["history"][-1]["arguments"] == {"metric": "anomaly", "signed": "both"}


def test_a_stream_holds_the_map_and_no_healed_scan(uad, phantom, tiny_model, here):
    stream = uad("heal", "--model", tiny_model, *ANDI, stdin=b"".join(map(to_bytes, phantom.images.values()))).out
    (here / "s.nii").write_bytes(stream)
    (study,) = read_path(here / "s.nii")
    assert list(study.images) == ["anomaly", "scan", "brain"]


def test_a_folder_with_healed_scans_means_these(uad, prepared, made, tiny_model, here):
    assert uad("heal", prepared, "--model", tiny_model, "-t", 60).status == 0
    (told,) = uad("score", ".", "-o", "folder/", "--json").json
    assert told["metric"] == "l1"


@pytest.mark.parametrize("option", [("--signed", "dark"), ("--metric", "l1"), ("--metric", "ssim")])
def test_what_needs_a_healed_scan_is_refused(uad, prepared, made, option):
    said = f"{' '.join(option)} needs a healed scan, and its method heals nothing"
    uad("score", prepared, made, *option).fails("score", 1, "p: ", said)


def test_a_vote_on_nothing_is_refused(uad, prepared, tiny_model):
    words = ("heal", prepared, "--model", tiny_model, "--method", "andi", "-t", 60, "-t", 80, "--combine", "vote")
    uad(*words).fails("heal", 1, "--combine vote: --method andi heals nothing")
    uad("heal", prepared, "--model", tiny_model, *ANDI, "--low", 61).fails("heal", 1, "--low 61: outside 0 to 60")


def test_draws_several_t_and_several_models_have_the_mean_of_their_maps(uad, prepared, made, tiny_model, here):
    one = read_image(made).data
    shutil.copy(tiny_model, here / "again.safetensors")
    both = ("--model", tiny_model, "--model", "again.safetensors")
    assert uad("heal", prepared, *both, *ANDI, "-o", "both.nii.gz").status == 0
    np.testing.assert_allclose(read_image(here / "both.nii.gz").data, one, rtol=1e-6)
    assert read_image(here / "both.nii.gz").role == "anomaly"
    assert uad("heal", prepared, "--model", tiny_model, *ANDI[:2], "-t", 80, "--steps", 3, "-o", "b.nii.gz").status == 0
    words = (*ANDI, "-t", 80, "-o", "mean.nii.gz")
    assert uad("heal", prepared, "--model", tiny_model, *words).status == 0
    other, mean = (read_image(here / name).data for name in ("b.nii.gz", "mean.nii.gz"))
    np.testing.assert_allclose(mean, (one + other) / 2, rtol=1e-5)
    assert uad("heal", prepared, "--model", tiny_model, *ANDI, "--samples", 2, "-o", "two.nii.gz").status == 0
    assert np.abs(read_image(here / "two.nii.gz").data - one).max() > 0


def test_from_the_map_to_a_report(uad, prepared, made, mask, here):
    assert uad("score", prepared, made).status == 0
    assert uad("postproc", "p_score.nii.gz", "--threshold", "otsu", *CHAIN).status == 0
    for predicted in ("p_score.nii.gz", "p_anomaly.nii.gz"):
        told = uad("eval", predicted, "--truth", mask, "--scan", prepared, "--json")
        assert told.status == 0, told.err
        (scan,) = told.json["scans"]
        assert 0 < scan["auprc"] <= 1
        assert scan.get("ssim") is None
    report = uad("report", "p_detection.nii.gz", "-o", "p.html")
    assert report.status == 0, report.err
    page = (here / "p.html").read_text()
    assert "anomaly score" in page
    assert "How anomalous each voxel is was told by the method andi (Frotscher et al. 2024 (ANDi))" in page
    assert "healed (not given)" not in page
    assert "uad-heal SCAN.nii.gz --model tiny.safetensors --method andi -t 60 --steps 3" in page


def test_all_steps_at_once(uad, scan, tiny_model, here):
    words = ("--set", "postproc.median=1", "--set", "postproc.erode=0", "--threshold", "otsu", "--keep")
    done = uad("run", scan, "--model", tiny_model, *ANDI[:4], "--set", "heal.steps=3", "-o", "out", *words)
    assert done.status == 0, done.err
    assert {"raw_anomaly.nii.gz", "raw_score.nii.gz", "raw_detection.nii.gz"} <= {p.name for p in here.glob("out/*")}
    assert not list(here.glob("out/*healed*"))


def test_a_data_set_from_step_to_step(uad, prepared, tiny_model, here):
    folder = here / "set/sub-1/anat"
    folder.mkdir(parents=True)
    shutil.copy(prepared, folder / "sub-1_desc-preproc_T1w.nii.gz")
    assert uad("heal", "--bids", "set", "--model", tiny_model, *ANDI).status == 0
    assert (folder / "sub-1_desc-found_T1w.nii.gz").exists()
    scored = uad("score", "--bids", "set")
    assert (scored.status, scored.err) == (0, "")
    assert read_image(folder / "sub-1_desc-anomaly_T1w.nii.gz").role == "score"
    assert uad("postproc", "--bids", "set", "--threshold", "otsu", *CHAIN).status == 0


def test_it_is_compared(uad, compared, prepared, tiny_model, here):
    data = read_image(prepared).data
    for name in "ab":
        nib.save(nib.Nifti1Image(data, np.diag([2, 2, 2, 1])), here / f"{name}.nii.gz")
    how = f'model = "{tiny_model}"\nheal = {{ method = "andi", t = 60, steps = 3 }}'
    row = compared("a.nii.gz", "b.nii.gz", {"threshold": 'heal = { method = "threshold" }', "andi": how})["andi"]
    assert row["auprc"]["value"] > 0
    assert row["healthy_l1"] is row["kld"] is None
    assert uad("bench", "plan.toml", "-o", "out").status == 0
