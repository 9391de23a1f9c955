"""Data sets as they are handed out, from their folder to a table of uad-bench."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from handed_out import HEALTHY, SCANS, handed_out, place

from uadtools.datasets.layouts import layouts
from uadtools.training.lesions import masks_of
from uadtools.training.recipe import load_recipe
from uadtools.volume.stream import read_path

AS_SMALL = ("--shape", "16", "--spacing", "2", "--brain", "none")
PLAN = """
name = "small"
[postproc]
median = 1
erode = 0
min_size = 0
[[set]]
name = "all"
val = ["out/val.csv"]
test = ["out/test.csv"]
[[method]]
name = "threshold"
heal = { method = "threshold" }
"""


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_layout_has_a_made_up_data_set():
    assert {*SCANS} == {*layouts()}


@pytest.mark.parametrize("layout", layouts())
def test_a_data_set_is_prepared_and_listed_and_judged(layout, uad, here):
    handed_out(here / "data", layout)
    shape = ("--shape", "16,16,1", "--spacing", "1", "--brain", "none") if layout == "headct" else AS_SMALL
    done = uad("preprocess", "data", "--layout", layout, "-o", "out", "--split", "val=1,test", *shape)
    assert done.status == 0, done.err
    listed = rows(here / "out/scans.csv")
    assert len(listed) == 3
    assert "out: scans in scans.csv 3, val.csv 1, test.csv 2" in done.err
    assert len({row["subject"] for row in listed}) == 3
    for row in listed:
        assert (here / "out" / row["path"]).is_file()
        assert (here / "out" / row["scan"]).resolve().is_file()
        assert row["contrast"] == layouts()[layout].first
    if layout in HEALTHY:
        assert "truth" not in listed[0]
        return
    for row in listed:
        truth = nib.load(here / "out" / row["truth"]).get_fdata()
        np.testing.assert_array_equal(truth > 0, place())
        upper = np.where(place(), np.arange(16) >= 6, False)
        assert (truth[upper] == (2 if layout == "wmh2017" else 1)).all()
    (here / "plan.toml").write_text(PLAN)
    judged = uad("bench", "plan.toml", "-o", "results", "--json", "--strict", "-q")
    assert judged.status == 0, judged.err
    (found,) = judged.json["sets"]
    assert found["scans"] == 2
    assert found["rows"][0]["auprc"]["value"] > 0.5
    assert found["concerns"] == []


def test_a_second_run_does_nothing_and_lists_the_same(uad, here):
    handed_out(here / "data", "wmh2017")
    words = ("preprocess", "data", "--layout", "wmh2017", "-o", "out", "--split", "val=1,test", *AS_SMALL)
    assert uad(*words).status == 0
    lists = {path.name: path.read_text() for path in (here / "out").glob("*.csv")}
    before = {path: path.stat().st_mtime_ns for path in (here / "out").glob("*.nii.gz")}
    again = uad(*words)
    assert "0 prepared, 3 done before, 0 failed" in again.err
    assert {path.name: path.read_text() for path in (here / "out").glob("*.csv")} == lists
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert uad(*words, "--seed", "7").status == 0
    assert (here / "out/val.csv").read_text() != lists["val.csv"]


def test_another_contrast_by_its_name_or_that_in_the_files(uad, here):
    handed_out(here / "data", "brats2023")
    for suffix in ("FLAIR", "t2f"):
        assert (
            uad("preprocess", "data", "--layout", "brats2023", "--suffix", suffix, "-o", suffix, *AS_SMALL).status == 0
        )
        assert rows(here / suffix / "scans.csv")[0]["path"] == "BraTS-GLI-00001-000-t2f_preprocessed.nii.gz"
    wrong = uad("preprocess", "data", "--layout", "brats2023", "--suffix", "PD", "-o", "out", *AS_SMALL)
    wrong.fails("preprocess", 2, "brats2023 has no PD", "T2, T1, T1ce, FLAIR")


def test_contrasts_of_one_person_lie_in_one_file(uad, here):
    handed_out(here / "data", "wmh2017")
    words = ("--layout", "wmh2017", "--channel", "T1", "-o", "out", *AS_SMALL)
    assert uad("preprocess", "data", *words).status == 0
    (study,) = read_path(here / "out/Utrecht_3_FLAIR_preprocessed.nii.gz")
    assert study.channels == ["", "T1"]
    (here / "data/Utrecht/3/pre/T1.nii.gz").unlink()
    gone = uad("preprocess", "data", *words[: -len(AS_SMALL)], *AS_SMALL, "-o", "other")
    assert gone.status == 1
    assert "T1 of FLAIR.nii.gz: not there" in gone.err


@pytest.mark.parametrize("layout", [key for key in layouts() if key not in ("bids", "fastmri")])
def test_the_wrong_folder_is_told_in_one_line_with_what_was_looked_for(layout, uad, here):
    handed_out(here / "data", "bids")
    wrong = uad("preprocess", "data", "--layout", layout, "-o", "out")
    wrong.fails("preprocess", 1, "data: no", layouts()[layout].title, "is it that, and unpacked?")


def test_what_does_not_go_together_is_refused(uad, here):
    handed_out(here / "data", "ixi")
    uad("preprocess", "data", "--layout", "xi", "-o", "out").fails("preprocess", 2, "no 'xi'", "ixi, brats2020")
    uad("preprocess", "data", "--layout", "ixi").fails("preprocess", 2, "name a folder for them with -o")
    uad("preprocess", "data", "data", "--layout", "ixi", "-o", "out").fails("preprocess", 2, "from one data set")
    uad("preprocess", "data", "--split", "val=1,test", "-o", "out").fails("preprocess", 2, "--split", "--layout")
    for split in ("val", "val=x,test", "val=0,test", "val,test", "val=1,val", "scans"):
        words = ("preprocess", "data", "--layout", "ixi", "-o", "out", "--split", split)
        if split == "val":
            assert uad(*words, *AS_SMALL).status == 0
            continue
        uad(*words).fails("preprocess", 2, "--split", "such as val=100,test")
    uad("preprocess", "data", "--layout", "ixi", "-o", "out", "--split", "val=3,test", *AS_SMALL).fails(
        "preprocess", 2, "4 subjects are needed, and 3 are there"
    )
    uad("preprocess", "data", "--layout", "ixi", "-o", "early", "--split", "val=3,test", *AS_SMALL)
    assert not (here / "early").exists()  # told before a scan is prepared


def test_scans_without_a_mask_are_told_and_in_no_list(uad, here):
    handed_out(here / "data", "brats2020")
    (here / "data/MICCAI_BraTS2020/BraTS20_Training_002/BraTS20_Training_002_seg.nii").unlink()
    done = uad("preprocess", "data", "--layout", "brats2020", "-o", "out", *AS_SMALL)
    assert done.status == 0
    assert "of BraTS20_Training_002_t2 (no list names them)" in done.err
    assert [row["subject"] for row in rows(here / "out/scans.csv")] == ["BraTS20_Training_001", "BraTS20_Training_003"]


def test_a_mask_on_another_grid_is_told(uad, here):
    handed_out(here / "data", "isles2022", count=2)
    path = here / "data/sub-strokecase0001/ses-0001/dwi/sub-strokecase0001_ses-0001_dwi.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(nib.load(path).dataobj), np.diag([3.0, 3.0, 3.0, 1.0])), path)
    done = uad("preprocess", "data", "--layout", "isles2022", "-o", "out", *AS_SMALL)
    assert "sub-strokecase0001_ses-0001_msk.nii.gz lies on another grid" in done.err
    assert [row["subject"] for row in rows(here / "out/scans.csv")] == ["strokecase0002"]


def test_two_scans_of_one_name_and_what_is_in_the_way_are_told(uad, here):
    handed_out(here / "data", "mslub")
    handed_out(here / "data/again", "mslub")
    both = uad("preprocess", "data", "--layout", "mslub", "-o", "out")
    both.fails("preprocess", 1, "are of one scan (name the folder of one of them)")
    (here / "out").mkdir()
    (here / "out/scans.csv").write_text("mine\n1\n")
    mine = uad("preprocess", "data/again", "--layout", "mslub", "-o", "out", *AS_SMALL)
    assert mine.status == 1
    assert "scans.csv" in mine.lines[-1]
    assert (here / "out/scans.csv").read_text() == "mine\n1\n"
    (here / "out/scans.csv").unlink()
    save = here / "out/patient01_T2_truth.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((16, 16, 16), np.uint8), np.eye(4)), save)
    other = uad("preprocess", "data/again", "--layout", "mslub", "-o", "out", *AS_SMALL)
    assert (other.status, "is not the mask of T2W.nii.gz" in other.lines[-1]) == (1, True), other.err


def test_toy_cases_say_whether_they_are_sick(uad, here):
    handed_out(here / "data", "mood-toy")
    (here / "data/brain/toy_label/sample/toy_2.nii.gz.txt").write_text("0\n")
    assert uad("preprocess", "data", "--layout", "mood-toy", "-o", "out", *AS_SMALL).status == 0
    assert [row["sick"] for row in rows(here / "out/scans.csv")] == ["1", "0", "1"]
    (here / "data/brain/toy_label/sample/toy_2.nii.gz.txt").write_text("ill")
    assert "where 0 or 1 says" in uad("preprocess", "data", "--layout", "mood-toy", "-o", "out", *AS_SMALL).err


def test_boxes_of_people_without_findings_are_masks_of_nothing_and_wrong_ones_are_told(uad, here):
    handed_out(here / "data", "fastmri")
    name = "file_brain_AXFLAIR_201_6002401"
    table = here / "data/brain.csv"
    others = [line for line in table.read_text().splitlines() if not line.startswith(name)]
    table.write_text("\n".join([*others, f"{name},0,Yes,,,,,Normal for age"]) + "\n")
    words = ("preprocess", "data", "--layout", "fastmri", *AS_SMALL)
    assert uad(*words, "-o", "a").status == 0
    assert not nib.load(here / f"a/{name}_truth.nii.gz").get_fdata().any()
    table.write_text("\n".join(others) + "\n")
    assert uad(*words, "-o", "b").status == 0
    assert len(rows(here / "b/scans.csv")) == 2  # nobody has looked at the first
    (here / "data/brain_file_list.csv").write_text(f"{name}\n")
    assert uad(*words, "-o", "c").status == 0
    assert len(rows(here / "c/scans.csv")) == 3
    table.write_text("\n".join([*others, f"{name},3,No,10,10,9,2,Mass"]) + "\n")
    assert "a box leaves the scan's 16 x 16 x 16 voxels" in uad(*words, "-o", "d").err


def test_the_lists_are_taken_by_other_commands(uad, here):
    handed_out(here / "data", "atlas2")
    assert uad("preprocess", "data", "--layout", "atlas2", "-o", "out", *AS_SMALL).status == 0
    assert uad("heal", "out/scans.csv", "--method", "blur", "-o", "healed").status == 0
    assert uad("score", "healed", "--scan", "out/scans.csv", "-o", "scores").status == 0
    truths = [str(here / "out" / row["truth"]) for row in rows(here / "out/scans.csv")]
    recipe = load_recipe("supervised")  # learns from masks, which it finds in the list
    masks = masks_of(recipe, [str(here / "out/scans.csv")], (), (), ())
    assert sorted(masks.files.values()) == sorted(truths)
    words = [word for truth in truths for word in ("--truth", truth)]
    judged = uad("eval", *sorted(map(str, (here / "scores").glob("*.nii.gz"))), *words, "--match", "--json", "-q")
    assert judged.status == 0, judged.err
    assert len(json.loads(judged.out)["scans"]) == 3


def test_all_scans_of_a_person_are_in_one_part(uad, here):
    handed_out(here / "data", "brats2023", count=2)
    for n in (1, 2):
        first = here / f"data/GLI/BraTS-GLI-{n:05}-000"
        again = first.with_name(f"BraTS-GLI-{n:05}-001")
        again.mkdir()
        for path in first.iterdir():
            (again / path.name.replace("-000-", "-001-")).write_bytes(path.read_bytes())
    words = ("preprocess", "data", "--layout", "brats2023", "-o", "out", "--split", "val=1,test", *AS_SMALL)
    assert uad(*words).status == 0
    val, test = ([row["subject"] for row in rows(here / f"out/{part}.csv")] for part in ("val", "test"))
    assert sorted([*val, *test]) == [f"BraTS-GLI-{n:05}" for n in (1, 1, 2, 2)]
    assert len({*val}) == len({*test}) == 1
