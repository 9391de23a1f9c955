import io
import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from uadtools.grids.grid import Grid
from uadtools.grids.placement import Placement
from uadtools.volume.chain import link, native_grid, to_native
from uadtools.volume.io import Image, read_images, to_bytes
from uadtools.volume.reading import Reading

AFFINE = np.array([[-2, 0, 0, 11], [0, 3, 0, -16], [0, 0, 4, -9], [0, 0, 0, 1.0]])
TURNED = np.array([[-1.8, -1.3, 0, 7.123], [-0.9, 2.7, 0, -9], [0, 0, 4, -9], [0, 0, 0, 1]])
PLACE = [f"{name}_{axis}" for name, axes in (("quatern", "bcd"), ("qoffset", "xyz"), ("srow", "xyz")) for axis in axes]
SHAPE = (9, 8, 7)


def written(sform=(AFFINE, 2), qform=(TURNED, 4), unit="mm"):
    """A scan as another program writes it, each form with its code."""
    image = nib.Nifti1Image(np.arange(504, dtype=np.int16).reshape(SHAPE), None)
    image.header.set_sform(*sform)
    image.header.set_qform(*qform)
    image.header.set_xyzt_units(unit)
    return image


def read(nifti, **reading):
    (image,) = read_images(io.BytesIO(nifti.to_bytes()), "scan", Reading(**reading))
    return image


def place_of(raw):
    """The fields that say where an image lies, bit for bit."""
    header = nib.Nifti1Header(raw[:348], check=False)
    codes = [int(header[f"{form}_code"]) for form in ("sform", "qform")]
    return (
        codes,
        [header[key].tobytes() for key in PLACE],
        header["pixdim"][:4].tobytes(),
        int(header["xyzt_units"]) & 7,
    )


HEADERS = {
    "both": written(),
    "in mni": written((AFFINE, 4), (AFFINE, 4)),
    "qform alone": written((None, 0), (TURNED, 1)),
    "sform alone": written((AFFINE, 3), (None, 0)),
    "in metres": written((AFFINE / [[1000], [1000], [1000], [1]], 1), (None, 0), "meter"),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_scan_is_written_where_its_file_said(kind):
    raw = HEADERS[kind].to_bytes()
    assert place_of(to_bytes(read(HEADERS[kind]))) == place_of(raw)


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize("through_a_file", [False, True])
def test_the_way_back_leads_to_the_raw_header(kind, through_a_file):
    scan = read(HEADERS[kind])
    small = Grid((5, 5, 5), np.diag([4.0, 4.0, 4.0, 1.0]))
    chain = [link("input", scan.grid), link("resample", small)]
    found = Image(np.ones(small.shape, np.uint8), small, "detection", {"chain": chain})
    if through_a_file:
        (found,) = read_images(io.BytesIO(to_bytes(found)), "found")
    assert place_of(to_bytes(to_native(found, "found"))) == place_of(HEADERS[kind].to_bytes())


def test_a_grid_that_was_changed_is_written_where_it_lies_now():
    scan = read(HEADERS["both"])
    moved = replace(scan, grid=replace(scan.grid, affine=np.diag([1.0, 2.0, 3.0, 1.0])))
    (found,) = read_images(io.BytesIO(to_bytes(moved)), "moved")
    np.testing.assert_array_equal(found.grid.affine, moved.grid.affine)
    assert "placement" not in moved.grid.to_json()


def test_what_was_chosen_once_is_chosen_again():
    """A scan that was drawn into keeps both forms, and the next tool takes the one that the user said is right."""
    scan = read(HEADERS["both"], geometry="qform")
    np.testing.assert_allclose(scan.grid.affine, HEADERS["both"].get_qform(), atol=1e-5)
    (again,) = read_images(io.BytesIO(to_bytes(scan)), "again")
    np.testing.assert_array_equal(again.grid.affine, scan.grid.affine)
    assert not scan.noted
    assert not again.noted


def test_what_is_noted_goes_with_the_image_and_is_noted_once():
    scan = read(HEADERS["both"])
    assert [concern.code for concern in scan.noted] == ["geometry"]
    assert scan.provenance["concerns"] == [scan.noted[0].to_json()]
    (again,) = read_images(io.BytesIO(to_bytes(scan)), "again")
    assert again.noted == ()
    assert again.provenance["concerns"] == scan.provenance["concerns"]


def test_what_uad_tools_wrote_is_not_judged():
    """A sheared grid cannot be kept in the qform that they write beside it."""
    shear = np.array([[2, 0.4, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1.0]])
    image = Image(np.zeros(SHAPE), Grid(SHAPE, shear), "scan", {"history": [{"tool": "uad-preprocess"}]})
    (found,) = read_images(io.BytesIO(to_bytes(image)), "found")
    assert found.noted == ()


@pytest.mark.parametrize(
    "change",
    [
        {"units": 7},
        {"sform_code": 2**40},
        {"qform_code": None},
        {"pixdim": [1, 2, 3]},
        {"srow": [[1, 2, 3, 4]] * 3},
        {"srow": [1.0] * 100_000},
        {"offset": "abc"},
        {"quatern": {}},
        None,
        [],
    ],
)
def test_a_damaged_placement_damages_the_chain(change):
    good = read(HEADERS["both"]).grid.to_json()
    again = json.loads(json.dumps(good))
    assert native_grid([{"grid": again}]).placement == Placement.from_json(good["placement"])
    again["placement"] = {**again["placement"], **change} if isinstance(change, dict) else change
    with pytest.raises(Exception, match="does not say which grid it came from"):
        native_grid([{"grid": again}])


@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan])
def test_a_form_that_is_not_taken_may_hold_no_numbers_and_comes_back(number):
    placement = replace(read(HEADERS["both"]).grid.placement, quatern=(0.0, number, 0.0))
    text = json.dumps(placement.to_json(), allow_nan=False)
    np.testing.assert_array_equal(Placement.from_json(json.loads(text)).quatern, placement.quatern)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [30_000, 30_000, 30_000]},
        {"affine": np.diag([1e-6, 1, 1, 1]).tolist()},
        {"affine": np.diag([1e6, 1e6, 1e6, 1]).tolist()},
        {"affine": (np.eye(4) + np.eye(4)[::-1]).tolist()},
    ],
)
def test_a_grid_that_no_scan_has_damages_the_chain(change):
    with pytest.raises(Exception, match="does not say which grid it came from"):
        native_grid([{"grid": Grid(SHAPE, AFFINE).to_json() | change}])


def test_a_registration_to_nowhere_is_told():
    grid = Grid(SHAPE, AFFINE)
    chain = [link("input", grid), link("register", grid, np.diag([1e6, 1e6, 1e6, 1.0]))]
    found = Image(np.ones(SHAPE, np.uint8), grid, "detection", {"chain": chain})
    with pytest.raises(Exception, match=r"^a: was registered to voxels of .* \(its provenance is damaged\)"):
        to_native(found, "a")
