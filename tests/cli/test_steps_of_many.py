"""Heal, score and detect many scans: folders, lists, and data sets of BIDS derivatives."""

import json
from dataclasses import replace

import numpy as np
import pytest

from uadtools.volume.io import Image, save
from uadtools.volume.stream import read_image

OTSU = ("--threshold", "otsu", "--erode", 0, "--median", 1)
PEOPLE = ("sub-01/anat/sub-01", "sub-02/ses-a/anat/sub-02_ses-a", "sub-02/ses-b/anat/sub-02_ses-b_run-1")


@pytest.fixture
def varied(phantom):
    """Prepared scans that differ a little."""

    def make(seed):
        scan = phantom.need("scan")
        noise = np.random.default_rng(seed).uniform(-0.02, 0.02, scan.data.shape)
        data = np.where(scan.data > 0, np.clip(scan.data + noise, 0.01, 1), 0).astype(np.float32)
        return Image(data, scan.grid)

    return make


@pytest.fixture
def scans(here, varied):
    """Three prepared scans in a folder: prepared/a_preprocessed.nii.gz, b and c."""
    (here / "prepared").mkdir()
    for seed, name in enumerate("abc"):
        save(varied(seed), here / "prepared" / f"{name}_preprocessed.nii.gz")
    return here / "prepared"


@pytest.fixture
def data_set(here, varied):
    """What uad-preprocess makes of a BIDS data set: T1 scans of two people, and a FLAIR scan."""
    for seed, name in enumerate((*(f"{p}_desc-preproc_T1w" for p in PEOPLE), f"{PEOPLE[0]}_desc-preproc_FLAIR")):
        (here / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        save(varied(seed), here / "out" / f"{name}.nii.gz")
    (here / "out/dataset_description.json").write_text('{"Name": "mine"}')
    return here / "out"


@pytest.fixture
def steps(uad, tiny_guided):
    """Run heal, score and postproc with these words; returns their results."""

    def run(*words):
        model = ("--model", tiny_guided["restoration"])
        return [
            uad("heal", *words, *model, "--json"),
            uad("score", *words, "--json"),
            uad("postproc", *words, *OTSU, "--json"),
        ]

    return run


def made(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.nii.gz"))


def test_folders_and_lists_go_through_every_step(uad, scans, tiny_guided, here):
    model = ("--model", tiny_guided["restoration"])
    assert uad("heal", "prepared", *model, "-o", "healed/").status == 0
    assert made(here / "healed") == [f"{n}_{m}.nii.gz" for n in "abc" for m in ("healed", "probability")]
    assert uad("score", "healed", "--scan", "prepared", "-o", "scores/").status == 0
    (here / "list.txt").write_text("scores/b_score.nii.gz\nscores/c_score.nii.gz\n")
    assert uad("postproc", "list.txt", *OTSU, "-o", "found/").status == 0
    assert made(here / "found") == ["b_detection.nii.gz", "c_detection.nii.gz"]
    uad("score", "prepared/a_preprocessed.nii.gz", "healed/a_healed.nii.gz", "-o", "alone.nii.gz")
    np.testing.assert_array_equal(
        read_image(here / "scores/a_score.nii.gz").data, read_image(here / "alone.nii.gz").data
    )


def test_two_folders_or_healed_scans_are_no_pair(uad, scans, here):
    for name, folder in (("a", "one"), ("b", "two")):
        (here / folder).mkdir()
        (scans / f"{name}_preprocessed.nii.gz").rename(here / folder / f"{name}_preprocessed.nii.gz")
        uad("heal", here / folder / f"{name}_preprocessed.nii.gz", "--method", "blur", "-o", folder)
    assert uad("score", "one", "two", "-o", "of folders/").status == 0
    assert uad("score", "one/a_healed.nii.gz", "two/b_healed.nii.gz", "-o", "of files/").status == 0
    assert made(here / "of folders") == made(here / "of files") == ["a_score.nii.gz", "b_score.nii.gz"]


def test_scans_beside_healed_ones_need_not_be_named(uad, scans, tiny_guided, here):
    assert uad("heal", "prepared", "--model", tiny_guided["restoration"], "-o", "prepared/").status == 0
    result = uad("score", "prepared/a_healed.nii.gz", "prepared/b_healed.nii.gz", "-o", "scores/", "--json")
    assert [row["name"] for row in result.json] == ["a", "b"]
    assert {row["metric"] for row in result.json} == {"product"}
    assert uad("score", "prepared", "-o", "more/").status == 0
    assert made(here / "more") == [f"{name}_score.nii.gz" for name in "abc"]
    assert uad("heal", "prepared", "--method", "blur", "-o", "again/").status == 0
    assert len(made(here / "again")) == 3  # what was made of the others is no scan to heal


def test_one_that_fails_does_not_stop_the_others(uad, scans, tiny_guided, here):
    uad("heal", "prepared", "--model", tiny_guided["restoration"], "-o", "healed/")
    (scans / "b_preprocessed.nii.gz").unlink()
    result = uad("score", "healed", "--scan", "prepared", "-o", "scores/", "--json")
    assert result.status == 1
    assert "healed/b_healed.nii.gz: of the scans of --scan none has its name, b (" in result.err
    assert ["error" in row for row in result.json] == [False, True, False]
    (here / "scores/c_score.nii.gz").write_bytes(b"no image")
    result = uad("postproc", "scores", *OTSU, "-o", "found/", "--json")
    assert (result.status, made(here / "found")) == (1, ["a_detection.nii.gz"])
    assert "c_score.nii.gz: not a NIfTI image" in result.err


def test_a_scan_that_is_not_beside_is_told(uad, scans, tiny_guided):
    uad("heal", "prepared", "--model", tiny_guided["restoration"], "-o", "healed/")
    uad("score", "healed/a_healed.nii.gz").fails("score", 1, "a_preprocessed.nii.gz is not beside it", "--scan")
    uad("postproc", "healed").fails("postproc", 1, "healed: no NAME_score.nii.gz in this folder")
    uad("score", "healed", "--scan", "prepared", "--probability", "healed/a_probability.nii.gz").fails(
        "score", 2, "--probability: a map belongs to one scan"
    )


def test_derivatives_go_through_every_step(steps, data_set):
    assert [result.status for result in steps("--bids", data_set)] == [0, 0, 0]
    for person in PEOPLE:
        for end in ("healed_T1w", "probability_T1w", "anomaly_T1w", "uad_mask"):
            assert (data_set / f"{person}_desc-{end}.nii.gz").is_file()
            assert (data_set / f"{person}_desc-{end}.json").is_file()
    assert read_image(data_set / f"{PEOPLE[0]}_desc-uad_mask.nii.gz").role == "detection"
    assert json.loads((data_set / "dataset_description.json").read_text()) == {"Name": "mine"}


def test_derivatives_are_called_after_their_scans_and_who_has_none_is_told(steps, data_set):
    for person in PEOPLE[1:]:
        (data_set / f"{person}_desc-preproc_T1w.nii.gz").rename(data_set / f"{person}_desc-preproc_T2w.nii.gz")
    healed, scored, found = steps("--bids", data_set)
    for result, end in ((healed, "preproc"), (scored, "healed"), (found, "anomaly")):
        assert [row["name"] for row in result.json] == ["sub-01_T1w"]
        missing = f"passed over, as there is no *_desc-{end}_T1w.nii[.gz]: sub-02/ses-a, sub-02/ses-b"
        assert [line for line in result.lines if missing in line], result.err
    assert "uad-postproc: sub-01_T1w: " in found.err


def test_derivatives_of_another_contrast_do_not_replace_each_other(steps, data_set):
    steps("--bids", data_set)
    before = made(data_set)
    assert [result.status for result in steps("--bids", data_set, "--suffix", "FLAIR")] == [0, 0, 0]
    ends = ("desc-anomaly_FLAIR", "desc-healed_FLAIR", "desc-probability_FLAIR", "mod-FLAIR_desc-uad_mask")
    assert set(made(data_set)) - set(before) == {f"{PEOPLE[0]}_{end}.nii.gz" for end in ends}


def test_derivatives_are_made_once_and_only_by_the_same_settings(steps, uad, data_set):
    first = steps("--bids", data_set)
    stamps = {path: path.stat().st_mtime_ns for path in data_set.rglob("*")}
    again = steps("--bids", data_set)
    assert {path: path.stat().st_mtime_ns for path in data_set.rglob("*")} == stamps
    for before, after in zip(first, again, strict=True):
        assert after.status == 0
        assert all(row["skipped"] for row in after.json)
        assert [row["output"] for row in after.json] == [row["output"] for row in before.json]
    other = uad("score", "--bids", data_set, "--signed", "dark", "--json")
    assert other.status == 1
    assert other.err.count("exists, and was made with other settings (--force replaces it)") == 3
    assert uad("score", "--bids", data_set, "--signed", "dark", "--force").status == 0


def test_what_a_killed_run_left_of_derivatives_is_made_anew(steps, data_set):
    steps("--bids", data_set)
    (data_set / f"{PEOPLE[1]}_desc-healed_T1w.nii.gz").unlink()
    (data_set / f"{PEOPLE[1]}_desc-healed_T1w.json").unlink()
    healed = steps("--bids", data_set)[0]
    assert (healed.status, ["skipped" in row for row in healed.json].count(False)) == (0, 1)


def test_derivatives_go_elsewhere_and_one_that_fails_does_not_stop_the_others(uad, data_set, here):
    (data_set / f"{PEOPLE[1]}_desc-preproc_T1w.nii.gz").write_bytes(b"no image")
    result = uad("heal", "--bids", data_set, "--method", "blur", "-o", "new.v2", "--json")
    assert result.status == 1
    assert ["error" in row for row in result.json].count(True) == 1
    assert made(here / "new.v2") == [f"{PEOPLE[i]}_desc-healed_T1w.nii.gz" for i in (0, 2)]
    assert (here / "new.v2/dataset_description.json").is_file()


@pytest.mark.parametrize("tool", ["heal", "score", "postproc"])
def test_what_is_no_data_set_of_derivatives_is_told(uad, tool, data_set, here):
    (here / "raw/sub-1/anat").mkdir(parents=True)
    (here / "raw/sub-1/anat/sub-1_T1w.nii.gz").touch()
    uad(tool, "--bids", "raw").fails(tool, 1, "raw: no sub-*/[ses-*/]anat/*_desc-", "_T1w.nii[.gz] in it")
    uad(tool, "--bids", "nowhere").fails(tool, 1, "nowhere")
    uad(tool, "x.nii.gz", "--bids", data_set).fails(tool, 2, "there are other inputs")
    uad(tool, "--bids", data_set, "-o", "x.nii.gz").fails(tool, 2, "name its folder with -o")
    uad(tool, "x.nii.gz", "--suffix", "T1w").fails(tool, 2, "--suffix: T1w chooses scans of a BIDS data set")


def errors(result):
    return [line.partition(": error: ")[2] for line in result.lines if ": error: " in line]


def test_a_folder_that_cannot_be_read_fails_in_every_step(uad, scans, locked, here):
    for tool, folder, words in (
        ("heal", scans, ("--method", "blur", "-o", "out/")),
        ("score", here / "out", ("--scan", scans, "-o", "out/")),
        ("postproc", here / "out", (*OTSU, "-o", "found/")),
    ):
        (folder / "deep").mkdir()
        locked(folder / "deep")
        result = uad(tool, folder.name, *words)
        assert (result.status, errors(result)) == (1, [f"{folder.name}/deep: Permission denied"]), tool
        (folder / "deep").rmdir()
    assert made(here / "found") == [f"{n}_detection.nii.gz" for n in "abc"]


def test_a_subject_that_cannot_be_read_fails_in_every_step(uad, data_set, locked):
    locked(data_set / "sub-02")
    for tool, *words in (("heal", "--method", "blur"), ("score",), ("postproc", *OTSU)):
        result = uad(tool, "--bids", data_set.name, *words)
        assert (result.status, errors(result)) == (1, ["out/sub-02: Permission denied"]), tool


@pytest.mark.parametrize(
    "name", ["x.nii.gz.tmp", "x.nii.bak", "x.png", "x.json", "x.mgz", "x.nii.zip", "X.PNG", "x.nrrd", "x.txt"]
)
def test_an_output_that_looks_like_a_file_is_no_folder(uad, prepared, name, here):
    uad("heal", prepared, "--method", "blur", "-o", name).fails(
        "heal", 2, name, "written as .nii or .nii.gz", "end in /"
    )
    assert not (here / name).exists()


@pytest.mark.parametrize("name", ["sub-01.v2", "study.2024", "out", "x.png/", "a.b/c"])
def test_an_output_that_can_be_a_folder_is_one(uad, prepared, name, here):
    assert uad("heal", prepared, "--method", "blur", "-o", name).status == 0
    assert (here / name / "p_healed.nii.gz").is_file()


def test_a_folder_that_is_there_may_have_any_name(uad, prepared, here):
    (here / "x.json").mkdir()
    assert uad("heal", prepared, "--method", "blur", "-o", "x.json").status == 0
    assert (here / "x.json/p_healed.nii.gz").is_file()


def concerned(image):
    concern = {"code": "brain-size", "text": "the brain is large", "value": 2000}
    return replace(image, provenance={"concerns": [concern]})


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("heal", ("--method", "blur", "-o", "h.nii.gz")),
        ("score", ("p_healed.nii.gz", "-o", "s.nii.gz")),
        ("postproc", (*OTSU, "-o", "d.nii.gz")),
        ("simulate", ("--kind", "blur", "-o", "b.nii.gz")),
        ("calibrate", ("--rule", "percentile", "--erode", 0)),
        ("eval", ("--truth", "t.nii.gz")),
        ("report", ("-o", "r.html")),
    ],
)
def test_every_tool_lists_concerns_and_strict_leaves_with_3(uad, phantom, here, tool, words):
    scan = phantom.need("scan")
    role = {"postproc": "score", "calibrate": "score", "eval": "score"}.get(tool, "scan")
    save(concerned(scan.derive(scan.data, role)), here / "p.nii.gz")
    save(concerned(scan.derive(scan.data, "healed")), here / "p_healed.nii.gz")
    save(scan.derive((scan.data > 0.5).astype(np.uint8), "truth"), here / "t.nii.gz")
    result = uad(tool, "p.nii.gz", *words, "--json", "--strict")
    assert result.status == 3, result.err
    (told,) = result.json if isinstance(result.json, list) else [result.json]
    assert [(concern["code"], concern["value"]) for concern in told["concerns"]] == [("brain-size", 2000)]
    assert uad(tool, "p.nii.gz", *words, *(("--force",) if "-o" in words else ())).status == 0


def test_preprocess_lists_concerns_and_strict_leaves_with_3(uad, scan, here):
    result = uad("preprocess", scan, "--shape", "8,8,4", "--spacing", 2, "-o", "q.nii.gz", "--json", "--strict")
    assert result.status == 3, result.err
    (told,) = result.json
    assert "brain-cut-by-grid" in [concern["code"] for concern in told["concerns"]]
    assert (here / "q.nii.gz").exists()
