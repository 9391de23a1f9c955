"""The ways to prepare scans: papers', intensities, templates, 2-D models; and what healing and scoring make of them."""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Pillow
from safetensors.torch import load_file

from uadtools.grids.grid import oriented, resample
from uadtools.models.checkpoint import save_model
from uadtools.models.config import GridConfig, IntensityConfig
from uadtools.volume.chain import native_grid
from uadtools.volume.stream import read_image, read_path

GRID = ("--shape", "16,16,8", "--spacing", "2", "--brain", "none")
FLAT = ("--shape", "32,32,1", "--spacing", "1", "--intensity", "none")
PDDPM = {
    "grid": {"shape": [96, 96, 50], "spacing": [2.0, 2.0, 2.0]},
    "brain": "hd-bet",
    "bias_correct": True,
    "order": ["register", "brain", "bias"],
}
LIKE = {
    "pddpm": PDDPM,
    "cddpm": PDDPM,
    "sss": {
        "grid": {"shape": [256, 256, 60], "spacing": [1.0, 1.0, 1.0]},
        "brain": "auto",
        "bias_correct": False,
        "order": ["brain", "bias", "register"],
    },
    "ldm": {"grid": {"shape": [64, 64, 1], "spacing": [1.0, 1.0, 1.0]}, "brain": "none", "bias_correct": False},
}
KINDS = {"pddpm": "percentile", "cddpm": "percentile", "sss": "percentile", "ldm": "none"}


def arguments(path):
    (line,) = read_image(Path(path)).provenance["history"]
    return line["arguments"]


@pytest.fixture
def made(uad, here):
    """Prepare a scan with these options, quietly, and return what came of it."""

    def run(scan, *options):
        result = uad("preprocess", scan, *options, "-o", "made.nii", "--force", "-q")
        assert (result.status, result.out, result.err) == (0, b"", "")
        return read_image(here / "made.nii")

    return run


@pytest.fixture
def low(here, raw):
    """That head with values up to 0.9: low.nii."""
    nib.save(nib.Nifti1Image((raw.get_fdata() / 1000).astype(np.float32), raw.affine), here / "low.nii")
    return here / "low.nii"


@pytest.fixture
def large(here, raw):
    """That head with values up to 0.9 in voxels of 7 mm, so that its brain has 150 mL: large.nii."""
    nib.save(nib.Nifti1Image((raw.get_fdata() / 1000).astype(np.float32), grown(raw)), here / "large.nii")
    return here / "large.nii"


def grown(raw):
    return np.diag([2.8, 2.8, 2.8, 1.0]) @ raw.affine


@pytest.fixture
def ct(here, raw):
    """That head in Hounsfield units, 0 to 80 in air of -1000, and where it is: ct.nii and head.nii."""
    data = raw.get_fdata()
    nib.save(nib.Nifti1Image((data > 0).astype(np.uint8), raw.affine), here / "head.nii")
    units = np.where(data > 0, (data - 100) / 10, -1000)
    nib.save(nib.Nifti1Image(units.astype(np.float32), raw.affine), here / "ct.nii")
    return here / "ct.nii"


@pytest.fixture
def hd_bet(here, monkeypatch):
    """A program that finds no skull to take away; heads of a few mL will do."""
    monkeypatch.setattr("uadtools.anatomy.brain.LEAST_BRAIN", 0)
    (here / "bin").mkdir()
    (here / "bin" / "hd-bet").write_text('#!/bin/sh\ncp "$2" "$4"\n')
    (here / "bin" / "hd-bet").chmod(0o755)
    monkeypatch.setenv("PATH", f"{here / 'bin'}:/usr/bin:/bin")


@pytest.fixture
def turning(monkeypatch):
    """Instead of registration, a quarter of a turn about the middle of that head, and a shift by 2, -3 and 1 mm."""
    turn = np.array([[0, -1, 0, 9.25], [1, 0, 0, -5.75], [0, 0, 1, 1], [0, 0, 0, 1.0]])
    monkeypatch.setattr("uadtools.anatomy.register.affine", lambda moving, fixed, seed: turn)
    return turn


@pytest.fixture
def model_with(here, tiny_config, tiny_model):
    """Write a model like the tiny one but for these settings."""

    def write(**settings):
        save_model(here / "other.safetensors", tiny_config.model_copy(update=settings), load_file(tiny_model))
        return here / "other.safetensors"

    return write


@pytest.mark.parametrize("paper", LIKE)
def test_a_papers_way_is_in_the_provenance(paper, made, large, raw, hd_bet):
    noise = np.random.default_rng(0).integers(1, 9, raw.shape, np.int16)  # around a template that is a head
    head = nib.Nifti1Image(raw.get_fdata().astype(np.int16) + noise, grown(raw))
    nib.save(head, "sri24.nii")
    template = ("--register", "sri24.nii") if LIKE[paper] is PDDPM else ()
    image = made(large, "--like", paper, *template)
    told = arguments("made.nii")
    assert LIKE[paper].items() <= told.items()
    assert told["intensity"]["kind"] == KINDS[paper]
    assert told["register"] == ("sri24.nii" if template else None)
    assert ("register" in [step["step"] for step in image.provenance["chain"]]) == bool(template)
    shape = LIKE[paper]["grid"]["shape"]
    assert image.grid.shape == (*shape[:2], 9 if paper == "ldm" else shape[2])
    assert image.grid.orientation == ("LPS" if paper == "ldm" else "RAS")
    np.testing.assert_allclose(image.grid.spacing[:2], LIKE[paper]["grid"]["spacing"][:2])


def test_on_a_template_without_skull_the_brain_comes_first(made, large, raw, hd_bet):
    nib.save(nib.Nifti1Image(raw.get_fdata().astype(np.int16), grown(raw)), "bare.nii")
    made(large, "--like", "pddpm", "--register", "bare.nii")
    assert arguments("made.nii")["order"] == ["brain", "register", "bias"]


def test_other_options_change_parts_of_a_papers_way(made, low):
    wanted = ("--spacing", "3", "--brain", "none", "--no-bias-correct", "--register", "none", "--intensity", "zscore")
    image = made(low, "--like", "pddpm", *wanted, "--shape", "20,20,10")
    assert image.grid.shape == (20, 20, 10)
    told = arguments("made.nii")
    assert told["grid"] == {"shape": [20, 20, 10], "spacing": [3, 3, 3]}
    assert (told["brain"], told["bias_correct"], told["register"]) == ("none", False, None)
    assert told["intensity"]["kind"] == "zscore"
    assert told["order"] == PDDPM["order"]
    made(low, "--like", "sss", "--shape", "32", "--bias-correct")
    assert arguments("made.nii")["bias_correct"] is True


@pytest.mark.parametrize("paper", ["pddpm", "cddpm"])
def test_a_paper_that_registers_needs_a_template(paper, uad, scan, here):
    result = uad("preprocess", scan, "--like", paper)
    result.fails("preprocess", 2, "--like", paper, "SRI24", "--register FILE (or none, or mni)")
    assert [path.name for path in here.iterdir()] == ["raw.nii.gz"]


def test_a_paper_and_a_model_do_not_go_together(uad, scan, tiny_model):
    uad("preprocess", scan, "--like", "sss", "--model", tiny_model).fails("preprocess", 2, "--like", "choose one")
    uad("preprocess", scan, "--like", "sss", "--match-histogram").fails("preprocess", 2, "--like", "choose one")
    uad("preprocess", scan, "--like", "anoddpm").fails("preprocess", 2, "--like", "'cddpm', 'ldm', 'pddpm', 'sss'")


def test_zscore_puts_the_mean_in_the_middle_and_3_deviations_at_the_ends(made, scan, raw):
    image = made(scan, "--shape", "16,16,12", "--spacing", "2.5", "--brain", "none", "--intensity", "zscore")
    inner = raw.get_fdata()[raw.get_fdata() > 0]
    expected = np.sort(0.5 + (inner - inner.mean()) / inner.std() / 6)
    np.testing.assert_allclose(np.sort(image.data[image.data > 0]), expected, atol=1e-3)
    assert arguments("made.nii")["intensity"]["kind"] == "zscore"


@pytest.mark.parametrize(
    ("window", "center", "width"),
    [("ct:40,80", 40, 80), ("ct:brain", 40, 80), ("ct:30.5,20", 30.5, 20), ("ct:subdural", 75, 215)],
)
def test_a_window_of_hounsfield_units_becomes_0_to_1(window, center, width, made, ct):
    image = made(ct, "--shape", "16,16,12", "--spacing", "2.5", "--brain", "head.nii", "--intensity", window)
    units = nib.load(ct).get_fdata()
    inner = units[units > -1000]
    expected = np.clip((inner - center) / width + 0.5, 1e-3, 1)
    np.testing.assert_allclose(np.sort(image.data[image.data > 0]), np.sort(expected), atol=1e-5)
    told = arguments("made.nii")["intensity"]
    assert (told["kind"], told["center"], told["width"]) == ("ct", center, width)


def test_a_window_without_any_of_the_brain_is_refused(uad, ct):
    told = uad("preprocess", ct, *GRID, "--intensity", "ct:500,100")
    told.fails("preprocess", 1, "ct: all of the brain is 0.001 after --intensity ct:500,100")


@pytest.mark.parametrize(
    "text", ["ct:bogus", "ct:1", "ct:1,2,3", "ct:1,", "ct", "ct:", "percentile:2,98", "none:1", "x"]
)
def test_what_is_no_intensity_is_wrong_usage(text, uad, ct):
    told = uad("preprocess", ct, *GRID, "--intensity", text)
    told.fails("preprocess", 2, "--intensity", text, "ct:CENTER,WIDTH")


@pytest.mark.parametrize("text", ["ct:40,0", "ct:40,-80", "ct:nan,80", "ct:40,inf"])
def test_a_window_that_is_none_is_refused(text, uad, ct):
    uad("preprocess", ct, *GRID, "--intensity", text).fails("preprocess", 1, f"--intensity {text}: ")


def test_percentile_goes_before_what_the_model_says(made, low, model_with):
    model = model_with(intensity=IntensityConfig(kind="none"))
    as_it_is = made(low, "--model", model).data
    assert as_it_is.max() < 0.95
    stretched = made(low, "--model", model, "--intensity", "percentile").data
    assert stretched.max() == 1
    assert arguments("made.nii")["intensity"]["kind"] == "percentile"


def test_match_histogram_gives_the_brain_what_the_model_was_trained_on(made, scan, model_with):
    quantiles = tuple((np.linspace(0.1, 0.9, 11) ** 2).tolist())
    model = model_with(quantiles=quantiles)
    plain = made(scan, "--model", model, "--brain", "none").data
    assert arguments("made.nii")["match_histogram"] is False
    matched = made(scan, "--model", model, "--brain", "none", "--match-histogram").data
    assert arguments("made.nii")["match_histogram"] is True
    np.testing.assert_array_equal(matched > 0, plain > 0)
    inner = matched[matched > 0]
    np.testing.assert_allclose(np.quantile(inner, np.linspace(0, 1, 11)), quantiles, atol=0.01)
    order = np.argsort(plain[plain > 0], kind="stable")
    assert (np.diff(inner[order]) >= 0).all()


def test_match_histogram_needs_a_model_that_says_what_it_was_trained_on(uad, scan, tiny_model):
    for grid in ((), GRID):
        told = uad("preprocess", scan, "--model", tiny_model, *grid, "--match-histogram")
        told.fails("preprocess", 1, "--match-histogram", "does not say", "leave it out")


def test_register_none_is_as_without_it(made, scan):
    first, second = made(scan, *GRID), made(scan, *GRID, "--register", "none")
    np.testing.assert_array_equal(first.data, second.data)
    assert arguments("made.nii")["register"] is None


@pytest.mark.parametrize("inputs", [["raw.nii.gz"], ["raw.nii.gz", "b.nii"]])
def test_a_missing_template_is_told_before_any_work(inputs, uad, scan, raw, here):
    nib.save(raw, "b.nii")
    told = uad("preprocess", *inputs, *GRID, "--register", "sri24.nii", "-o", "out")
    told.fails("preprocess", 1, "sri24.nii: No such file")
    assert not (here / "out").exists()


def test_mni_without_nilearn_is_told_with_the_extra(uad, scan, monkeypatch):
    monkeypatch.setitem(sys.modules, "nilearn", None)
    uad("preprocess", scan, *GRID, "--register", "mni").fails(
        "preprocess", 1, "pip install 'uadtools[register]'", "FILE"
    )


@pytest.mark.parametrize("option", [("--register", "mni"), ("--register", "raw.nii.gz"), ("--bias-correct",)])
def test_a_missing_simpleitk_is_told_with_the_extra(option, uad, scan, here, monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    told = uad("preprocess", scan, *GRID, *option, "-o", "out")
    told.fails("preprocess", 1, f"raw: {option[0]} needs the package SimpleITK", "pip install 'uadtools[sitk]'")
    assert not (here / "out").exists()


def test_single_slices_are_not_registered(uad, low):
    told = uad("preprocess", low, *FLAT, "--register", "low.nii")
    told.fails("preprocess", 1, "low: --register is for volumes", "leave it out")


def middle(image):
    """The middle of what is above a thousandth, in mm."""
    return image.grid.affine @ [*np.argwhere(image.data > 1e-3).mean(axis=0), 1]


def test_a_scan_lies_where_registration_brings_it(made, scan, turning):
    """The template is the scan itself, which does not turn."""
    wide = ("--shape", "20", "--spacing", "2.5", "--brain", "none")
    plain = made(scan, *wide)
    moved = made(scan, *wide, "--register", scan)
    assert arguments("made.nii")["register"] == "raw.nii.gz"
    np.testing.assert_allclose(middle(moved), turning @ middle(plain), atol=0.5)
    assert moved.grid.same(plain.grid)


PIXELS = np.random.default_rng(0).integers(20, 255, (20, 14)).astype(np.uint8)
"""20 rows of 14 pixels."""


@pytest.fixture
def pictures(here):
    """A picture and stacks of 3: a.png, and s.npz with the arrays x and y."""
    framed = np.pad(PIXELS, 5)
    Pillow.fromarray(framed).save(here / "a.png")
    stack = np.stack([framed, framed[::-1], framed // 2])
    np.savez(here / "s.npz", x=stack, y=stack[::-1] / 255, label=np.arange(3))


def test_a_picture_becomes_one_slice_as_it_is_shown(made, pictures):
    image = made("a.png", *FLAT)
    assert image.grid.shape == (32, 32, 1)
    assert image.grid.orientation == "LPS"
    np.testing.assert_allclose(image.grid.spacing, 1)
    np.testing.assert_allclose(image.data[9:23, 6:26, 0].T, PIXELS / 255, atol=1e-6)
    assert (image.data > 0).sum() == PIXELS.size


def test_a_stack_becomes_as_many_slices(made, pictures):
    image = made("s.npz:x", *FLAT)
    assert (image.grid.shape, image.grid.orientation) == ((32, 32, 3), "LPS")
    assert image.provenance["study"] == "s_x"
    for number, pixels in enumerate((PIXELS, PIXELS[::-1], PIXELS // 2)):
        np.testing.assert_allclose(image.data[9:23, 6:26, number].T, pixels / 255, atol=2e-3)
    other = made("s.npz:y", *FLAT)
    np.testing.assert_allclose(other.data, image.data[:, :, ::-1], atol=2e-3)


def test_pixels_are_brought_to_the_models_number(made, pictures):
    """A model of pixels of 2 mm sees half as many."""
    image = made("a.png", "--shape", "16,16,1", "--spacing", "2", "--intensity", "none")
    assert image.grid.shape == (16, 16, 1)
    np.testing.assert_allclose(image.grid.spacing[:2], 2)
    assert image.data[image.data > 0.1].mean() == pytest.approx(PIXELS.mean() / 255, rel=0.1)


def test_files_of_pictures_are_named_after_them(uad, pictures, here):
    assert uad("preprocess", "a.png", "s.npz:x", "s.npz:y", *FLAT, "-o", "out").status == 0
    images = sorted(path.name for path in (here / "out").glob("*.nii.gz"))
    assert images == ["a_preprocessed.nii.gz", "s_x_preprocessed.nii.gz", "s_y_preprocessed.nii.gz"]


def test_a_stack_has_to_be_named_where_there_are_several(uad, pictures):
    uad("preprocess", "s.npz", *FLAT).fails("preprocess", 1, "s.npz: 2 stacks of images: x, y", "choose one")
    uad("preprocess", "s.npz:z", *FLAT).fails("preprocess", 1, "s.npz: no array 'z' in it")
    uad("preprocess", "s.npz:label", *FLAT).fails("preprocess", 1, "s.npz", "three axes")


def test_the_slices_of_a_volume_are_turned_as_pictures_are(made, low):
    image = made(low, "--shape", "20,20,1", "--spacing", "2.5", "--intensity", "none")
    assert (image.grid.shape, image.grid.orientation) == ((20, 20, 9), "LPS")
    np.testing.assert_allclose(image.grid.spacing, 2.5)
    scan = read_image(low)
    data, _ = oriented(scan.data, scan.grid, "LPS")
    found = image.data[np.ix_(*(np.flatnonzero(image.data.any(axis=a)) for a in ((1, 2), (0, 2), (0, 1))))]
    inner = data[np.ix_(*(np.flatnonzero(data.any(axis=a)) for a in ((1, 2), (0, 2), (0, 1))))]
    np.testing.assert_allclose(found, inner, atol=1e-3)


def test_slices_keep_their_thickness(made, low):
    image = made(low, "--shape", "32,32,1", "--spacing", "1,1,7", "--intensity", "none")
    assert image.grid.shape == (32, 32, 9)
    np.testing.assert_allclose(image.grid.spacing, (1, 1, 2.5))


def test_a_model_of_single_slices_from_pictures_to_detections(uad, pictures, model_with, here):
    model = model_with(grid=GridConfig(shape=(32, 32, 1), spacing=(1, 1, 1)), intensity=IntensityConfig(kind="none"))
    assert uad("preprocess", "s.npz:x", "--model", model, "-q").status == 0
    assert uad("heal", "s_x_preprocessed.nii.gz", "--model", model, "-t", 200).status == 0
    scan, healed = read_image(Path("s_x_preprocessed.nii.gz")), read_image(Path("s_x_healed.nii.gz"))
    assert healed.grid.same(scan.grid)
    np.testing.assert_array_equal(healed.data > 0, scan.data > 0)
    assert np.abs(healed.data - scan.data).max() > 0.05
    assert uad("score", "s_x_preprocessed.nii.gz", "s_x_healed.nii.gz").status == 0
    clean = ("--median", 1, "--erode", 0, "--min-size", 0, "--threshold", 0.05)
    assert uad("postproc", "s_x_score.nii.gz", *clean, "--native").status == 0
    found = read_image(Path("s_x_detection.nii.gz"))
    assert (found.grid.shape, found.grid.orientation) == ((24, 30, 3), "LPS")
    expected = read_image(Path("s_x_score.nii.gz")).data[4:28, 1:31] > 0.05
    assert expected.any()
    np.testing.assert_array_equal(found.data > 0, expected)


def test_a_picture_by_a_pipe_is_healed_as_by_files(uad, pictures, model_with, here):
    model = model_with(grid=GridConfig(shape=(32, 32, 1), spacing=(1, 1, 1)))
    piped = uad("preprocess", "a.png", "--model", model, "-o", "-", "-q").out
    (here / "healed.nii").write_bytes(uad("heal", "--model", model, stdin=piped).out)
    (study,) = read_path(here / "healed.nii")
    assert list(study.images) == ["healed", "scan", "brain"]
    assert study.product.grid.shape == (32, 32, 1)
    uad("preprocess", "a.png", "--model", model, "-q")
    uad("heal", "a_preprocessed.nii.gz", "--model", model)
    np.testing.assert_array_equal(study.product.data, read_image(Path("a_healed.nii.gz")).data)


def test_what_was_prepared_for_slices_is_not_for_volumes(uad, low, model_with, tiny_model):
    """And the other way round."""
    flat = model_with(grid=GridConfig(shape=(16, 16, 1), spacing=(2, 2, 2)))
    assert uad("preprocess", low, "--model", flat, "-o", "flat.nii", "-q").status == 0
    assert uad("preprocess", low, "--model", tiny_model, "-o", "solid.nii", "-q").status == 0
    uad("heal", "flat.nii", "--model", tiny_model).fails("heal", 1, "flat: not prepared for model tiny", "LPS", "RAS")
    uad("heal", "solid.nii", "--model", flat).fails(
        "heal", 1, "solid: not prepared for model tiny", "16x16 voxels", "LPS"
    )
    assert uad("heal", "flat.nii", "--model", flat).status == 0


def test_a_scan_that_is_prepared_already_is_refused(uad, made, scan):
    made(scan, *GRID)
    told = uad("preprocess", "made.nii", *GRID)
    told.fails("preprocess", 1, "made: was prepared by uad-preprocess already, 16x16x8", "uad-heal takes it as it is")


@pytest.mark.parametrize("kind", ["zscore", "ct:0.4,1"])
def test_a_scan_of_another_intensity_than_the_models_is_not_healed(kind, uad, made, low, tiny_model):
    made(low, *GRID, "--intensity", kind)
    told = uad("heal", "made.nii", "--model", tiny_model)
    told.fails(
        "heal", 1, "made: not prepared for model tiny", f"by {kind};", "by percentile:1,99", "uad-preprocess SCAN"
    )


def test_a_model_of_another_intensity_takes_its_own(uad, made, low, model_with):
    model = model_with(intensity=IntensityConfig(kind="zscore"))
    made(low, "--model", model)
    assert arguments("made.nii")["intensity"]["kind"] == "zscore"
    assert uad("heal", "made.nii", "--model", model).status == 0
    made(low, *GRID)
    told = uad("heal", "made.nii", "--model", model, "-o", "again.nii")
    told.fails("heal", 1, "by percentile:1,99;", "by zscore (uad-preprocess")


def test_a_scan_that_was_ready_before_is_healed(uad, made, low, tiny_model):
    made(low, *GRID, "--intensity", "none")
    assert uad("heal", "made.nii", "--model", tiny_model).status == 0


@pytest.fixture
def healed(uad, scan, tiny_model, here):
    """A scan, prepared with these options and healed, as a stream."""

    def run(*options):
        prepared = uad("preprocess", scan, "--model", tiny_model, "--brain", "none", *options, "-q", "-o", "-").out
        return uad("heal", "--model", tiny_model, stdin=prepared).out

    return run


def scored(uad, stream, *options):
    result = uad("score", *options, "--json", "-o", "s.nii", "--force", stdin=stream)
    assert (result.status, result.err) == (0, "")
    (told,) = result.json
    return told["case_score"], read_image(Path("s.nii"))


def test_native_puts_the_score_on_the_scans_grid_and_leaves_the_case_score(uad, healed, scan):
    stream = healed()
    number, there = scored(uad, stream)
    again, native = scored(uad, stream, "--native")
    assert number == again > 0
    assert native.role == "score"
    raw = read_image(scan)
    assert native.grid.same(raw.grid)
    np.testing.assert_allclose(native.data, resample(there.data, there.grid, raw.grid), atol=1e-6)
    assert 0.7 * there.data.max() < native.data.max() <= there.data.max()
    assert native.data[raw.data > 0].sum() > 0.9 * native.data.sum()
    assert native_grid(native.provenance["chain"]).same(raw.grid)


def test_native_undoes_registration(uad, healed, scan, turning):
    stream = healed("--register", scan)
    number, there = scored(uad, stream)
    again, native = scored(uad, stream, "--native")
    assert number == again
    raw = read_image(scan)
    assert native.grid.same(raw.grid)
    np.testing.assert_allclose(middle(there), turning @ middle(native), atol=1)
    assert native.data[raw.data > 0].sum() > 0.9 * native.data.sum() > 0


def test_a_native_score_in_a_stream_is_in_front_of_the_rest(uad, healed, scan, here):
    (here / "s.nii").write_bytes(uad("score", "--native", stdin=healed()).out)
    (study,) = read_path(here / "s.nii")
    assert list(study.images) == ["score", "healed", "scan", "brain"]
    assert study.product.grid.same(read_image(scan).grid)
    assert study.need("scan").grid.shape == (16, 16, 8)


def test_a_native_score_needs_a_scan_that_was_prepared_here(uad, prepared, tiny_model):
    uad("heal", prepared, "--model", tiny_model)
    told = uad("score", prepared, "p_healed.nii.gz", "--native")
    told.fails("score", 1, "p: does not say which grid it came from", "--native needs")


def test_what_is_no_scan_is_refused(uad, low, here):
    nib.save(brain := nib.load(low), "detection.nii")
    brain.header["intent_name"] = "detection"
    nib.save(nib.Nifti1Image(np.asarray(brain.dataobj), None, brain.header), "detection.nii")
    uad("preprocess", "detection.nii", "--brain", "none").fails("preprocess", 1, "is a detection, not a scan")


@pytest.fixture
def speckle(here):
    """A scan of a thousand grey levels."""
    levels = np.random.default_rng(0).permutation(1000).reshape(10, 10, 10).astype(np.int16)
    nib.save(nib.Nifti1Image(levels, np.diag([2, 2, 2, 1])), "speckle.nii")
    return "speckle.nii"


def test_a_scan_is_no_brain_mask(uad, speckle):
    uad("preprocess", speckle, "--brain", speckle).fails("preprocess", 1, "--brain", "different values")


def test_a_window_that_shows_little_is_a_concern(uad, speckle):
    options = ("--shape", "10", "--spacing", "2", "--brain", "none", "--intensity")
    for window, told in (
        ("ct:200,100", "90% of the brain lies outside the window of ct:200,100"),
        ("ct:500,900", None),
    ):
        result = uad("preprocess", speckle, *options, window, "-o", f"{window}.nii")
        assert result.status == 0
        assert (told in result.err) if told else (result.err == "")


def test_a_suffix_is_for_data_sets(uad, low):
    uad("preprocess", low, "--suffix", "FLAIR").fails("preprocess", 2, "--suffix", "--bids")


@pytest.mark.parametrize("grid", [("--spacing", "0.01"), ("--shape", "9000")])
def test_a_grid_that_no_memory_holds_is_refused(grid, uad, low):
    uad("preprocess", low, "--brain", "none", *grid).fails("preprocess", 1, "voxels (larger --spacing or less --shape)")
