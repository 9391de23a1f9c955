import sys
from dataclasses import replace

import numpy as np
import pytest

from uadtools.dicom.segmentation import Called, write_segmentation
from uadtools.dicom.series import chosen
from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.volume.converters import dicom_in
from uadtools.volume.stream import read_image

CALLED = Called("uadtools: anomalies, research only", "anomaly (uadtools any-small 0.1.0, research only)", "0.1.0")
TURNS = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}
PLACES = [
    "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime", "AccessionNumber",
    "ReferringPhysicianName", "PositionReferenceIndicator", "Manufacturer",
]  # fmt: skip


def turned(image, turn, flip):
    """The same scan with its axes in another order, the slices from the other end."""
    data, affine = image.data.transpose(turn), image.grid.affine.copy()
    affine[:3, :3] = affine[:3, turn]
    if flip:
        data, affine[:3, 3] = data[:, :, ::-1], affine[:3, 3] + affine[:3, 2] * (data.shape[2] - 1)
        affine[:3, 2] *= -1
    return replace(image, data=data, grid=Grid(data.shape, affine))


def written(folder, mask, grid, path, **more):
    write_segmentation(path, chosen(folder, dicom_in(folder), None), mask, grid, CALLED, force=False, **more)
    return path


def world(mask, affine):
    """Where the voxels of a mask lie, in an order that does not depend on that of the voxels."""
    points = (affine @ np.column_stack([np.argwhere(mask), np.ones(mask.sum())]).T)[:3].T
    return points[np.lexsort(np.round(points, 1).T)]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("turn", TURNS)
def test_it_lies_where_the_nifti_does(turn, flip, make_series, oblique, tmp_path):
    import highdicom
    import pydicom

    image = turned(oblique, TURNS[turn], flip)
    folder = make_series(tmp_path / "x", image)
    scan = read_image(folder)
    mask = np.random.default_rng(0).random(scan.grid.shape) > 0.8
    mask[:, :, 3] = False
    path = written(folder, mask, scan.grid, tmp_path / "seg.dcm")
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    assert np.abs(world(volume.array == 1, lps @ volume.affine) - world(mask, scan.grid.affine)).max() < 0.01
    plain, found = pydicom.dcmread(path), []
    sources = [pydicom.dcmread(file) for file in folder.iterdir()]
    places = {source.SOPInstanceUID: np.array(source.ImagePositionPatient, dtype=float) for source in sources}
    assert plain.pixel_array.shape == (image.data.shape[2], image.data.shape[1], image.data.shape[0])
    shared = plain.SharedFunctionalGroupsSequence[0]
    axes = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    down, across = (float(size) for size in shared.PixelMeasuresSequence[0].PixelSpacing)
    for pixels, frame in zip(plain.pixel_array, plain.PerFrameFunctionalGroupsSequence, strict=True):
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1] = axes[1] * down, axes[0] * across
        affine[:3, 3] = frame.PlanePositionSequence[0].ImagePositionPatient
        found.append(world(pixels[:, :, None] == 1, lps @ affine))
        referenced = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert np.abs(affine[:3, 3] - places[referenced]).max() < 0.01
    points = np.concatenate(found)
    points = points[np.lexsort(np.round(points, 1).T)]
    assert np.abs(points - world(mask, scan.grid.affine)).max() < 0.01


def test_it_belongs_to_the_patient_and_the_study_and_says_what_it_is(make_series, oblique, tmp_path):
    import pydicom

    folder = make_series(tmp_path / "x", oblique)
    scan = read_image(folder)
    made = pydicom.dcmread(written(folder, scan.data > 600, scan.grid, tmp_path / "seg.dcm"))
    source = pydicom.dcmread(folder / "IM0000.dcm")
    for tag in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "AccessionNumber"):
        assert made[tag].value == source[tag].value
    assert made.SeriesInstanceUID != source.SeriesInstanceUID
    assert (made.Modality, made.SegmentationType, len(made.SegmentSequence)) == ("SEG", "BINARY", 1)
    assert made.SegmentSequence[0].SegmentLabel == CALLED.segment
    assert made.SeriesDescription == CALLED.series
    referenced = made.ReferencedSeriesSequence[0]
    assert referenced.SeriesInstanceUID == source.SeriesInstanceUID
    assert len(referenced.ReferencedInstanceSequence) == 9


def test_an_empty_one_has_all_its_frames(make_series, oblique, tmp_path):
    import pydicom

    folder = make_series(tmp_path / "x", oblique)
    scan = read_image(folder)
    made = pydicom.dcmread(written(folder, np.zeros(scan.grid.shape, dtype=bool), scan.grid, tmp_path / "seg.dcm"))
    assert (made.NumberOfFrames, made.pixel_array.any()) == (9, False)


def test_headers_without_names_suffice(make_series, oblique, tmp_path):
    folder = make_series(tmp_path / "x", oblique, **dict.fromkeys(PLACES))
    scan = read_image(folder)
    assert written(folder, scan.data > 600, scan.grid, tmp_path / "seg.dcm").is_file()


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"FrameOfReferenceUID": None}, "highdicom cannot make a DICOM-SEG for this series"),
        ({"StudyInstanceUID": None}, "highdicom cannot make a DICOM-SEG for this series"),
    ],
)
def test_headers_that_do_not_suffice_are_one_line(more, line, make_series, oblique, tmp_path):
    folder = make_series(tmp_path / "x", oblique, **more)
    scan = read_image(folder)
    with pytest.raises(UadError, match=line):
        written(folder, scan.data > 600, scan.grid, tmp_path / "seg.dcm")
    assert not (tmp_path / "seg.dcm").exists()


def test_without_highdicom_one_line_says_so(make_series, oblique, tmp_path, monkeypatch):
    folder = make_series(tmp_path / "x", oblique)
    scan = read_image(folder)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(UadError, match=r"seg\.dcm: DICOM needs the packages .*pip install 'uadtools\[dicom\]'"):
        written(folder, scan.data > 600, scan.grid, tmp_path / "seg.dcm")


def test_other_voxels_are_refused(make_series, oblique, tmp_path):
    folder = make_series(tmp_path / "x", oblique)
    grid = Grid(oblique.grid.shape, oblique.grid.affine @ np.diag([1, 1, 0.5, 1]))
    with pytest.raises(UadError, match="the series has other voxels than NIfTI made of it"):
        written(folder, oblique.data > 600, grid, tmp_path / "seg.dcm")


def test_frames_of_one_file_are_referred_to(make_series, oblique, tmp_path):
    import highdicom
    import pydicom

    headers = [pydicom.dcmread(path) for path in sorted(make_series(tmp_path / "x", oblique).iterdir())]
    for header in headers:
        header.WindowCenter, header.WindowWidth = 500, 1000
    about = {"series_instance_uid": "1.2.3", "series_number": 7, "sop_instance_uid": "1.2.4", "instance_number": 1}
    (tmp_path / "y").mkdir()
    highdicom.legacy.LegacyConvertedEnhancedMRImage(headers, **about).save_as(tmp_path / "y" / "one")
    scan = read_image(tmp_path / "y")
    mask = scan.data > 600
    made = highdicom.seg.segread(written(tmp_path / "y", mask, scan.grid, tmp_path / "seg.dcm"))
    volume = made.get_volume(combine_segments=True)
    there = world(volume.array == 1, np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine)
    assert np.abs(there - world(mask, scan.grid.affine)).max() < 0.01
