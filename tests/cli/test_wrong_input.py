"""Every line of "Wrong input" in the commands' contract: one line that names the file, and nothing written."""

import gzip
import json
import re
import struct
from dataclasses import dataclass

import nibabel as nib
import numpy as np
import pytest

from uadtools.grids.grid import Grid
from uadtools.models.checkpoint import DEFAULT
from uadtools.volume.io import Image, save, to_bytes

SHAPE = (16, 16, 8)
GRID = ("--shape", "16,16,8", "--spacing", "2")
RECIPE = """
name = "tiny"
source = "tests"
network = { base = 8, multipliers = [1, 2], res_blocks = 1, attention = [2], heads = 2, groups = 4, resample = "conv" }
grid = { shape = [16, 16, 8] }
training = { steps = 1 }
"""


@dataclass(frozen=True)
class Here:
    """good: a prepared scan; other: a raw one; model: fits the prepared one. All lie in folder."""

    folder: object
    good: str = "good.nii.gz"
    other: str = "other.nii.gz"
    model: str = "model.safetensors"
    recipe: str = "r.toml"
    taken: str = "taken.nii.gz"
    model_taken: str = "taken.safetensors"

    def contents(self):
        return {str(p.relative_to(self.folder)): p.is_file() and p.read_bytes() for p in self.folder.rglob("*")}


@pytest.fixture
def place(here, phantom, raw, tiny_model):
    """A folder with what a call needs, and with results of earlier calls that must stay as they are."""
    made = Here(here)
    scan = phantom.need("scan")
    save(Image(scan.data, scan.grid), here / made.good)
    nib.save(raw, made.other)
    (here / made.model).write_bytes(tiny_model.read_bytes())
    (here / made.recipe).write_text(RECIPE)
    for name in (made.taken, made.model_taken, "taken.json", "taken.csv"):
        (here / name).write_bytes(b"mine")
    return made


CALLS = {
    "preprocess IN": lambda p, bad: ("preprocess", bad, *GRID, "-o", p.taken),
    "preprocess --brain": lambda p, bad: ("preprocess", p.other, *GRID, "--brain", bad, "-o", p.taken),
    "train DATA": lambda p, bad: ("train", p.good, bad, "--recipe", p.recipe, "-o", p.model_taken),
    "train --val": lambda p, bad: ("train", p.good, "--val", bad, "--recipe", p.recipe, "-o", p.model_taken),
    "heal IN": lambda p, bad: ("heal", bad, "--model", p.model, "-o", p.taken),
    "heal --brain": lambda p, bad: ("heal", p.good, "--model", p.model, "--brain", bad, "-o", p.taken),
    "score SCAN": lambda p, bad: ("score", bad, p.good, "-o", p.taken),
    "score HEALED": lambda p, bad: ("score", p.good, bad, "-o", p.taken),
    "score --brain": lambda p, bad: ("score", p.good, p.good, "--brain", bad, "-o", p.taken),
    "simulate IN": lambda p, bad: ("simulate", bad, "--kind", "sprites", "-o", p.taken),
    "simulate --masks": lambda p, bad: ("simulate", p.good, "--kind", "masks", "--masks", bad, "-o", p.taken),
    "postproc IN": lambda p, bad: ("postproc", bad, "-o", p.taken),
    "postproc --brain": lambda p, bad: ("postproc", p.good, "--brain", bad, "-o", p.taken),
    "eval PRED": lambda p, bad: ("eval", bad, "--truth", p.good, "-o", p.taken),
    "eval --truth": lambda p, bad: ("eval", p.good, "--truth", bad, "-o", p.taken),
    "eval --brain": lambda p, bad: ("eval", p.good, "--truth", p.good, "--brain", bad, "-o", p.taken),
}
"""Every place where a command takes an image."""


def image(data):
    return nib.Nifti1Image(data, np.diag([2.0, 2, 2, 1])).to_bytes()


def noise(kind=np.float32):
    return np.random.default_rng(0).uniform(0.1, 1, SHAPE).astype(kind)


def spoilt(value):
    data = noise()
    data[3, 4, 5] = value
    return image(data)


def placed(codes, rows=b""):
    """Set qform_code and sform_code, and perhaps the sform itself."""
    raw = bytearray(image(noise()))
    raw[252:256] = struct.pack("<hh", *codes)
    raw[280 : 280 + len(rows)] = rows
    return bytes(raw)


def flipped(raw):
    return raw[:-8] + bytes([raw[-8] ^ 255]) + raw[-7:]


RGB = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
BAD = {
    "no image": (b"These are not the voxels you are looking for.", "not a NIfTI image (", "dcm2niix"),
    "empty": (b"", "empty ("),
    "cut short": (image(noise())[:-1], "cut short after", "(get the file again)"),
    "cut short in its header": (image(noise())[:100], "cut short after", "(get the file again)"),
    "gzip cut short": (gzip.compress(image(noise()))[:-20], "gzip data are cut short", "get the file again)"),
    "gzip damaged": (flipped(gzip.compress(image(noise()))), "gzip data are", "damaged", "get the file again)"),
    "not a number": (spoilt(np.nan), "1 voxels ", " NaN "),
    "infinite": (spoilt(-np.inf), "1 voxels are NaN or infinite (replace them first)"),
    "complex": (image(noise(np.complex64)), "complex voxels (one real number per voxel is needed)"),
    "RGB": (image(RGB), "RGB voxels (one real number per voxel is needed)"),
    "no affine": (placed((0, 0)), "no affine", "(set sform or qform first)"),
    "zero affine": (placed((0, 1), bytes(48)), "affine is zero or singular (set a valid"),
    "several volumes": (image(np.stack([noise()] * 3, axis=-1)), "3 volumes (choose one with --volume N"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", BAD)
def test_a_bad_file_is_named_and_nothing_is_written(fault, call, uad, place):
    raw, *said = BAD[fault]
    (place.folder / "bad.nii").write_bytes(raw)
    before = place.contents()
    name, *words = CALLS[call](place, "bad.nii")
    uad(name, *words, "--force").fails(name, 1, "bad.nii: ", *said)
    assert place.contents() == before


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("bad", "said"), [("gone.nii", "No such file or directory"), ("empty.nii", "folder")])
def test_a_file_that_is_none_is_named(bad, said, call, uad, place):
    (place.folder / "empty.nii").mkdir()
    before = place.contents()
    name, *words = CALLS[call](place, bad)
    uad(name, *words, "--force").fails(name, 1, f"{bad}: ", said)
    assert place.contents() == before


@pytest.mark.parametrize("fault", BAD)
@pytest.mark.parametrize(
    ("name", "target"),
    [(name, target) for name in ("preprocess", "heal", "score", "postproc") for target in ("-", "taken.nii.gz")]
    + [("eval", "taken.nii.gz")],
)
def test_a_bad_stream_is_named_and_nothing_is_written(target, fault, name, uad, place):
    raw, *said = BAD[fault]
    own = {"heal": ["--model", place.model], "preprocess": GRID, "eval": ["--truth", place.good]}
    before = place.contents()
    result = uad(name, "-o", target, "--force", *own.get(name, ()), stdin=raw)
    result.fails(name, 1, "standard input: ", *said)
    assert place.contents() == before


def test_what_follows_a_good_image_in_a_stream_must_be_one(uad, place, phantom):
    stream = to_bytes(phantom.need("scan"))
    for rest in (b"rubbish", stream[:-1]):
        result = uad("heal", "--model", place.model, "-o", place.taken, "--force", stdin=stream + rest)
        result.fails("heal", 1, "standard input: ", "(get the file again)")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("preprocess IN", "bad: all voxels have one value, 0 ("),
        ("train DATA", "bad.nii: not prepared for this recipe"),
        ("heal IN", "bad: no voxel above background ("),
        ("heal --brain", "good: no voxel above background ("),
        ("score SCAN", "bad: no voxel above background"),
        ("score --brain", "good: no voxel above background"),
        ("postproc IN", "bad: no voxel above background"),
        ("postproc --brain", "good: no voxel above background"),
        ("eval --brain", "brain mask: no voxel to count ("),
    ],
)
def test_no_voxel_above_background(call, said, uad, place):
    (place.folder / "bad.nii").write_bytes(image(np.zeros(SHAPE, np.float32)))
    before = place.contents()
    name, *words = CALLS[call](place, "bad.nii")
    uad(name, *words, "--force").fails(name, 1, said)
    assert place.contents() == before


def test_a_raw_scan_below_background(uad, place):
    (place.folder / "bad.nii").write_bytes(image(-noise()))
    uad("preprocess", "bad.nii", *GRID).fails("preprocess", 1, "bad: all values are below 0, -0.99")


def test_an_empty_brain_for_a_raw_scan(uad, place, raw):
    nib.save(nib.Nifti1Image(np.zeros(raw.shape, np.uint8), raw.affine), "none.nii")
    uad("preprocess", place.other, *GRID, "--brain", "none.nii").fails("preprocess", 1, "brain mask is empty (")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("preprocess IN", "bad: all voxels have one value, 0.5 ("),
        ("heal IN", "bad: all one value inside the brain ("),
        ("postproc IN", "bad: Otsu's threshold needs at least two different"),
    ],
)
def test_all_one_value(call, said, uad, place):
    (place.folder / "bad.nii").write_bytes(image(np.full(SHAPE, 0.5, np.float32)))
    before = place.contents()
    name, *words = CALLS[call](place, "bad.nii")
    uad(name, *words, "--force", "-q").fails(name, 1, said)
    assert place.contents() == before


@pytest.mark.parametrize(
    "call",
    ["preprocess --brain", "heal --brain", "score SCAN", "score HEALED", "score --brain", "postproc --brain",
     "eval --truth", "eval --brain"],
)  # fmt: skip
def test_grids_that_differ_are_told_both(call, uad, place):
    (place.folder / "bad.nii").write_bytes(image(noise()[:9, :8, :7]))
    before = place.contents()
    name, *words = CALLS[call](place, "bad.nii")
    mine = (
        "13x14x9 voxels of 2.5 x 2.5 x 2.5 mm, LAS" if name == "preprocess" else "16x16x8 voxels of 2 x 2 x 2 mm, RAS"
    )
    named = "bad: " if call == "score SCAN" else {"preprocess": "other: ", "eval": "bad.nii: "}.get(name, "good: ")
    uad(name, *words, "--force", "-q").fails(name, 1, named, mine, "9x8x7 voxels of 2 x 2 x 2 mm, RAS")
    assert place.contents() == before


def test_a_scan_that_was_not_prepared_is_told_the_pipe_that_works(uad, shell, place):
    result = uad("heal", place.other, "--model", place.model, "--prepared")
    result.fails("heal", 1, "other: not prepared for model tiny: 13x14x9", "wants 16x16x8 voxels of 2 x 2 x 2 mm, RAS")
    (pipe,) = re.findall(r"\((.*?)\)$", result.err.strip())
    pipe = pipe.replace("SCAN", place.other).replace("MODEL", place.model).replace("OUT", "works")
    assert shell(pipe).status == 0
    assert nib.load(place.folder / "works.nii.gz").shape == SHAPE


@pytest.mark.parametrize(
    "scan",
    [
        Image(noise(), Grid(SHAPE, np.diag([2.0, 2, 2.5, 1]))),
        Image(noise(), Grid(SHAPE, np.diag([-2.0, 2, 2, 1]))),
        Image(noise()[:8], Grid((8, 16, 8), np.diag([2.0, 2, 2, 1]))),
        Image(noise() * 100, Grid(SHAPE, np.diag([2.0, 2, 2, 1]))),
        Image(noise() - 0.5, Grid(SHAPE, np.diag([2.0, 2, 2, 1]))),
    ],
    ids=["spacing", "orientation", "shape", "above 1", "below 0"],
)
def test_every_way_not_to_be_prepared(scan, uad, place):
    save(scan, place.folder / "bad.nii")
    uad("heal", "bad.nii", "--model", place.model, "--prepared").fails(
        "heal", 1, "bad: not prepared for model tiny", "uad-preprocess"
    )
    result = uad("train", "bad.nii", "--recipe", place.recipe, "-o", "m.safetensors")
    result.fails("train", 1, "bad.nii: not prepared for this recipe", "uad-preprocess bad.nii --shape 16,16,8")


def edited(path, change):
    """Change what a model file says about itself: change(settings, header)."""
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    settings = json.loads(header["__metadata__"]["uadtools"])
    change(settings, header)
    if "uadtools" in header["__metadata__"]:
        header["__metadata__"]["uadtools"] = json.dumps(settings)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + size :])


def heals(uad, place):
    return uad("heal", place.good, "--model", place.model, "-o", place.taken, "--force")


def test_a_model_of_another_kind_says_which_methods_it_can_do(uad, place, tiny_models):
    before = place.contents()
    result = uad("heal", place.good, "--model", tiny_models["dae"], "--method", "sss", "-o", place.taken, "--force")
    result.fails("heal", 1, "--method sss does not work with models of kind 'dae' (this one can do: dae)")
    assert place.contents() == before


def test_a_model_of_an_unknown_kind_is_refused(uad, place):
    edited(place.folder / place.model, lambda settings, _: settings.update(kind="latent"))
    heals(uad, place).fails("heal", 1, "model.safetensors: kind: there are 'diffusion'")


def test_an_unknown_method_says_which_there_are(uad, place):
    result = uad("heal", place.good, "--model", place.model, "--method", "magic")
    result.fails(
        "heal", 1, "no method 'magic' (there are: ae, andi, anofpdm, autoddpm, bernoulli, binary, blur, cddpm, "
    )


def test_a_model_that_wants_an_unknown_method_is_told(uad, place):
    edited(place.folder / place.model, lambda settings, _: settings["defaults"].update(method="magic"))
    heals(uad, place).fails("heal", 1, "no method 'magic'")


MODEL_CALLS = {
    "preprocess": lambda p: ("preprocess", p.other, "--model", p.model, "-o", p.taken, "--force"),
    "heal": lambda p: ("heal", p.good, "--model", p.model, "-o", p.taken, "--force"),
}


@pytest.fixture(params=MODEL_CALLS)
def refused(request, uad, place):
    """Check that both commands that read a model refuse it with these words, and write nothing."""

    def check(*said):
        before = place.contents()
        uad(*MODEL_CALLS[request.param](place)).fails(request.param, 1, f"{place.model}: ", *said)
        assert place.contents() == before

    return check


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["model.safetensors", "model.pt"])
def test_a_pickle_is_refused_by_name_and_never_opened(name, zipped, uad, place, monkeypatch):
    """Whatever the file is called."""
    import pickle

    import torch

    torch.save({"weights": torch.ones(3)}, place.folder / name, _use_new_zipfile_serialization=zipped)
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("it was opened"))
    monkeypatch.setattr(pickle, "load", lambda *a, **k: pytest.fail("it was opened"))
    for command, option in (("heal", place.good), ("preprocess", place.other)):
        result = uad(command, option, "--model", name)
        result.fails(command, 1, f"{name}: a pickle", "refused (only safetensors files are read)")


def test_a_file_that_is_no_model(place, refused):
    (place.folder / place.model).write_text("not a model at all, but long enough to be one")
    refused("not a model file", "safetensors")


def test_an_empty_model(place, refused):
    (place.folder / place.model).write_bytes(b"")
    refused("not a model file", "safetensors")


def test_a_model_that_is_not_there(place, refused):
    (place.folder / place.model).unlink()
    refused("No such file or directory (is the path of the model right? bundled: ", DEFAULT)


def test_a_model_cut_short_in_its_header(place, refused):
    path = place.folder / place.model
    path.write_bytes(path.read_bytes()[:200])
    refused("not a model file, or cut short")


def test_a_model_of_another_program(place, refused):
    edited(place.folder / place.model, lambda _, header: header["__metadata__"].pop("uadtools"))
    refused("without uadtools settings (`uad-models import` reads other programs' weights)")


def test_a_model_of_a_later_version(place, refused):
    edited(place.folder / place.model, lambda settings, _: settings.update(format=99))
    refused("model format 99", "(update uadtools)")


def test_a_model_with_unknown_settings(place, refused):
    edited(place.folder / place.model, lambda settings, _: settings["grid"].update(colour="blue"))
    refused("grid.colour: unknown key")


def test_a_model_cut_short_in_its_weights(uad, place):
    path = place.folder / place.model
    path.write_bytes(path.read_bytes()[:-100])
    heals(uad, place).fails("heal", 1, "model.safetensors: damaged or cut short")


def test_a_model_whose_weights_do_not_fit(uad, place):
    edited(place.folder / place.model, lambda settings, _: settings["network"].update(base=16))
    heals(uad, place).fails("heal", 1, "model.safetensors: its weights do not fit its settings")
