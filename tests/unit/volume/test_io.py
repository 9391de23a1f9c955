import gzip
import io
import itertools
import json
import struct
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.volume.io import Image, read_images, read_pair, save, stem, to_bytes
from uadtools.volume.reading import Reading
from uadtools.volume.stream import read_image, read_path

AFFINE = np.array([[0, -1.5, 0, 20], [0.5, 0, 0, -30], [0, 0, 2, 7], [0, 0, 0, 1]])
SHAPE = (3, 4, 5)
PROVENANCE = {"study": "a", "chain": [], "history": [{"tool": "uad-preprocess"}]}
DTYPES = ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
KINDS = [nib.Nifti1Image, nib.Nifti2Image]


def numbers(dtype="float32", shape=SHAPE):
    return np.random.default_rng(0).uniform(0, 100, shape).astype(dtype)


def encoded(data, kind=nib.Nifti1Image, affine=AFFINE, order="<", **fields):
    """The bytes of an image as nibabel writes it; then header fields are overwritten, right or wrong."""
    image = kind(data, affine, header=kind.header_class(endianness=order), dtype=data.dtype)
    raw = image.to_bytes()
    size = kind.header_class.sizeof_hdr
    header = kind.header_class(raw[:size], endianness=order, check=False)
    for key, value in fields.items():
        header[key] = value
    return header.binaryblock + raw[size:]


def stored(tmp_path, content, name="scan.nii"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def refusal(path, volume=None):
    """The error for a file: one line that begins with the file's name and says what to do."""
    with pytest.raises(UadError) as caught:
        list(read_path(path, Reading(volume)))
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1
    return message.removeprefix(f"{path}: ")


def same(image, data, affine=AFFINE):
    np.testing.assert_array_equal(image.data, data)
    assert image.data.dtype == data.dtype
    np.testing.assert_array_equal(image.grid.affine, affine)
    assert image.grid.shape == data.shape


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_data_type_survives_a_round_trip(dtype, tmp_path):
    data = numbers(dtype)
    for suffix, nifti2 in itertools.product((".nii", ".nii.gz"), (False, True)):
        path = tmp_path / f"{nifti2}{len(suffix)}{suffix}"
        save(Image(data, Grid(SHAPE, AFFINE), "score", PROVENANCE, nifti2), path)
        found = read_image(path)
        same(found, data)
        assert (found.role, found.provenance, found.nifti2) == ("score", PROVENANCE, nifti2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", "<>")
def test_what_another_program_wrote_is_read_alike(dtype, kind, order, tmp_path):
    data = numbers(dtype)
    path = stored(tmp_path, encoded(data, kind, order=order))
    assert path.read_bytes()[:4] == struct.pack(f"{order}i", kind.header_class.sizeof_hdr)
    same(read_image(path), data)


def test_what_is_written_another_program_reads_alike(tmp_path):
    data = numbers("int16")
    save(Image(data, Grid(SHAPE, AFFINE), "healed", PROVENANCE), tmp_path / "a.nii.gz")
    found = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(found.get_fdata(), data)
    np.testing.assert_array_equal(found.get_sform(), AFFINE)
    np.testing.assert_allclose(found.get_qform(), AFFINE, atol=1e-5)
    assert int(found.header["sform_code"]) == int(found.header["qform_code"]) == 1
    assert found.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize(("dtype", "wider"), [("bool", "uint8"), ("float16", "float32"), ("longdouble", "float64")])
def test_data_types_that_nifti_lacks_are_widened(dtype, wider, tmp_path):
    data = numbers("float16").astype(dtype)
    save(Image(data, Grid(SHAPE, AFFINE)), tmp_path / "a.nii")
    same(read_image(tmp_path / "a.nii"), data.astype(wider))


def test_data_in_foreign_byte_order_are_written_right(tmp_path):
    data = numbers("int16")
    save(Image(data.astype(">i2"), Grid(SHAPE, AFFINE)), tmp_path / "a.nii")
    same(read_image(tmp_path / "a.nii"), data)


def test_an_axis_too_long_for_nifti_1_makes_it_nifti_2():
    data = np.ones((40_000, 1, 2), dtype=np.uint8)
    (found,) = read_images(io.BytesIO(to_bytes(Image(data, Grid(data.shape, AFFINE)))), "stream")
    assert found.nifti2
    same(found, data)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_slope_and_intercept_are_applied(dtype, tmp_path):
    data = numbers(dtype)
    path = stored(tmp_path, encoded(data, scl_slope=0.5, scl_inter=-3))
    np.testing.assert_allclose(read_image(path).data, 0.5 * data.astype(float) - 3, rtol=1e-12)
    np.testing.assert_array_equal(read_image(path).data, np.asanyarray(nib.load(path).dataobj))


@pytest.mark.parametrize("slope", [0, np.nan, np.inf, 1])
def test_a_slope_that_says_nothing_leaves_integers_alone(slope, tmp_path):
    data = numbers("int16")
    inter = 0 if slope == 1 else np.nan
    same(read_image(stored(tmp_path, encoded(data, scl_slope=slope, scl_inter=inter))), data)


def test_voxels_can_be_written_to(tmp_path):
    data = read_image(stored(tmp_path, encoded(numbers()))).data
    data += 1


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_a_pair_is_read_by_either_name(kind, packed, tmp_path):
    data = numbers("int16")
    kind(data, AFFINE).to_filename(tmp_path / f"scan.img{packed}")
    for half in ("hdr", "img"):
        image = read_image(tmp_path / f"scan.{half}{packed}")
        same(image, data)
        assert image.nifti2 == (kind is nib.Nifti2Pair)


def test_the_voxels_of_a_pair_may_start_late_and_be_scaled(tmp_path):
    header = nib.Nifti1Pair(numbers("int16"), AFFINE).header
    header["vox_offset"], header["scl_slope"], header["scl_inter"] = 64, 2, 1
    stored(tmp_path, header.binaryblock, "scan.hdr")
    stored(tmp_path, bytes(64) + numbers("int16").tobytes(order="F"), "scan.img")
    np.testing.assert_array_equal(read_pair(tmp_path / "scan.img").data, 2.0 * numbers("int16") + 1)


def test_what_is_wrong_with_a_pair_is_told(tmp_path):
    path = tmp_path / "scan.img"
    assert "no such file" in refusal(path)
    nib.Nifti1Pair(numbers(), AFFINE).to_filename(path)
    head, body = (tmp_path / "scan.hdr").read_bytes(), path.read_bytes()
    stored(tmp_path, body[:-1], "scan.img")
    assert "cut short after 239 bytes of its voxels" in refusal(path)
    assert "cut short after 239 bytes" in refusal(tmp_path / "scan.hdr")
    stored(tmp_path, head[:100], "scan.hdr")
    assert "cut short after 96 bytes of its header" in refusal(path)
    stored(tmp_path, b"", "scan.hdr")
    assert "empty" in refusal(path)
    stored(tmp_path, encoded(numbers()), "scan.hdr")
    assert "in one file (give that file a name in .nii)" in refusal(path)
    (tmp_path / "scan.hdr").unlink()
    assert f"its other half, {tmp_path / 'scan.hdr'}, is missing" in refusal(path)


def test_the_header_of_a_pair_is_not_taken_for_an_image(tmp_path):
    nib.Nifti1Pair(numbers(), AFFINE).to_filename(tmp_path / "scan.img")
    path = stored(tmp_path, (tmp_path / "scan.hdr").read_bytes())
    assert "in two files (give the name of its .hdr or .img)" in refusal(path)


@pytest.mark.parametrize("shape", [(*SHAPE, 1), (*SHAPE, 1, 1), (*SHAPE, 1, 1, 1, 1)])
def test_one_volume_is_a_volume_however_many_axes(shape, tmp_path):
    path = stored(tmp_path, encoded(numbers(shape=shape)))
    same(read_image(path), numbers(shape=shape).reshape(SHAPE))
    same(read_image(path, Reading(0)), numbers(shape=shape).reshape(SHAPE))


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_one_of_several_volumes_is_chosen_by_number(name, tmp_path):
    data = numbers("int16", (*SHAPE, 4))
    raw = encoded(data)
    path = stored(tmp_path, gzip.compress(raw) if name.endswith("gz") else raw, name)
    assert "4 volumes (choose one with --volume N" in refusal(path)
    for volume in range(4):
        same(read_image(path, Reading(volume)), data[..., volume])
    for volume in (-1, 4):
        assert f"has no volume {volume} (it has 4, counted from 0)" in refusal(path, volume)
    if name == "scan.nii":
        assert "cut short after 479 bytes of its voxels" in refusal(stored(tmp_path, raw[:-1]), 0)


def test_volumes_of_five_axes_are_counted_in_the_order_of_the_file(tmp_path):
    data = numbers(shape=(*SHAPE, 2, 3))
    path = stored(tmp_path, encoded(data))
    same(read_image(path, Reading(3)), data[..., 1, 1])


def test_other_volumes_may_hold_what_they_like(tmp_path):
    data = numbers(shape=(*SHAPE, 2))
    data[0, 0, 0, 1] = np.nan
    path = stored(tmp_path, encoded(data))
    same(read_image(path, Reading(0)), data[..., 0])
    assert "1 voxels are NaN or infinite" in refusal(path, 1)


def test_two_axes_are_a_volume_of_one_slice(tmp_path):
    data = numbers(shape=(6, 7))
    same(read_image(stored(tmp_path, encoded(data))), data[..., None])


@pytest.mark.parametrize("value", [1e39, -1e237])
def test_voxels_beyond_single_precision_are_refused(value, tmp_path):
    data = numbers().astype(np.float64)
    data[0, 0, 0] = value
    assert f"holds {abs(value):.3g}, more than 32 bits have" in refusal(stored(tmp_path, encoded(data)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_counted(value, tmp_path):
    data = numbers()
    data[0, :2, 0] = value
    assert "2 voxels are NaN or infinite (replace them first)" in refusal(stored(tmp_path, encoded(data)))


def test_voxels_that_scaling_makes_infinite_are_told(tmp_path):
    data = np.full(SHAPE, 1e300)
    path = stored(tmp_path, encoded(data, scl_slope=1e30, scl_inter=0))
    assert "60 voxels are NaN or infinite" in refusal(path)


STRANGERS = {
    "random bytes": np.random.default_rng(0).bytes(5000),
    "text": b"not an image at all\n" * 100,
    "short text": b"no",
    "dicom": bytes(128) + b"DICM" + bytes(1000),
    "zeros": bytes(5000),
    "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "html": b"<!DOCTYPE html><html></html>",
}


@pytest.mark.parametrize("what", STRANGERS)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_no_nifti_image_is_told(what, packed, tmp_path):
    content = STRANGERS[what]
    path = stored(tmp_path, gzip.compress(content) if packed else content)
    assert refusal(path).startswith("not a NIfTI image (NIfTI-1 and -2, .mgz and .nrrd are read; ")


@pytest.mark.parametrize("content", [b"", gzip.compress(b"", mtime=0)])
def test_an_empty_file_is_told(content, tmp_path):
    assert refusal(stored(tmp_path, content)).startswith("empty (a NIfTI image was expected; did the command before")


def test_wherever_an_image_is_cut_it_is_told(tmp_path):
    raw = to_bytes(Image(numbers("uint8"), Grid(SHAPE, AFFINE), "scan", {"study": "a"}))
    offset = int(nib.Nifti1Header(raw[:348]).get_data_offset())
    assert offset > 352
    for kept in range(4, len(raw)):
        where = "header" if kept < offset else "voxels"
        assert f"of its {where} (get the file again)" in refusal(stored(tmp_path, raw[:kept]))
    assert "cut short after 59 bytes of its voxels" in refusal(stored(tmp_path, raw[:-1]))
    for kept in range(1, 4):
        assert "not a NIfTI image" in refusal(stored(tmp_path, raw[:kept]))


def test_wherever_gzip_data_are_cut_it_is_told(tmp_path):
    raw = gzip.compress(encoded(numbers("uint8")))
    for kept in range(2, len(raw)):
        path = stored(tmp_path, raw[:kept], "scan.nii.gz")
        assert refusal(path).startswith("its gzip data are cut short or damaged (")


@pytest.mark.parametrize("place", [-1, -5, -9, 40, 3])
def test_gzip_data_with_a_wrong_byte_are_told(place, tmp_path):
    raw = bytearray(gzip.compress(encoded(numbers())))
    raw[place] ^= 0xFF
    path = stored(tmp_path, raw, "scan.nii.gz")
    assert refusal(path).startswith("its gzip data are cut short or damaged (")
    with pytest.raises(UadError, match="gzip data"):
        read_image(path)


def test_no_single_wrong_byte_does_worse_than_be_told():
    raw = to_bytes(Image(numbers("int16", (2, 2, 2)), Grid((2, 2, 2), AFFINE), "scan", PROVENANCE))
    told = []
    for place, flip in itertools.product(range(len(raw)), (0x01, 0x40, 0x80, 0xFF)):
        wrong = raw[:place] + bytes([raw[place] ^ flip]) + raw[place + 1 :]
        try:
            list(read_images(io.BytesIO(wrong), "scan"))
        except UadError as error:
            told.append(str(error))
    assert len(told) > 50
    assert all(message.startswith("scan: ") for message in told)


def test_bytes_after_the_image_are_told(tmp_path):
    path = stored(tmp_path, encoded(numbers()) + b"and more")
    assert "what follows its image 1 is no NIfTI image" in refusal(path)


def test_what_cannot_be_opened_is_told(tmp_path, monkeypatch):
    assert refusal(tmp_path / "none.nii") == "No such file or directory"
    assert refusal(tmp_path) == "is a folder (name the files in it)"
    assert refusal(tmp_path / ("long" * 100)) == "File name too long"

    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    path = stored(tmp_path, encoded(numbers()))
    monkeypatch.setattr(Path, "open", refuse)
    assert refusal(path) == "Permission denied"


def test_a_disk_that_fails_while_reading_is_told():
    class Failing(io.BytesIO):
        def read(self, count=-1):
            if self.tell() > 352:
                raise OSError(5, "Input/output error")
            return super().read(count)

    with pytest.raises(UadError, match=r"^scan: Input/output error$"):
        list(read_images(Failing(encoded(numbers())), "scan"))


@pytest.mark.parametrize("packed", [False, True])
def test_bytes_may_come_one_at_a_time(packed):
    class Slow(io.BytesIO):
        def read(self, count=-1):
            return super().read(min(count, 1))

    raw = encoded(numbers("uint8"))
    (image,) = read_images(Slow(gzip.compress(raw) if packed else raw), "stream")
    same(image, numbers("uint8"))


def test_reading_leaves_the_file_open():
    file = io.BytesIO(encoded(numbers()))
    list(read_images(file, "stream"))
    assert not file.closed


def test_the_bytes_of_a_gzipped_file_are_the_same_at_any_time(tmp_path, monkeypatch):
    image = Image(numbers(), Grid(SHAPE, AFFINE), "scan", PROVENANCE)
    save(image, tmp_path / "a.nii.gz")
    monkeypatch.setattr(time, "time", lambda: 2_000_000_000.0)
    save(image, tmp_path / "b.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize("length", range(17))
def test_provenance_survives_whatever_padding_follows_it(length):
    known = {"study": "x" * length, "history": [], "note": 'NUL \0, "quotes", \u00fc\n'}
    (found,) = read_images(io.BytesIO(to_bytes(Image(numbers(), Grid(SHAPE, AFFINE), "scan", known))), "stream")
    assert found.provenance == known


def test_provenance_is_left_out_on_demand():
    image = Image(numbers(), Grid(SHAPE, AFFINE), "healed", PROVENANCE)
    (found,) = read_images(io.BytesIO(to_bytes(image, provenance=False)), "stream")
    assert (found.role, found.provenance) == ("healed", {})
    assert len(to_bytes(image, provenance=False)) == 352 + 60 * 4


@pytest.mark.parametrize("role", ["", "sixteen_letters_", "\u4e2d"])
def test_a_role_that_the_format_cannot_hold_is_refused(role):
    with pytest.raises(ValueError, match=r"1 to 15 characters|can't encode"):
        Image(numbers(), Grid(SHAPE, AFFINE), role)


def test_the_longest_role_survives_a_round_trip():
    image = Image(numbers(), Grid(SHAPE, AFFINE), "fifteen_letters", PROVENANCE)
    (found,) = read_images(io.BytesIO(to_bytes(image)), "stream")
    assert found.role == "fifteen_letters"


def test_data_that_do_not_fit_the_grid_are_refused():
    with pytest.raises(ValueError, match=r"shape \(3, 4, 5\) on a grid of shape \(5, 4, 3\)"):
        Image(numbers(), Grid((5, 4, 3), AFFINE))


def test_derive_keeps_what_is_not_replaced():
    image = Image(numbers(), Grid(SHAPE, AFFINE), "scan", PROVENANCE, nifti2=True)
    made = image.derive(numbers("int16"), "brain")
    assert (made.role, made.grid, made.provenance, made.nifti2) == ("brain", image.grid, PROVENANCE, True)
    assert image.derive(np.zeros((1, 1, 1)), "brain", Grid((1, 1, 1), AFFINE)).grid.shape == (1, 1, 1)


def test_provenance_is_written_beside_the_file_too(tmp_path):
    image = Image(numbers(), Grid(SHAPE, AFFINE), "scan", PROVENANCE)
    save(image, tmp_path / "a.b.nii.gz")
    assert json.loads((tmp_path / "a.b.json").read_text()) == PROVENANCE
    save(image, tmp_path / "c.nii", provenance=False)
    save(Image(numbers(), Grid(SHAPE, AFFINE)), tmp_path / "d.nii")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.b.json", "a.b.nii.gz", "c.nii", "d.nii"]


@pytest.mark.parametrize("taken", ["a.nii.gz", "a.json"])
def test_files_in_the_way_are_replaced_only_by_force(taken, tmp_path):
    image = Image(numbers(), Grid(SHAPE, AFFINE), "scan", PROVENANCE)
    stored(tmp_path, b"mine", taken)
    with pytest.raises(UadError, match=rf"{taken}: exists \(--force"):
        save(image, tmp_path / "a.nii.gz")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [(taken, b"mine")]
    save(image, tmp_path / "a.nii.gz", force=True)
    assert read_image(tmp_path / "a.nii.gz").provenance == json.loads((tmp_path / "a.json").read_text())


@pytest.mark.parametrize("name", ["a.img", "a", "a.nii.bz2", "a.nii.gz.part"])
def test_other_suffixes_are_refused(name, tmp_path):
    with pytest.raises(UadError, match=r"written as \.nii or \.nii\.gz"):
        save(Image(numbers(), Grid(SHAPE, AFFINE)), tmp_path / name)


@pytest.mark.parametrize(
    ("name", "bare"),
    [("a.nii", "a"), ("x/a.b.nii.gz", "a.b"), ("A.NII.GZ", "A"), ("a.hdr", "a"), ("a.img.gz", "a"), ("a.png", "a.png")],
)
def test_stem_drops_folder_and_suffix(name, bare):
    assert stem(Path(name)) == bare


@pytest.mark.parametrize("packed_twice", [False, True])
def test_what_unpacks_to_fill_the_memory_is_refused_before_it_does(packed_twice, monkeypatch):
    monkeypatch.setattr("uadtools.volume.unpacked._EMPTY", 1 << 20)
    raw = encoded(np.zeros((400, 400, 400), np.int16))
    parts = (raw[: 1 << 20], raw[1 << 20 :]) if packed_twice else (raw,)
    file = io.BytesIO(b"".join(gzip.compress(part, 9) for part in parts))
    with pytest.raises(UadError, match=r"^stream: unpacks to 200 times its size and more, which no scan does"):
        list(read_images(file, "stream"))


def test_a_mask_of_almost_nothing_is_no_bomb():
    empty = np.zeros((100, 100, 100), np.uint8)
    (image,) = read_images(io.BytesIO(gzip.compress(encoded(empty), 9)), "stream")
    assert not image.data.any()
