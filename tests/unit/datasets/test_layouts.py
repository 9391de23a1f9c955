"""Which files are scans and masks, by the table of layouts."""

from pathlib import Path

import pytest
from handed_out import MASKS, SCANS, called

from uadtools.cli import preprocess
from uadtools.datasets.layouts import layout_of, layouts
from uadtools.errors import Misuse, UadError


def made(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def test_the_page_and_the_help_list_every_layout():
    page, help_text = Path("docs/reproduce.md").read_text(), Path(preprocess.__file__).read_text()
    for key, layout in layouts().items():
        contrasts = ", ".join(dict.fromkeys(layout.contrasts.values()))
        masks = layout.truth or layout.boxes
        patterns = " <br> ".join(f"`{pattern}`".replace("|", "\\|") for pattern in (layout.scan, masks) if pattern)
        assert f"| `{key}` | {layout.title} | {contrasts} | {patterns} |" in page
        assert key in help_text


@pytest.mark.parametrize("key", [key for key in SCANS if key != "fastmri"])
def test_names_as_they_are_handed_out_are_found_with_their_masks(key, tmp_path):
    paths = [called(pattern, n) for n in (1, 2) for pattern in SCANS[key]]
    root = made(tmp_path / "data", *paths, *(called(MASKS[key], n) for n in (1, 2) if key in MASKS))
    layout = layout_of(key)
    for contrast in dict.fromkeys(layout.contrasts.values()):
        found = layout.find(root, contrast)
        assert [scan.contrast for scan in found] == [contrast] * 2
        assert len({scan.subject for scan in found}) == 2
        if key in MASKS:
            masks = [scan.truth and scan.truth.relative_to(root).as_posix() for scan in found]
            assert sorted(masks) == sorted(called(MASKS[key], n) for n in (1, 2))


def test_a_folder_below_the_data_sets_own_will_do(tmp_path):
    root = made(tmp_path, *(called(pattern, 1) for pattern in (SCANS["atlas2"][0], MASKS["atlas2"])))
    (below,) = layout_of("atlas2").find(next(root.glob("**/anat")))
    assert (below.subject, below.parts["site"], below.parts["session"]) == ("r001s001", "R001", "1")
    assert below.truth is not None


@pytest.mark.parametrize(
    ("key", "path", "subject", "parts"),
    [
        ("ixi", "IXI002-Guys-0828-T1.nii.gz", "IXI002", {"site": "Guys", "session": "0828", "contrast": "T1"}),
        ("brats2020", "BraTS20_Training_355/BraTS20_Training_355_t2.nii", "BraTS20_Training_355", {"contrast": "t2"}),
        ("brats2023", "x/BraTS-GLI-00005-101/BraTS-GLI-00005-101-t2w.nii.gz", "BraTS-GLI-00005", {"session": "101"}),
        ("mslub", "patient01/patient01_T2W.nii.gz", "patient01", {"contrast": "T2W"}),
        ("wmh2017", "Amsterdam/Philips_VU .PETMR_01./101/pre/FLAIR.nii.gz", "101", {"site": "Philips_VU .PETMR_01."}),
        (
            "isles2022",
            "rawdata/sub-strokecase0001/ses-0001/sub-strokecase0001_ses-0001_dwi.nii.gz",
            "strokecase0001",
            {},
        ),
        ("bids", "sub-01/ses-a/anat/sub-01_ses-a_acq-fast_run-2_T1w.nii.gz", "01", {"session": "a"}),
        ("headct", "MedNIST/HeadCT/000001.jpeg", "000001", {}),
    ],
)
def test_the_parts_of_a_name(key, path, subject, parts, tmp_path):
    (found,) = layout_of(key).find(made(tmp_path / "data", path))
    assert (found.subject, {part: found.parts[part] for part in parts}) == (subject, parts)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("ixi", "IXI002-Guys-0828-T1_seg.nii.gz"),
        ("ixi", "._IXI002-Guys-0828-T1.nii.gz"),
        ("brats2020", "BraTS20_Training_001/BraTS20_Training_002_t2.nii"),
        ("brats2021", "BraTS2021_00000/BraTS2021_00000_seg.nii.gz"),
        ("wmh2017", "Utrecht/0/orig/FLAIR.nii.gz"),
        ("nfbs", "A1/sub-A1_ses-NFB3_T1w_brainmask.nii.gz"),
        ("bids", "sub-01/anat/sub-02_T1w.nii.gz"),
        ("mood", "toy/00000.nii.gz"),
    ],
)
def test_other_files_are_no_scans(key, path, tmp_path):
    with pytest.raises(UadError, match=r"no .* scan called"):
        layout_of(key).find(made(tmp_path / "data", path))


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(UadError, match="no such folder"):
        layout_of("ixi").find(tmp_path / "gone")
    with pytest.raises(Misuse, match=r"no 'brats' \(there are ixi, brats2020"):
        layout_of("brats")
    root = made(tmp_path, "IXI002-Guys-0828-T1.nii.gz")
    with pytest.raises(UadError, match=r"no T2 scan called .*there are: T1\)"):
        layout_of("ixi").find(root, "T2")
    with pytest.raises(UadError, match=r"no brain\.csv in it"):
        layout_of("fastmri").find(made(tmp_path / "x", "file_brain_AXFLAIR_200_6002425.nii.gz"))
