from pathlib import Path

import pytest

from uadtools.errors import UadError
from uadtools.volume.listing import files_of, is_many
from uadtools.volume.stream import read_image

DICOM = bytes(128) + b"DICM" + bytes(300)
FOREIGN = [
    ("IM0001", DICOM, "dcm2niix"),
    ("slice.nii", b"\x08\0\5\0\x0a\0\0\0ISO_IR 100" + bytes(300), "dcm2niix"),
    ("x.dcm", b"neither preamble nor group", "dcm2niix"),
    ("x.mhd", b"ObjectType = Image\nNDims = 3\n", "c3d"),
    ("x.mha", b"NDims = 3\n", "c3d"),
    ("x.mnc", b"\x89HDF\r\n\x1a\n" + bytes(300), "mnc2nii"),
    ("old.nii", b"CDF\1" + bytes(300), "mnc2nii"),
    ("x.PAR", b"# === DATA DESCRIPTION FILE ===", "dcm2niix"),
    ("x.rec", bytes(range(200)), "dcm2niix"),
    ("y.mha", b"nothing that begins one", "c3d"),
    ("y.mnc", b"nothing that begins one", "mnc2nii"),
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
    with pytest.raises(UadError, match=r"x\.nii: not a NIfTI image \(NIfTI-1 and -2, \.mgz and \.nrrd are read"):
        read_image(tmp_path / "x.nii")


@pytest.mark.parametrize(("name", "data", "program"), FOREIGN[4:5] + FOREIGN[-1:])
def test_a_folder_of_other_files_is_told_what_they_are(name, data, program, tmp_path):
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "AAA.txt").write_text("a note")
    (tmp_path / "series" / name).write_bytes(data)
    with pytest.raises(UadError, match=f"no NIfTI file in this folder, but .*{program}"):
        list(files_of(str(tmp_path)))


def test_a_folder_of_nothing_that_is_known_is_told_so(tmp_path):
    (tmp_path / "AAA.txt").write_text("a note")
    with pytest.raises(UadError, match=r"no NIfTI file in this folder$"):
        list(files_of(str(tmp_path)))


def test_a_folder_of_dicom_is_one_scan_whatever_else_is_not_read_lies_in_it(tmp_path):
    (tmp_path / "exam" / "series").mkdir(parents=True)
    for name, data in (("AAA.txt", b"a note"), ("series/IM0001", DICOM), ("preview.png", b""), ("._IM0001.nii", b"")):
        (tmp_path / "exam" / name).write_bytes(data)
    assert list(files_of(str(tmp_path / "exam"))) == [str(tmp_path / "exam")]
    assert not is_many(str(tmp_path / "exam"))
    (tmp_path / "exam" / "a.nii.gz").write_bytes(b"")
    assert list(files_of(str(tmp_path / "exam"))) == [str(tmp_path / "exam" / n) for n in ("a.nii.gz", "preview.png")]
    assert is_many(str(tmp_path / "exam"))


def test_the_folder_one_is_in_is_called_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "exam" / "below").mkdir(parents=True)
    (tmp_path / "exam" / "IM0001").write_bytes(DICOM)
    for here, source in (("exam", "."), ("exam/below", ".."), (".", "exam/")):
        monkeypatch.chdir(tmp_path / here)
        assert [Path(file).name for file in files_of(source)] == ["exam"]
