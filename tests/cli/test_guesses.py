"""What is believed of masks and scans without a role: told in a line, with the images, in --json, and to --strict."""

import numpy as np
import pytest

from uadtools.volume.io import Image, save
from uadtools.volume.stream import read_image

GRID = ("--shape", "12,12,8", "--spacing", "2")
LABELS = "brain255.nii.gz: a mask of the value 255, all of which counts"


@pytest.fixture
def brain(here, phantom):
    """The phantom's brain as another program writes it: brain255.nii.gz."""
    mask = phantom.need("brain")
    save(Image((255 * mask.data).astype(np.uint8), mask.grid), here / "brain255.nii.gz")
    return here / "brain255.nii.gz"


def codes(rows):
    return [concern["code"] for row in (rows if isinstance(rows, list) else [rows]) for concern in row["concerns"]]


def test_how_a_brain_mask_is_read_is_a_concern_of_every_tool(uad, prepared, brain, here):
    otsu = ("--threshold", "otsu", "--erode", 0)
    for words, other in (
        (("heal", prepared, "--method", "blur"), ()),
        (("score", prepared, "p_healed.nii.gz"), ()),
        (("postproc", "p_score.nii.gz", *otsu), ()),
        (("preprocess", prepared, *GRID), ()),
    ):
        made = uad(*words, "--brain", brain, "--json", "--strict", *other)
        assert (made.status, "labels" in codes(made.json)) == (3, True), made.err
        assert LABELS in made.err
    for name in ("healed", "score", "detection", "preprocessed"):
        texts = [concern["text"] for concern in read_image(here / f"p_{name}.nii.gz").provenance["concerns"]]
        assert any(LABELS in text for text in texts), (name, texts)


def test_what_comes_after_knows_how_the_brain_was_read(uad, prepared, brain):
    uad("heal", prepared, "--method", "blur", "--brain", brain)
    assert codes(uad("score", prepared, "p_healed.nii.gz", "--json", "-q").json) == ["labels"]


@pytest.fixture
def mask_as_scan(here, phantom):
    mask = phantom.need("brain")
    save(Image(mask.data.astype(np.uint8), mask.grid), here / "m.nii.gz")
    return here / "m.nii.gz"


def test_a_mask_as_a_scan_is_told(uad, mask_as_scan, tiny_model, here):
    drawn = uad("simulate", mask_as_scan, "--kind", "blobs", "--size", 6, "--json", "--strict")
    assert (drawn.status, codes(drawn.json)) == (3, ["looks-unlike"])
    assert "m: looks like a mask, not like a scan (is it the right file?)" in drawn.err
    uad("heal", mask_as_scan, "--model", tiny_model).fails("heal", 1, "m: all one value inside the brain (is this the")
    small = "network.base=8 network.groups=4 network.heads=1 network.attention=[] network.multipliers=[1,2]"
    changes = [*small.split(), "grid.shape=[16,16,8]", "grid.spacing=[2,2,2]", "training.batch=2"]
    words = [word for change in changes for word in ("--set", change)]
    learnt = uad("train", mask_as_scan, "-o", "t.safetensors", "--steps", 1, *words, "--device", "cpu", "--json")
    assert (learnt.status, codes(learnt.json)) == (0, ["looks-unlike"]), learnt.err
    assert "m.nii.gz: looks like a mask, not like a scan (is it the right file?)" in learnt.err


def test_a_pair_that_looks_wrong_is_a_concern_of_its_score(uad, prepared, mask_as_scan, phantom, here):
    scan = phantom.need("scan")
    save(Image(scan.data * np.float32(0.9), scan.grid, "healed"), here / "h.nii.gz")
    made = uad("score", mask_as_scan, "h.nii.gz", "--json", "--strict")
    assert (made.status, codes(made.json)) == (3, ["looks-unlike"]), made.err


def test_a_prepared_scan_is_no_brain(uad, prepared, phantom, here):
    """Its values from 0 to 1 could be read as probabilities."""
    scan = phantom.need("scan")
    save(Image(scan.data, scan.grid, "scan", {"history": [{"tool": "uad-preprocess"}]}), here / "s.nii.gz")
    save(Image(scan.data * np.float32(0.9), scan.grid, "healed"), here / "h.nii.gz")
    for name, *words in (
        ("heal", prepared, "--method", "blur"),
        ("score", prepared, "h.nii.gz"),
        ("postproc", prepared),
        ("preprocess", prepared, *GRID),
    ):
        done = uad(name, *words, "--brain", "s.nii.gz")
        done.fails(name, 1, "s.nii.gz: is a scan, not a mask of the brain (uad-preprocess --save-brain writes one)")
