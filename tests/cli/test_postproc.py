import json

import nibabel as nib
import numpy as np
import pytest

from uadtools.volume.io import Image, save, to_bytes
from uadtools.volume.stream import read_image, read_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


RAW = ("--median", 1, "--erode", 0, "--min-size", 0)
"""No step but the threshold."""


@pytest.fixture
def scored(phantom):
    """The phantom with a score: low everywhere, a box of 3x3x3 at .8, one of 2x2x2 at .6, and one voxel at .9."""
    brain = phantom.need("brain")
    data = np.where(brain.data > 0, 0.01 + 0.02 * phantom.need("scan").data, 0).astype(np.float32)
    data[5:8, 6:9, 2:5] = 0.8
    data[10:12, 10:12, 3:5] = 0.6
    data[10, 5, 4] = 0.9
    assert (brain.data[data > 0.1] == 1).all()
    said = {"study": "phantom", "history": [{"tool": "uad-heal", "threshold": 0.7}, SCORED]}
    return phantom.adding(Image(data, brain.grid, "score", said))


SCORED = {"tool": "uad-score", "arguments": {"metric": "l1", "signed": "both"}}


@pytest.fixture
def stream(scored):
    return b"".join(map(to_bytes, scored.images.values()))


@pytest.fixture
def path(here, scored):
    save(scored.product, here / "p_score.nii.gz", provenance=False)
    return here / "p_score.nii.gz"


@pytest.fixture
def count(uad, path):
    """Count what is detected with these options."""

    def run(*options):
        (told,) = uad("postproc", path, "--force", "--json", *options).json
        return told["detected_voxels"]

    return run


def test_a_file_becomes_a_file_named_after_it_in_the_current_folder(uad, path, here):
    result = uad("postproc", path, "--threshold", 0.1, *RAW)
    told = "uad-postproc: p: 0.29 mL detected in 3 findings above 0.1 (user)\n"
    assert (result.status, result.out, result.err) == (0, b"", told)
    assert names(here) == ["p_detection.json", "p_detection.nii.gz", "p_score.nii.gz"]
    made = read_image(here / "p_detection.nii.gz")
    assert (made.role, made.data.dtype) == ("detection", np.uint8)
    np.testing.assert_array_equal(made.data, read_image(path).data > 0.1)


def test_the_json_beside_it_continues_the_history(uad, stream, here):
    assert uad("postproc", "-o", "d.nii", *RAW, stdin=stream).status == 0
    kept = json.loads((here / "d.json").read_text())
    assert kept == read_image(here / "d.nii").provenance
    assert [line["tool"] for line in kept["history"]] == ["uad-heal", "uad-score", "uad-postproc"]
    assert kept["history"][-1]["arguments"] == {
        "median": 1, "erode": 0, "threshold": 0.7, "min_size": 0, "dilate": 0, "largest": False, "smooth": 0.0,
        "threshold_from": "model", "native": False,
    }  # fmt: skip


def test_without_provenance_there_is_none(uad, path, here):
    assert uad("postproc", path, "--threshold", 0.1, "--no-provenance").status == 0
    assert names(here) == ["p_detection.nii.gz", "p_score.nii.gz"]


def test_a_stream_becomes_a_stream_with_the_detection_in_front(uad, stream, here):
    result = uad("postproc", *RAW, "-q", stdin=stream)
    assert (result.status, result.err) == (0, "")
    (here / "s.nii").write_bytes(result.out)
    (study,) = read_path(here / "s.nii")
    assert list(study.images) == ["detection", "score", "scan", "brain"]
    assert study.product.data.sum() == 28
    assert uad("postproc", "-", "-o", "-", *RAW, stdin=stream).out == result.out


def test_several_inputs_go_to_a_folder(uad, path, here):
    (here / "q.nii.gz").write_bytes(path.read_bytes())
    assert uad("postproc", path, "q.nii.gz", "--threshold", 0.1, "-o", "out").status == 0
    assert names(here / "out") == [f"{n}_detection.{e}" for n in "pq" for e in ("json", "nii.gz")]
    uad("postproc", path, "q.nii.gz", "-o", "one.nii").fails("postproc", 2, "one.nii", "2 inputs")


def test_nothing_is_overwritten_without_force(uad, path, here):
    (here / "p_detection.nii.gz").write_text("mine")
    uad("postproc", path).fails("postproc", 1, "p_detection.nii.gz", "exists (--force replaces it)")
    assert (here / "p_detection.nii.gz").read_text() == "mine"
    assert uad("postproc", path, "--threshold", 0.1, "--force").status == 0


def test_threshold_is_strict_and_has_an_effect(count, path):
    data = read_image(path).data
    for level in (0, 0.1, 0.6, float(np.float32(0.8)), 0.85, 1):
        assert count(*RAW, "--threshold", level) == (data > np.float32(level)).sum()


def test_threshold_otsu(uad, path):
    (told,) = uad("postproc", path, *RAW, "--threshold", "otsu", "--json").json
    assert told["threshold_from"] == "otsu"
    assert told["detected_voxels"] == 27 + 8 + 1


def test_threshold_model_is_the_default_and_noted_by_uad_heal(uad, stream, here):
    (told,) = uad("postproc", "--json", *RAW, stdin=stream).json
    assert (told["threshold"], told["threshold_from"], told["detected_voxels"]) == (0.7, "model", 28)


def test_adapt_needs_a_noise_floor_and_raises_the_threshold_by_it(uad, path, here):
    uad("postproc", path, *RAW, "--threshold", 0.3, "--adapt").fails("postproc", 1, "--adapt: no noise floor")
    chain = {"median": 1, "erode": 0, "min_size": 0, "dilate": 0, "largest": False}
    known = {"threshold": 0.1, "rule": "scanwise", "way": {"voxels": [2.0, 2.0, 2.0]}, "chain": chain, "floor": 1e-5}
    (here / "t.json").write_text(json.dumps(known))
    words = ("postproc", path, "--threshold", "t.json", "--json", "--force")
    plain, told = (uad(*words, *more).json[0] for more in ((), ("--adapt",)))
    assert told["raised"] > plain["raised"] == 1
    assert told["threshold"] == pytest.approx(0.1 * told["raised"])


def test_threshold_model_that_is_not_known_is_told(uad, path):
    result = uad("postproc", path, *RAW, "--json")
    assert result.json[0]["threshold_from"] == "otsu"
    assert result.err.startswith("uad-postproc: p: no threshold is known for this way of scoring, Otsu's is taken")
    assert uad("postproc", path, *RAW, "--force", "-q").err == ""


@pytest.mark.parametrize(
    "content",
    [
        {"threshold": 0.7},
        {"threshold": None, "pooled": {"best_threshold": 0.7}},
        {"pooled": {"best_threshold": 0.7}},
    ],
)
def test_threshold_from_a_file(content, uad, path, here):
    (here / "t.json").write_text(json.dumps(content))
    (told,) = uad("postproc", path, *RAW, "--threshold", "t.json", "--json").json
    assert (told["threshold"], told["threshold_from"], told["detected_voxels"]) == (0.7, "user", 28)


def test_threshold_from_the_report_of_uad_eval(uad, path, here, mask):
    image = nib.load(path)
    nib.save(nib.Nifti1Image((image.get_fdata() > 0.5).astype("u1"), image.affine), here / "truth.nii")
    (here / "report.json").write_bytes(uad("eval", path, "--truth", "truth.nii", "--best", "--json").out)
    (told,) = uad("postproc", path, *RAW, "--threshold", "report.json", "--json").json
    assert told["threshold"] == json.loads((here / "report.json").read_text())["pooled"]["best_threshold"]
    assert told["detected_voxels"] == 27 + 8 + 1


@pytest.mark.parametrize(
    "content", ["", "[]", "3", "{}", '{"threshold": null}', '{"threshold": "x"}', '{"threshold": 1e999}', "\xff"]
)
def test_a_file_without_threshold_is_told(content, uad, path, here):
    (here / "t.json").write_bytes(content.encode("latin-1"))
    uad("postproc", path, "--threshold", "t.json").fails("postproc", 1, "t.json", "threshold")


def test_thresholds_that_are_none_are_refused(uad, path):
    for text in ("x", "-1", "nan", "inf"):
        uad("postproc", path, "--threshold", text).fails("postproc", 2, "--threshold", text)
    uad("postproc", path, "--threshold", "no.json").fails("postproc", 1, "no.json", "No such file")


def test_median_has_an_effect_and_must_be_odd(uad, path, count):
    assert count("--erode", 0, "--min-size", 0, "--threshold", 0.1, "--median", 3) < 27
    uad("postproc", path, "--median", 4).fails("postproc", 2, "--median", "odd")
    uad("postproc", path, "--median", 0).fails("postproc", 2, "--median")


def test_erode_has_an_effect(uad, path, count):
    found = [count("--median", 1, "--min-size", 0, "--threshold", 0.1, "--erode", n) for n in (0, 2, 50)]
    assert found[0] > found[1] > found[2] == 0
    uad("postproc", path, "--erode", -1).fails("postproc", 2, "--erode")


def test_min_size_has_an_effect(uad, path, count):
    step = ("--median", 1, "--erode", 0, "--threshold", 0.1, "--min-size")
    assert [count(*step, n) for n in (0, 1, 2, 8, 9, 27, 28)] == [36, 36, 35, 35, 27, 27, 0]
    uad("postproc", path, "--min-size", -1).fails("postproc", 2, "--min-size")


def test_dilate_has_an_effect(uad, path, count):
    assert count(*RAW, "--threshold", 0.85, "--dilate", 1) == 7
    uad("postproc", path, "--dilate", -1).fails("postproc", 2, "--dilate")


def test_smooth_has_an_effect_and_is_a_deviation(uad, path, count):
    assert count(*RAW, "--threshold", 0.1, "--smooth", 3) < count(*RAW, "--threshold", 0.1)
    uad("postproc", path, "--smooth", "nan").fails("postproc", 2, "--smooth")
    uad("postproc", path, "--smooth", -1).fails("postproc", 2, "--smooth")


def test_largest_has_an_effect(count):
    assert count(*RAW, "--threshold", 0.1, "--largest") == 27


def test_defaults_are_those_of_the_papers(uad, path, here):
    uad("postproc", path, "--threshold", 0.1)
    used = json.loads((here / "p_detection.json").read_text())["history"][-1]["arguments"]
    assert used | {"median": 5, "smooth": 0.0, "erode": 3, "min_size": 7, "dilate": 0, "largest": False} == used


def test_brain_limits_the_detection(uad, path, mask, here):
    assert uad("postproc", path, *RAW, "--threshold", 0, "--brain", mask).status == 0
    np.testing.assert_array_equal(read_image(here / "p_detection.nii.gz").data, read_image(mask).data)


def test_brain_goes_before_that_of_the_stream(uad, stream, mask):
    (told,) = uad("postproc", *RAW, "--threshold", 0, "--brain", mask, "--json", stdin=stream).json
    assert told["detected_voxels"] == read_image(mask).data.sum()


def test_native_lands_on_the_grid_of_the_original_scan(uad, scan, tiny_model, here):
    prepared = uad("preprocess", scan, "--model", tiny_model, "-o", "-").out
    scored = uad("score", stdin=uad("heal", "--model", tiny_model, stdin=prepared).out).out
    assert uad("postproc", "--native", *RAW, "--threshold", 0, "-o", "native.nii.gz", stdin=scored).status == 0
    assert uad("postproc", *RAW, "--threshold", 0, "-o", "model.nii.gz", stdin=scored).status == 0
    native, model, original = (nib.load(here / name) for name in ("native.nii.gz", "model.nii.gz", "raw.nii.gz"))
    assert native.shape == original.shape
    np.testing.assert_allclose(native.affine, original.affine, atol=1e-5)
    assert model.shape == (16, 16, 8)
    overlap = (native.get_fdata() > 0) & (original.get_fdata() > 0)
    assert overlap.sum() > 0.8 * (original.get_fdata() > 0).sum()


def test_native_works_from_a_file_alone(uad, scan, tiny_model, here):
    prepared = uad("preprocess", scan, "--model", tiny_model, "-o", "-").out
    uad("score", "-o", "raw_score.nii.gz", stdin=uad("heal", "--model", tiny_model, stdin=prepared).out)
    (told,) = uad("postproc", "raw_score.nii.gz", "--native", *RAW, "--threshold", 0, "--json").json
    made = nib.load(here / told["output"])
    assert made.shape == (13, 14, 9)
    assert told["detected_ml"] == pytest.approx(np.sum(made.dataobj) * 2.5**3 / 1000)


def test_native_without_a_chain_is_told(uad, path, here):
    uad("postproc", path, "--native", "--threshold", 0).fails("postproc", 1, "p: ", "which grid", "uad-preprocess")
    assert names(here) == ["p_score.nii.gz"]


def test_json_tells_what_was_detected(uad, path):
    (told,) = uad("postproc", path, *RAW, "--threshold", 0.1, "--json").json
    assert told == {
        "name": "p", "output": "p_detection.nii.gz", "threshold": 0.1, "threshold_from": "user",
        "detected_voxels": 36, "detected_ml": pytest.approx(36 * 0.008), "findings": 3,
        "withheld": False, "concerns": [], "unlike": None, "raised": 1.0,
    }  # fmt: skip


def test_json_and_a_stream_do_not_share_standard_output(uad, path):
    uad("postproc", path, "--json", "-o", "-").fails("postproc", 2, "--json", "-o FILE")


def test_the_volume_and_the_findings_are_told_and_quiet_is_silent(uad, path):
    options = (path, *RAW, "--threshold", 0.1, "--force")
    assert uad("postproc", *options).err == "uad-postproc: p: 0.29 mL detected in 3 findings above 0.1 (user)\n"
    assert uad("postproc", *options, "-q").err == ""


def test_the_score_map_of_another_program_is_taken(uad, path, here):
    """It has no role, and so would be a scan."""
    nib.save(nib.Nifti1Image(nib.load(path).get_fdata(), nib.load(path).affine), "theirs.nii")
    (told,) = uad("postproc", "theirs.nii", *RAW, "--threshold", 0.1, "--json").json
    assert told["detected_voxels"] == 36


def test_what_uad_preprocess_made_is_no_score(uad, scan, tiny_model):
    uad("preprocess", scan, "--model", tiny_model)
    uad("postproc", "raw_preprocessed.nii.gz").fails("postproc", 1, "raw: no score map", "scan", "uad-score")


def test_volume_chooses_of_a_4d_image(uad, path):
    data = nib.load(path).get_fdata()
    nib.save(nib.Nifti1Image(np.stack([data * 0, data], axis=-1), nib.load(path).affine), "four.nii")
    uad("postproc", "four.nii", "--threshold", 0.1).fails("postproc", 1, "four.nii", "2 volumes", "--volume N")
    (told,) = uad("postproc", "four.nii", *RAW, "--threshold", 0.1, "--volume", 1, "--json").json
    assert told["detected_voxels"] == 36


def test_version(uad):
    assert uad("postproc", "--version").out.startswith(b"uadtools ")


def test_a_raw_scan_is_told_to_be_none_of_its_scores(uad, scan):
    result = uad("postproc", scan, "--threshold", "otsu", "--json")
    (told,) = result.json
    assert [concern["code"] for concern in told["concerns"]] == ["looks-unlike"]
    assert "raw: looks like a scan, not like a score map" in result.err
    assert uad("postproc", scan, "--threshold", "otsu", "--force", "--strict", "-q").status == 3


@pytest.mark.parametrize("role", ["scan", "healed", "detection"])
def test_what_says_that_it_is_no_score_is_refused(role, uad, path, here):
    image = read_image(path)
    save(Image(image.data, image.grid, role, {"history": [{"tool": "uad-x"}]}), here / "x.nii.gz")
    uad("postproc", "x.nii.gz").fails("postproc", 1, "no score map in it")


def test_a_brain_mask_of_another_value_is_read_and_told(uad, path, here):
    image = nib.load(path)
    for name, value in (("one", 1), ("all", 255)):
        nib.save(nib.Nifti1Image(((image.get_fdata() > 0) * value).astype("u1"), image.affine), here / f"{name}.nii")
    words = ("postproc", path, *RAW, "--threshold", 0.1, "--force", "--json")
    one, other = (uad(*words, "--brain", f"{name}.nii") for name in ("one", "all"))
    (plain,), (guessed,) = one.json, other.json
    assert [concern["code"] for concern in guessed["concerns"]] == ["labels"]
    assert plain == guessed | {"concerns": []}
    assert "all.nii: a mask of the value 255, all of which counts" in other.err
    uad(*words, "--brain", path).fails("postproc", 1, "is a score, not a mask of the brain")


def test_the_volume_after_registration_is_the_persons(uad, scored, registered):
    """27, 8 and 1 voxels, of 8 mm3 each on the template, are 36 mm3 of the person."""
    stream = b"".join(map(to_bytes, registered(scored).images.values()))
    made = uad("postproc", "--threshold", 0.5, *RAW, "-o", "d.nii", "--json", stdin=stream)
    assert (made.json[0]["detected_voxels"], made.json[0]["detected_ml"]) == (36, pytest.approx(0.036))
    assert "phantom: 0.04 mL detected in 3 findings above 0.5 (user)" in made.err
