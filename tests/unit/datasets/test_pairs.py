import numpy as np
import pytest

from uadtools.datasets.pairs import Names, Seen, by_order
from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.volume.io import Image


def told(*pairs):
    return [str(concern) for concern in by_order("--truth", pairs)]


@pytest.mark.parametrize(
    "pairs",
    [
        [("d", "truth.nii.gz")],
        [("lesions", "expert.nii.gz")],
        [("a", "truth.nii"), ("b", "truth.nii")],
        [("s0", "t0.nii"), ("s1", "t1.nii"), ("s2", "t2.nii")],
        [("sub-1_ses-2_T1w", "x/sub-1_ses-2_label-L_mask.nii.gz"), ("sub-10_ses-2_T1w", "x/sub-10_ses-2_mask.nii.gz")],
        [("patient07_FLAIR", "patient07_gt.nii.gz"), ("patient08_FLAIR", "patient08_gt.nii.gz")],
        [
            ("BraTS-GLI-00001-000-t2f", "BraTS-GLI-00001-000-seg.nii"),
            ("BraTS-GLI-00002-000", "BraTS-GLI-00002-000.nii"),
        ],
        [("s1", "s01_gt.nii")],
        [("s1", "s01_gt.nii"), ("s2", "s02_gt.nii")],
        [("sub-1_run-1", "sub-01_run-01_gt.nii")],
        [("sub-01_T1w", "01_gt.nii")],
        [("sub-01_ses-2_T1w", "patient01_gt.nii"), ("sub-02_ses-1_T1w", "patient02_gt.nii")],
        [("p19_visit1_20200101", "p19_visit01_20230303.nii")],
        [("a1_a2", "a2_a1.nii")],
    ],
)
def test_pairs_that_fit_need_no_word(pairs):
    assert told(*pairs) == []


@pytest.mark.parametrize(
    "pairs",
    [
        [("sub-01_T1w", "sub-02_mask.nii.gz")],
        [("patient19_T1w", "patient07_gt.nii.gz")],
        [("s0", "t1.nii"), ("s1", "t0.nii")],
        [("anna", "one.nii"), ("berta", "two.nii")],
        [("sub-1_ses-1", "sub-1_ses-2.nii"), ("sub-1_ses-2", "sub-1_ses-1.nii")],
        [("p19_visit1", "p19_visit2.nii")],
        [("p19_visit1", "p19_visit2.nii"), ("p20_visit1", "p20_visit2.nii")],
        [("p19_visit1", "p19_visit2.nii"), ("p19_visit2", "p19_visit1.nii")],
        [("scan1", "mask2.nii")],
        [("sub-01_ses-2_T1w", "02_gt.nii")],
    ],
)
def test_pairs_that_do_not_fit_are_told(pairs):
    (line,) = told(*pairs)
    assert line.startswith("--truth: ")
    assert f"{pairs[0][0]} and {pairs[0][1]}" in line
    assert "(--match pairs by name)" in line


def test_files_are_found_by_name():
    names = Names("--truth", ["sub-10_mask.nii", "sub-1_mask.nii", "sub-2_mask.nii"])
    assert [names.take(f"sub-{i}_T1w") for i in (1, 2)] == ["sub-1_mask.nii", "sub-2_mask.nii"]
    assert names.left() == ["sub-10_mask.nii"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sub-3_T1w", "no file fits its name"),
        ("sub-1_T1w", "fit alike"),
        ("other", "no file fits its name"),
    ],
)
def test_what_is_missing_or_ambiguous_is_refused(name, said):
    names = Names("--truth", ["sub-1_a.nii", "sub-1_b.nii", "sub-2_a.nii"])
    with pytest.raises(UadError, match=rf"{name}: --truth --match: .*{said} \(rename"):
        names.take(name)


@pytest.mark.parametrize(
    ("name", "file"), [("s1", "s01_gt.nii"), ("sub-01_T1w", "01_gt.nii"), ("sub-1_ses-1", "sub-01_ses-01.nii")]
)
def test_what_fits_by_order_is_found_by_name(name, file):
    assert Names("--truth", [file, "s02.nii"]).take(name) == file


def test_the_name_with_the_same_zeros_comes_first():
    names = Names("--truth", ["sub-01.nii", "sub-1.nii"])
    assert [names.take(name) for name in ("sub-1_T1w", "sub-01_T1w")] == ["sub-1.nii", "sub-01.nii"]


def test_another_visit_is_not_found_by_name():
    with pytest.raises(UadError, match="no file fits its name"):
        Names("--truth", ["p19_visit2.nii"]).take("p19_visit1")


def test_a_file_belongs_to_one_scan():
    names = Names("--truth", ["sub-1.nii", "sub-2.nii"])
    names.take("sub-1_a")
    with pytest.raises(UadError, match=r"sub-1.nii fits sub-1_a, too"):
        names.take("sub-1_b")


def test_the_same_voxels_under_two_names_are_told_and_empty_ones_are_not():
    grid = Grid((2, 2, 2), np.eye(4))
    some = Image(np.arange(8).reshape(2, 2, 2), grid)
    seen = Seen("truth")
    for name, image in (("a", some), ("b", some), ("c", some.derive(some.data[::-1].copy(), "scan"))):
        seen.add(name, image)
    for name in "de":
        seen.add(name, some.derive(np.zeros((2, 2, 2)), "scan"))
    (concern,) = seen.concerns()
    assert (concern.code, concern.value) == ("twice", 1)
    assert concern.text == "b has the truth of a, voxel for voxel (each counts)"
