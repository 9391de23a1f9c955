"""uad-preprocess on many scans: what fails does not stop the rest, and a second run does what is missing."""

import gzip
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from uadtools.volume.io import Image, to_bytes
from uadtools.volume.stream import read_image, read_path

GRID = ("--shape", "16,16,8", "--spacing", "2", "--brain", "none")
OUT = (*GRID, "-o", "out")
SLOW = ("--shape", "16,16,8", "--spacing", "2", "--brain", "hd-bet", "-o", "out", "--jobs", 2)
"""Waits for a program that takes its time; see slow_program."""
BIDS = (*GRID, "--bids", "study", "-o", "study/derivatives/uad")


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def image_of(scan):
    return f"{scan}_preprocessed.nii.gz"


def made_of(*scans):
    return sorted(f"{scan}_preprocessed.{ending}" for scan in scans for ending in ("json", "nii.gz"))


def stamps(folder):
    """When each file was written, and as which file."""
    return {name: ((folder / name).stat().st_mtime_ns, (folder / name).stat().st_ino) for name in names(folder)}


def errors(result):
    return [line for line in result.lines if line.startswith("uad-preprocess: error: ")]


def varied(raw, seed):
    """The head with other contents."""
    data = raw.get_fdata()
    noise = np.random.default_rng(seed).integers(0, 200, raw.shape)
    return nib.Nifti1Image(np.where(data > 0, data + noise, 0).astype(np.int16), raw.affine)


def wait_for(happened):
    for _ in range(6000):
        if happened():
            return
        time.sleep(0.01)
    pytest.fail("it never happened")


def half_files(folder):
    return [name for name in names(folder) if Path(name).name.startswith(".uad-")] if folder.exists() else []


def group_is_gone(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
def heads(here, raw):
    """A folder of three scans: heads/a.nii.gz, heads/b.nii and heads/deep/c.nii.gz."""
    (here / "heads" / "deep").mkdir(parents=True)
    for seed, name in enumerate(("a.nii.gz", "b.nii", "deep/c.nii.gz")):
        nib.save(varied(raw, seed), here / "heads" / name)
    return here / "heads"


@pytest.fixture
def mixed(heads, raw):
    """Two more scans among them, one cut short and one of nothing but zeros."""
    (heads / "short.nii.gz").write_bytes((heads / "a.nii.gz").read_bytes()[:-300])
    nib.save(nib.Nifti1Image(np.zeros(raw.shape, np.int16), raw.affine), heads / "zeros.nii.gz")
    return heads


@pytest.fixture
def study(here, raw):
    """A BIDS data set: a subject without sessions and one with two, scans of two contrasts, and what is no scan."""
    scans = [
        "sub-01/anat/sub-01_T1w",
        "sub-01/anat/sub-01_acq-fast_FLAIR",
        "sub-02/ses-a/anat/sub-02_ses-a_T1w",
        "sub-02/ses-b/anat/sub-02_ses-b_run-1_T1w",
        "sub-02/ses-b/func/sub-02_ses-b_T1w",
        "derivatives/other/sub-01/anat/sub-01_desc-x_T1w",
        "sub-01/anat/old_T1w",
    ]
    for seed, name in enumerate(scans):
        (here / "study" / name).parent.mkdir(parents=True, exist_ok=True)
        nib.save(varied(raw, seed), here / "study" / f"{name}.nii.gz")
    (here / "study/sub-01/anat/sub-01_T1w.json").write_text("{}")
    return here / "study"


PROGRAM = f"""#!{sys.executable}
import os, shutil, signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
open(f"begun/{{os.getpid()}}", "w").close()
time.sleep(float(open("nap").read()))
shutil.copy(sys.argv[2], sys.argv[4])
open(f"ended/{{os.getpid()}}", "w").close()
"""


@pytest.fixture
def slow_program(here, environment, monkeypatch):
    """An hd-bet on the PATH that takes the seconds in the file nap, and notes its process in begun/, and in ended/."""
    for folder in ("bin", "begun", "ended"):
        (here / folder).mkdir()
    (here / "nap").write_text("2")
    program = here / "bin" / "hd-bet"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    environment["PATH"] = f"{program.parent}{os.pathsep}{environment['PATH']}"
    monkeypatch.setenv("PATH", environment["PATH"])


PATHS = ["a.nii.gz", "b.nii", "deep/c.nii.gz"]
LISTS = {
    "heads/l.txt": "\n".join(["# three heads", *PATHS]),
    "heads/l.csv": "\n".join(["age,path", *(f"30,{path}" for path in PATHS)]),
    "heads/l.jsonl": "\n".join(json.dumps({"path": path}) for path in PATHS),
    "heads/nested.txt": "a.nii.gz\n  b.nii\n\ndeep\n",
}


@pytest.mark.parametrize("inputs", [["heads"], [f"heads/{path}" for path in PATHS], *([name] for name in LISTS)])
def test_a_folder_several_files_and_a_list_are_scans(inputs, uad, heads, here):
    """What a list names is relative to the list."""
    if inputs[0] in LISTS:
        (here / inputs[0]).write_text(LISTS[inputs[0]])
    result = uad("preprocess", *inputs, *OUT)
    assert (result.status, result.out, result.err) == (0, b"", "")
    assert names(here / "out") == made_of("a", "b", "c")


def test_each_of_many_is_what_it_is_alone(uad, heads, here):
    uad("preprocess", "heads", *OUT)
    for path in PATHS:
        uad("preprocess", heads / path, *GRID, "-o", "alone.nii", "--force")
        alone = read_image(here / "alone.nii")
        one_of_many = read_image(here / "out" / image_of(Path(path).name.split(".")[0]))
        np.testing.assert_array_equal(alone.data, one_of_many.data)
        assert alone.provenance == one_of_many.provenance


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("l.txt", "# nothing\n", "an empty list"),
        ("l.csv", "file\na.nii\n", "every entry needs a `path`"),
        ("l.csv", "path,age\n,3\n", "every entry needs a `path`"),
        ("l.jsonl", '{"path": 3}\n', "every entry needs a `path`"),
        ("l.jsonl", "a.nii\n", "every entry needs a `path`"),
        ("l.txt", "Dear all,\nhello\n", "was read as a list of files, none of which is there (the first: Dear all,)"),
        ("l.csv", "path\nhello\n", "list of files, none of which is there (the first: hello)"),
        ("l.jsonl", '{"path": "hello"}\n', "list of files, none of which is there (the first: hello)"),
        ("l.txt", f"{1000 * 'long '}\n", "list of files, none of which is there"),
        ("l.txt", "l.txt\n", "a list that names itself"),
    ],
)
def test_a_list_of_nothing_is_refused(name, text, said, uad, here):
    (here / name).write_text(text)
    uad("preprocess", name, *OUT).fails("preprocess", 1, name, said)
    assert names(here) == [name]


def test_a_folder_without_scans_is_refused(uad, here):
    (here / "empty").mkdir()
    uad("preprocess", "empty", *OUT).fails("preprocess", 1, "empty: no NIfTI file in this folder")


def test_a_pair_in_a_folder_is_one_scan(uad, raw, here):
    (here / "heads").mkdir()
    nib.save(nib.Nifti1Pair(raw.get_fdata().astype(np.int16), raw.affine), here / "heads" / "a.img")
    assert uad("preprocess", "heads", *OUT).status == 0
    assert names(here / "out") == made_of("a")


def test_what_a_killed_run_left_half_is_no_scan(uad, heads, here):
    (heads / ".uad-0123456789ab.nii.gz").write_bytes((heads / "a.nii.gz").read_bytes()[:50])
    assert uad("preprocess", "heads", *OUT).status == 0
    assert names(here / "out") == made_of("a", "b", "c")


def test_bad_scans_do_not_stop_the_others_and_a_second_run_computes_nothing(uad, mixed, here):
    first = uad("preprocess", "heads", *OUT)
    assert (first.status, first.out) == (1, b"")
    short, zeros = errors(first)
    assert short.startswith("uad-preprocess: error: heads/short.nii.gz: its gzip data are cut short or damaged")
    assert zeros.startswith("uad-preprocess: error: zeros: all voxels have one value, 0")
    assert first.lines[2:] == ["uad-preprocess: 3 prepared, 0 done before, 2 failed"]
    assert names(here / "out") == made_of("a", "b", "c")
    before = stamps(here / "out")
    second = uad("preprocess", "heads", *OUT)
    assert (second.status, second.out) == (1, b"")
    assert second.lines == [short, zeros, "uad-preprocess: 0 prepared, 3 done before, 2 failed"]
    assert stamps(here / "out") == before


def test_a_second_run_does_what_is_missing(uad, heads, here):
    uad("preprocess", "heads", *OUT)
    for name in made_of("b"):
        (here / "out" / name).unlink()
    before = stamps(here / "out")
    again = uad("preprocess", "heads", *OUT)
    assert (again.status, again.err) == (0, "uad-preprocess: 1 prepared, 2 done before, 0 failed\n")
    assert names(here / "out") == made_of("a", "b", "c")
    assert before.items() < stamps(here / "out").items()
    assert uad("preprocess", "heads", *OUT, "-q").err == ""


def test_force_computes_all_of_it_again(uad, heads, here):
    uad("preprocess", "heads", *OUT)
    before = stamps(here / "out")
    forced = uad("preprocess", "heads", *OUT, "--intensity", "zscore", "--force")
    assert (forced.status, forced.err) == (0, "")
    after = stamps(here / "out")
    assert after.keys() == before.keys()
    assert all(after[name] != before[name] for name in before)
    for scan in "abc":
        (line,) = read_image(here / "out" / image_of(scan)).provenance["history"]
        assert line["arguments"]["intensity"]["kind"] == "zscore"


OTHERS = [
    ("--intensity", "zscore"),
    ("--intensity", "ct:40,90"),
    ("--spacing", "2.5"),
    ("--shape", "16,16,6"),
    ("--brain", "auto"),
    ("--bias-correct",),
]


@pytest.mark.parametrize("other", OTHERS)
def test_other_settings_on_what_exists_are_refused(other, uad, heads, here):
    uad("preprocess", "heads", *OUT)
    before = stamps(here / "out")
    result = uad("preprocess", "heads", *OUT, *other)
    assert (result.status, result.out) == (1, b"")
    why = "exists, and was made with other settings (--force replaces it)"
    assert errors(result) == [f"uad-preprocess: error: out/{image_of(scan)}: {why}" for scan in "abc"]
    assert result.lines[3:] == ["uad-preprocess: 0 prepared, 0 done before, 3 failed"]
    assert stamps(here / "out") == before


def test_another_volume_is_another_setting(uad, raw):
    four = np.stack([raw.get_fdata(), varied(raw, 0).get_fdata()], axis=-1).astype(np.int16)
    for name in ("a.nii", "b.nii"):
        nib.save(nib.Nifti1Image(four, raw.affine), name)
    uad("preprocess", "a.nii", "b.nii", *OUT, "--volume", 0)
    assert len(errors(uad("preprocess", "a.nii", "b.nii", *OUT, "--volume", 1))) == 2


def test_another_seed_of_registration_is_another_setting(uad, heads, monkeypatch):
    monkeypatch.setattr(
        "uadtools.anatomy.register.affine", lambda moving, fixed, seed: np.eye(4, 4, 3) * seed + np.eye(4)
    )
    registered = ("preprocess", "heads", *OUT, "--register", "heads/b.nii", "-q")
    uad(*registered, "--seed", 0)
    assert len(errors(uad(*registered, "--seed", 1))) == 3


def test_what_lies_there_and_is_not_ours_stays(uad, heads, here):
    (here / "out").mkdir()
    (here / "out" / image_of("a")).write_text("mine")
    result = uad("preprocess", "heads", *OUT)
    (told,) = errors(result)
    assert (result.status, "out/a_preprocessed.nii.gz" in told) == (1, True)
    assert (here / "out" / image_of("a")).read_text() == "mine"
    assert set(made_of("b", "c")) < set(names(here / "out"))


def test_a_run_that_was_stopped_between_scan_and_mask_is_finished(uad, heads, here):
    options = (*OUT, "--save-brain", "masks", "--picture", "pictures")
    uad("preprocess", "heads", *options)
    (here / "masks" / "a_brain.nii.gz").unlink()
    (here / "pictures" / "b_preprocessed.png").unlink()
    again = uad("preprocess", "heads", *options)
    assert (again.status, again.err) == (0, "uad-preprocess: 2 prepared, 1 done before, 0 failed\n")


def test_a_folder_of_one_scan_is_done_once_too(uad, scan, here):
    (here / "heads").mkdir()
    scan.rename(here / "heads" / "a.nii.gz")
    uad("preprocess", "heads", *OUT)
    again = uad("preprocess", "heads", *OUT)
    assert (again.status, again.err) == (0, "uad-preprocess: 0 prepared, 1 done before, 0 failed\n")


def test_a_file_of_several_studies_is_done_once_too(uad, scan, raw, here):
    grid = read_image(scan).grid
    studies = [Image(varied(raw, n).get_fdata(), grid, "scan", {"study": f"s{n}"}) for n in range(2)]
    (here / "two.nii").write_bytes(b"".join(map(to_bytes, studies)))
    uad("preprocess", "two.nii", scan, *OUT)
    assert names(here / "out") == made_of("raw", "s0", "s1")
    assert uad("preprocess", "two.nii", scan, *OUT).status == 0


def test_two_processes_make_what_one_makes(uad, mixed, here):
    one = uad("preprocess", "heads", *GRID, "-o", "one", "--json")
    two = uad("preprocess", "heads", *GRID, "-o", "two", "--json", "--jobs", 2)
    assert (one.status, two.status) == (1, 1)
    assert len(errors(one)) == 2
    assert sorted(errors(one)) == sorted(errors(two))
    assert one.lines[-1] == two.lines[-1]
    assert names(here / "one") == names(here / "two") == made_of("a", "b", "c")
    for scan in "abc":
        first, second = (read_image(here / folder / image_of(scan)) for folder in ("one", "two"))
        np.testing.assert_array_equal(first.data, second.data)
        assert first.provenance == second.provenance
    told = [sorted((row["name"], row.get("brain_ml"), row.get("error")) for row in run.json) for run in (one, two)]
    assert told[0] == told[1]


def test_several_processes_and_one_stream_do_not_go_together(uad, heads, here):
    uad("preprocess", "heads", *GRID, "-o", "-", "--jobs", 2).fails("preprocess", 2, "--jobs", "one stream", "-o")
    uad("preprocess", "-", *GRID, "--jobs", 2).fails("preprocess", 2, "--jobs", "one stream")
    uad("preprocess", "heads", *OUT, "--jobs", 0).fails("preprocess", 2, "--jobs")
    assert not (here / "out").exists()


DERIVED = [
    "sub-01/anat/sub-01_desc-{}",
    "sub-02/ses-a/anat/sub-02_ses-a_desc-{}",
    "sub-02/ses-b/anat/sub-02_ses-b_run-1_desc-{}",
]
ENDINGS = ["T1wbrain_mask.json", "T1wbrain_mask.nii.gz", "preproc_T1w.json", "preproc_T1w.nii.gz"]


def test_a_bids_data_set_becomes_a_data_set_of_derivatives(uad, study, here):
    result = uad("preprocess", *BIDS)
    assert (result.status, result.out, result.err) == (0, b"", "")
    out = study / "derivatives/uad"
    expected = [name.format(ending) for name in DERIVED for ending in ENDINGS]
    assert names(out) == sorted(["dataset_description.json", *expected])
    about = json.loads((out / "dataset_description.json").read_text())
    assert (about["DatasetType"], about["BIDSVersion"]) == ("derivative", "1.10.0")
    assert [maker["Name"] for maker in about["GeneratedBy"]] == ["uadtools"]
    for name in DERIVED:
        made, brain = (read_image(out / name.format(f"{e}.nii.gz")) for e in ("preproc_T1w", "T1wbrain_mask"))
        assert (made.role, brain.role) == ("scan", "brain")
        np.testing.assert_array_equal(made.data > 0, brain.data > 0)
        raw = study / name.replace("_desc-{}", "_T1w.nii.gz")
        uad("preprocess", raw, *GRID, "-o", "alone.nii", "--force")
        np.testing.assert_array_equal(made.data, read_image(here / "alone.nii").data)


def test_a_bids_data_set_is_done_once(uad, study):
    uad("preprocess", *BIDS)
    (study / "derivatives/uad/dataset_description.json").write_text('{"Name": "mine"}')
    before = stamps(study)
    again = uad("preprocess", *BIDS)
    assert (again.status, again.err) == (0, "uad-preprocess: 0 prepared, 3 done before, 0 failed\n")
    assert stamps(study) == before


def test_suffix_chooses_of_a_bids_data_set(uad, study):
    assert uad("preprocess", *BIDS, "--suffix", "FLAIR").status == 0
    made = [name for name in names(study / "derivatives/uad") if name.endswith("nii.gz")]
    stem = "sub-01/anat/sub-01_acq-fast_desc"
    assert made == [f"{stem}-FLAIRbrain_mask.nii.gz", f"{stem}-preproc_FLAIR.nii.gz"]


def test_who_has_no_scan_of_a_suffix_is_told(uad, study):
    told = uad("preprocess", *BIDS, "--suffix", "FLAIR").lines
    (line,) = [line for line in told if "passed over" in line]
    assert line.startswith("uad-preprocess: study: passed over, as there is no *_FLAIR.nii[.gz]: sub-02")
    assert "sub-01" not in line
    assert "passed over" not in uad("preprocess", *BIDS).err


def test_a_suffix_that_is_not_there_is_refused_with_those_that_are(uad, study, here):
    before = names(here)
    told = uad("preprocess", *BIDS, "--suffix", "T2w")
    told.fails("preprocess", 1, "study: no sub-*/[ses-*/]anat/*_T2w.nii[.gz]", "there are: FLAIR, T1w")
    assert names(here) == before


def test_the_masks_of_two_contrasts_do_not_replace_each_other(uad, study, raw):
    nib.save(varied(raw, 9), study / "sub-01/anat/sub-01_T2w.nii.gz")
    uad("preprocess", *BIDS)
    before = stamps(study)
    assert uad("preprocess", *BIDS, "--suffix", "T2w").status == 0
    assert before.items() < stamps(study).items()


def test_what_is_no_bids_data_set_is_refused(uad, heads, here):
    uad("preprocess", "--bids", "heads", *OUT).fails("preprocess", 1, "heads: no sub-*", "is it a BIDS data set?")
    uad("preprocess", "--bids", "nowhere", *OUT).fails("preprocess", 1, "nowhere: no such folder")
    assert not (here / "out").exists()


@pytest.mark.parametrize("output", [(), ("-o", "-"), ("-o", "out.nii.gz")])
def test_derivatives_need_a_folder(output, uad, study, here):
    before = names(here)
    uad("preprocess", "--bids", "study", *GRID, *output).fails("preprocess", 2, "--bids", "name its folder with -o")
    assert names(here) == before


@pytest.mark.parametrize("option", [(*BIDS[:-1], "uad-0.2"), ("heads", *OUT, "--save-brain", "masks.v2")])
def test_a_folder_may_have_a_dot_in_its_name(option, uad, heads, study):
    assert uad("preprocess", *option).status == 0


def test_a_data_set_and_other_inputs_do_not_go_together(uad, study, scan):
    uad("preprocess", scan, *BIDS).fails("preprocess", 2, "--bids", "other inputs")
    assert not (study / "derivatives/uad").exists()


def test_brains_and_pictures_of_many_go_into_folders(uad, heads, here):
    result = uad("preprocess", "heads", *OUT, "--save-brain", "masks", "--picture", "deep/pictures")
    assert (result.status, result.err) == (0, "")
    assert names(here / "masks") == sorted(f"{n}_brain.{e}" for n in "abc" for e in ("json", "nii.gz"))
    assert names(here / "deep/pictures") == [f"{n}_preprocessed.png" for n in "abc"]
    for scan in "abc":
        brain, made = read_image(here / f"masks/{scan}_brain.nii.gz"), read_image(here / "out" / image_of(scan))
        assert brain.role == "brain"
        np.testing.assert_array_equal(brain.data > 0, made.data > 0)
        assert (here / f"deep/pictures/{scan}_preprocessed.png").read_bytes()[:4] == b"\x89PNG"


def test_brain_and_picture_of_one_scan_are_files(uad, scan, here):
    result = uad("preprocess", scan, *OUT, "--picture", "p.png", "--save-brain", "b.nii")
    assert (result.status, result.err) == (0, "")
    assert names(here) == sorted(["b.json", "b.nii", "p.png", "raw.nii.gz", *(f"out/{n}" for n in made_of("raw"))])
    new = (*GRID, "-o", "new", "--picture")
    uad("preprocess", scan, *new, "p.png").fails("preprocess", 1, "p.png: exists")
    uad("preprocess", scan, *new, "p.bmp").fails("preprocess", 1, "p.bmp", ".png, .pdf or .svg")
    assert not (here / "new").exists()
    assert uad("preprocess", scan, *new, "p.png", "--force").status == 0


@pytest.mark.parametrize("option", [("--save-brain", "b.nii.gz"), ("--picture", "p.png")])
def test_one_file_for_many_is_refused(option, uad, heads, here):
    uad("preprocess", "heads", *OUT, *option).fails("preprocess", 2, option[0], "name a folder")
    assert names(here) == [f"heads/{path}" for path in PATHS]


@pytest.mark.parametrize("option", ["--save-brain", "--picture"])
def test_brain_and_picture_of_one_scan_may_go_into_a_folder(option, uad, scan, here):
    (here / "maps").mkdir()
    assert uad("preprocess", scan, *OUT, option, "maps").status == 0
    assert names(here / "maps")


@pytest.mark.parametrize(("option", "taken"), [("--save-brain", "a_brain.nii.gz"), ("--picture", "a_preprocessed.png")])
def test_brains_and_pictures_of_many_replace_nothing(option, taken, uad, heads, here):
    (here / "maps").mkdir()
    (here / "maps" / taken).write_text("mine")
    uad("preprocess", "heads", *OUT, option, "maps")
    assert (here / "maps" / taken).read_bytes() == b"mine"


def test_json_tells_what_became_of_each(uad, mixed):
    uad("preprocess", "heads/a.nii.gz", "heads/b.nii", *OUT)
    result = uad("preprocess", "heads", *OUT, "--json")
    assert result.status == 1
    told = {row["name"]: row for row in result.json}
    assert list(told) == ["a", "b", "c", "heads/short.nii.gz", "heads/zeros.nii.gz"]
    assert "cut short" in told["heads/short.nii.gz"]["error"]
    assert "all voxels have one value" in told["heads/zeros.nii.gz"]["error"]
    assert [name for name, row in told.items() if row.get("skipped")] == ["a", "b"]
    assert [told[scan]["output"] for scan in "abc"] == [f"out/{image_of(scan)}" for scan in "abc"]
    assert 5 < told["c"]["brain_ml"] < 15
    assert told["c"]["concerns"] == []
    assert told["c"]["seconds"].keys() == {"orient", "brain", "grid"}
    assert told["c"]["grids"].startswith("13x14x9 voxels of 2.5 x 2.5 x 2.5 mm, LAS -> 16x16x8 voxels")


def test_json_holds_the_concerns_that_are_told(uad, heads):
    result = uad("preprocess", "heads", "--shape", "8", "--spacing", "2", "-o", "out", "--json")
    assert result.status == 0
    said = [f"uad-preprocess: {row['name']}: {concern['text']}" for row in result.json for concern in row["concerns"]]
    assert result.lines == said
    assert sum("mL" in line for line in said) == sum("lies outside the grid" in line for line in said) == 3
    again = uad("preprocess", "heads", "--shape", "8", "--spacing", "2", "-o", "out", "--json", "--strict")
    assert again.status == 3
    assert [row["concerns"] for row in again.json if row["skipped"]] == [row["concerns"] for row in result.json]


def test_a_stream_goes_on_after_a_bad_scan(uad, mixed, here):
    (mixed / "ahead.nii").write_bytes(b"no scan")
    result = uad("preprocess", "heads", *GRID, "-o", "-")
    assert (result.status, len(errors(result))) == (1, 3)
    assert result.lines[-1] == "uad-preprocess: 3 prepared, 0 done before, 3 failed"
    (here / "s.nii").write_bytes(result.out)
    studies = list(read_path(here / "s.nii"))
    assert [study.name for study in studies] == ["a", "b", "c"]
    assert [list(study.images) for study in studies] == [["scan", "brain"]] * 3
    uad("preprocess", "heads", *OUT)
    for study in studies:
        np.testing.assert_array_equal(study.product.data, read_image(here / "out" / image_of(study.name)).data)


def interrupt(process, number):
    """Ctrl-C goes to the terminal's whole group of processes; a request to end only to the one that was started."""
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"uad-preprocess: interrupted\n")
    wait_for(lambda: group_is_gone(process.pid))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_files_are_written_leaves_no_half_file_and_no_process(number, start, heads, here):
    large = ("--shape", "120", "--spacing", "2", "--brain", "none", "-o", "out", "--jobs", 2)
    for n in range(9):  # so that it is not done before it is interrupted
        shutil.copy(heads / "a.nii.gz", heads / f"more{n}.nii.gz")
    process = start("uad-preprocess", "heads", *large, start_new_session=True)
    wait_for(lambda: half_files(here / "out"))
    interrupt(process, number)
    assert half_files(here / "out") == []
    for name in names(here / "out"):
        assert name.endswith(".json") or read_image(here / "out" / name).grid.shape == (120, 120, 120)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_what_the_processes_are_at(number, start, slow_program, heads, here):
    process = start("uad-preprocess", "heads", *SLOW, start_new_session=True)
    wait_for(lambda: names(here / "begun"))
    interrupt(process, number)
    assert names(here / "ended") == []


def test_after_a_kill_a_second_run_does_the_rest(start, uad, heads, here):
    """Killed while a file is written and an earlier one is done; the half file is of no harm."""
    options = ("preprocess", "heads", "--shape", "100", "--spacing", "2", "--brain", "none", "-o", "out")
    process = start("uad-preprocess", *options[1:])
    wait_for(lambda: (here / "out" / image_of("a")).exists() and half_files(here / "out"))
    process.kill()
    process.wait(timeout=60)
    before = stamps(here / "out")
    done = [scan for scan in "abc" if image_of(scan) in before]
    assert "a" in done
    assert len(done) < 3
    again = uad(*options)
    assert again.status == 0
    assert again.err == f"uad-preprocess: {3 - len(done)} prepared, {len(done)} done before, 0 failed\n"
    after = stamps(here / "out")
    assert {image_of(scan) for scan in "abc"} < after.keys()
    assert all(before[image_of(scan)] == after[image_of(scan)] for scan in done)


def test_a_killed_process_is_told_and_a_second_run_does_the_rest(start, uad, slow_program, heads, here):
    process = start("uad-preprocess", "heads", *SLOW)
    wait_for(lambda: names(here / "begun"))
    program = Path("/proc", names(here / "begun")[0], "stat").read_text()
    os.kill(int(program.rpartition(")")[2].split()[1]), signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, b"")
    assert err.decode().splitlines() == [
        "uad-preprocess: error: a process was killed, perhaps for memory (fewer --jobs need less; what is done stays)"
    ]
    before = stamps(here / "out") if (here / "out").exists() else {}
    (here / "nap").write_text("0")
    assert uad("preprocess", "heads", *SLOW).status == 0
    assert set(made_of("a", "b", "c")) == set(names(here / "out"))
    assert before.items() <= stamps(here / "out").items()


def test_processes_end_with_a_parent_that_is_killed(start, slow_program, heads, here):
    process = start("uad-preprocess", "heads", *SLOW, start_new_session=True)
    wait_for(lambda: len(names(here / "begun")) == 2)
    process.kill()
    process.wait(timeout=60)
    wait_for(lambda: group_is_gone(process.pid))
    assert names(here / "ended") == []


def test_a_folder_that_cannot_be_read_fails_and_stops_no_other(uad, heads, here, locked):
    locked(heads / "deep")
    result = uad("preprocess", "heads", *OUT)
    assert (result.status, errors(result)) == (1, ["uad-preprocess: error: heads/deep: Permission denied"])
    assert result.lines[-1] == "uad-preprocess: 2 prepared, 0 done before, 1 failed"
    locked(heads)
    (told,) = errors(uad("preprocess", "heads", *OUT))
    assert told == "uad-preprocess: error: heads: Permission denied"


def test_a_subject_of_a_data_set_that_cannot_be_read_fails(uad, study, locked):
    locked(study / "sub-02")
    result = uad("preprocess", *BIDS)
    assert (result.status, errors(result)) == (1, ["uad-preprocess: error: study/sub-02: Permission denied"])
    assert result.lines[-1] == "uad-preprocess: 1 prepared, 0 done before, 1 failed"


def test_a_broken_scan_fails_once_until_it_changes(uad, mixed, here):
    skipping = ("preprocess", "heads", *OUT, "--skip-failed")
    first = uad(*skipping)
    assert (first.status, len(errors(first))) == (1, 2)
    listed = json.loads((here / "out/failed.json").read_text())["failed"]
    assert [row["scan"] for row in listed] == ["heads/short.nii.gz", "heads/zeros.nii.gz"]
    assert "cut short" in listed[0]["error"]
    again = uad(*skipping, "--json")
    rest = "3 done before, 0 failed, 2 failed before (--force tries again)"
    assert (again.status, again.lines) == (0, [f"uad-preprocess: 0 prepared, {rest}"])
    assert [row["failed"] for row in again.json if "failed" in row] == [row["error"] for row in listed]
    assert len(errors(uad(*skipping, "--force"))) == 2
    others = errors(uad(*skipping, "--shape", "12"))  # the three that are done are in the way of other settings
    assert [sum(name in line for line in others) for name in ("short", "zeros")] == [1, 1], others
    assert len(errors(uad(*skipping, "--shape", "12", "--force"))) == 2
    shutil.copy(mixed / "a.nii.gz", mixed / "short.nii.gz")
    last = uad("preprocess", "heads", *OUT, "--skip-failed", "--shape", "12")
    assert (last.status, "1 prepared, 3 done before, 0 failed, 1 failed before" in last.err) == (0, True)


def test_what_cannot_be_written_is_no_broken_scan(uad, heads, here):
    uad("preprocess", "heads", *OUT)
    assert uad("preprocess", "heads", *OUT, "--shape", "12", "--skip-failed").status == 1
    assert not (here / "out/failed.json").exists()


@pytest.mark.parametrize("output", ["-", "one.nii.gz"])
def test_a_list_of_failures_needs_a_folder(output, uad, scan):
    uad("preprocess", scan, *GRID, "-o", output, "--skip-failed").fails("preprocess", 2, "--skip-failed", "folder")


def test_one_scan_is_done_once_too(uad, scan, raw, here):
    one = ("preprocess", scan, *GRID, "-o", "one.nii.gz", "--save-brain", "brain.nii.gz")
    uad(*one)
    before = stamps(here)
    again = uad(*one, "--json")
    assert (again.status, again.lines) == (0, ["uad-preprocess: 0 prepared, 1 done before, 0 failed"])
    assert again.json == [{"name": "raw", "output": "one.nii.gz", "skipped": True, "concerns": []}]
    assert stamps(here) == before
    (here / "one.json").unlink()
    assert uad(*one).status == 0
    assert json.loads((here / "one.json").read_text()) == read_image(here / "one.nii.gz").provenance
    uad(*one, "--intensity", "zscore").fails("preprocess", 1, "one.nii.gz: exists, and was made with other settings")
    nib.save(varied(raw, 1), scan)
    uad(*one).fails("preprocess", 1, "one.nii.gz: exists, and was made of another scan, or of another state of it")
    nib.save(raw, here / "one.nii.gz")
    uad(*one).fails("preprocess", 1, "one.nii.gz: exists, and uad-preprocess did not make it (--force replaces it)")


def test_anonymous_leaves_names_out(uad, raw, here):
    nib.save(raw, here / "miller.nii.gz")
    anonymous = ("preprocess", "miller.nii.gz", *GRID, "--register", "none", "--anonymous")
    assert uad(*anonymous, "-o", "p1.nii.gz", "--save-brain", "b1.nii.gz").status == 0
    for name in ("p1", "b1"):
        told = (here / f"{name}.json").read_bytes() + gzip.decompress((here / f"{name}.nii.gz").read_bytes())
        assert b"miller" not in told
    assert read_image(here / "p1.nii.gz").provenance["study"] == "p1"
    assert "1 done before" in uad(*anonymous, "-o", "p1.nii.gz", "--save-brain", "b1.nii.gz").err
    assert b"miller" not in uad(*anonymous, "-o", "-").out
    uad(*anonymous, "-o", "out").fails("preprocess", 2, "--anonymous", "named after the scans")


def test_what_was_made_of_the_scans_in_a_folder_is_not_prepared_again(uad, heads):
    options = ("heads", *GRID, "-o", "heads", "--save-brain", "heads")
    assert uad("preprocess", *options).status == 0
    again = uad("preprocess", *options)
    assert (again.status, again.lines) == (0, ["uad-preprocess: 0 prepared, 3 done before, 0 failed"])


def test_the_mask_and_the_template_are_not_replaced(uad, scan, here):
    uad("preprocess", scan, *OUT, "--save-brain", "m.nii")
    before = stamps(here)
    for target in (("-o", "m.nii"), ("-o", "b.nii", "--save-brain", "m.nii")):
        uad("preprocess", scan, *GRID, "--brain", "m.nii", *target, "--force").fails("preprocess", 1, "m.nii", "input")
    assert stamps(here) == before
