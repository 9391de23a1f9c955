import json
import struct

import nibabel as nib
import numpy as np
import pytest

from uadtools.errors import UadError
from uadtools.volume import header as headers
from uadtools.volume.roles import ROLES

AFFINE = np.array([[-2, 0, 0, 90], [0, 3, 0, -126], [0, 0, 4, -72], [0, 0, 0, 1.0]])
KINDS = [nib.Nifti1Header, nib.Nifti2Header]


def fields(kind=nib.Nifti1Header, order="<"):
    """A sound header of 2x3x4 int16 voxels, with sform alone."""
    header = kind(endianness=order)
    header.set_data_shape((2, 3, 4))
    header.set_data_dtype(np.int16)
    header.set_sform(AFFINE, code=1)
    return header


def parsed(header):
    return headers.parse(header.binaryblock, "scan.nii")


def placed(header, form=None):
    return headers.placed(parsed(header), form, "scan.nii")


def affine_of(header):
    grid, concerns = placed(header)
    assert concerns == []
    return grid.affine


def refusal(header):
    with pytest.raises(UadError) as caught:
        placed(header)
    message = str(caught.value)
    assert message.startswith("scan.nii: ")
    assert len(message.splitlines()) == 1
    return message


def extension(content, code=6, order="<", size=None):
    padded = content + bytes(-(len(content) + 8) % 16)
    return struct.pack(f"{order}ii", len(padded) + 8 if size is None else size, code) + padded


def block(*extensions):
    return b"\x01\0\0\0" + b"".join(extensions)


OURS = extension(json.dumps({"uadtools": {"study": "a"}}).encode())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", "<>")
def test_a_sound_header_is_understood(kind, order):
    header = fields(kind, order)
    header["intent_name"] = b"healed"
    header["vox_offset"] = 560
    header["scl_slope"], header["scl_inter"] = 2, 3
    found = parsed(header)
    assert headers.size_of(header.binaryblock[:4]) == kind.sizeof_hdr
    assert (found.shape, found.dtype, found.order) == ((2, 3, 4), np.dtype(f"{order}i2"), order)
    assert (found.slope, found.inter, found.offset, found.intent) == (2, 3, 560, "healed")
    assert found.nifti2 == (kind is nib.Nifti2Header)
    np.testing.assert_array_equal(affine_of(header), AFFINE)


@pytest.mark.parametrize("start", [b"", b"\x5c\x01", b"\0\0\0\0", b"GIF8", b"\x5d\x01\0\0"])
def test_other_bytes_start_no_header(start):
    assert headers.size_of(start) is None


def test_voxels_start_after_header_and_extension_flag_at_the_earliest():
    assert parsed(fields()).offset == 352
    assert parsed(fields(nib.Nifti2Header)).offset == 544


def test_a_rotated_header_without_sform_is_placed_by_its_qform():
    angle = np.radians(25)
    affine = AFFINE.copy()
    affine[:2, :2] = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ AFFINE[:2, :2]
    header = fields()
    header.set_sform(None, code=0)
    header.set_qform(affine, code=1)
    np.testing.assert_allclose(affine_of(header), affine, atol=1e-5)


def both(sform=AFFINE, qform=AFFINE, kind=nib.Nifti1Header):
    header = fields(kind)
    header.set_data_shape((100, 120, 90))
    header.set_sform(sform, code=2)
    header.set_qform(qform, code=1)
    return header


def moved(degrees=0.0, shift=0.0, mirrored=False):
    """The affine turned around z, shifted along x, and mirrored at x = 0."""
    turn, angle = np.eye(4), np.radians(degrees)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[0, 3] = shift
    return (np.diag([-1, 1, 1, 1]) if mirrored else np.eye(4)) @ turn @ AFFINE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("where", "said"),
    [
        (dict(shift=7), "lie up to 7 mm apart, and the sform was taken"),
        (dict(degrees=10), "lie up to 44.4 mm apart, and the"),
        (dict(mirrored=True), "lie up to 216 mm apart, mirrored (left against right), and"),
    ],
)
def test_sform_goes_before_a_qform_that_differs_which_is_told(where, said, kind):
    grid, (concern,) = placed(both(qform=moved(**where), kind=kind))
    np.testing.assert_array_equal(grid.affine, AFFINE)
    assert concern.code == "geometry"
    assert said in concern.text
    corners = np.array(np.meshgrid((0, 99), (0, 119), (0, 89))).reshape(3, -1)
    apart = (moved(**where) - AFFINE)[:3] @ np.vstack([corners, np.ones(8)])
    assert concern.value == pytest.approx(np.linalg.norm(apart, axis=0).max(), abs=2e-3)


def test_geometry_settles_which_of_them_is_right():
    header = both(qform=moved(shift=7))
    for form, affine in (("sform", AFFINE), ("qform", moved(shift=7))):
        grid, concerns = placed(header, form)
        np.testing.assert_allclose(grid.affine, affine, atol=1e-5)
        assert concerns == []
    header["qform_code"] = 0
    np.testing.assert_array_equal(placed(header, "qform")[0].affine, AFFINE)


@pytest.mark.parametrize("degrees", [0, 0.05, 0.3, 5, 45, 90, 179.9, 180])
@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 2, 2)])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (-0.5, 0.5, 3)])
def test_a_qform_that_says_the_same_is_no_contradiction(degrees, axis, sizes):
    affine = np.eye(4)
    affine[:3, :3] = nib.quaternions.angle_axis2mat(np.radians(degrees), axis) @ np.diag(sizes)
    affine[:3, 3] = 90, -126, -72
    assert placed(both(affine, affine))[1] == []


def test_a_hundredth_of_a_voxel_is_no_contradiction():
    assert placed(both(qform=moved(shift=0.015)))[1] == []
    assert len(placed(both(qform=moved(shift=0.025)))[1]) == 1


@pytest.mark.parametrize("size", [0, np.nan, np.inf])
def test_a_qform_without_voxel_size_is_refused_or_not_taken(size):
    header = both()
    header["pixdim"][2] = size
    grid, (concern,) = placed(header)
    np.testing.assert_array_equal(grid.affine, AFFINE)
    assert (concern.code, concern.value) == ("geometry", None)
    assert f"its qform makes no sense: voxels of 2 x {size:g} x 4, so the sform was taken" in concern.text
    with pytest.raises(UadError, match=r"its qform makes no sense: voxels of 2 x .*\(--geometry sform\)"):
        placed(header, "qform")
    header["sform_code"] = 0
    assert f"its affine makes no sense: voxels of 2 x {size:g} x 4 (set a valid sform or qform first)" in refusal(
        header
    )


@pytest.mark.parametrize(
    ("rows", "said"), [(0, "is zero or singular"), (3e9, "is zero or singular"), (np.nan, "is zero")]
)
def test_a_sform_that_makes_no_sense_is_refused_beside_a_sound_qform(rows, said):
    """Other readers take the sform, whatever it is: which is meant is the user's to say."""
    header = both()
    for row in "xyz":
        header[f"srow_{row}"] = rows
    assert f"its sform {said}" in refusal(header)
    assert "(--geometry qform)" in refusal(header)
    np.testing.assert_allclose(placed(header, "qform")[0].affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("code", [-32768, -1, 6, 353])
def test_a_code_that_nifti_lacks_is_none_as_nibabel_has_it(code):
    header = both()
    header["sform_code"], header["srow_x"] = code, (9, 0, 0, 0)
    np.testing.assert_allclose(affine_of(header), AFFINE, atol=1e-5)
    header["qform_code"] = code
    assert "no affine" in refusal(header)


@pytest.mark.parametrize(("unit", "mm"), [("unknown", 1), ("mm", 1), ("meter", 0.001), ("micron", 1000)])
@pytest.mark.parametrize("form", ["sform", "qform"])
def test_units_become_millimetres(unit, mm, form):
    header = both(np.diag([mm, mm, mm, 1]) @ AFFINE, np.diag([mm, mm, mm, 1]) @ AFFINE)
    header.set_xyzt_units(unit, "sec")
    header[f"{form}_code"] = 0
    np.testing.assert_allclose(affine_of(header), AFFINE, rtol=1e-6, atol=1e-5)


def test_a_unit_that_there_is_not_is_refused_by_its_number():
    header = fields()
    header["xyzt_units"] = 5 + 8
    assert "unit 5 of voxel sizes is unknown (set xyzt_units: 1 for metres, " in refusal(header)


@pytest.mark.parametrize(
    ("sizes", "shift", "unit", "said"),
    [
        ((1e-6, 1e-6, 1e-6), 0, "mm", "voxels of 1e-06 x 1e-06 x 1e-06 mm"),
        ((2, 2, 1e-3), 0, "mm", "voxels of 2 x 2 x 0.001 mm"),
        ((2, 2, 2), 0, "micron", "voxels of 0.002 x 0.002 x 0.002 mm, converted from microns"),
        ((2, 2, 2), 0, "meter", "voxels of 2e+03 x 2e+03 x 2e+03 mm, converted from metres"),
        ((60, 60, 60), 0, "mm", "a volume of 6 x 7.2 x 5.4 m"),
        ((2, 2, 2), 1e30, "mm", "a volume 1e+27 m away"),
    ],
)
def test_absurd_affines_are_refused_by_value(sizes, shift, unit, said):
    header = both(np.diag([*sizes, 1]) + shift * np.eye(4, k=3))
    header["qform_code"] = 0
    header.set_xyzt_units(unit)
    assert f"its affine makes no sense: {said}" in refusal(header)


def test_a_long_stack_is_no_absurd_volume():
    header = both(np.eye(4), np.eye(4))
    header.set_data_shape((64, 64, 30_000))
    assert placed(header)[1] == []


def test_a_sheared_affine_is_told():
    shear = np.eye(4)
    shear[0, 1] = np.tan(np.radians(12))
    header = both(shear @ AFFINE)
    header["qform_code"] = 0
    _, (concern,) = placed(header)
    assert (concern.code, concern.value) == ("sheared", 12)
    assert "its axes are sheared by 12 degrees" in concern.text


def test_a_header_without_orientation_is_a_guess_where_that_is_asked_for():
    header = both()
    header["sform_code"] = header["qform_code"] = 0
    grid, (concern,) = placed(header, "pixdim")
    header.set_sform(None, 0)
    np.testing.assert_allclose(grid.affine, header.get_base_affine())
    assert (concern.code, concern.text) == ("orientation", "it has voxel sizes alone, so left and right are a guess")
    header["pixdim"][3] = 0
    with pytest.raises(UadError, match="its affine makes no sense: voxels of 2 x 3 x 0 "):
        placed(header, "pixdim")


def test_negative_voxel_sizes_and_an_unset_qfac_are_mended_in_silence(caplog):
    header = fields()
    header.set_sform(None, code=0)
    header.set_qform(np.diag([1, 2, 3, 1]), code=1)
    header["pixdim"][:4] = [0, -1, 2, 3]
    np.testing.assert_allclose(affine_of(header), np.diag([1, 2, 3, 1]), atol=1e-6)
    assert not caplog.records


def test_a_header_without_affine_is_refused():
    header = fields()
    header["sform_code"] = 0
    said = refusal(header)
    assert "no affine: it does not say where its voxels lie, and with --geometry pixdim left and right are a" in said
    assert said.endswith(" (set sform or qform first)")


@pytest.mark.parametrize(
    "rows",
    [
        np.zeros((3, 3)),
        np.diag([1, 1, 0]),
        [[1, 1, 0], [2, 2, 0], [0, 0, 1]],
        [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.5, 0.7, 0.9]],
        np.full((3, 3), np.nan),
        np.diag([np.inf, 1, 1]),
    ],
)
def test_an_affine_that_leads_nowhere_is_refused(rows):
    header = fields()
    for name, row in zip(("srow_x", "srow_y", "srow_z"), rows, strict=True):
        header[name][:3] = row
    assert "its affine is zero or singular (set a valid sform or qform first)" in refusal(header)


def test_small_voxels_and_gantry_tilt_are_no_singular_affine():
    header = fields()
    header.set_sform([[0.01, 0, 0, 0], [0, 0.01, 0.03, 0], [0, 0, 0.05, 0], [0, 0, 0, 1]], code=1)
    grid, (concern,) = placed(header)
    assert grid.affine[1, 2] == np.float32(0.03)
    assert (concern.code, round(concern.value)) == ("sheared", 31)


def test_a_quaternion_that_is_none_is_refused():
    header = fields()
    header.set_sform(None, code=0)
    header.set_qform(AFFINE, code=1)
    header["quatern_b"], header["quatern_c"] = 3, 3
    assert "its affine makes no sense" in refusal(header)


@pytest.mark.parametrize(
    ("dim", "said"),
    [
        ([0, 2, 3, 4, 1, 1, 1, 1], "an image of 0 axes"),
        ([8, 2, 3, 4, 1, 1, 1, 1], "an image of 8 axes"),
        ([-3, 2, 3, 4, 1, 1, 1, 1], "an image of -3 axes"),
        ([1, 24, 1, 1, 1, 1, 1, 1], "24 voxels where a volume has three axes"),
        ([3, -2, 3, 4, 1, 1, 1, 1], "-2 x 3 x 4 voxels"),
        ([3, -1, 1, 1, 1, 1, 1, 1], "-1 in dim[1]"),
        ([4, 2, 3, 4, 0, 1, 1, 1], "2 x 3 x 4 x 0 voxels"),
        ([7, 32767, 32767, 32767, 9, 9, 9, 9], "it promises 461,"),
    ],
)
def test_axes_that_cannot_be_are_refused(dim, said):
    header = fields()
    header["dim"] = dim
    message = refusal(header)
    assert said in message
    assert "damaged NIfTI header: " in message


@pytest.mark.parametrize("offset", [np.nan, np.inf, 3e9, 100, -5, -400])
def test_voxels_that_start_where_they_cannot_are_refused(offset):
    header = fields()
    header["vox_offset"] = offset
    assert "damaged NIfTI header: " in refusal(header)


def test_voxels_of_a_pair_that_start_before_their_file_are_refused():
    """Read from its beginning they would be as many, and others, as other readers see them not at all."""
    header = fields()
    header["magic"], header["vox_offset"] = b"ni1", -5
    with pytest.raises(UadError, match=r"damaged NIfTI header: it promises .* bytes of voxels after -5 others"):
        headers.parse(header.binaryblock, "here", single=False)


@pytest.mark.parametrize(
    ("code", "said"),
    [(32, "complex"), (1792, "complex"), (128, "RGB"), (2304, "RGB"), (1, "not supported"), (999, "not recognized")],
)
def test_data_types_that_are_no_real_numbers_are_refused(code, said):
    header = fields()
    header["datatype"] = code
    assert said in refusal(header)


def test_an_intercept_that_is_no_number_is_refused():
    header = fields()
    header["scl_slope"], header["scl_inter"] = 2, np.inf
    assert "intercept inf" in refusal(header)


def test_the_older_format_is_named():
    header = fields()
    header["magic"] = b""
    assert "Analyze 7.5, which has no orientation (convert it to NIfTI)" in refusal(header)


def test_an_unknown_role_is_a_scan_unless_a_uad_tool_wrote_it():
    for role in ROLES:
        assert headers.role(role, {}) == role
    assert headers.role("", {"study": "a"}) == headers.role("TE=2.3", {}) == headers.role("T1w", {}) == "scan"
    assert headers.role("uncertainty", {"study": "a"}) == "uncertainty"
    assert headers.role("../x", {"study": "a"}) == "scan"


def test_a_role_may_be_of_a_channel():
    for role in ("scan:FLAIR", "healed:T2"):
        assert headers.role(role, {}) == headers.role(role, {"study": "a"}) == role
    assert headers.role("TE:2", {}) == "scan"
    for role in ("scan:../x", "scan:A B", ":T2", "scan:a:b"):
        assert headers.role(role, {}) == headers.role(role, {"study": "a"}) == "scan", role


def test_bytes_of_intent_that_are_no_text_are_read_all_the_same():
    header = fields()
    header["intent_name"] = bytes(range(200, 216))
    assert len(parsed(header).intent) == headers.ROLE_LENGTH


@pytest.mark.parametrize("order", "<>")
def test_provenance_is_found_among_foreign_extensions(order):
    foreign = [extension(b"<xml>", 4, order), extension(b"a comment", 6, order), extension(b"\xff\xfe{", 6, order)]
    ours = extension(json.dumps({"uadtools": {"study": "a"}}).encode(), order=order)
    assert headers.provenance(block(*foreign, ours, *foreign), order) == {"study": "a"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1, 2]",
        b'"uadtools"',
        b'{"uadtools": 3}',
        b'{"other": {}}',
        b"[" * 100_000,
        b'{"uadtools": {"study": "a"',
        b'{"uadtools": {"study": "\xff"}}',
    ],
)
def test_malformed_provenance_is_ignored(content):
    assert headers.provenance(block(extension(content)), "<") == {}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0\0\0\0" + OURS,
        block(),
        block(extension(b"x", size=0), OURS),
        block(extension(b"x", size=-16), OURS),
        block(extension(b"x", size=1 << 30), OURS),
        block(OURS[:-1]),
        b"\x01\0\0\0\x10",
    ],
)
def test_broken_or_absent_extensions_are_ignored(raw):
    assert headers.provenance(raw, "<") == {}


def test_parts_of_provenance_that_are_not_as_written_are_dropped():
    wrong = {"study": 3, "chain": {}, "history": [1], "note": "kept"}
    assert headers.provenance(block(extension(json.dumps({"uadtools": wrong}).encode())), "<") == {"note": "kept"}
    right = {"study": "a", "chain": [{}], "history": [{}]}
    assert headers.provenance(block(extension(json.dumps({"uadtools": right}).encode())), "<") == right
