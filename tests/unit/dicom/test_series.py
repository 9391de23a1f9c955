import re
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from uadtools.dicom.series import chosen, read_series
from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.volume.converters import dicom_in

CAPTURE, COLOUR = "1.2.840.10008.5.1.4.1.1.7", {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}


def choose(folder, wanted=None):
    return chosen(folder, dicom_in(folder), wanted)


@pytest.fixture
def several(make_series, oblique, tmp_path):
    """A folder of two scans, a localizer, a secondary capture and a text."""
    make_series(tmp_path / "a", oblique, number=3)
    make_series(tmp_path / "b", oblique, number=12, SeriesDescription="FLAIR sag")
    make_localizer(make_series, oblique, tmp_path / "c")
    make_series(tmp_path / "d", first(oblique), number=99, SOPClassUID=CAPTURE, SeriesDescription="screen")
    (tmp_path / "README.txt").write_text("a CD")
    return tmp_path


def first(image):
    """The first slice of an image."""
    return replace(image, data=image.data[:, :, :1], grid=Grid((*image.data.shape[:2], 1), image.grid.affine))


def make_localizer(make_series, image, folder):
    for k, turn in enumerate([(0, 1, 2), (1, 2, 0), (2, 0, 1)]):
        affine = image.grid.affine.copy()
        affine[:3, :3] = affine[:3, turn]
        make_series(
            folder,
            replace(first(image), grid=Grid((16, 20, 1), affine)),
            number=1,
            name=f"L{k}{{}}",
            SeriesDescription="loc",
        )
    return folder


def test_the_only_scan_among_series_is_taken(make_series, oblique, tmp_path):
    make_series(tmp_path / "a", oblique)
    make_localizer(make_series, oblique, tmp_path / "c")
    assert (choose(tmp_path).number, len(choose(tmp_path).files)) == ("3", 9)


@pytest.mark.parametrize("wanted", ["12", "FLAIR sag", "flair SAG", "1.2.826.0.1.3680043.8.498.3.12"])
def test_of_several_one_is_chosen(wanted, several):
    assert choose(several, wanted).description == "FLAIR sag"


def test_several_are_listed_in_one_line(several):
    with pytest.raises(UadError) as told:
        choose(several)
    assert re.fullmatch(
        r".*: 2 series: 3 'T1 axial' \(images: 9\); 12 'FLAIR sag' \(images: 9\) "
        r"\(choose one with --series, or name the folder of one\)", str(told.value)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        ("7", "no series is called 7 (there are: 1 'loc' (has slices in 3 orientations, as a localizer has); 3 "),
        ("99", "series 99 is no scan: 99 'screen' (is a secondary capture)"),
        ("loc", "series loc is no scan: 1 'loc' (has slices in 3 orientations, as a localizer has)"),
    ],
)
def test_what_cannot_be_chosen_is_told(wanted, line, several):
    with pytest.raises(UadError, match=re.escape(line)):
        choose(several, wanted)


def test_series_of_one_number_and_name_are_chosen_by_uid(make_series, oblique, tmp_path):
    for k in (1, 2):
        make_series(tmp_path / str(k), oblique, SeriesInstanceUID=f"1.2.3.{k}")
    with pytest.raises(UadError, match=r"2 series: 1\.2\.3\.1 'T1 axial' .*; 1\.2\.3\.2 'T1 axial' .*choose one with"):
        choose(tmp_path)
    for wanted in ("3", "T1 axial"):
        with pytest.raises(UadError, match=rf"2 series are called {wanted}: 1\.2\.3\.1 .*; 1\.2\.3\.2 "):
            choose(tmp_path, wanted)
    assert choose(tmp_path, "1.2.3.2").files[0].parent.name == "2"


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"SOPClassUID": CAPTURE}, "is a secondary capture"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, "is a segmentation"),
        (COLOUR, "is in colour"),
        ({"ImagePositionPatient": None}, "does not say where its slices lie"),
        ({"ImageOrientationPatient": ["1", "0", "0", "1", "0", "0"]}, "does not say where its slices lie"),
    ],
)
def test_what_is_no_scan_says_why(more, line, make_series, oblique, tmp_path):
    with pytest.raises(UadError, match=rf"none of its series is a scan: 3 'T1 axial' \({line}\)$"):
        choose(make_series(tmp_path / "x", oblique, **more))


def test_missing_slices_are_told(make_series, oblique, tmp_path):
    (make_series(tmp_path, oblique) / "IM0004.dcm").unlink()
    with pytest.raises(UadError, match=r"lacks slices: they lie 5 to 10 mm apart"):
        choose(tmp_path)


@pytest.mark.parametrize("other", [{"PatientID": "MRN-78"}, {"PatientName": "ROE^JANE"}])
def test_patients_are_not_mixed_and_not_named(other, make_series, oblique, tmp_path):
    make_series(tmp_path / "a", oblique)
    make_series(tmp_path / "b", oblique, number=4, **other)
    with pytest.raises(UadError, match=r"holds DICOM of 2 patients \(name the folder of one\)$") as told:
        choose(tmp_path, "4")
    assert not re.search("MRN|DOE|ROE", str(told.value))


def test_files_that_name_no_patient_are_of_the_same(make_series, oblique, tmp_path):
    make_series(tmp_path / "a", oblique)
    make_series(tmp_path / "b", first(oblique), number=4, SOPClassUID=CAPTURE, PatientID=None, PatientName="")
    assert choose(tmp_path).number == "3"


def test_hostile_headers_are_shown_as_plain_text(make_series, oblique, tmp_path, caplog):
    hostile = "\x1b[31m../../etc\r\nT1\u202e \x00"
    make_series(tmp_path / "a", oblique, SeriesDescription=hostile, SpecificCharacterSet="ISO_IR 192")
    for path in make_series(tmp_path / "b", oblique, number=4, SpecificCharacterSet="ISO_IR 192").iterdir():
        path.write_bytes(path.read_bytes().replace(b"ISO_IR 192", b"ISO_IR 19?"))  # of which pydicom warns, and logs
    caplog.clear()
    with pytest.raises(UadError) as told:
        choose(tmp_path)
    assert str(told.value).isprintable()
    assert not caplog.records
    assert choose(tmp_path, "4").number == "4"


@pytest.mark.parametrize("left", [0, 100, 140, 300, 500, 900, -1])
def test_what_is_cut_short_is_named(left, make_series, oblique, tmp_path):
    path = make_series(tmp_path, oblique) / "IM0008.dcm"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(UadError, match=r"IM0008\.dcm: this DICOM is (cut short|damaged) \(get the file again\)$"):
        read_series(tmp_path, dicom_in(tmp_path))


def test_damaged_files_are_one_line_or_read(make_series, oblique, tmp_path):
    """Bytes of the header are replaced by chance: no other error than ours comes out."""
    rng = np.random.default_rng(0)
    path = make_series(tmp_path, first(oblique)) / "IM0000.dcm"
    whole = path.read_bytes()
    for _ in range(150):
        broken = bytearray(whole)
        for at in rng.integers(132, len(whole) - 640, 5):
            broken[at] = rng.integers(256)
        path.write_bytes(broken)
        with suppress(UadError):
            choose(tmp_path)


def test_dicom_without_images_is_told(make_series, oblique, tmp_path):
    report = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11", "Modality": "SR", "PixelData": None}
    with pytest.raises(UadError, match=r"there is DICOM in this folder, but no image$"):
        choose(make_series(tmp_path, first(oblique), **report))
