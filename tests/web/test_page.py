"""The page of web/: its own tests against uadtools, and in Chromium beside uad-run (make web-check)."""

import gzip
import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import uadtools
from uadtools.grids.grid import Grid
from uadtools.volume.io import Image

ROOT = Path(__file__).parents[2]
WEB, PAGE = ROOT / "web", ROOT / "build" / "web"
SCAN = ROOT / "examples" / "data" / "patient19_FLAIR.nii.gz"


def need(*programs):
    """Return where programs are; skip where one is not, or what npm installs is not."""
    paths = [shutil.which(program) for program in programs]
    if not (all(paths) and (WEB / "node_modules" / "esbuild").is_dir()):
        pytest.skip(f"{', '.join(programs)} and what npm installs are not all here (make web)")
    return paths


def header(*shape):
    """Return the first bytes of a NIfTI file of shorts of 1 mm, without any voxels."""
    fields = bytearray(352)
    for place, form, values in (
        (0, "<i", [348]), (40, "<8h", [len(shape), *shape, *[1] * (7 - len(shape))]), (70, "<2h", [4, 16]),
        (76, "<4f", [1, 1, 1, 1]), (108, "<2f", [352, 1]), (254, "<h", [1]),
        (280, "<12f", [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]), (344, "<4s", [b"n+1\0"]),
    ):  # fmt: skip
        struct.pack_into(form, fields, place, *values)
    return bytes(fields)


def test_its_parts_compute_what_uadtools_does():
    (npm, _) = need("npm", "node")
    done = subprocess.run([npm, "test", "--prefix", WEB], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def seen(make_series, tmp_path_factory):
    """What the page told of a scan, of the example without a network, and of wrong files; and where its files are."""
    if not os.environ.get("UADTOOLS_WEB_CHECK"):
        pytest.skip("takes a minute in Chromium (make web-check)")
    node, chromium = need("node", "chromium")
    out = tmp_path_factory.mktemp("page")
    wrong = {"photo.jpg": b"\xff\xd8\xff\xe0" + bytes(4000)}
    shapes = {"fmri.nii.gz": (64, 64, 30, 200), "cube.nii.gz": (512, 512, 512)}
    wrong |= {name: gzip.compress(header(*shape)) for name, shape in shapes.items()}
    for name, data in wrong.items():
        (out / name).write_bytes(data)
    image = Image(np.arange(16 * 20 * 9).reshape(16, 20, 9), Grid((16, 20, 9), np.diag([2.0, 2, 3, 1])))
    given = [*(out / name for name in wrong), make_series(out / "dicom", image)]
    words = [node, WEB / "tests" / "browser.mjs", PAGE, out, SCAN, *given]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "CHROMIUM": chromium})
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout)
    return out, json.loads(done.stdout)


@pytest.mark.parametrize("visit", ["first", "offline"])
def test_it_detects_what_the_command_does(seen, visit, tmp_path):
    """The default model of FLAIR is another than the page's, so the command is told which one."""
    uadtools.run(SCAN, tmp_path, model="any-small")
    theirs = nib.load(tmp_path / "patient19_FLAIR_detection.nii.gz")
    ours = nib.load(seen[0] / visit / "detection.nii.gz")
    assert np.array_equal(ours.affine, theirs.affine)
    assert np.array_equal(ours.header["quatern_b"], nib.load(SCAN).header["quatern_b"])
    one, other = (np.asarray(image.dataobj) > 0 for image in (ours, theirs))
    assert 2 * (one & other).sum() >= 0.98 * (one.sum() + other.sum())


def test_nothing_leaves_it_and_nothing_is_wrong(seen):
    told = seen[1]
    assert told["isolated"]
    assert told["viewer"]
    assert (told["outside"], told["said"], told["axe"]) == ([], [], [])


def test_what_is_no_scan_of_a_head_gets_a_sentence(seen):
    refused = seen[1]["refused"]
    assert "is no NIfTI file" in refused["photo.jpg"]
    assert "200 volumes" in refused["fmri.nii.gz"]
    assert "uad-run takes it" in refused["cube.nii.gz"]
    assert "16 x 20 x 9 voxels, which is no 3-D scan" in refused["dicom"]  # which dcm2niix read, without a network


def test_the_report_is_one_file_that_asks_for_nothing(seen):
    text = (seen[0] / "first" / "report.html").read_text()
    assert "Not a medical device" in text
    assert "default-src 'none'" in text
    assert "patient19" not in text
