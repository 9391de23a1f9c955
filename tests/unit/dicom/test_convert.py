import sys
from types import SimpleNamespace

import numpy as np
import pytest

from uadtools.dicom.convert import as_nifti
from uadtools.errors import UadError
from uadtools.grids.grid import nearest
from uadtools.volume.converters import dicom_in
from uadtools.volume.reading import Reading
from uadtools.volume.stream import read_image, read_path


@pytest.fixture
def rooms(tmp_path, monkeypatch):
    """Where temporary folders are made."""
    (tmp_path / "rooms").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "rooms"))
    return tmp_path / "rooms"


@pytest.fixture
def pretend(tmp_path, monkeypatch):
    """Put a script in the place of dcm2niix."""

    def put(script):
        (tmp_path / "program").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "program").chmod(0o755)
        monkeypatch.setattr("uadtools.dicom.convert.LONGEST", 1)
        monkeypatch.setitem(sys.modules, "dcm2niix", SimpleNamespace(bin=str(tmp_path / "program")))

    return put


def test_a_folder_is_read_as_the_scan_that_was_written(make_series, oblique, tmp_path, rooms):
    folder = make_series(tmp_path / "exam" / "T1", oblique)
    study = next(read_path(folder))
    assert (study.name, study.product.role, study.product.provenance) == ("T1", "scan", {})
    assert not study.product.grid.same(oblique.grid)  # dcm2niix flips the rows
    assert (nearest(study.product.data, study.product.grid, oblique.grid) == oblique.data).all()
    assert list(rooms.iterdir()) == []


@pytest.mark.parametrize("name", ["{}", "../hostile $(touch x) \x1b[31m{}.ima", "%s%n{}"])
def test_names_of_files_do_not_matter(name, make_series, oblique, tmp_path, rooms):
    (tmp_path / "a").mkdir()
    make_series(tmp_path / "a" / "b", oblique, name=name)
    assert read_image(tmp_path / "a").data.shape == (16, 20, 9)


def test_another_series_beside_does_not_matter(make_series, oblique, tmp_path):
    alone = as_nifti(tmp_path, dicom_in(make_series(tmp_path / "a", oblique)), None)
    make_series(tmp_path / "b", oblique, number=4)
    assert read_image(tmp_path, Reading(series="3")).data.shape == (16, 20, 9)
    assert as_nifti(tmp_path, dicom_in(tmp_path), "3") == alone


def test_several_images_in_one_series_are_told(make_series, oblique, tmp_path):
    make_series(tmp_path / "a", oblique)
    make_series(tmp_path / "b", oblique, EchoTime=90, EchoNumbers=2)
    with pytest.raises(UadError, match=r"dcm2niix makes 2 images of this series, such as echoes \(make them"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("echo DOE^JOHN; echo MRN-77 >&2; exit 3", r"dcm2niix makes no image of this series \(are its files whole"),
        ("kill -SEGV $$", "dcm2niix makes no image of this series"),
        ("exec sleep 60", "dcm2niix does not end"),
    ],
)
def test_what_dcm2niix_fails_at_is_one_line_and_leaves_nothing(  # noqa: PLR0917  fixtures
    script, line, pretend, rooms, make_series, oblique, capfd
):
    pretend(script)
    with pytest.raises(UadError, match=line):
        read_image(make_series(rooms.parent / "x", oblique))
    assert capfd.readouterr() == ("", "")
    assert list(rooms.iterdir()) == []


@pytest.mark.parametrize("missing", ["pydicom", "dcm2niix"])
def test_without_the_extra_one_line_says_so(missing, make_series, oblique, tmp_path, monkeypatch):
    folder = make_series(tmp_path / "x", oblique)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UadError, match=r"x.*: DICOM needs the packages .*pip install 'uadtools\[dicom\]'"):
        read_image(folder)


def test_images_of_several_frames_are_read(make_series, oblique, tmp_path, caplog):
    import highdicom
    import pydicom

    headers = [pydicom.dcmread(path) for path in sorted(make_series(tmp_path / "x", oblique).iterdir())]
    for header in headers:
        header.WindowCenter, header.WindowWidth = 500, 1000
    about = {"series_instance_uid": "1.2.3", "series_number": 7, "sop_instance_uid": "1.2.4", "instance_number": 1}
    (tmp_path / "y").mkdir()
    highdicom.legacy.LegacyConvertedEnhancedMRImage(headers, **about).save_as(tmp_path / "y" / "one")
    single, whole = read_image(tmp_path / "x"), read_image(tmp_path / "y")
    assert whole.grid.same(single.grid)
    assert np.array_equal(whole.data, single.data)
