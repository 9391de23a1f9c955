"""Headers that contradict themselves, the way back to them, and what surrounds a scan."""

import nibabel as nib
import numpy as np
import pytest

GRID = ("--shape", "16,16,8", "--spacing", "2", "--brain", "none")
MIRROR = np.diag([-1.0, 1, 1, 1])


@pytest.fixture
def torn(here, raw):
    """The file of a head whose qform is the mirror image of its sform: torn.nii.gz."""
    raw.set_sform(raw.affine, 2)
    raw.set_qform(MIRROR @ raw.affine, 4)
    nib.save(raw, here / "torn.nii.gz")
    return here / "torn.nii.gz"


@pytest.fixture
def mask(raw):
    """The file of that head's mask, with the header it has by then: m.nii."""
    nib.save(nib.Nifti1Image((raw.get_fdata() > 0).astype(np.uint8), None, raw.header), "m.nii")
    return "m.nii"


@pytest.fixture
def save(here, raw):
    """Write voxels where that head lies, as float32."""

    def write(data, name):
        nib.save(nib.Nifti1Image(np.asarray(data, np.float32), raw.affine), here / name)
        return here / name

    return write


def preprocessed(uad, path, *options):
    done = uad("preprocess", path, *GRID, "-o", f"p_{path.name}", *options)
    assert done.status == 0, done.err
    return done, nib.load(f"p_{path.name}").get_fdata()


def test_a_mirrored_qform_is_told_by_whoever_reads_it_first(uad, torn):
    told = uad("preprocess", torn, *GRID, "-o", "-")
    (line,) = told.lines
    assert line.startswith("uad-preprocess: torn: its sform and qform lie up to ")
    assert "mirrored (left against right), and the sform was taken (--geometry sform or qform says which" in line
    healed = uad("heal", "--method", "blur", "-o", "-", stdin=told.out)
    assert healed.err == ""
    scored = uad("score", "--json", "-o", "s.nii", stdin=healed.out)
    assert [concern["code"] for concern in scored.json[0]["concerns"]] == ["geometry"]


def test_geometry_settles_it_and_is_kept(uad, torn):
    plain, one = preprocessed(uad, torn, "--json")
    (concern,) = plain.json[0]["concerns"]
    assert concern["code"] == "geometry"
    assert concern["value"] == pytest.approx(40, abs=0.01)
    settled = uad("preprocess", torn, *GRID, "--geometry", "sform", "-o", "s.nii", "--json")
    assert (settled.err, settled.json[0]["concerns"]) == ("", [])
    np.testing.assert_array_equal(nib.load("s.nii").get_fdata(), one)
    other = uad("preprocess", torn, *GRID, "--geometry", "qform", "-o", "q.nii")
    assert other.err == ""
    mirrored = nib.load("q.nii")
    assert not np.array_equal(mirrored.get_fdata(), one)
    assert b'"geometry": "qform"' in b"".join(extension.get_content() for extension in mirrored.header.extensions)


@pytest.mark.parametrize(
    "command",
    [
        ("heal", "--method", "blur", "--brain", "m.nii"),
        ("simulate", "--kind", "bias"),
        ("postproc", "--threshold", "600"),
    ],
)
def test_all_that_read_scans_tell_and_can_be_told(command, uad, torn, mask):
    name, *options = command
    told = uad(name, torn, *options, "-o", "a.nii")
    settled = uad(name, torn, *options, "-o", "b.nii", "--geometry", "qform")
    assert told.status == settled.status == 0
    assert "torn: its sform and qform lie up to 40 mm apart" in told.err
    assert "apart" not in settled.err


def test_what_was_drawn_into_lies_where_the_scan_does(uad, torn):
    """Also for the next tool, which takes the form that was said to be right."""
    assert uad("simulate", torn, "--kind", "bias", "--geometry", "qform", "-o", "d.nii").err == ""
    before, after = nib.load(torn).header, nib.load("d.nii").header
    for key in ("sform_code", "qform_code", "quatern_c", "qoffset_x", "srow_x", "pixdim"):
        np.testing.assert_array_equal(before[key], after[key])
    assert uad("preprocess", "d.nii", *GRID, "-o", "p.nii").err == ""
    uad("preprocess", torn, *GRID, "--geometry", "qform", "-o", "q.nii")
    np.testing.assert_allclose(nib.load("p.nii").affine, nib.load("q.nii").affine, atol=1e-5)


def test_a_mask_is_read_as_its_scan_is(uad, torn, mask):
    assert uad("preprocess", torn, *GRID[:-1], mask, "--geometry", "qform", "-o", "p.nii").status == 0
    uad("preprocess", torn, *GRID, "--geometry", "qform", "-o", "q.nii")
    np.testing.assert_array_equal(nib.load("p.nii").get_fdata(), nib.load("q.nii").get_fdata())


def test_simpleitk_shows_a_detection_where_the_scan_is(uad, torn):
    sitk = pytest.importorskip("SimpleITK")
    stream = uad("preprocess", torn, *GRID, "-o", "-", "-q").out
    stream = uad("score", "-q", stdin=uad("heal", "--method", "blur", "-q", stdin=stream).out).out
    assert uad("postproc", "--threshold", "0.1", "--native", "-q", "-o", "d.nii.gz", stdin=stream).status == 0
    scan, found = sitk.ReadImage(torn), sitk.ReadImage("d.nii.gz")
    assert (scan.GetOrigin(), scan.GetDirection()) == (found.GetOrigin(), found.GetDirection())
    header = nib.load("d.nii.gz").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (2, 4)


def test_judging_tells_of_truth_and_prediction_and_counts_in_millimetres(uad, here):
    lesion = np.zeros((20, 20, 20), np.uint8)
    lesion[5:15, 5:15, 5:15] = 1
    for name, mm in (("t", 1e-3), ("p", 1e3)):
        image = nib.Nifti1Image(lesion, np.diag([mm, mm, mm, 1]))
        image.header.set_xyzt_units("meter" if mm < 1 else "micron")
        image.set_qform(np.diag([mm, mm, mm, 1]) + 9 * mm * np.eye(4, k=3) * (name == "t"), 1)
        nib.save(image, f"{name}.nii")
    judged = uad("eval", "p.nii", "--truth", "t.nii", "--lesions", "--json")
    (row,), (concern,) = judged.json["scans"], judged.json["concerns"]
    assert (row["lesions"], row["dice"]) == (1, 1)
    assert row["truth_ml"] == row["detected_ml"] == pytest.approx(1, abs=1e-5)
    assert (concern["code"], concern["value"]) == ("geometry", 9)
    assert judged.lines[0] == f"uad-eval: t.nii: {concern['text'].removeprefix('p: ')}"
    assert uad("eval", "p.nii", "--truth", "t.nii", "--json", "--geometry", "sform").json["concerns"] == []


@pytest.mark.parametrize("value", [-1, -0.7, 600])
def test_a_constant_background_is_none_of_the_brain(value, uad, save, raw):
    brain = raw.get_fdata() > 0
    _, expected = preprocessed(uad, save(raw.get_fdata(), "zero.nii"))
    _, made = preprocessed(uad, save(np.where(brain, raw.get_fdata(), value), "other.nii"))
    np.testing.assert_array_equal(made > 0, expected > 0)


@pytest.mark.parametrize("value", [-1, np.nan])
def test_what_surrounds_the_brain_does_not_change_what_is_made_of_it(value, uad, save, raw):
    """Intensities z-scored in the brain, some of them below what is put around it."""
    data, brain = raw.get_fdata(), raw.get_fdata() > 0
    _, expected = preprocessed(uad, save(data - np.where(brain, np.percentile(data[brain], 1), 0), "zero.nii"))
    scored = (data - data[brain].mean()) / data[brain].std()
    _, made = preprocessed(uad, save(np.where(brain, scored, value), "scored.nii"))
    np.testing.assert_allclose(made, expected, atol=1e-3)


def test_nothing_is_darker_than_the_background(uad, save, raw):
    white = save(np.where(raw.get_fdata() > 0, raw.get_fdata(), 2000), "white.nii")
    uad("preprocess", white, *GRID).fails("preprocess", 1, "white: no voxel above background, 2000 (is this the right")


def test_a_scan_that_was_scaled_as_a_whole_is_prepared_as_it_was(uad, save, raw):
    data = raw.get_fdata()
    _, expected = preprocessed(uad, save(data, "zero.nii"))
    _, made = preprocessed(uad, save((data - data.mean()) / data.std(), "scored.nii"))
    np.testing.assert_allclose(made, expected, atol=1e-4)
    _, made = preprocessed(uad, save(data - 5000, "below.nii"))
    np.testing.assert_allclose(made, expected, atol=1e-4)


def test_values_below_0_without_a_background_are_called_that(uad, save, raw, mask):
    noise = np.random.default_rng(0).uniform(0, 30, raw.shape)
    below = save(raw.get_fdata() + noise - 2000, "below.nii")
    done = uad("preprocess", below, *GRID)
    done.fails("preprocess", 1, "all values are below 0, -1999.99 to ", "add 2000 to them", "--brain FILE")
    assert uad("preprocess", below, *GRID[:-1], mask).status == 0


def test_all_of_a_box_is_told_to_be_too_large_for_a_brain(uad):
    noise = np.random.default_rng(0).uniform(1, 30, (40, 40, 40)).astype(np.float32)
    nib.save(nib.Nifti1Image(noise, np.diag([4, 4, 4, 1])), "box.nii")
    assert "the brain has 4,096 mL; 800 to 2,200 is what adults have" in uad("preprocess", "box.nii", *GRID).err


def test_nan_around_a_scan_are_background(uad, save, raw, mask):
    data = raw.get_fdata()
    _, expected = preprocessed(uad, save(data, "zero.nii"))
    done, made = preprocessed(uad, save(np.where(data > 0, data, np.nan), "spm.nii"))
    assert done.err == ""
    np.testing.assert_array_equal(made, expected)
    assert uad("heal", "spm.nii", "--method", "blur", "--brain", mask, "-o", "h.nii").status == 0


def test_nan_in_the_brain_are_counted_and_can_be_made_0(uad, save, raw, mask):
    data = raw.get_fdata()
    data[6, 7, 3:6] = np.nan
    path = save(data, "holes.nii")
    heal = ("heal", "--method", "blur", "--brain", mask)
    for name, *options in (("preprocess", *GRID), heal, ("simulate", "--kind", "bias")):
        done = uad(name, path, *options)
        done.fails(name, 1, "holes.nii: 3 voxels inside of the scan are NaN (--nan 0 makes them 0)")
        assert uad(name, path, *options, "--nan", 0, "-o", f"{name}.nii").status == 0
    uad("preprocess", path, *GRID, "--nan", "nan").fails("preprocess", 2, "--nan: nan: a number is expected")
    data[0, 0, 0] = np.inf
    uad("preprocess", save(data, "inf.nii"), *GRID, "--nan", 0).fails("preprocess", 1, "1 voxels are NaN or infinite")


def test_nan_in_scores_and_masks_are_refused(uad, save, raw):
    path = save(np.where(raw.get_fdata() > 0, 1, np.nan), "nan.nii")
    full = save(np.ones(raw.shape), "full.nii")
    uad("postproc", path, "-o", "d.nii").fails("postproc", 1, "voxels are NaN or infinite (replace them first)")
    uad("eval", full, "--truth", path).fails("eval", 1, "nan.nii: ", "voxels are NaN or infinite (replace them first)")
    uad("preprocess", full, "--brain", path).fails("preprocess", 1, "nan.nii: ", "voxels are NaN or infinite")
