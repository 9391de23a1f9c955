import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.grids.slices import to_slices
from uadtools.models.config import GridConfig
from uadtools.training.data import Slices, fingerprint, load_slices, shared_scans
from uadtools.volume.io import Image, save

GRID = GridConfig(shape=(16, 16, 8))
FLAT = GridConfig(shape=(16, 12, 8))


def load(*sources, grid=GRID, min_brain=0.0):
    return load_all(*sources, grid=grid, min_brain=min_brain).pixels


def load_all(*sources, grid=GRID, min_brain=0.0):
    return load_slices([str(source) for source in sources], grid, min_brain)


@pytest.fixture
def folder(phantom, tmp_path):
    """Two scans, the second darker, and a file that is no scan."""
    scan = phantom.images["scan"]
    (tmp_path / "site").mkdir()
    save(scan, tmp_path / "site" / "a.nii.gz", provenance=False)
    save(replace(scan, data=scan.data / 2), tmp_path / "b.nii", provenance=False)
    (tmp_path / "notes.md").write_text("healthy")
    return tmp_path


@pytest.fixture
def slices(phantom):
    """Of both scans, in the order of their paths."""
    data = phantom.images["scan"].data
    return np.concatenate([to_slices(data / 2)[:, 0], to_slices(data)[:, 0]]).astype(np.float16)


def images(count=3, dtype=np.float32):
    made = np.random.default_rng(0).random((count, 12, 16))
    return (255 * made).astype(dtype) if dtype == np.uint8 else made.astype(dtype)


def test_a_folder_with_folders(folder, slices):
    found = load(folder)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, slices)


def test_one_scan(folder, slices):
    np.testing.assert_array_equal(load(folder / "site" / "a.nii.gz"), slices[8:])


def test_sources_in_the_order_they_are_given(folder, slices):
    np.testing.assert_array_equal(load(folder / "site" / "a.nii.gz", folder / "b.nii")[:8], slices[8:])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "# healthy\nb.nii\n\n  site/a.nii.gz  \n"),
        ("list.csv", 'id,path\n1,b.nii\n2,"site/a.nii.gz"\n'),
        ("list.jsonl", '{"path": "b.nii"}\n\n{"id": 2, "path": "site/a.nii.gz"}\n'),
    ],
)
def test_lists_are_relative_to_themselves(folder, slices, name, text):
    (folder / name).write_text(text)
    np.testing.assert_array_equal(load(folder / name), slices)


def test_a_list_of_absolute_paths_lists_and_folders(folder, slices, tmp_path):
    (folder / "inner.txt").write_text("b.nii\n")
    (folder / "list.txt").write_text(f"inner.txt\n{tmp_path / 'site'}\n")
    np.testing.assert_array_equal(load(folder / "list.txt"), slices)


@pytest.mark.parametrize("text", ["list.txt\n", "other.txt\n"])
def test_a_list_that_names_itself_is_refused(tmp_path, text):
    (tmp_path / "list.txt").write_text(text)
    (tmp_path / "other.txt").write_text("list.txt\n")
    with pytest.raises(UadError, match=r"list\.txt: a list that names itself"):
        load(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("name", "text"), [("l.txt", ""), ("l.txt", "# none\n\n"), ("l.csv", "path\n"), ("l.jsonl", "\n")]
)
def test_an_empty_list_is_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UadError, match="an empty list"):
        load(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.csv", "id,file\n1,b.nii\n"),
        ("l.csv", "id,path\n1\n"),
        ("l.csv", "id,path\n1,\n"),
        ("l.jsonl", '{"file": "b.nii"}\n'),
        ("l.jsonl", '{"path": null}\n'),
        ("l.jsonl", '{"path": ["b.nii"]}\n'),
        ("l.jsonl", '["path"]\n'),
        ("l.jsonl", "b.nii\n"),
    ],
)
def test_an_entry_without_path_is_refused(folder, name, text):
    (folder / name).write_text(text)
    with pytest.raises(UadError, match=rf"{name}: every entry needs a `path`"):
        load(folder / name)


def test_a_list_that_is_no_text_or_is_missing_is_refused(tmp_path):
    (tmp_path / "l.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UadError, match=r"l\.txt"):
        load(tmp_path / "l.txt")
    with pytest.raises(UadError, match="No such file"):
        load(tmp_path / "none.txt")


def test_a_missing_scan_is_refused_by_its_name(folder):
    (folder / "list.txt").write_text("gone.nii\n")
    with pytest.raises(UadError, match=r"gone\.nii: No such file"):
        load(folder / "list.txt")


def test_a_folder_without_scans_is_refused(tmp_path):
    with pytest.raises(UadError, match="no NIfTI file in this folder"):
        load(tmp_path)


@pytest.mark.parametrize(
    "grid",
    [GridConfig(shape=(16, 16, 9)), GridConfig(shape=(16, 16, 8), spacing=(2, 2, 1))],
)
def test_another_grid_is_refused_with_the_command_that_helps(folder, grid):
    with pytest.raises(
        UadError, match=r"not prepared for this recipe.*\(uad-preprocess .*--shape 16,16,[89] --spacing"
    ):
        load(folder / "b.nii", grid=grid)


@pytest.mark.parametrize("change", [lambda d: 2 * d, lambda d: d - 0.5, lambda d: 0 * d])
def test_values_outside_0_to_1_are_refused(phantom, tmp_path, change):
    scan = phantom.images["scan"]
    save(replace(scan, data=change(scan.data)), tmp_path / "a.nii", provenance=False)
    with pytest.raises(UadError, match="not prepared for this recipe"):
        load(tmp_path / "a.nii")


def test_another_orientation_is_refused(phantom, tmp_path):
    scan = phantom.images["scan"]
    grid = replace(scan.grid, affine=np.diag([-2.0, 2.0, 2.0, 1.0]))
    save(replace(scan, grid=grid), tmp_path / "a.nii", provenance=False)
    with pytest.raises(UadError, match="LAS"):
        load(tmp_path / "a.nii")


def test_slices_with_little_brain_are_left_out(folder, slices):
    share = (slices > 0).mean(axis=(1, 2))
    assert 0 < (share >= 0.5).sum() < len(slices)
    np.testing.assert_array_equal(load(folder, min_brain=0.5), slices[share >= 0.5])
    with pytest.raises(UadError, match="no slice of which 99% is brain"):
        load(folder, min_brain=0.99)


def test_npz_of_floats_and_of_bytes(tmp_path):
    np.savez(tmp_path / "f.npz", images=images())
    np.savez(tmp_path / "b.npz", images=images(dtype=np.uint8))
    np.testing.assert_array_equal(load(tmp_path / "f.npz", grid=FLAT), images().astype(np.float16))
    expected = (images(dtype=np.uint8) / 255).astype(np.float16)
    np.testing.assert_allclose(load(tmp_path / "b.npz", grid=FLAT), expected, rtol=0, atol=5e-4)


def test_npz_with_a_key(tmp_path):
    path = tmp_path / "m.npz"
    np.savez(path, train=images(), test=images()[:1], labels=np.arange(3))
    assert len(load(f"{path}:test", grid=FLAT)) == 1
    assert len(load(f"{path}:train", grid=FLAT)) == 3
    with pytest.raises(UadError, match=r"2 stacks of images: train, test \(choose one: .*m\.npz:NAME\)"):
        load(path, grid=FLAT)
    with pytest.raises(UadError, match="no array 'valid' in it"):
        load(f"{path}:valid", grid=FLAT)
    with pytest.raises(UadError, match=r"images of shape \(3,\)"):
        load(f"{path}:labels", grid=FLAT)


def test_npz_with_one_stack_needs_no_key(tmp_path):
    np.savez(tmp_path / "m.npz", images=images(), labels=np.arange(3))
    assert len(load(tmp_path / "m.npz", grid=FLAT)) == 3


@pytest.mark.parametrize(
    ("stack", "reason"),
    [
        (images(), r"images of shape \(3, 12, 16\), the recipe's grid wants \(N, 16, 16\)"),
        (np.zeros((0, 16, 16)), r"images of shape \(0, 16, 16\)"),
        (np.full((1, 16, 16), 1.5), r"values outside \[0, 1\]"),
        (np.full((1, 16, 16), -0.1), r"values outside \[0, 1\]"),
        (np.full((1, 16, 16), np.nan), r"values outside \[0, 1\]"),
        (np.full((1, 16, 16), 255, np.uint16), r"values outside \[0, 1\]"),
        (np.ones((1, 16, 16), complex), "images of type complex128"),
        (np.full((1, 16, 16), "a"), "images of type <U1"),
        (np.full((1, 16, 16), None), "Object arrays cannot be loaded"),
    ],
)
def test_npz_that_does_not_fit_is_refused(tmp_path, stack, reason):
    np.savez(tmp_path / "m.npz", images=stack)
    with pytest.raises(UadError, match=reason):
        load(tmp_path / "m.npz")


def test_npz_that_is_none_is_refused(tmp_path):
    np.save(tmp_path / "array.npy", images())
    np.savez(tmp_path / "whole.npz", images=images())
    for content in (b"", b"text", (tmp_path / "array.npy").read_bytes(), (tmp_path / "whole.npz").read_bytes()[:300]):
        (tmp_path / "m.npz").write_bytes(content)
        with pytest.raises(UadError, match=r"m\.npz: not a readable \.npz file"):
            load(tmp_path / "m.npz", grid=FLAT)


def test_no_source_is_refused():
    with pytest.raises(UadError, match="nothing to learn from"):
        load()


def test_the_fingerprint_notices_a_change():
    pixels = images().astype(np.float16)
    other = pixels.copy()
    other[0, 0, 0] += np.float16(0.01)
    one = fingerprint(of_one_scan(pixels))
    assert one == json.loads(json.dumps(one))
    assert one != fingerprint(of_one_scan(other))
    assert one != fingerprint(of_one_scan(pixels[:2]))


def of_one_scan(pixels):
    return Slices(pixels, np.zeros(len(pixels), int))


def test_every_scan_has_its_number_and_every_picture_its_own(folder, tmp_path):
    np.testing.assert_array_equal(load_all(folder).scans, np.repeat([1, 2], 8))
    np.savez(tmp_path / "m.npz", images=images())
    np.testing.assert_array_equal(load_all(tmp_path / "m.npz", tmp_path / "m.npz", grid=FLAT).scans, np.arange(1, 7))


def test_slices_left_out_are_no_neighbours_of_another_scan(folder):
    """All of one scan may be left out, too."""
    found = load_all(folder, min_brain=0.5)
    assert 0 < len(found) < 16
    for number in np.unique(found.scans):
        window = found.windows(np.flatnonzero(found.scans == number), 3).numpy()
        assert {id_of(pixels) for pixels in window.reshape(-1, 16, 16)} == {
            id_of(pixels) for pixels in found.pixels[found.scans == number]
        }


def id_of(pixels):
    return pixels.astype(np.float32).tobytes()


def numbered(*scans):
    """Slices of one pixel, which holds their place."""
    return Slices(np.arange(len(scans), dtype=np.float16)[:, None, None], np.array(scans))


@pytest.mark.parametrize(
    ("chosen", "reach", "expected"),
    [
        ([1, 5], 0, [[1], [5]]),
        ([1, 2], 1, [[0, 1, 2], [1, 2, 2]]),
        ([3, 4], 1, [[3, 3, 3], [4, 4, 5]]),
        ([0, 6], 2, [[0, 0, 0, 1, 2], [4, 5, 6, 6, 6]]),
        ([5], 9, [[4] * 9 + [5] + [6] * 9]),
    ],
)
def test_a_window_does_not_reach_into_another_scan(chosen, reach, expected):
    made = numbered(0, 0, 0, 1, 5, 5, 5).windows(np.array(chosen), reach)
    assert made.dtype == torch.float32
    np.testing.assert_array_equal(made[:, :, 0, 0].numpy(), expected)


@pytest.mark.parametrize("role", ["healed", "score", "detection", "brain"])
def test_only_scans_are_learnt_from(role, tmp_path):
    grid = Grid((16, 16, 8), np.diag([2.0, 2, 2, 1]))
    save(Image(np.full(grid.shape, 0.5, np.float32), grid, role), tmp_path / "a.nii")
    with pytest.raises(UadError, match=rf"a.nii: is a {role}, not a scan \(give the scan it was made from\)"):
        load_slices([str(tmp_path / "a.nii")], GridConfig(shape=grid.shape), 0.1)


def test_scans_in_both_parts_are_counted_whatever_they_are_called():
    def slices(*seeds):
        scans = [np.random.default_rng(seed).random((3, 4, 4)).astype(np.float16) for seed in seeds]
        return Slices(np.concatenate(scans), np.repeat(np.arange(len(seeds)), 3))

    assert shared_scans(slices(1, 2, 3), slices(4, 3, 2)) == 2
    assert shared_scans(slices(1, 2), slices(3)) == 0


@pytest.fixture
def two(phantom, tmp_path):
    """Two people in two contrasts, as uad-preprocess writes them, and one in one."""
    scan = phantom.images["scan"]
    for number, name in enumerate("ab", start=1):
        first = replace(scan, data=scan.data / number, provenance={"study": name})
        save(first, tmp_path / f"{name}.nii", replace(first, data=first.data / 4, role="scan:T2"))
    save(scan, tmp_path / "c.nii")
    return tmp_path


def test_other_contrasts_lie_beside_in_the_same_places(two):
    found = load_slices([str(two / "a.nii"), str(two / "b.nii")], GRID, 0.2, contrasts=["T2"])
    alone = load_slices([str(two / "a.nii"), str(two / "b.nii")], GRID, 0.2)
    np.testing.assert_array_equal(found.pixels, alone.pixels)
    assert found.others.shape == (len(found), 1, 16, 16)
    np.testing.assert_allclose(found.others[:, 0], found.pixels / 4, atol=1e-3)
    places = np.array([0, len(found) - 1])
    windows = found.windows(places, 1)
    assert windows.shape == (2, 6, 16, 16)
    torch.testing.assert_close(windows[:, :3], alone.windows(places, 1), rtol=0, atol=0)
    torch.testing.assert_close(windows[:, 3:], alone.windows(places, 1) / 4, rtol=0, atol=1e-3)
    assert fingerprint(found) != fingerprint(alone)
    changed = replace(found, others=found.others[::-1].copy())
    assert fingerprint(changed) != fingerprint(found)


def test_a_scan_without_a_contrast_is_named(two):
    with pytest.raises(UadError, match=r"c\.nii: no T2 beside the scan, .*--channel T2=FILE"):
        load_slices([str(two / "a.nii"), str(two / "c.nii")], GRID, 0.0, contrasts=["T2"])


def test_pictures_have_one_contrast(tmp_path):
    np.savez(tmp_path / "p.npz", images())
    with pytest.raises(UadError, match="2-D images have one contrast"):
        load_slices([str(tmp_path / "p.npz")], FLAT, 0.0, contrasts=["T2"])
