import gzip

import pytest

from uadtools.errors import UadError
from uadtools.volume.listing import files_of
from uadtools.volume.stream import read_image

DICOM = bytes(128) + b"DICM" + bytes(300)
MGZ = gzip.compress(b"\0\0\0\1" + bytes(300), mtime=0)  # every process collects the same tests
FOREIGN = [
    ("IM0001", DICOM, "dcm2niix"),
    ("slice.nii", b"\x08\0\5\0\x0a\0\0\0ISO_IR 100" + bytes(300), "dcm2niix"),
    ("x.dcm", b"neither preamble nor group", "dcm2niix"),
    ("T1.mgz", MGZ, "mri_convert"),
    ("T1.nii.gz", MGZ, "mri_convert"),
    ("x.nrrd", b"NRRD0004\ntype: short\n", "c3d"),
    ("x.mhd", b"ObjectType = Image\nNDims = 3\n", "c3d"),
    ("x.mha", b"NDims = 3\n", "c3d"),
    ("x.mnc", b"\x89HDF\r\n\x1a\n" + bytes(300), "mnc2nii"),
    ("old.nii", b"CDF\1" + bytes(300), "mnc2nii"),
    ("x.PAR", b"# === DATA DESCRIPTION FILE ===", "dcm2niix"),
    ("x.rec", bytes(range(200)), "dcm2niix"),
    ("x+orig.HEAD", b"type = string-attribute", "3dAFNItoNIFTI"),
    ("x.mif", b"mrtrix image\ndim: 2,2\n", "mrconvert"),
    ("x.nii", b"\x89PNG\r\n\x1a\n" + bytes(300), ".png"),
    ("x.nii.zip", b"PK\3\4" + bytes(300), "unpack"),
]


@pytest.mark.parametrize(("name", "data", "program"), FOREIGN)
def test_what_makes_nifti_of_a_file_is_named(name, data, program, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UadError, match=f"{name.replace('+', '.')}: not a NIfTI image .*this is .*{program}"):
        read_image(tmp_path / name)


def test_of_an_unknown_file_no_more_is_said_than_is_known(tmp_path):
    (tmp_path / "x.nii").write_bytes(b"nothing that anybody writes")
    with pytest.raises(UadError, match=r"x\.nii: not a NIfTI image \(only NIfTI-1 and NIfTI-2 are read"):
        read_image(tmp_path / "x.nii")


@pytest.mark.parametrize(("name", "data", "program"), FOREIGN[:2] + FOREIGN[3:4])
def test_a_folder_of_other_files_is_told_what_they_are(name, data, program, tmp_path):
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "AAA.txt").write_text("a note")
    (tmp_path / "series" / name.replace(".nii", "")).write_bytes(data)
    with pytest.raises(UadError, match=f"no NIfTI file in this folder, but .*{program}"):
        list(files_of(str(tmp_path)))


def test_a_folder_of_nothing_that_is_known_is_told_so(tmp_path):
    (tmp_path / "AAA.txt").write_text("a note")
    with pytest.raises(UadError, match=r"no NIfTI file in this folder$"):
        list(files_of(str(tmp_path)))
