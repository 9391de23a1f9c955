import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from uadtools.healing.plan import plan
from uadtools.models.checkpoint import bundled, file_hash, located, read_config
from uadtools.scoring.postproc import Steps
from uadtools.scoring.threshold_files import read_steps
from uadtools.volume.io import Image, save, to_bytes
from uadtools.volume.stream import Study

RAW = ("--median", 1, "--erode", 0, "--min-size", 1)
"""No step but the threshold."""
HISTORY = [
    {"tool": "uad-heal", "arguments": {"method": "sss", "t": [200]}, "model": "tiny:1", "threshold": 0.7},
    {"tool": "uad-score", "arguments": {"metric": "l1", "signed": "both"}},
]


@pytest.fixture
def scored(phantom):
    """Make a scored study whose highest score is `top`; with a lesion of 4x4x3 voxels, if it is to score something."""
    brain = phantom.need("brain")

    def make(name, top, lesion=None):
        about = {"study": name, "history": HISTORY}
        data = np.where(brain.data > 0, 0.001, 0).astype(np.float32)
        data[8, 8, 4] = top
        images = {
            "score": Image(data, brain.grid, "score", about),
            "brain": Image(brain.data, brain.grid, "brain", about),
        }
        if lesion is not None:
            truth = np.zeros(brain.grid.shape, np.uint8)
            truth[4:8, 4:8, 2:5] = 1
            data[truth > 0] = lesion
            images["truth"] = Image(truth, brain.grid, "truth", about)
        return Study(name, images)

    return make


@pytest.fixture
def files(here, scored):
    """Twenty healthy scans: h01_score.nii.gz scores .01, and so on; the highest is .2."""
    paths = []
    for k in range(1, 21):
        paths.append(here / f"h{k:02}_score.nii.gz")
        save(scored(f"h{k:02}", k / 100).product, paths[-1])
    return paths


@pytest.fixture
def lesioned(here, scored):
    """Two scans with a lesion, and their truths: --power ... --truth ..."""
    words = {"--power": [], "--truth": []}
    for name, value in (("found", 0.5), ("missed", 0.1)):
        study = scored(name, 0.05, value)
        for option, role in (("--power", "score"), ("--truth", "truth")):
            words[option].append(here / f"{name}_{role}.nii.gz")
            save(study.need(role), words[option][-1])
    return ["--power", *words["--power"], "--truth", *words["--truth"]]


@pytest.fixture
def stream(scored):
    """The same healthy scans and two lesioned ones among them, as a pipe."""
    studies = [scored(f"h{k:02}", k / 100) for k in range(1, 21)]
    studies[3:3] = [scored("found", 0.05, 0.5), scored("missed", 0.05, 0.1)]
    return b"".join(to_bytes(image) for study in studies for image in study.images.values())


def test_a_file_is_written_that_postproc_takes(uad, files, here):
    result = uad("calibrate", *files, *RAW, "-o", "t.json")
    assert (result.status, result.err) == (0, "")
    report = json.loads((here / "t.json").read_text())
    assert report["threshold"] == float(np.float32(0.2))
    assert (report["rule"], report["level"], report["healthy"]["needed"]) == ("scanwise", 0.05, 19)
    assert report["chain"] == {"median": 1, "smooth": 0.0, "erode": 0, "min_size": 1, "dilate": 0, "largest": False}
    (told,) = uad("postproc", files[-1], "--threshold", "t.json", "--json").json
    assert (told["threshold_from"], told["detected_voxels"]) == ("scanwise", 0)
    used = json.loads((here / "h20_detection.json").read_text())["history"][-1]["arguments"]
    assert used | report["chain"] == used


def test_other_steps_than_the_files_are_refused_by_postproc(uad, files):
    uad("calibrate", *files, *RAW, "-o", "t.json")
    uad("postproc", files[0], "--threshold", "t.json", "--median", 3).fails("postproc", 1, "--median 3", "found with 1")
    uad("postproc", files[0], "--threshold", "t.json", "--largest").fails("postproc", 1, "--largest")
    assert uad("postproc", files[0], "--threshold", "t.json", *RAW).status == 0


def test_a_file_of_a_filter_wider_than_the_scan_is_named(uad, files, here):
    uad("calibrate", *files, *RAW, "-o", "t.json")
    report = json.loads((here / "t.json").read_text())
    report["chain"]["median"] = 999
    (here / "t.json").write_text(json.dumps(report))
    said = "h01: t.json: median filter of size 999: wider than the scan"
    uad("postproc", files[0], "--threshold", "t.json").fails("postproc", 1, said)
    uad("postproc", files[0], "--median", 999).fails("postproc", 1, "error: h01: median filter of size 999")


def test_scores_made_otherwise_are_refused_by_postproc_unless_the_threshold_is_a_number(uad, files, scored, here):
    uad("calibrate", *files, *RAW, "-o", "t.json")
    save(scored("x", 0.3).product, here / "x_score.nii.gz", provenance=False)
    uad("postproc", "x_score.nii.gz", "--threshold", "t.json").fails("postproc", 1, "x: t.json", "unknown, not")
    (told,) = uad("postproc", "x_score.nii.gz", "--threshold", 0.2, *RAW, "--json").json
    assert (told["threshold_from"], told["detected_voxels"]) == ("user", 1)


@pytest.mark.parametrize("rule", ["scanwise", "voxelwise"])
def test_the_bundled_models_thresholds_have_names(rule, uad, files, scored, here):
    """They are for its own scores alone; of scans that no bundled model healed, the default's are asked for."""
    uad("postproc", files[0], "--threshold", rule).fails("postproc", 1, rule, "any-small")
    product = scored("x", 0.3).product
    heal, score = product.provenance["history"]
    history = [{**heal, "model": "t1-ddpm:0"}, score]
    save(replace(product, provenance={"history": history}), here / "x_score.nii.gz")
    said = uad("postproc", "x_score.nii.gz", "--threshold", rule)
    said.fails("postproc", 1, f"t1-ddpm.{rule}.json", "t1-ddpm:0, not t1-ddpm:")


def test_a_bundled_model_without_such_a_threshold_is_told(uad, files, here, monkeypatch):
    monkeypatch.setattr("uadtools.scoring.threshold_files.default_path", lambda: here / "new.safetensors")
    told = ("--threshold scanwise: none ships for new", "uad-calibrate")
    uad("postproc", files[0], "--threshold", "scanwise").fails("postproc", 1, *told)


SHIPPED = [path for model in bundled() for path in sorted(model.parent.glob(f"{model.stem}.*wise.json"))]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_bundled_thresholds_are_for_a_bundled_model_and_its_defaults(path):
    """Else: the last parts of experiments/train_t1_ddpm.sh and experiments/release_model.py."""
    name, rule, _ = path.name.split(".")
    model = located(Path(name))
    found, config = read_steps(path), read_config(model)
    assert found.rule == rule
    assert found.chain == Steps(**config.defaults.chain.model_dump()).chain
    assert found.way["uad-heal model"] == f"{name}:{file_hash(model)}"
    assert found.way["uad-score metric"] == config.defaults.metric
    for argument, value in plan(config).arguments.items():
        assert found.way[f"uad-heal {argument}"] == value


def test_the_diffusion_model_ships_with_both_thresholds():
    assert {path.name for path in SHIPPED} >= {"t1-ddpm.scanwise.json", "t1-ddpm.voxelwise.json"}


def test_calibrated_files_are_thresholds_for_uad_eval_too(uad, files, lesioned):
    uad("calibrate", *files, *RAW, "-o", "t.json")
    report = uad("eval", lesioned[1], "--truth", lesioned[4], "--threshold-from", "t.json", "--json").json
    assert report["threshold"] == float(np.float32(0.2))
    uad("calibrate", *files, *RAW[2:], "--median", 3, "-o", "m.json")
    result = uad("eval", lesioned[1], "--truth", lesioned[4], "--threshold-from", "m.json")
    result.fails("eval", 1, "m.json", "post-processed", "uad-postproc")


def test_a_scan_counts_once(uad, files):
    uad("calibrate", *files, files[0], *RAW).fails("calibrate", 1, "the same scores", "give each scan once")


def test_json_goes_to_standard_output(uad, files, here):
    result = uad("calibrate", *files, *RAW, "--json", "-o", "t.json")
    assert result.json == json.loads((here / "t.json").read_text())
    assert uad("calibrate", *files, *RAW, "-q").out == b""


def test_what_is_promised_is_said_out_loud(uad, files, lesioned):
    text = uad("calibrate", *files, *RAW, *lesioned).out.decode()
    for words in (
        "threshold  0.2 (scanwise)",
        "at most 5% of new healthy scans",
        "20 healthy ones; this promise needs at least 19",
        "the rate is under 14%",
        "false alarms in 0 of these 20",
        "1 of 2 lesions found in 2 scans",
        "0 to 0.5 mL: 1 of 2  50%",
        "0.19 mL detected in a scan, 0.38 mL are lesion",
    ):
        assert words in text
    assert "power      unknown" in uad("calibrate", *files, *RAW).out.decode()


def test_a_threshold_that_silences_the_detector_is_told(uad, files, scored, here):
    for k in range(20):
        save(scored(f"h{k}", 0.9 + k / 1000).product, here / f"loud{k}_score.nii.gz")
    study = scored("x", 0.05, 0.5)
    for role in ("score", "truth"):
        save(study.need(role), here / f"x_{role}.nii.gz")
    loud = sorted(here.glob("loud*.nii.gz"))
    words = ("--power", "x_score.nii.gz", "--truth", "x_truth.nii.gz")
    result = uad("calibrate", *loud, *RAW, *words)
    told = "warning: this threshold silences the detector for lesions of 0 to 0.5 mL: 0 of 1 found"
    assert result.err == f"uad-calibrate: {told}\n"
    assert uad("calibrate", *loud, *RAW, *words, "-q").err == ""


def test_a_pipe_may_carry_healthy_and_lesioned_scans(uad, stream, files, lesioned):
    made = uad("calibrate", *RAW, "--json", stdin=stream).json
    assert made == uad("calibrate", *files, *RAW, *lesioned, "--json").json
    assert (made["healthy"]["scans"], made["power"]["scans"], made["power"]["recall"]) == (20, 2, 0.5)
    assert uad("calibrate", "-", *RAW, "--json", stdin=stream).json == made


def test_rule_and_level_have_an_effect(uad, files):
    def threshold(*options):
        return uad("calibrate", *files, *RAW, "--json", *options).json["threshold"]

    assert threshold("--rule", "scanwise", "--level", 0.1) == float(np.float32(0.19))
    assert threshold("--rule", "voxelwise", "--level", 0.04762) == float(np.float32(0.2))
    assert threshold("--rule", "voxelwise", "--level", 0.051) == float(np.float32(0.001))
    assert threshold("--rule", "percentile") == pytest.approx(0.001)
    assert threshold("--rule", "percentile", "--percentile", 100) == float(np.float32(0.2))


def test_best_dice_from_labelled_scans(uad, lesioned, files):
    scores, truths = lesioned[1:3], lesioned[4:]
    report = uad("calibrate", *scores, "--truth", *truths, "--rule", "best-dice", *RAW, "--json").json
    assert report["threshold"] == pytest.approx(0.075)  # midway between background and lesion
    assert (report["best_dice"], report["healthy"]["scans"], report["power"]["scans"]) == (1, 0, 2)
    text = uad("calibrate", *scores, "--truth", *truths, "--rule", "best-dice", *RAW).out.decode()
    assert "promise    none: the highest Dice of these scans' voxels, 1.000" in text


def test_options_of_the_chain_have_an_effect(uad, files):
    def threshold(*options):
        return uad("calibrate", *files, *RAW, "--json", *options).json["threshold"]

    low = float(np.float32(0.001))
    assert threshold("--median", 3) == threshold("--min-size", 2) == low
    for word, value in (("--erode", 1), ("--dilate", 2)):
        assert uad("calibrate", *files, *RAW, word, value, "--json").json["chain"][word[2:]] == value
    assert uad("calibrate", *files, *RAW, "--largest", "--json").json["chain"]["largest"] is True


def test_options_without_effect_are_refused(uad, files):
    for words in (
        ("--rule", "percentile", "--level", 0.1),
        ("--rule", "best-dice", "--level", 0.1),
        ("--percentile", 99),
        ("--per", "slice"),
        ("--reference", "n.nii.gz", "--level", 0.1),
        ("--reference", "n.nii.gz", "-o", "t.json"),
        ("--reference", "n.nii.gz", "--min-size", 1),
    ):
        uad("calibrate", *files, *words).fails("calibrate", 2, words[-2].replace("-o", "--output"), "effect")


def test_values_out_of_range_are_refused(uad, files):
    uad("calibrate", *files, "--level", 0).fails("calibrate", 1, "level 0", "between 0 and 1")
    uad("calibrate", *files, "--median", 4).fails("calibrate", 2, "--median", "odd")
    uad("calibrate", *files, "--rule", "percentile", "--percentile", 101).fails("calibrate", 2, "--percentile")


def test_too_few_scans_are_told_how_many_are_needed(uad, files):
    uad("calibrate", *files, *RAW, "--level", 0.01).fails("calibrate", 1, "20 healthy scans", "99", "from 0.048 on")


def test_numbers_of_files_must_fit(uad, files, lesioned, stream):
    uad("calibrate", *files, *lesioned[:3]).fails("calibrate", 2, "--truth", "one for each scan of --power")
    uad("calibrate", *files, *lesioned[:-1]).fails("calibrate", 2, "--truth", "1 truths for 2 scans")
    uad("calibrate", *files, "--truth", *lesioned[4:]).fails("calibrate", 2, "--truth", "2 truths for 20 scans")
    few = uad("calibrate", "--truth", *lesioned[4:], *RAW, stdin=stream)
    few.fails("calibrate", 2, "--truth", "2 truths, and there are more scans")


def test_nothing_is_overwritten_without_force(uad, files, here):
    (here / "t.json").write_text("mine")
    uad("calibrate", *files, *RAW, "-o", "t.json").fails("calibrate", 1, "t.json", "exists (--force replaces it)")
    assert (here / "t.json").read_text() == "mine"
    assert uad("calibrate", *files, *RAW, "-o", "t.json", "--force").status == 0


def test_verbose_names_the_scans(uad, files):
    assert uad("calibrate", *files, *RAW, "-v").lines[:2] == ["uad-calibrate: h01", "uad-calibrate: h02"]
    assert uad("calibrate", *files, *RAW, "-v", "-q").err == ""


def test_volume_chooses_of_a_4d_image(uad, files, here):
    import nibabel as nib

    data, affine = nib.load(files[-1]).get_fdata(), nib.load(files[-1]).affine
    nib.save(nib.Nifti1Image(np.stack([data, 2 * data], axis=-1), affine), "four.nii")
    report = uad("calibrate", "four.nii", *RAW, "--rule", "percentile", "--percentile", 100, "--volume", 1, "--json")
    assert report.json["threshold"] == pytest.approx(0.4)


def test_a_reference_is_what_healthy_scores_are_like(uad, files, stream, here):
    told = uad("calibrate", *files, "--reference", "n.nii.gz", "--per", "slice", "--json").json
    assert (told["residuals"], told["per"], told["scans"]) == ("n.nii.gz", "slice", 20)
    assert uad("calibrate", *files, "--reference", "n.nii.gz").fails("calibrate", 1, "n.nii.gz", "exists")
    assert uad("calibrate", "--reference", "m.nii.gz", "--json", stdin=stream).json["scans"] == 20


def test_the_old_name_of_reference_works_and_names_the_new_one(uad, files, here):
    line = "uad-calibrate: --residuals is called --reference (the old name works for this version only)"
    assert uad("calibrate", *files, "--residuals", "n.nii.gz").lines == [line]
    assert uad("calibrate", *files, "--reference", "m.nii.gz").err == ""
    assert (here / "n.nii.gz").read_bytes() == (here / "m.nii.gz").read_bytes()
    assert b"--residuals" not in uad("calibrate", "--help").out


def test_truths_belong_to_scans_by_order_or_by_name(uad, files, lesioned, here):
    power, truth = (lesioned[lesioned.index(option) + 1 :][:2] for option in ("--power", "--truth"))
    words = ("calibrate", *files, *RAW, "--power", *power, "--truth", *truth[::-1], "--json")
    for made, codes in ((uad(*words), ["pairs"]), (uad(*words, "--match"), [])):
        assert [concern["code"] for concern in made.json["concerns"]] == codes, made.err
    assert made.json == uad("calibrate", *files, *RAW, "--power", *power, "--truth", *truth, "--json").json
    uad("calibrate", *files, "--match").fails("calibrate", 2, "--match: pairs files, and there is no --truth")
    (here / "other.nii.gz").write_bytes(truth[0].read_bytes())
    uad(*words[:-4], "--truth", truth[0], "other.nii.gz", "--match").fails("calibrate", 1, "no file fits its name")


def test_version(uad):
    assert uad("calibrate", "--version").out.startswith(b"uadtools ")


def test_plain_scores_of_other_programs_have_truths(uad, here):
    """One that says nothing of itself is a score with a truth beside it, too."""
    affine, brain = np.diag([2.0, 2, 2, 1]), np.zeros((16, 16, 16), bool)
    brain[2:14, 2:14, 2:14] = True
    for i in range(6):
        data = np.where(brain, 0.01 + 0.001 * np.random.default_rng(i).random(brain.shape), 0).astype(np.float32)
        data[6:10, 6:10, 6:10] = 0.5 if i < 2 else 0.1 + 0.01 * i
        nib.save(nib.Nifti1Image(data, affine), here / f"s{i}.nii")
        nib.save(nib.Nifti1Image((data >= 0.1).astype("u1"), affine), here / f"t{i}.nii")
    sick, truths = ("s0.nii", "s1.nii"), ("--truth", "t0.nii", "t1.nii")
    made = uad("calibrate", *sick, *truths, "--rule", "best-dice", *RAW, "--json")
    assert 0.011 < made.json["threshold"] < 0.5
    assert (made.json["best_dice"], made.json["concerns"], made.err) == (1, [], "")
    healthy = [f"s{i}.nii" for i in range(2, 6)]
    made = uad("calibrate", *healthy, "--level", 0.2, "--power", *sick, *truths, *RAW, "--json").json
    assert (made["healthy"]["scans"], made["power"]["found"]) == (4, 2)
    made = uad("calibrate", *healthy, "--level", 0.2, "--power", *sick, "--truth", "t1.nii", "t0.nii", *RAW, "--json")
    assert [concern["code"] for concern in made.json["concerns"]] == ["pairs"]
    assert "2 of 2 pairs, such as s0 and t1.nii: together by order" in made.err
    told = uad("calibrate", *sick, "--truth", "s0.nii", "t1.nii", "--rule", "best-dice", *RAW).err
    assert "s0.nii: holds numbers from 0 to 1, read as probabilities: what is above 0.5 counts" in told


def test_labels_of_truths_count_as_chosen(uad, lesioned):
    scores, truths = lesioned[1:3], lesioned[4:]
    for path in truths:
        truth = nib.load(path)
        data = np.asarray(truth.dataobj).copy()
        data[6:8] *= 4
        nib.save(nib.Nifti1Image(data, truth.affine), path)

    def judged(*options):
        made = uad("calibrate", *scores, "--truth", *truths, "--rule", "best-dice", *RAW, "--json", *options).json
        return made["best_dice"] == 1, made["power"]["lesion_ml"], [concern["value"] for concern in made["concerns"]]

    assert judged() == (True, pytest.approx(0.384), ["1,4", "1,4"])
    assert judged("--label", 1) == (False, pytest.approx(0.192), [])
    assert judged("--label", 1, "--ignore", 4) == (True, pytest.approx(0.192), [])


def test_a_scan_among_scores_is_told(uad, prepared):
    made = uad("calibrate", prepared, *RAW, "--rule", "percentile", "--json")
    assert [concern["code"] for concern in made.json["concerns"]] == ["looks-unlike"]
    assert "p: looks like a scan, not like a score map (is it the right file?)" in made.err
