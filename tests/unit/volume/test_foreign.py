"""FreeSurfer's .mgz and .mgh, and NRRD, read as NIfTI is."""

import gzip
import re
import struct
import sys

import nibabel as nib
import nrrd
import numpy as np
import pytest

from uadtools.errors import UadError
from uadtools.volume.io import stem
from uadtools.volume.listing import files_of
from uadtools.volume.reading import Reading
from uadtools.volume.stream import base_name, read_image, read_mask

LPS = (-1, -1, 1)
SIGNS = {"left-posterior-superior": LPS, "RAS": (1, 1, 1), "left-anterior-superior": (-1, 1, 1), "LPS": LPS}


def in_nrrd(image, space="left-posterior-superior", **more):
    """The header that says in NRRD where an image lies."""
    affine = np.diag([*SIGNS.get(space, (1, 1, 1)), 1]) @ image.grid.affine
    place = {"space directions": affine[:3, :3].T, "space origin": affine[:3, 3], "kinds": ["domain"] * 3}
    return {"space": space, **place, "encoding": "gzip", **more}


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4"])
@pytest.mark.parametrize("ending", [".mgz", ".mgh", ".MGZ", ".nii.gz"])
def test_freesurfers_images_lie_where_nibabel_says(ending, dtype, oblique, tmp_path):
    data = (oblique.data % 256).astype(dtype)
    written = nib.MGHImage(data, oblique.grid.affine)
    raw = written.to_bytes()
    (tmp_path / f"x{ending}").write_bytes(raw if ending == ".mgh" else gzip.compress(raw))
    image = read_image(tmp_path / f"x{ending}")
    assert image.data.dtype == dtype
    assert np.array_equal(image.data, data)
    assert np.allclose(image.grid.affine, written.affine, atol=1e-5)
    assert (image.noted, image.role) == ((), "scan")


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
@pytest.mark.parametrize("space", SIGNS)
@pytest.mark.parametrize("dtype", ["<i2", ">u2", "<f8"])
def test_nrrd_lies_where_it_says(dtype, space, encoding, oblique, tmp_path):
    nrrd.write(str(tmp_path / "x.nrrd"), oblique.data.astype(dtype), in_nrrd(oblique, space, encoding=encoding))
    image = read_image(tmp_path / "x.nrrd")
    assert np.array_equal(image.data, oblique.data)
    assert np.allclose(image.grid.affine, oblique.grid.affine, atol=1e-5)


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_nrrd_in_two_files_is_read_by_its_header(encoding, oblique, tmp_path):
    nrrd.write(str(tmp_path / "x.nhdr"), oblique.data, in_nrrd(oblique, encoding=encoding))
    assert np.array_equal(read_image(tmp_path / "x.nhdr").data, oblique.data)
    next(tmp_path.glob("x.raw*")).unlink()
    with pytest.raises(UadError, match=r"x\.nhdr: its voxels are in .*x\.raw.*: No such file"):
        read_image(tmp_path / "x.nhdr")


@pytest.mark.parametrize("file", ["../x.raw", "/etc/passwd", "x%02d.raw 0 8 1", "LIST", "x\0.raw"])
def test_a_header_that_leads_elsewhere_is_refused(file, oblique, tmp_path):
    nrrd.write(str(tmp_path / "x.nhdr"), oblique.data, in_nrrd(oblique, encoding="raw"))
    text = (tmp_path / "x.nhdr").read_text()
    (tmp_path / "x.nhdr").write_text(re.sub("data file: .*", f"data file: {file}", text))
    with pytest.raises(UadError, match=r"x\.nhdr: its voxels are in .*(, which is not one file beside it|null byte)"):
        read_image(tmp_path / "x.nhdr")


def test_the_volumes_of_one_file_are_chosen(oblique, tmp_path):
    two = np.stack([oblique.data, oblique.data // 2], axis=3)
    nib.save(nib.MGHImage(two, oblique.grid.affine), tmp_path / "x.mgz")
    directions = np.vstack([in_nrrd(oblique)["space directions"], [np.nan] * 3])
    header = in_nrrd(oblique) | {"space directions": directions, "kinds": ["domain"] * 3 + ["list"]}
    nrrd.write(str(tmp_path / "x.nrrd"), two, header)
    for path in (tmp_path / "x.mgz", tmp_path / "x.nrrd"):
        assert np.array_equal(read_image(path, Reading(volume=1)).data, two[..., 1])
        with pytest.raises(UadError, match=rf"{path.name}: 2 volumes \(choose one with --volume"):
            read_image(path)


def test_units_of_nrrd_are_kept(oblique, tmp_path):
    affine = in_nrrd(oblique)
    metres = affine | {key: affine[key] / 1000 for key in ("space directions", "space origin")}
    nrrd.write(str(tmp_path / "x.nrrd"), oblique.data, metres | {"space units": ["m"] * 3})
    assert np.allclose(read_image(tmp_path / "x.nrrd").grid.affine, oblique.grid.affine, atol=1e-4)


VECTOR = {"space directions": np.vstack([[np.nan] * 3, np.eye(3)]), "kinds": ["vector", *["domain"] * 3]}
WRONG = {
    "vector": (lambda d: np.stack([d] * 3), VECTOR, "3 numbers per voxel"),
    "nowhere": (lambda d: d, {"space": "scanner-xyz"}, "no affine: it does not say where"),
    "unit": (lambda d: d, {"space units": ["cm"] * 3}, "unit cm of voxel sizes is unknown"),
    "packed": (lambda d: d, {"encoding": "bzip2"}, r"its voxels are packed as bzip2 \(save it as raw or gzip"),
    "flat": (lambda d: d, {"space directions": np.diag([1.0, 1.0, 0.0])}, "its affine is zero or singular"),
    "nan": (lambda d: np.where(d > 600, np.nan, d), {}, "voxels are NaN or infinite"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_nrrd_that_is_no_scan_says_why(case, oblique, tmp_path):
    change, more, line = WRONG[case]
    nrrd.write(str(tmp_path / "x.nrrd"), change(oblique.data), in_nrrd(oblique, **more))
    with pytest.raises(UadError, match=rf"x\.nrrd: .*{line}"):
        read_image(tmp_path / "x.nrrd")


def test_an_mgz_without_a_place_says_so(oblique, tmp_path):
    raw = bytearray(nib.MGHImage(oblique.data, oblique.grid.affine).to_bytes())
    raw[28:30] = bytes(2)
    (tmp_path / "x.mgh").write_bytes(raw)
    with pytest.raises(UadError, match=r"x\.mgh: no affine: it does not say where its voxels lie"):
        read_image(tmp_path / "x.mgh")
    assert read_image(tmp_path / "x.mgh", Reading(geometry="pixdim")).noted[0].code == "orientation"


def test_promises_that_no_file_keeps_are_refused_before_memory_is_taken(oblique, tmp_path):
    raw = bytearray(nib.MGHImage(oblique.data, oblique.grid.affine).to_bytes())
    raw[4:16] = struct.pack(">3i", 40000, 40000, 4000)
    (tmp_path / "x.mgh").write_bytes(raw)
    nrrd.write(str(tmp_path / "x.nrrd"), oblique.data, in_nrrd(oblique))
    text = (tmp_path / "x.nrrd").read_bytes()
    (tmp_path / "x.nrrd").write_bytes(text.replace(b"sizes: 16 20 9", b"sizes: 40000 40000 4000"))
    for name in ("x.mgh", "x.nrrd"):
        with pytest.raises(UadError, match=rf"{name}: damaged .* header: it promises [\d,]+ bytes"):
            read_image(tmp_path / name)


def test_what_unpacks_to_far_more_than_scans_do_is_refused(oblique, tmp_path, monkeypatch):
    monkeypatch.setattr("uadtools.volume.unpacked._EMPTY", 1 << 12)
    nrrd.write(str(tmp_path / "x.nrrd"), np.zeros((200, 200, 200), np.int16), in_nrrd(oblique, compression_level=9))
    with pytest.raises(UadError, match=r"x\.nrrd: unpacks to 200 times its size and more"):
        read_image(tmp_path / "x.nrrd")


@pytest.mark.parametrize("name", ["x.mgh", "x.nrrd", "x.mgz"])
def test_damaged_files_are_one_line_that_names_them(name, oblique, tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / name
    if name == "x.nrrd":
        nrrd.write(str(path), oblique.data, in_nrrd(oblique))
    else:
        nib.save(nib.MGHImage(oblique.data, oblique.grid.affine), path)
    whole = path.read_bytes()
    cuts = [whole[:n] for n in (0, 1, 4, 20, 100, 283, 284, 400, len(whole) - 600)]
    spoilt = [bytearray(whole) for _ in range(200)]
    for broken in spoilt:
        broken[rng.integers(min(len(whole), 500))] = rng.integers(256)
    for data in (*cuts, *spoilt):
        path.write_bytes(data)
        try:
            read_image(path)
        except UadError as error:
            lines = str(error).splitlines()
            assert [line[: len(str(path))] for line in lines] == [str(path)]
        else:
            assert data not in cuts


def test_without_pynrrd_one_line_says_so(oblique, tmp_path, monkeypatch):
    nrrd.write(str(tmp_path / "x.nrrd"), oblique.data, in_nrrd(oblique))
    monkeypatch.setitem(sys.modules, "nrrd", None)
    with pytest.raises(UadError, match=r"x\.nrrd: NRRD needs the package pynrrd \(pip install 'uadtools\[nrrd\]'"):
        read_image(tmp_path / "x.nrrd")


def test_a_mask_may_be_any_of_them(oblique, tmp_path):
    mask = (oblique.data > 600).astype(np.uint8)
    nib.save(nib.MGHImage(mask, oblique.grid.affine), tmp_path / "m.mgz")
    nrrd.write(str(tmp_path / "m.nrrd"), mask, in_nrrd(oblique))
    for name in ("m.mgz", "m.nrrd"):
        assert np.array_equal(read_mask(tmp_path / name, role="truth").data, mask)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("subjects/bert/mri/orig.mgz", "bert"),
        ("subjects/bert/mri/T1.mgz", "bert"),
        ("bert/mri/brainmask.mgz", "bert"),
        ("bert/mri/aparc+aseg.mgz", "bert"),
        ("bert/mri/orig/001.mgz", "bert"),
        ("data/mri/p12.mgz", "p12"),
        ("data/p12.mgz", "p12"),
        ("data/p12.nrrd", "p12"),
        ("data/p12_healed.nrrd", "p12"),
        ("bert/mri/T1.nii.gz", "T1"),
    ],
)  # fmt: skip
def test_a_study_is_called_after_freesurfers_subject(path, name, tmp_path, monkeypatch):
    assert base_name(tmp_path / path) == name
    (tmp_path / path).parent.mkdir(parents=True)
    monkeypatch.chdir((tmp_path / path).parent)
    assert base_name((tmp_path / path).relative_to((tmp_path / path).parent)) == name
    assert stem(tmp_path / path) == path.rpartition("/")[2].split(".")[0]


def test_of_a_folder_of_freesurfers_the_scan_is_meant(tmp_path):
    made = [f"bert/mri/{name}.mgz" for name in ("orig", "T1", "aseg", "orig/001")]
    for name in (*made, "bert/surf/lh.thickness.fsaverage.mgh", "mri/p1.mgz", "a.nrrd"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = [str(path)[len(str(tmp_path)) + 1 :] for path in files_of(str(tmp_path))]
    assert found == ["a.nrrd", "bert/mri/orig.mgz", "mri/p1.mgz"]
