import json
from pathlib import Path

import pytest

from uadtools.datasets.bids import VERSION, derivative, describe, scans, sibling
from uadtools.errors import UadError

RAW = (
    "sub-01/anat/sub-01_T1w.nii.gz",
    "sub-01/anat/sub-01_T2w.nii.gz",
    "sub-01/anat/sub-01_T1w.json",
    "sub-02/ses-a/anat/sub-02_ses-a_acq-highres_run-2_T1w.nii",
    "sub-02/ses-a/anat/sub-02_ses-a_FLAIR.nii.gz",
    "sub-02/ses-b/anat/sub-02_ses-b_T1w.nii.gz",
)
OTHER = (
    "dataset_description.json",
    "participants.tsv",
    "sub-01/func/sub-01_task-rest_bold.nii.gz",
    "sub-01/func/sub-01_T1w.nii.gz",
    "sub-01/sub-01_T1w.nii.gz",
    "sub-01/anat/T1w.nii.gz",
    "sub-01/anat/sub-01T1w.nii.gz",
    "sub-01/anat/sub-01_T1w.nii.gz.part",
    "sub-01/anat/sub-01_notT1w.nii.gz",
    "sub-01/anat/sub-01_T1w_old.nii.gz",
    "sub-01/anat/old/sub-01_T1w.nii.gz",
    "sub-01/anat/._sub-01_T1w.nii.gz",
    "sub-03/anat/sub-03_acq-_T1w.nii.gz",
    "sub-03/anat/sub-03_rec_T1w.nii.gz",
    "sourcedata/sub-01/anat/sub-01_T1w.nii.gz",
    "derivatives/x/sub-01/anat/sub-01_T1w.nii.gz",
    "phantom-01/anat/sub-01_T1w.nii.gz",
)


def data_set(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def found(root, suffix):
    return [str(path.relative_to(root)) for path in scans(root, suffix)]


def test_raw_scans_of_one_suffix_are_found_in_order_with_and_without_sessions(tmp_path):
    root = data_set(tmp_path, *RAW, *OTHER)
    assert found(root, "T1w") == [RAW[0], RAW[3], RAW[5]]
    assert found(root, "T2w") == [RAW[1]]
    assert found(root, "FLAIR") == [RAW[4]]


@pytest.mark.parametrize("suffix", ["1w", "w", "anat", "bold", "T1w.nii", "t1w", ""])
def test_a_suffix_that_no_scan_has_is_told_with_those_there_are(suffix, tmp_path):
    root = data_set(tmp_path, *RAW)
    with pytest.raises(UadError) as caught:
        scans(root, suffix)
    expected = f"{root}: no sub-*/[ses-*/]anat/*_{suffix}.nii[.gz] in it (there are: FLAIR, T1w, T2w)"
    assert str(caught.value) == expected


@pytest.mark.parametrize("paths", [(), OTHER, ("sub-01/anat/sub-01_T1w.json",)])
def test_a_folder_that_is_no_data_set_is_told(paths, tmp_path):
    others = [path for path in paths if not path.endswith("_notT1w.nii.gz") and not path.endswith("_old.nii.gz")]
    with pytest.raises(UadError, match=r"\(is it a BIDS data set\?\)$"):
        scans(data_set(tmp_path, *others), "T1w")


def test_a_folder_that_is_missing_is_told(tmp_path):
    (tmp_path / "file").touch()
    for name in ("none", "file"):
        with pytest.raises(UadError, match=rf"/{name}: no such folder$"):
            scans(tmp_path / name, "T1w")


@pytest.mark.parametrize(
    ("scan", "made", "mask"),
    [
        (
            "sub-01/anat/sub-01_T1w.nii.gz",
            "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz",
            "sub-01/anat/sub-01_desc-T1wbrain_mask.nii.gz",
        ),
        (
            "sub-02/ses-a/anat/sub-02_ses-a_acq-highres_run-2_T1w.nii",
            "sub-02/ses-a/anat/sub-02_ses-a_acq-highres_run-2_desc-preproc_T1w.nii.gz",
            "sub-02/ses-a/anat/sub-02_ses-a_acq-highres_run-2_desc-T1wbrain_mask.nii.gz",
        ),
    ],
)
def test_a_derivative_lies_where_its_scan_did_and_says_what_it_is(scan, made, mask):
    root, out = Path("/data/raw"), Path("out")
    assert derivative(root / scan, root, out, "preproc") == out / made
    assert derivative(root / scan, root, out, "brain", "mask") == out / mask


def test_derivatives_of_a_data_set_have_different_names(tmp_path):
    root = data_set(tmp_path, *RAW)
    every = [path for suffix in ("T1w", "T2w", "FLAIR") for path in scans(root, suffix)]
    assert len(every) == 5
    assert len({derivative(path, root, tmp_path / "out", "preproc") for path in every}) == 5


def test_masks_of_scans_of_one_session_have_different_names(tmp_path):
    root = data_set(tmp_path, *RAW)
    masks = {derivative(s, root, tmp_path / "out", "brain", "mask") for x in ("T1w", "T2w") for s in scans(root, x)}
    assert len(masks) == 4


def test_derivatives_are_no_raw_scans_of_a_data_set_they_lie_in(tmp_path):
    root = data_set(tmp_path, *RAW)
    out = root / "derivatives" / "uadtools"
    made = [derivative(scan, root, out, "preproc") for scan in scans(root, "T1w")]
    data_set(root, *(path.relative_to(root) for path in made))
    assert found(root, "T1w") == [RAW[0], RAW[3], RAW[5]]


def test_a_folder_of_derivatives_says_what_it_is(tmp_path):
    out = tmp_path / "new" / "out"
    describe(out, "1.2.3")
    assert json.loads((out / "dataset_description.json").read_text()) == {
        "Name": "uadtools: preprocessed scans",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "uadtools", "Version": "1.2.3"}],
    }
    assert [path.name for path in out.iterdir()] == ["dataset_description.json"]


def test_a_description_that_is_there_is_kept(tmp_path):
    path = tmp_path / "dataset_description.json"
    path.write_text("mine")
    describe(tmp_path, "1.2.3")
    assert path.read_text() == "mine"


@pytest.mark.parametrize("out", ["file", "file/out"])
def test_a_folder_that_cannot_be_made_is_told(out, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UadError, match=f"/{out}: "):
        describe(tmp_path / out, "1.2.3")


@pytest.mark.parametrize("suffix", ["T1w", "FLAIR"])
def test_from_each_image_of_a_scan_the_names_of_the_others_follow(suffix):
    roles = ("scan", "healed", "score", "detection")
    names = {role: sibling(f"sub-1_run-2_desc-preproc_{suffix}.nii.gz", role) for role in roles}
    assert len({*names.values()}) == len(roles)
    for name in names.values():
        assert {role: sibling(name, role) for role in roles} == names
    assert sibling("sub-1_desc-lesion_mask.nii.gz", "score") == ""
