"""Several contrasts of a person, from preparation to evaluation: pipes, files, BIDS, uad-run and Python."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import uadtools
from uadtools.models.checkpoint import read_config
from uadtools.volume.io import Image, save, to_bytes

CHAIN = ("--median", 1, "--erode", 0, "--min-size", 1)
GRID = ("--shape", "16,16,8", "--spacing", 2, "--brain", "none")
TWO = ["--set", 'contrasts=["T1","FLAIR"]']


@pytest.fixture
def raw(here, phantom):
    """Two people in two contrasts, s1_T1.nii.gz to s2_FLAIR.nii.gz, with a lesion that the second shows best."""
    scan = phantom.need("scan")
    for i, z in ((1, 4), (2, 3)):
        mask = np.zeros(scan.data.shape, np.uint8)
        mask[5 : 5 + 2 * i, 6:9, z] = 1
        inverted = np.where(scan.data > 0, 1.2 - scan.data, 0)
        for name, data in (("T1", scan.data - 0.05 * mask), ("FLAIR", np.where(mask, 2, inverted))):
            save(Image((1000 * data).astype(np.int16), scan.grid), here / f"s{i}_{name}.nii.gz")
        save(Image(mask, scan.grid), here / f"s{i}_mask.nii.gz")
    return here


@pytest.fixture
def prepared(uad, raw):
    for i in (1, 2):
        words = (f"s{i}_T1.nii.gz", "--channel", f"FLAIR=s{i}_FLAIR.nii.gz", *GRID, "-o", f"s{i}.nii.gz")
        assert uad("preprocess", *words).status == 0
    return raw


@pytest.fixture
def model(uad, prepared, guided_recipes):
    """A model of mending that saw both contrasts for four steps."""
    settings = guided_recipes["restoration"].model_dump(mode="json", exclude_defaults=True)
    settings["corruption"]["domains"]["contrast"] = 0
    settings |= {"contrasts": ["T1", "FLAIR"], "kind": "restoration"}
    settings["training"] |= {"steps": 4}
    (prepared / "two.json").write_text(json.dumps(settings))
    done = uad("train", "s1.nii.gz", "--recipe", "two.json", "-o", "two.safetensors")
    assert done.status == 0, done.err
    return "two.safetensors"


def test_a_prepared_file_holds_all_contrasts_and_other_programs_see_the_first(prepared):
    study = uadtools.read_study("s1.nii.gz")
    assert list(study.images) == ["scan", "scan:FLAIR"]
    assert study.channels == ["", "FLAIR"]
    np.testing.assert_array_equal(nib.load("s1.nii.gz").get_fdata(), study.need("scan").data)
    assert not np.array_equal(study.need("scan").data, study.need("scan:FLAIR").data)


def test_from_training_to_evaluation_through_a_pipe(uad, model):
    assert read_config(Path(model)).contrasts == ("T1", "FLAIR")
    assert "contrasts    T1,FLAIR" in uad("models", "info", model).out.decode()
    healed = uad("heal", "s2.nii.gz", "--model", model, "-o", "-")
    assert healed.status == 0, healed.err
    scored = uad("score", stdin=healed.out)
    detected = uad("postproc", "--threshold", 0.01, *CHAIN, "-o", "s2_detection.nii.gz", stdin=scored.out)
    assert detected.status == 0, detected.err
    judged = uad("eval", "s2_detection.nii.gz", "--truth", "s2_mask.nii.gz", "--json")
    assert judged.status == 0, judged.err


def test_files_give_what_the_pipe_gives(uad, model):
    piped = uad("score", "-o", "piped.nii.gz", stdin=uad("heal", "s2.nii.gz", "--model", model, "-o", "-").out)
    assert piped.status == 0, piped.err
    assert uad("heal", "s2.nii.gz", "--model", model, "-o", "s2_healed.nii.gz").status == 0
    assert list(uadtools.read_study("s2_healed.nii.gz").images) == ["healed", "healed:FLAIR"]
    for words in (("s2.nii.gz", "s2_healed.nii.gz"), ("s2_healed.nii.gz", "--scan", "s2.nii.gz")):
        done = uad("score", *words, "-o", "filed.nii.gz", "--force")
        assert done.status == 0, done.err
        np.testing.assert_array_equal(uadtools.read("filed.nii.gz").data, uadtools.read("piped.nii.gz").data)
    study = uadtools.heal(uadtools.read_study("s2.nii.gz"), model)
    np.testing.assert_array_equal(uadtools.score(study).product.data, uadtools.read("piped.nii.gz").data)


def test_the_scores_of_contrasts_are_averaged_or_one_is_taken(uad, model):
    stream = uad("heal", "s2.nii.gz", "--model", model, "-o", "-").out
    maps = {}
    for contrast in ("mean", "max", "T1", "FLAIR"):
        done = uad("score", "--contrast", contrast, "-o", f"{contrast}.nii.gz", stdin=stream)
        assert done.status == 0, done.err
        maps[contrast] = uadtools.read(f"{contrast}.nii.gz").data
    both = np.stack([maps["T1"], maps["FLAIR"]])
    np.testing.assert_allclose(maps["max"], both.max(axis=0), rtol=1e-6)
    np.testing.assert_allclose(maps["mean"], both.mean(axis=0), rtol=1e-5, atol=1e-6)
    assert not np.array_equal(maps["T1"], maps["FLAIR"])
    uad("score", "--contrast", "T2", "-o", "x.nii.gz", stdin=stream).fails("score", 1, "--contrast T2", "T1, FLAIR")


def test_several_scans_find_their_contrasts_in_a_folder_by_name(uad, raw):
    for name in ("T1", "FLAIR"):
        (raw / name).mkdir()
        for i in (1, 2):
            (raw / f"s{i}_{name}.nii.gz").rename(raw / name / f"s{i}.nii.gz")
    done = uad("preprocess", "T1", "--channel", "FLAIR=FLAIR", *GRID, "-o", "out")
    assert done.status == 0, done.err
    for i in (1, 2):
        assert list(uadtools.read_study(f"out/s{i}_preprocessed.nii.gz").images) == ["scan", "scan:FLAIR"]
    assert all(
        row["skipped"] for row in uad("preprocess", "T1", "--channel", "FLAIR=FLAIR", *GRID, "-o", "out", "--json").json
    )
    (raw / "FLAIR/s2.nii.gz").unlink()
    lost = uad("preprocess", "T1", "--channel", "FLAIR=FLAIR", *GRID, "-o", "again")
    assert lost.status == 1
    assert "FLAIR/s2.nii.gz: not there, where --channel FLAIR should be" in lost.err
    assert (raw / "again/s1_preprocessed.nii.gz").exists()


@pytest.fixture
def data_set(raw):
    for i in (1, 2):
        folder = raw / f"study/sub-0{i}/anat"
        folder.mkdir(parents=True)
        for name, suffix in (("T1", "T1w"), ("FLAIR", "FLAIR")):
            (raw / f"s{i}_{name}.nii.gz").rename(folder / f"sub-0{i}_{suffix}.nii.gz")
    (raw / "study/dataset_description.json").write_text('{"Name": "two", "BIDSVersion": "1.10.0"}')
    return "study"


def test_a_data_set_names_contrasts_by_their_suffix(uad, model, data_set):
    out = "study/derivatives/uadtools"
    done = uad("preprocess", "--bids", data_set, "--channel", "FLAIR", *GRID, "-o", out)
    assert done.status == 0, done.err
    assert uad("heal", "--bids", out, "--model", model).status == 0
    assert uad("score", "--bids", out).status == 0
    found = uad("postproc", "--bids", out, "--threshold", 0.01, *CHAIN, "--json")
    assert [row["name"] for row in found.json] == ["sub-01_T1w", "sub-02_T1w"]
    files = [row["output"] for row in found.json]
    judged = uad("eval", *files, "--truth", "s1_mask.nii.gz", "s2_mask.nii.gz", "--json")
    assert [row["lesion_voxels"] for row in judged.json["scans"]] == [6, 12]
    assert judged.json == {**uadtools.evaluate_all(files, truth=["s1_mask.nii.gz", "s2_mask.nii.gz"])}
    alone = uad("preprocess", data_set + "/sub-01/anat/sub-01_T1w.nii.gz", "--channel",
                f"FLAIR={data_set}/sub-01/anat/sub-01_FLAIR.nii.gz", *GRID, "-o", "alone.nii.gz")  # fmt: skip
    assert alone.status == 0, alone.err
    for role, image in uadtools.read_study("alone.nii.gz").images.items():
        ours = uadtools.read_study(f"{out}/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz").need(role)
        np.testing.assert_array_equal(image.data, ours.data)


@pytest.mark.parametrize("bids", [False, True])
def test_a_run_does_what_the_pipe_does(uad, model, data_set, bids, here):
    file = f"{data_set}/sub-01/anat/sub-01_T1w.nii.gz"
    source = ("--bids", data_set) if bids else (file,)
    channel = "FLAIR" if bids else f"FLAIR={file.replace('T1w', 'FLAIR')}"
    sets = [f"preprocess.channel={channel}", "preprocess.shape=16,16,8", "preprocess.spacing=2", "postproc.median=1",
            "postproc.erode=0", "postproc.min-size=1"]  # fmt: skip
    how = [word for text in sets for word in ("--set", text)]
    words = (*source, "--model", model, "--brain", "none", "--threshold", 0.01, *how, "-o", "out")
    dry = uad("run", *words, "--dry-run")
    assert f"--channel FLAIR={file.replace('T1w', 'FLAIR')}" in dry.out.decode()
    done = uad("run", *words, "--json")
    assert done.status == 0, done.err
    prepared = uad(
        "preprocess", file, "--channel", f"FLAIR={file.replace('T1w', 'FLAIR')}", "--model", model, *GRID, "-o", "-"
    )
    scored = uad("score", stdin=uad("heal", "--model", model, stdin=prepared.out).out)
    uad("postproc", "--threshold", 0.01, *CHAIN, "--native", "-o", "piped.nii.gz", stdin=scored.out)
    first = done.json[0]
    np.testing.assert_array_equal(uadtools.read("piped.nii.gz").data, uadtools.read(first["output"]).data)
    page = (here / first["report"]).read_text()
    assert "scan FLAIR" in page
    assert "healed FLAIR" in page


def test_a_missing_contrast_is_told_in_one_line(uad, model, tiny_model):
    uad("preprocess", "s1_T1.nii.gz", *GRID, "-o", "one.nii.gz")
    told = ("no FLAIR beside the scan, which the model sees, too", "--channel FLAIR=FILE")
    uad("heal", "one.nii.gz", "--model", model, "-o", "h.nii.gz").fails("heal", 1, "one:", *told)
    uad("heal", "s1_T1.nii.gz", "--model", model, "-o", "h.nii.gz").fails("heal", 1, "s1_T1:", *told)
    uad("train", "s1.nii.gz", "one.nii.gz", "--recipe", "two.json", "-o", "m.safetensors").fails(
        "train", 1, "one.nii.gz:", *told
    )


def test_a_stream_keeps_the_contrasts_of_a_raw_scan(uad, model):
    stream = b"".join(
        to_bytes(Image(uadtools.read(f"s1_{name}.nii.gz").data, uadtools.read("s1_T1.nii.gz").grid, role))
        for name, role in (("T1", "scan"), ("FLAIR", "scan:FLAIR"))
    )
    done = uad("preprocess", *GRID, "-o", "-", stdin=stream)
    assert done.status == 0, done.err
    Path("stream.nii").write_bytes(done.out)
    piped = uadtools.read_study("stream.nii")
    for role, image in uadtools.read_study("s1.nii.gz").images.items():
        np.testing.assert_array_equal(image.data, piped.need(role).data)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("s1_T1.nii.gz", "--channel", "FLAIR"), 2, "--channel FLAIR: expected NAME=FILE"),
        (("s1_T1.nii.gz", "--channel", "A B=s1_FLAIR.nii.gz"), 2, "NAME of up to 8 letters and digits"),
        (("s1_T1.nii.gz", "--channel", "T2=s1_FLAIR.nii.gz", "--channel", "T2=s1_FLAIR.nii.gz"), 2, "named twice"),
        (("s1_T1.nii.gz", "s2_T1.nii.gz", "--channel", "FLAIR=s1_FLAIR.nii.gz"), 2, "one file, and there are several"),
        (("s1_T1.nii.gz", "--align"), 2, "--align: registers other contrasts to the scan, and none is named"),
        (("s1_T1.nii.gz", "--channel", "FLAIR=none.nii.gz"), 1, "none.nii.gz: not there"),
        (("s1_T1.nii.gz", "--channel", "FLAIR=s1.nii.gz"), 1, "channel FLAIR: was prepared by uad-preprocess already"),
    ],
)
def test_wrong_channels_are_told_in_one_line(uad, prepared, words, status, said):
    uad("preprocess", *words, *GRID, "-o", "out/" if "s2_T1.nii.gz" in words else "x.nii.gz").fails(
        "preprocess", status, said
    )


def test_settings_of_contrasts_that_cannot_be_are_told(uad, model):
    def train(*settings):
        words = [word for setting in settings for word in ("--set", setting)]
        return uad("train", "s1.nii.gz", "--recipe", "two.json", "-o", "m.safetensors", *words)

    train('contrasts=["T1","T1"]').fails("train", 1, "one is named twice")
    train('contrasts=["T1","F LAIR"]').fails("train", 1, "contrasts.1")
    train("corruption.domains.contrast=0.5").fails("train", 1, "drawn from T1 alone")


def test_a_contrast_that_the_model_does_not_look_at_is_told(uad, prepared, tiny_model):
    done = uad("heal", "s1.nii.gz", "--model", tiny_model, "-t", 100, "-o", "h.nii.gz", "--json")
    assert "unseen" in [concern["code"] for concern in done.json[0]["concerns"]]
    assert "FLAIR beside the scan: not looked at by model tiny" in done.err
    assert uad("heal", "s1.nii.gz", "--model", tiny_model, "-t", 100, "-o", "i.nii.gz", "--strict").status == 3


def test_lesions_are_not_drawn_into_one_contrast_of_several(uad, prepared):
    uad("simulate", "s1.nii.gz", "--kind", "bias", "-o", "x.nii.gz").fails("simulate", 1, "s1: has FLAIR, too")


def test_nan_in_a_contrast_becomes_what_is_said(uad, raw):
    scan = uadtools.read("s1_FLAIR.nii.gz")
    data = scan.data.astype(np.float32)
    data[8, 8, 4] = np.nan
    save(Image(data, scan.grid), "nan.nii.gz")
    words = ("s1_T1.nii.gz", "--channel", "FLAIR=nan.nii.gz", *GRID)
    uad("preprocess", *words, "-o", "x.nii.gz").fails("preprocess", 1, "nan.nii.gz", "--nan 0")
    assert uad("preprocess", *words, "--nan", 0, "-o", "x.nii.gz").status == 0


def test_a_dry_run_tells_which_contrast_is_missing(uad, model):
    words = ("s1_T1.nii.gz", "--model", model, "--brain", "none", "-o", "out")
    hint = ("no FLAIR beside the scan", "--set preprocess.channel=FLAIR=FILE")
    uad("run", *words, "--dry-run").fails("run", 1, *hint)
    uad("run", *words).fails("run", 1, *hint)


def test_a_report_repeats_what_was_done_with_the_models_and_contrasts_that_were_used(
    uad, prepared, guided_recipes, here
):
    settings = guided_recipes["restoration"].model_dump(mode="json", exclude_defaults=True)
    settings["corruption"]["domains"]["contrast"] = 0
    settings |= {"contrasts": ["T1", "FLAIR"], "kind": "restoration", "name": "any-small"}
    settings["training"] |= {"steps": 4}
    (here / "own.json").write_text(json.dumps(settings))
    assert uad("train", "s1.nii.gz", "--recipe", "own.json", "-o", "own.safetensors").status == 0
    how = [word for text in ("preprocess.channel=FLAIR=s1_FLAIR.nii.gz", "preprocess.shape=16,16,8",
                             "preprocess.spacing=2") for word in ("--set", text)]  # fmt: skip
    words = ("s1_T1.nii.gz", "--model", "own.safetensors", "--brain", "none", "--threshold", 0.01, *how)
    done = uad("run", *words, "-o", "out", "--json")
    assert done.status == 0, done.err
    assert "healed with any-small:" in done.err  # and its hash, as it is not the one that ships
    page = (here / done.json[0]["report"]).read_text()
    assert "--channel FLAIR=FLAIR.nii.gz" in page
    assert "--model any-small.safetensors" in page
