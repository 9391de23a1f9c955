"""uad-report: one page of HTML for a scan, and an index for several."""

import gzip
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest


@pytest.fixture
def results(uad, scan, tiny_model, here):
    """The files that the tools make of the raw scan: raw_preprocessed, raw_healed, raw_score and raw_detection."""
    steps = [
        ("preprocess", "raw.nii.gz", "--model", tiny_model),
        ("heal", "raw_preprocessed.nii.gz", "--model", tiny_model, "-t", 150, "-t", 250, "--seed", 4),
        ("score", "raw_preprocessed.nii.gz", "raw_healed.nii.gz", "--signed", "bright"),
        ("postproc", "raw_score.nii.gz", "--median", 1, "--erode", 0, "--threshold", 0.2, "--min-size", 1),
    ]
    for step in steps:
        assert uad(*step).status == 0, step
    return here


def page(path="report.html"):
    return Path(path).read_text(encoding="utf-8")


def titles(path):
    return re.findall("<h1>(.*)</h1>", page(path))


def test_one_file_finds_the_others_beside_it(uad, results):
    done = uad("report", "raw_detection.nii.gz", "--json")
    assert done.status == 0, done.err
    (row,) = done.json
    assert row["layers"] == ["scan", "healed", "score", "detection"]
    assert row["output"] == "report.html"
    assert row["missing"] == []
    assert titles("report.html") == ["Scan"]
    assert 'id="opacity-healed"' in page()
    assert (
        "raw" not in re.sub(r"<script.*?</script>|<style.*?</style>", "", page(), flags=re.DOTALL).split("Methods")[0]
    )


def test_a_stream_gives_the_same_page_as_files(shell, uad, results, tiny_model):
    line = (
        f"uad-heal raw_preprocessed.nii.gz --model {tiny_model} -t 150 -t 250 --seed 4 -o - | "
        "uad-score --signed bright | uad-postproc --median 1 --erode 0 --threshold 0.2 --min-size 1 -o - | "
        "uad report -o stream.html"
    )
    assert shell(line).status == 0
    assert uad("report", "raw_healed.nii.gz", "raw_detection.nii.gz", "-o", "files.html").status == 0
    volumes = [re.findall('"nifti": "([^"]+)"', page(name)) for name in ("stream.html", "files.html")]
    assert len(volumes[0]) == len(volumes[1]) + 1  # the spread of the two, which files are asked for with --maps
    assert set(volumes[1]) <= set(volumes[0])


def test_the_commands_on_the_page_make_the_same_voxels_again(shell, uad, results, tiny_model):
    assert uad("report", "raw_detection.nii.gz").status == 0
    (commands,) = re.findall("<pre><code>(.*)</code></pre>", page(), re.DOTALL)
    shutil.copy("raw.nii.gz", "SCAN.nii.gz")
    shutil.copy(tiny_model, "tiny.safetensors")
    done = shell(commands)
    assert done.status == 0, done.err
    again, before = (nib.load(name).get_fdata() for name in ("detection.nii.gz", "raw_detection.nii.gz"))
    assert before.any()
    np.testing.assert_array_equal(again, before)


def test_several_studies_go_to_a_folder_with_an_index_the_worst_first(uad, results):
    for name in ("scan_a", "scan_b"):
        for role in ("preprocessed", "healed", "score"):
            shutil.copy(f"raw_{role}.nii.gz", f"{name}_{role}.nii.gz")
    for name, threshold in (("scan_a", 0.5), ("scan_b", 0.1)):
        steps = ("--median", 1, "--erode", 0, "--min-size", 1, "--threshold", threshold)
        assert uad("postproc", f"{name}_score.nii.gz", *steps).status == 0
    named = ["scan_a_detection.nii.gz", "scan_b_detection.nii.gz"]
    for role in ("preprocessed", "healed", "score", "detection"):
        Path(f"raw_{role}.nii.gz").unlink()
    assert uad("report", ".", "-o", "pages").status == 0
    assert sorted(path.name for path in Path("pages").iterdir()) == ["Scan-1.html", "Scan-2.html", "index.html"]
    assert re.findall('<a href="([^"]+)">', page("pages/index.html")) == ["Scan-2.html", "Scan-1.html"]
    assert "scan_a" not in page("pages/index.html")
    assert page("pages/index.html").count("data:image/png") == 2
    uad("report", *named, "-o", "pages").fails("report", 1, "index.html", "exists")
    assert uad("report", *named, "-o", "named/", "--keep-names").status == 0
    assert titles("named/scan_b.html") == ["scan_b"]
    uad("report", *named, "-o", "one.html").fails("report", 2, "one.html is one file", "name a folder")


def test_one_of_several_that_fails_does_not_stop_the_others(uad, results):
    Path("bad_detection.nii.gz").write_bytes(b"no image")
    done = uad("report", "bad_detection.nii.gz", "raw_detection.nii.gz", "-o", "pages", "--json")
    assert done.status == 1
    assert done.lines[0].startswith("uad-report: error: bad_detection.nii.gz: ")
    assert [("error" in row, "output" in row) for row in done.json] == [(True, False), (False, True)]
    assert "1 more failed." in page("pages/index.html")
    uad("report", "bad_detection.nii.gz").fails("report", 1, "bad_detection.nii.gz: not a NIfTI image")
    uad("report", "bad_detection.nii.gz", "-o", "none/").fails("report", 1, "bad_detection.nii.gz: not a NIfTI image")
    assert not Path("none").exists()


def test_what_lies_beside_but_is_of_another_run_is_left_out(uad, results, tiny_model):
    heal = ("heal", "raw_preprocessed.nii.gz", "--model", tiny_model, "--seed", 5)
    assert uad(*heal, "-o", "raw_healed.nii.gz", "--force").status == 0
    done = uad("report", "raw_detection.nii.gz", "--json")
    assert "raw_healed.nii.gz: lies beside, but was not made on the same way" in done.err
    assert done.json[0]["layers"] == ["scan", "score", "detection"]


def test_a_truth_is_compared_and_has_to_fit(uad, results, here):
    detection = nib.load("raw_detection.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(detection.dataobj), detection.affine), "truth.nii.gz")
    assert uad("report", "raw_detection.nii.gz", "--truth", "truth.nii.gz", "--json").json[0]["layers"][-2:] == [
        "truth",
        "hit",
    ]
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3), np.uint8), np.eye(4)), "other.nii.gz")
    failing = ("report", "raw_detection.nii.gz", "-o", "b.html", "--truth")
    uad(*failing, "other.nii.gz").fails("report", 1, "raw: truth and prediction lie on different grids")
    uad(*failing, "truth.nii.gz", "truth.nii.gz").fails("report", 2, "--truth: 2 masks for 1 studies")


def test_a_file_of_another_program_is_what_its_name_says(uad, results):
    for role in ("preprocessed", "score", "detection"):
        image = nib.load(f"raw_{role}.nii.gz")
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), f"other_{role}.nii.gz")
    done = uad("report", "other_detection.nii.gz", "--json")
    assert done.json[0]["layers"] == ["scan", "score", "detection"]
    assert done.json[0]["missing"] == ["healed (not given)", "how this was made (no history)"]
    assert "other: not shown: healed (not given)" in done.err


def test_wrong_use_is_told(uad, results):
    uad("report", "raw_detection.nii.gz", "-o", "-").fails("report", 2, "--output: -: pages go to a file in .html")
    uad("report", "raw_detection.nii.gz", "-o", "x.nii.gz").fails("report", 2, "x.nii.gz")
    uad("report", "raw_detection.nii.gz", "-o", "x.html.tmp").fails("report", 2, "x.html.tmp")
    uad("report", "-", "raw_detection.nii.gz").fails("report", 2, "files, or one stream")
    uad("report", "none.nii.gz").fails("report", 1, "none.nii.gz", "No such file")
    two = ("raw_detection.nii.gz", "raw_detection.nii")
    nib.save(nib.load(two[0]), two[1])
    uad("report", *two).fails("report", 1, "a second detection of raw")
    assert uad("report", "raw_detection.nii.gz").status == 0
    uad("report", "raw_detection.nii.gz").fails("report", 1, "report.html: exists (--force replaces it)")


def test_more_studies_in_a_stream_than_files_to_write(uad, results):
    stream = gzip.decompress(Path("raw_detection.nii.gz").read_bytes()) * 2
    uad("report", "-q", "-o", "one.html", stdin=stream).fails(
        "report", 1, "one.html: is one file, and there are several"
    )


def test_labels_of_a_truth_are_read_as_in_eval_and_told(uad, results):
    found = nib.load("raw_detection.nii.gz")
    labels = np.asarray(found.dataobj).astype(np.uint8)
    first = tuple(np.argwhere(labels)[0])
    labels[first] = 2
    nib.save(nib.Nifti1Image(labels, found.affine), "wmh.nii.gz")
    done = uad("report", "raw_detection.nii.gz", "--truth", "wmh.nii.gz", "--json")
    assert done.json[0]["missing"] == ["what is detected where the truth says to ignore"]
    assert "truth: holds the labels 1, 2: 1 counts as lesion, 2 neither way" in page()


def test_truths_are_paired_by_name_where_asked_and_wrong_pairs_are_told(uad, results):
    for name in ("sub-1", "sub-2"):
        for role in ("preprocessed", "detection"):
            shutil.copy(f"raw_{role}.nii.gz", f"{name}_{role}.nii.gz")
        found = nib.load("raw_detection.nii.gz")
        nib.save(nib.Nifti1Image(np.asarray(found.dataobj), found.affine), f"{name}_t.nii.gz")
    crossed = ("sub-1_detection.nii.gz", "sub-2_detection.nii.gz", "--truth", "sub-2_t.nii.gz", "sub-1_t.nii.gz", "-o")
    assert "2 of 2 pairs, such as sub-1 and sub-2_t.nii.gz" in uad("report", *crossed, "a").err
    done = uad("report", *crossed, "b", "--match")
    assert done.status == 0
    assert "pairs" not in done.err
    uad("report", "sub-1_detection.nii.gz", "--match").fails("report", 2, "--match: pairs files")
