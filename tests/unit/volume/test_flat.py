import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from uadtools.errors import UadError
from uadtools.volume.flat import is_flat, read_flat, read_stack
from uadtools.volume.listing import files_of
from uadtools.volume.stream import base_name, read_image, read_path

GREY = np.random.default_rng(0).integers(0, 256, (3, 5), dtype=np.uint8)  # 3 rows of 5 pixels
GREY[0, :2] = 0, 255
STACK = np.random.default_rng(1).random((4, 3, 5))


def drawn(path, pixels, mode=None):
    """Write a picture, its pixels brought to a mode first."""
    made = Pillow.fromarray(pixels)
    (made.convert(mode) if mode else made).save(path)
    return path


def grey_read(path):
    """Rows and columns of a picture of one slice."""
    data = read_flat(path).data
    assert data.ndim == 3
    assert data.shape[2] == 1
    return data[:, :, 0].T


def check_read_or_told(path):
    """A damaged file is read as something in [0, 1], or refused with a UadError that names it."""
    told = f"{path}: "
    try:
        assert read_flat(path).data.max() <= 1
    except UadError as error:
        told = str(error)
    assert told.startswith(f"{path}: ")
    assert len(told.splitlines()) == 1


def stacked(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_a_picture_is_a_slice_seen_from_below(tmp_path):
    """Columns run to the patient's left and rows to the back, in pixels of 1 mm."""
    image = read_flat(drawn(tmp_path / "a.png", GREY))
    assert image.data.shape == image.grid.shape == (5, 3, 1)
    assert image.data.dtype == np.float32
    assert image.data.flags.c_contiguous
    assert (image.grid.orientation, image.grid.spacing) == ("LPS", (1, 1, 1))
    assert image.role == "scan"
    for x in range(5):
        for y in range(3):
            assert image.data[x, y, 0] == np.float32(GREY[y, x] / 255)


def test_8_bits_become_0_to_1(tmp_path):
    found = grey_read(drawn(tmp_path / "a.png", GREY))
    np.testing.assert_array_equal(found, GREY.astype(np.float32) / 255)
    assert (found.min(), found.max()) == (0, 1)


def test_16_bits_become_0_to_1(tmp_path):
    pixels = np.array([[0, 1, 255, 256], [32768, 40000, 65534, 65535]], dtype=np.uint16)
    found = grey_read(drawn(tmp_path / "a.png", pixels))
    np.testing.assert_array_equal(found, pixels.astype(np.float32) / 65535)
    assert len(np.unique(found)) == 8


def test_1_bit_is_0_or_1(tmp_path):
    pixels = GREY > 99
    np.testing.assert_array_equal(grey_read(drawn(tmp_path / "a.png", pixels)), pixels.astype(np.float32))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_grey_may_be_kept_in_other_ways(mode, tmp_path):
    path = drawn(tmp_path / "a.png", GREY, mode)
    with Pillow.open(path) as opened:
        assert opened.mode == mode
    np.testing.assert_array_equal(grey_read(path), GREY.astype(np.float32) / 255)


def test_a_palette_is_looked_up_in_and_not_taken_for_values(tmp_path):
    made = Pillow.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), mode="P")
    made.putpalette([200] * 3 + [10] * 3 + [90] * 3)
    made.save(tmp_path / "a.png")
    np.testing.assert_array_equal(grey_read(tmp_path / "a.png"), np.float32([[200, 10, 90]]) / 255)


def test_what_is_transparent_keeps_its_value(tmp_path):
    pixels = np.dstack([GREY] * 3 + [np.where(GREY > 99, 255, 0).astype(np.uint8)])
    np.testing.assert_array_equal(grey_read(drawn(tmp_path / "a.png", pixels)), GREY.astype(np.float32) / 255)


@pytest.mark.parametrize(("mode", "said"), [("RGB", "R+G+B"), ("RGBA", "R+G+B+A"), ("P", "P")])
def test_colour_is_refused_though_it_be_one_pixel(mode, said, tmp_path):
    pixels = np.dstack([GREY] * 3)
    pixels[2, 4, 2] ^= 64
    path = drawn(tmp_path / "a.png", pixels, mode)
    with pytest.raises(UadError) as caught:
        read_flat(path)
    assert str(caught.value) == f"{path}: a picture in colour, {said} (convert it to grey)"


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG"])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_is_read_as_well_as_it_keeps_its_values(name, mode, tmp_path):
    smooth = (40 + 10 * np.indices((16, 24)).sum(axis=0) // 2).astype(np.uint8)
    found = grey_read(drawn(tmp_path / name, smooth, mode))
    np.testing.assert_allclose(found, smooth / 255, atol=3 / 255)


def test_a_jpeg_in_colour_is_refused(tmp_path):
    pixels = np.dstack([GREY, GREY, 255 - GREY])
    with pytest.raises(UadError, match=r"a\.jpg: a picture in colour"):
        read_flat(drawn(tmp_path / "a.jpg", pixels))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("keep", [0, 4, 30, -200])
def test_a_picture_cut_short_is_told_in_one_line(keep, suffix, tmp_path):
    path = drawn(tmp_path / f"a.{suffix}", np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UadError) as caught:
        read_flat(path)
    assert str(caught.value) == f"{path}: not a readable picture"


def test_no_damage_to_a_picture_is_a_traceback(tmp_path):
    rng = np.random.default_rng(0)
    for whole in (drawn(tmp_path / "a.png", GREY, "P"), drawn(tmp_path / "a.jpg", GREY)):
        raw, path = whole.read_bytes(), tmp_path / f"b{whole.suffix}"
        for _ in range(100):
            damaged = bytearray(raw)
            for place in rng.integers(0, len(raw), 2):
                damaged[place] = rng.integers(256)
            path.write_bytes(damaged)
            check_read_or_told(path)


def test_a_missing_picture_and_a_folder_are_told(tmp_path):
    (tmp_path / "b.png").mkdir()
    with pytest.raises(UadError, match=r"a\.png: No such file or directory$"):
        read_flat(tmp_path / "a.png")
    with pytest.raises(UadError, match=r"b\.png: Is a directory$"):
        read_flat(tmp_path / "b.png")


@pytest.mark.parametrize(("dtype", "top"), [("uint8", 255), ("int8", 1), ("uint16", 1), ("int64", 1), ("bool", 1)])
def test_bytes_are_divided_by_255_and_other_integers_are_0_or_1(dtype, top, tmp_path):
    data = (STACK * top).round().astype(dtype)
    data[0, 0, :2] = 0, top
    image = read_flat(stacked(tmp_path / "a.npz", images=data))
    assert image.data.shape == (5, 3, 4)
    assert image.data.dtype == np.float32
    np.testing.assert_allclose(image.data.transpose(2, 1, 0), data / top, rtol=1e-6)
    assert (image.data.min(), image.data.max()) == (0, 1)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_numbers_stay_as_they_are(dtype, tmp_path):
    data = STACK.astype(dtype)
    image = read_flat(stacked(tmp_path / "a.npz", images=data))
    np.testing.assert_array_equal(image.data, data.astype(np.float32).transpose(2, 1, 0))
    assert image.grid.orientation == "LPS"


def test_a_packed_stack_is_read_too(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", images=STACK)
    np.testing.assert_array_equal(read_stack(str(tmp_path / "a.npz")), STACK.astype(np.float32))


@pytest.mark.parametrize("value", [-1e-3, 1.001, 255, np.nan, np.inf, -np.inf])
def test_values_outside_0_to_1_are_refused(value, tmp_path):
    data = STACK.copy()
    data[3, 2, 4] = value
    path = stacked(tmp_path / "a.npz", images=data)
    with pytest.raises(UadError) as caught:
        read_flat(path)
    assert str(caught.value) == f"{path}: values outside [0, 1] (scale them, or store uint8)"


@pytest.mark.parametrize(
    ("dtype", "value"), [("int8", 127), ("int16", -1), ("uint16", 65535), ("int32", 2), ("int64", 255)]
)
def test_other_integers_are_refused_as_nobody_knows_their_range(dtype, value, tmp_path):
    with pytest.raises(UadError, match=r"values outside \[0, 1\]"):
        read_flat(stacked(tmp_path / "a.npz", images=np.full((2, 3, 4), value, dtype)))


@pytest.mark.parametrize("dtype", ["complex64", "U3", "S3", "datetime64[s]"])
def test_what_is_no_number_is_refused(dtype, tmp_path):
    path = stacked(tmp_path / "a.npz", images=np.ones((2, 3, 4)).astype(dtype))
    with pytest.raises(UadError, match=r"a\.npz: images of type .* \(store uint8, or numbers in \[0, 1\]\)$"):
        read_flat(path)


def test_an_array_of_objects_is_refused_and_not_run(tmp_path):
    path = stacked(tmp_path / "a.npz", images=np.full((2, 3, 4), None))
    with pytest.raises(UadError, match=r"a\.npz: not a readable \.npz file \(Object arrays"):
        read_flat(path)


def test_the_only_stack_is_found_among_other_arrays(tmp_path):
    others = {"labels": np.arange(4), "affine": np.eye(4), "volumes": np.ones((2, 2, 2, 2))}
    path = stacked(tmp_path / "a.npz", images=STACK, **others)
    np.testing.assert_array_equal(read_stack(str(path)), STACK.astype(np.float32))


def test_of_several_stacks_one_is_chosen_by_its_key(tmp_path):
    path = stacked(tmp_path / "a.npz", train=STACK, test=STACK[:2] / 2, labels=np.arange(4))
    with pytest.raises(UadError) as caught:
        read_flat(path)
    assert str(caught.value) == f"{path}: 2 stacks of images: train, test (choose one: {path}:NAME)"
    np.testing.assert_array_equal(read_stack(f"{path}:test"), (STACK[:2] / 2).astype(np.float32))
    assert read_flat(Path(f"{path}:train")).data.shape == (5, 3, 4)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (":other", "no array 'other' in it"),
        (":flat", r"images of shape \(3, 5\) \(a stack of 2-D images has three axes\)"),
        (":none", r"images of shape \(0, 3, 5\)"),
        ("", "no stack of 2-D images"),
    ],
)
def test_a_key_that_names_no_stack_is_told(key, said, tmp_path):
    name = "b.npz" if key == "" else "a.npz"
    stacked(tmp_path / "a.npz", flat=STACK[0], none=STACK[:0], images=STACK)
    stacked(tmp_path / "b.npz", flat=STACK[0])
    with pytest.raises(UadError, match=rf"{name}: {said}"):
        read_flat(tmp_path / f"{name}{key}")


@pytest.mark.parametrize("content", [b"", b"junk" * 100, b"PK\x03\x04" + b"junk" * 100, "cut", "npy", None])
def test_a_file_that_is_no_npz_is_told_in_one_line(content, tmp_path):
    path = stacked(tmp_path / "a.npz", images=STACK)
    if content is None:
        path.unlink()
    elif content == "npy":
        with path.open("wb") as file:
            np.save(file, STACK)
    else:
        path.write_bytes(path.read_bytes()[:-40] if content == "cut" else content)
    with pytest.raises(UadError, match=r"a\.npz: not a readable \.npz file \(") as caught:
        read_flat(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_no_damage_to_a_stack_is_a_traceback(save, tmp_path):
    save(tmp_path / "a.npz", images=STACK)
    raw, path, rng = (tmp_path / "a.npz").read_bytes(), tmp_path / "b.npz", np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(raw)
        for place in rng.integers(100, len(raw) - 200, 2):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        check_read_or_told(path)


@pytest.mark.parametrize("folder", ["stacks", "stacks.npz.d"])
def test_a_stack_may_lie_in_any_folder(folder, tmp_path):
    (tmp_path / folder).mkdir()
    path = stacked(tmp_path / folder / "a.npz", images=STACK, other=STACK)
    np.testing.assert_array_equal(read_stack(f"{path}:images"), STACK.astype(np.float32))


@pytest.mark.parametrize(
    ("name", "yes"),
    [
        ("a.png", True),
        ("a.PNG", True),
        ("x/a.jpg", True),
        ("a.Jpeg", True),
        ("a.npz", True),
        ("a.npz:images", True),
        ("a.nii", False),
        ("a.nii.gz", False),
        ("a.png.nii", False),
        ("a.npy", False),
        ("png", False),
        ("a.npz/b.nii", False),
    ],
)
def test_pictures_and_stacks_are_known_by_their_names(name, yes):
    assert is_flat(Path(name)) is yes


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("x/a.png", "a"),
        ("a.JPEG", "a"),
        ("a.b.jpg", "a.b"),
        ("a_preprocessed_healed.png", "a"),
        ("healed.png", "healed"),
        ("x/a.npz", "a"),
        ("x/a.npz:train", "a_train"),
        ("a_score.npz", "a"),
    ],
)
def test_a_study_is_named_after_its_picture_or_stack(path, name):
    assert base_name(Path(path)) == name


def test_pictures_and_stacks_are_studies_of_one_scan(tmp_path):
    drawn(tmp_path / "a_healed.png", GREY)
    stacked(tmp_path / "b.npz", train=STACK, test=STACK)
    for source, name, shape in (("a_healed.png", "a", (5, 3, 1)), ("b.npz:test", "b_test", (5, 3, 4))):
        (study,) = read_path(tmp_path / source)
        assert (study.name, list(study.images)) == (name, ["scan"])
        assert study.product.data.shape == shape
        assert read_image(tmp_path / source).grid.same(study.product.grid)


def names(source, root):
    return [str(Path(found).relative_to(root)) for found in files_of(str(source))]


def empty_files(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


@pytest.mark.parametrize("source", ["a.nii.gz", "no/such/a.nii", "a.npz:images", "a.png", "-", "notes.md"])
def test_any_other_source_is_itself(source):
    assert list(files_of(source)) == [source]


def test_a_folder_stands_for_all_its_images_in_order(tmp_path):
    empty_files(tmp_path, "b.nii", "a.nii.gz", "x/c.NII", "x/y/d.png", "x/e.JPG", "f.jpeg")
    empty_files(tmp_path, "a.json", "list.txt", "x/notes.md", "g.nii.bak", "h.npz", "nii")
    assert names(tmp_path, tmp_path) == ["a.nii.gz", "b.nii", "f.jpeg", "x/c.NII", "x/e.JPG", "x/y/d.png"]


def test_a_folder_with_a_name_of_an_image_is_a_folder(tmp_path):
    empty_files(tmp_path, "a.nii/b.nii")
    assert str(tmp_path / "a.nii/b.nii") in files_of(str(tmp_path / "a.nii"))


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["x.nii/a.nii"], ["x.nii/a.nii"]),
        (["a.hdr", "a.img"], ["a.hdr"]),
        (["a.nii.gz", "._a.nii.gz", ".uad-0123456789ab.nii.gz"], ["a.nii.gz"]),
    ],
)
def test_every_image_of_a_folder_is_named_once_and_nothing_else(files, found, tmp_path):
    empty_files(tmp_path, *files)
    assert names(tmp_path, tmp_path) == found


@pytest.mark.parametrize("files", [[], ["a.txt", "x/a.json"]])
def test_a_folder_without_images_is_told(files, tmp_path):
    empty_files(tmp_path, *files)
    with pytest.raises(UadError) as caught:
        list(files_of(str(tmp_path)))
    assert str(caught.value) == f"{tmp_path}: no NIfTI file in this folder"


LISTED = {
    "list.txt": "# the first\nb.nii\n\n   x/a.nii.gz  \n#c.nii\nd, e.png\n",
    "list.csv": 'age,path,site\n70,b.nii,1\n\n,x/a.nii.gz,"2, 3"\n71,"d, e.png",\n',
    "list.jsonl": '{"path": "b.nii", "age": 70}\n\n{"age": null, "path": "x/a.nii.gz"}\n{"path": "d, e.png"}\n',
}


@pytest.mark.parametrize("name", LISTED)
def test_a_list_stands_for_its_paths_in_its_order_relative_to_it(name, tmp_path, monkeypatch):
    (tmp_path / name).write_text(LISTED[name])
    assert names(tmp_path / name, tmp_path) == ["b.nii", "x/a.nii.gz", "d, e.png"]
    monkeypatch.chdir(tmp_path)
    assert list(files_of(name)) == ["b.nii", "x/a.nii.gz", "d, e.png"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.txt", "/data/a.nii\n"),
        ("list.csv", "path\n/data/a.nii\n"),
        ("list.jsonl", '{"path": "/data/a.nii"}'),
        ("list.txt", "/data/a.nii\r\n"),
        ("list.csv", "path\r\n/data/a.nii\r\n"),
    ],
)
def test_a_path_from_the_root_stays_as_it_is(name, content, tmp_path):
    (tmp_path / name).write_bytes(content.encode())
    assert list(files_of(str(tmp_path / name))) == ["/data/a.nii"]


# Excel and Notepad begin with a byte-order mark
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.txt", "\ufeffa.nii\n"),
        ("list.csv", "\ufeffpath,age\na.nii,70\n"),
        ("list.jsonl", '\ufeff{"path": "a.nii"}\n'),
        ("list.txt", "a.nii\n  # a remark\n"),
    ],
)
def test_what_other_programs_make_of_a_list_is_read_too(name, content, tmp_path):
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert names(tmp_path / name, tmp_path) == ["a.nii"]


def test_a_list_may_name_folders_and_lists_each_relative_to_itself(tmp_path):
    empty_files(tmp_path, "scans/b.nii", "scans/a.nii", "more/c.nii")
    (tmp_path / "more/part.csv").write_text("path\nc.nii\n../d.nii\n")
    (tmp_path / "more/rest.jsonl").write_text(json.dumps({"path": "e.npz:train"}))
    (tmp_path / "all.txt").write_text("f.png\nscans\nmore/part.csv\nmore/rest.jsonl\n")
    found = ["f.png", "scans/a.nii", "scans/b.nii", "more/c.nii", "more/../d.nii", "more/e.npz:train"]
    assert names(tmp_path / "all.txt", tmp_path) == found


@pytest.mark.parametrize("names", [["a.txt"], ["a.txt", "b.csv", "c.jsonl"]])
def test_a_list_that_names_itself_is_told(names, tmp_path):
    for name, following in zip(names, [*names[1:], names[0]], strict=True):
        form = {".txt": "{}", ".csv": "path\n{}", ".jsonl": '{{"path": "{}"}}'}[Path(name).suffix]
        (tmp_path / name).write_text(form.format(following))
    with pytest.raises(UadError) as caught:
        list(files_of(str(tmp_path / "a.txt")))
    assert str(caught.value) == f"{tmp_path / 'a.txt'}: a list that names itself"


@pytest.mark.parametrize(
    ("name", "content"),
    [("l.txt", ""), ("l.txt", "# nothing\n\n"), ("l.csv", ""), ("l.csv", "path,age\n"), ("l.jsonl", "\n")],
)
def test_an_empty_list_is_told(name, content, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(UadError, match=rf"/{name}: an empty list$"):
        list(files_of(str(tmp_path / name)))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.csv", "file\na.nii\n"),
        ("l.csv", "path;age\na.nii;70\n"),
        ("l.csv", "age,path\n70,a.nii\n71\n"),
        ("l.csv", "path,age\na.nii,70\n,71\n"),
        ("l.jsonl", '{"file": "a.nii"}'),
        ("l.jsonl", '{"path": "a.nii"}\n{"path": ""}'),
        ("l.jsonl", '{"path": 3}'),
        ("l.jsonl", '{"path": null}'),
        ("l.jsonl", '["path"]'),
        ("l.jsonl", "3"),
        ("l.jsonl", '{"path": "a.nii"'),
        ("l.jsonl", '[{"path": "a.nii"},\n{"path": "b.nii"}]'),
    ],
)
def test_a_list_with_an_entry_that_names_no_file_is_told(name, content, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(UadError, match=rf"/{name}: every entry needs a `path`$"):
        list(files_of(str(tmp_path / name)))


@pytest.mark.parametrize("name", ["l.txt", "l.csv", "l.jsonl"])
def test_a_list_that_cannot_be_read_is_told_in_one_line(name, tmp_path):
    with pytest.raises(UadError, match=f"/{name}: .*No such file"):
        list(files_of(str(tmp_path / name)))
    (tmp_path / name).write_bytes(b"a.nii\n\xff\xfe\n")
    with pytest.raises(UadError, match=f"/{name}: not a text file") as caught:
        list(files_of(str(tmp_path / name)))
    assert len(str(caught.value).splitlines()) == 1


def test_a_stack_is_known_in_capitals_and_by_a_key_with_a_dot(tmp_path):
    np.savez(tmp_path / "a.npz", **{"my.images": np.full((2, 4, 3), 51, np.uint8)})
    (tmp_path / "a.npz").rename(tmp_path / "A.NPZ")
    for source in (tmp_path / "A.NPZ", tmp_path / "A.NPZ:my.images"):
        assert is_flat(source)
        assert read_flat(source).data.shape == (3, 4, 2)


@pytest.mark.parametrize(
    ("name", "content"),
    [("l.csv", 'path\n"' + "y" * 200_000), ("l.jsonl", '{"path": "a\\u0000.nii"}'), ("l.jsonl", "[" * 100_000)],
    ids=["a long field", "NUL", "nested"],
)
def test_a_list_that_nobody_means_is_told_in_one_line(name, content, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(UadError, match=rf"/{name}: (no table|every entry|not a text file)"):
        list(files_of(str(tmp_path / name)))


@pytest.mark.parametrize("name", ["a\x85b.nii", "a\u2028b.nii", "a\x0cb.nii"])
@pytest.mark.parametrize("form", ["l.txt", "l.csv"])
def test_a_name_in_a_list_ends_where_its_line_does(form, name, tmp_path):
    (tmp_path / form).write_text(("path\n" if form == "l.csv" else "") + name + "\n")
    assert names(tmp_path / form, tmp_path) == [name]


def test_the_whole_machine_is_no_folder_of_scans(tmp_path):
    (tmp_path / "l.txt").write_text("../" * 50)
    with pytest.raises(UadError, match=r"is all there is on this machine \(name the folder"):
        list(files_of(str(tmp_path / "l.txt")))


def lying(path, shape, descr="|u1", content=b""):
    """A stack whose header promises another shape than there is content."""
    about = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(about)) + about + content)


@pytest.mark.parametrize("shape", [(10**13, 16, 16), (10**9, 16, 16), (-1, 16, 16), (2, 16, 16)])
def test_a_stack_that_promises_what_is_not_there_is_refused_by_its_size(shape, tmp_path, monkeypatch):
    lying(tmp_path / "a.npz", shape, content=bytes(16))
    monkeypatch.setattr(np.lib.format, "read_array", lambda *a, **k: pytest.fail("there was memory for it"))
    with pytest.raises(UadError, match=r"a\.npz: promises -?[\d,]+ bytes of images, which are not in it"):
        read_flat(tmp_path / "a.npz")


@pytest.mark.parametrize("shape", [(2**64, 0, 16), (0, 16, 10**30)])
def test_a_stack_of_no_images_and_more_pixels_than_can_be_counted_is_refused(shape, tmp_path):
    lying(tmp_path / "a.npz", shape)
    with pytest.raises(UadError, match=r"a\.npz: not a readable .npz file|images of shape"):
        read_flat(tmp_path / "a.npz")


def test_a_stack_packed_to_fill_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("uadtools.volume.unpacked._EMPTY", 1 << 16)
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((1 << 8, 1 << 6, 1 << 6), np.uint8))
    with pytest.raises(UadError, match="promises 1,048,576 bytes of images"):
        read_flat(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", images=np.zeros((1 << 8, 1 << 6, 1 << 6), np.uint8))
    assert read_flat(tmp_path / "a.npz").data.shape == (64, 64, 256)


def test_a_picture_of_more_pixels_than_pictures_have_is_refused(tmp_path, monkeypatch):
    path = drawn(tmp_path / "a.png", np.zeros((40, 40), np.uint8))
    for limit in (1000, 100):  # Pillow warns above the limit, and refuses above twice that
        monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(UadError, match=r"a\.png: not a readable picture$"):
            read_flat(path)


def test_only_the_formats_that_a_name_says_are_opened(tmp_path):
    Pillow.fromarray(GREY).save(tmp_path / "a.png", "TIFF")
    with pytest.raises(UadError, match=r"a\.png: not a readable picture$"):
        read_flat(tmp_path / "a.png")


@pytest.mark.parametrize("shape", ["(2, 16, 16", "((("])
def test_a_stack_whose_header_does_not_end_is_refused(shape, tmp_path):
    lying(tmp_path / "a.npz", shape, content=bytes(512))
    with pytest.raises(UadError, match=r"a\.npz: not a readable \.npz file"):
        read_flat(tmp_path / "a.npz")
