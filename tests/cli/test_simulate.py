import io
import json

import nibabel as nib
import numpy as np
import pytest

from uadtools.grids.grid import Grid
from uadtools.volume.io import Image, save, to_bytes
from uadtools.volume.stream import read_image, read_studies

SMALL = ("--kind", "blobs", "--size", "4,8")
"""Blobs that fit into the phantom's brain, which has 7 mL."""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def stream(phantom):
    return b"".join(map(to_bytes, phantom.images.values()))


@pytest.fixture
def masks(here, phantom):
    """A folder with one mask, on the phantom's own grid."""
    grid = phantom.need("scan").grid
    data = np.zeros(grid.shape, np.uint8)
    data[4:8, 5:9, 2:6] = 1
    (here / "masks").mkdir()
    save(Image(data, grid), here / "masks" / "m.nii.gz")
    return here / "masks"


@pytest.fixture
def stack(here):
    """Three HeadCT-like images, of which the second shows nothing: ct.npz with the array test."""
    rows, columns = np.meshgrid(np.arange(36), np.arange(40), indexing="ij")
    images = np.full((3, 36, 40), 25, np.uint8)
    images[[0, 2]] = np.where(np.hypot(rows - 18, columns - 20) < 14, 130, 25)
    np.savez(here / "ct.npz", test=images, train=images)
    return "ct.npz:test"


def test_a_file_becomes_a_scan_and_a_truth_named_after_it(uad, prepared, here):
    result = uad("simulate", prepared, *SMALL)
    assert (result.status, result.out, result.err) == (0, b"", "")
    assert names(here) == ["p.nii.gz", *(f"p_{n}.{e}" for n in ("simulated", "truth") for e in ("json", "nii.gz"))]
    scan, truth = (read_image(here / f"p_{n}.nii.gz") for n in ("simulated", "truth"))
    assert (scan.role, truth.role, truth.data.dtype) == ("scan", "truth", np.uint8)
    changed = scan.data != read_image(prepared).data
    assert 0 < truth.data.sum() <= changed.sum()
    assert changed[truth.data > 0].all()
    told = json.loads((here / "p_simulated.json").read_text())["history"][-1]
    assert told.items() >= {"tool": "uad-simulate", "seed": 0, "copy": 0}.items()
    assert told["arguments"] == {"kind": "blobs", "tone": "dark", "size": [4, 8], "count": [1, 3]}


def test_a_stream_becomes_a_stream_of_scan_truth_and_the_rest(uad, stream):
    out = uad("simulate", *SMALL, stdin=stream).out
    (study,) = read_studies(io.BytesIO(out), "out")
    assert study.name == "phantom"
    assert list(study.images) == ["scan", "truth", "brain"]
    assert uad("simulate", "-", "-o", "-", *SMALL, stdin=stream).out == out


def test_a_stream_without_provenance_keeps_its_roles(uad, stream):
    out = uad("simulate", *SMALL, "--no-provenance", stdin=stream).out
    (study,) = read_studies(io.BytesIO(out), "out")
    assert list(study.images) == ["scan", "truth", "brain"]


def test_later_tools_take_the_scan_and_pass_the_truth_on(uad, stream, tiny_model):
    out = uad("simulate", *SMALL, stdin=stream).out
    for tool, *options in (("heal", "--model", tiny_model), ("score",), ("postproc", "--threshold", 0.1)):
        result = uad(tool, *options, stdin=out)
        assert result.status == 0, result.err
        out = result.out
    (study,) = read_studies(io.BytesIO(out), "out")
    assert list(study.images) == ["detection", "score", "healed", "scan", "truth", "brain"]
    tools = [line["tool"] for line in study.product.provenance["history"]]
    assert tools == ["uad-simulate", "uad-heal", "uad-score", "uad-postproc"]


def test_later_files_are_named_after_the_scan(uad, prepared, tiny_model, here):
    uad("simulate", prepared, *SMALL)
    assert uad("heal", "p_simulated.nii.gz", "--model", tiny_model).status == 0
    assert (here / "p_healed.nii.gz").is_file()


def test_the_way_back_to_the_raw_scan_stays_open(uad, scan, tiny_model, here):
    made = uad("preprocess", scan, "--model", tiny_model, "-o", "-").out
    for tool, *options in (("simulate", *SMALL), ("heal", "--model", tiny_model), ("score",)):
        made = uad(tool, *options, stdin=made).out
    assert uad("postproc", "--native", "--threshold", 0, "-o", "found.nii", stdin=made).status == 0
    assert nib.load(here / "found.nii").shape == nib.load(scan).shape


def test_a_draw_hangs_on_seed_and_name_and_not_on_the_other_files(uad, prepared, here):
    (here / "q.nii.gz").write_bytes(prepared.read_bytes())

    def drawn(folder, *words):
        assert uad("simulate", *words, *SMALL, "-o", folder).status == 0
        return {path.name: read_image(path).data.tobytes() for path in (here / folder).glob("*_simulated.nii.gz")}

    both = drawn("both", "q.nii.gz", prepared)
    alone = drawn("alone", prepared)
    assert alone["p_simulated.nii.gz"] == both["p_simulated.nii.gz"]
    assert both["p_simulated.nii.gz"] != both["q_simulated.nii.gz"]
    assert drawn("other", prepared, "--seed", 1) != alone


def test_copies_are_other_draws_and_the_first_is_that_of_a_single_one(uad, prepared, here):
    (here / "out").mkdir()
    (here / "out" / "p_simulated.nii.gz").write_text("an earlier draw, which is not in the way")
    assert uad("simulate", prepared, *SMALL, "--copies", 3, "-o", "out").status == 0
    images = [read_image(here / "out" / f"p_{k}_simulated.nii.gz") for k in (1, 2, 3)]
    assert [image.provenance["study"] for image in images] == ["p_1", "p_2", "p_3"]
    assert len({image.data.tobytes() for image in images}) == 3
    assert len(names(here / "out")) == 13
    uad("simulate", prepared, *SMALL)
    np.testing.assert_array_equal(read_image(here / "p_simulated.nii.gz").data, images[0].data)


def test_copies_in_a_stream_are_studies_of_their_own(uad, stream):
    out = uad("simulate", *SMALL, "--copies", 2, stdin=stream).out
    assert [study.name for study in read_studies(io.BytesIO(out), "out")] == ["phantom_1", "phantom_2"]


def test_copies_do_not_fit_into_one_file(uad, prepared, here):
    uad("simulate", prepared, *SMALL, "--copies", 2, "-o", "x.nii").fails("simulate", 2, "x.nii", "2 draws", "folder")
    uad("simulate", prepared, *SMALL, "--copies", 0).fails("simulate", 2, "--copies")
    assert names(here) == ["p.nii.gz"]


@pytest.mark.parametrize("taken", ["p_simulated.nii.gz", "p_truth.nii.gz", "p_truth.json"])
def test_nothing_is_overwritten_without_force(taken, uad, prepared, here):
    (here / taken).write_text("mine")
    uad("simulate", prepared, *SMALL).fails("simulate", 1, taken, "exists (--force replaces it)")
    assert names(here) == sorted(["p.nii.gz", taken])
    assert uad("simulate", prepared, *SMALL, "--force").status == 0


def test_copies_overwrite_nothing_either(uad, prepared, here):
    (here / "p_1_truth.nii.gz").write_text("mine")
    uad("simulate", prepared, *SMALL, "--copies", 2).fails("simulate", 1, "p_1_truth.nii.gz", "exists")
    assert names(here) == ["p.nii.gz", "p_1_truth.nii.gz"]


def test_an_input_is_never_replaced(uad, prepared):
    before = prepared.read_bytes()
    uad("simulate", prepared, *SMALL, "-o", prepared, "--force").fails("simulate", 1, "is an input")
    assert prepared.read_bytes() == before


def test_json_tells_what_was_drawn(uad, prepared, masks):
    (told,) = uad("simulate", prepared, "--kind", "masks", "--masks", masks, "--json").json
    drawn = told.pop("drawn")
    count = told["lesion_voxels"]
    assert 7 <= count <= 64
    assert told == {
        "name": "p", "output": "p_simulated.nii.gz", "truth": "p_truth.nii.gz", "kind": "masks",
        "lesion_voxels": count, "lesion_ml": pytest.approx(count * 0.008), "concerns": [], "unlike": None,
    }  # fmt: skip
    assert drawn["mask"] == "m.nii.gz"
    assert len(drawn["levels"]) == 1
    assert drawn["diameters"]


def test_json_without_files(uad, stream, here):
    (told,) = uad("simulate", *SMALL, "--json", stdin=stream).json
    assert (told["name"], told["output"], told["truth"]) == ("phantom", None, None)
    assert names(here) == []
    uad("simulate", *SMALL, "--json", "-o", "-", stdin=stream).fails("simulate", 2, "--json", "-o FILE")


def test_kind_is_needed_and_known(uad, prepared):
    uad("simulate", prepared).fails("simulate", 2, "--kind")
    uad("simulate", prepared, "--kind", "tumour").fails("simulate", 2, "--kind", "tumour")


def test_sprites_in_a_stack_of_images(uad, stack, here):
    result = uad("simulate", stack, "--kind", "sprites", "--json")
    (told,) = result.json
    assert result.err == "uad-simulate: ct_test: 1 of 3 images show too little of a head, and get no sprite\n"
    assert told["name"] == "ct_test"
    assert [bool(sprite) for sprite in told["drawn"]["sprites"]] == [True, False, True]
    truth = read_image(here / "ct_test_truth.nii.gz").data
    assert truth.shape == (40, 36, 3)
    assert told["lesion_voxels"] == truth.sum()


@pytest.mark.parametrize("kind", ["coarse", "motion", "ghost", "bias"])
def test_strength_has_an_effect_on_noise_and_artefacts_whose_truth_is_empty(kind, uad, prepared, here):
    (told,) = uad("simulate", prepared, "--kind", kind, "--json").json
    assert (told["kind"], told["lesion_voxels"]) == (kind, 0)
    assert not read_image(here / "p_truth.nii.gz").data.any()
    before, one = (read_image(here / name).data for name in ("p.nii.gz", "p_simulated.nii.gz"))
    uad("simulate", prepared, "--kind", kind, "--strength", 0, "--force")
    np.testing.assert_allclose(read_image(here / "p_simulated.nii.gz").data, before, atol=1e-5)
    assert np.abs(one - before).max() > 0.05


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [
        ("masks", "--size", "5,6"),
        ("motion", "--size", "5"),
        ("sprites", "--tone", "dark"),
        ("masks", "--count", "2"),
        ("sprites", "--count", "2"),
        ("blobs", "--strength", "1"),
        ("sprites", "--strength", "1"),
        ("contrast", "--strength", "1"),
        ("bias", "--level", "2"),
        ("thick", "--strength", "1"),
        ("blur", "--interpolation", "spline"),
        ("blobs", "--masks-box", "ms"),
        ("cavities", "--tone", "dark"),
        ("glioma", "--count", "2"),
    ],
)
def test_options_without_effect_are_refused(kind, option, value, uad, prepared, masks):
    given = ("--masks", masks) if kind in ("masks", "cavities") else ()
    result = uad("simulate", prepared, "--kind", kind, *given, option, value)
    result.fails("simulate", 2, option, f"no effect with --kind {kind}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--size", "x"), "MIN,MAX"),
        (("--size", "1,2,3"), "MIN,MAX"),
        (("--size", ""), "MIN,MAX"),
        (("--count", "1.5"), "MIN,MAX"),
        (("--tone", "grey"), "grey"),
        (("--strength", "x"), "--strength"),
        (("--masks", "m.nii"), "--kind masks"),
    ],
)
def test_values_that_are_none_are_wrong_usage(words, said, uad, prepared):
    uad("simulate", prepared, "--kind", "blobs", *words).fails("simulate", 2, words[0], said)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--size", "9,8"), "--size 9,8"),
        (("--size", "0"), "--size 0,0"),
        (("--size", "inf"), "--size inf"),
        (("--count", "0"), "--count 0,0"),
        (("--size", "40"), "p: no room for a blob of 40 mm"),
        (("--size", "8", "--count", "90"), "p: no room for a blob of 8 mm"),
    ],
)
def test_blobs_that_cannot_be_drawn_are_refused(words, said, uad, prepared, here):
    uad("simulate", prepared, "--kind", "blobs", *words).fails("simulate", 1, said)
    assert names(here) == ["p.nii.gz"]


def test_size_count_and_tone_have_an_effect(uad, prepared, here):
    (told,) = uad("simulate", prepared, "--kind", "blobs", "--size", 6, "--count", "2", "--json").json
    assert told["drawn"]["diameters"] == [6, 6]
    dark = read_image(here / "p_simulated.nii.gz").data.mean()
    uad("simulate", prepared, "--kind", "blobs", "--size", 6, "--count", "2", "--tone", "bright", "--force")
    assert read_image(here / "p_simulated.nii.gz").data.mean() > dark


def test_masks_that_are_none_are_told(uad, prepared, masks, here):
    uad("simulate", prepared, "--kind", "masks").fails("simulate", 2, "--masks")
    uad("simulate", prepared, "--kind", "masks", "--masks", "no/").fails("simulate", 1, "no", "No such file")
    (here / "empty").mkdir()
    uad("simulate", prepared, "--kind", "masks", "--masks", "empty").fails("simulate", 1, "empty: no NIfTI file")
    mask = read_image(masks / "m.nii.gz")
    save(mask.derive(0 * mask.data, "scan"), here / "empty" / "e.nii")
    result = uad("simulate", prepared, "--kind", "masks", "--masks", masks / "m.nii.gz", "empty/e.nii")
    result.fails("simulate", 1, "empty/e.nii: an empty mask (leave it out)")


def test_masks_that_miss_the_brain_are_told(uad, prepared, here, phantom):
    grid = phantom.need("scan").grid
    data = np.zeros(grid.shape, np.uint8)
    data[:2, :2, :2] = 1
    save(Image(data, grid), here / "corner.nii")
    result = uad("simulate", prepared, "--kind", "masks", "--masks", "corner.nii")
    result.fails("simulate", 1, "p: none of 1 masks has a lesion inside this brain")


def test_a_scan_that_is_not_prepared_is_told_how_to(uad, scan):
    uad("simulate", scan, *SMALL).fails("simulate", 1, "raw: values 0 to", "uad-preprocess SCAN -o - | uad-simulate")


def test_an_empty_scan_is_told(uad, here):
    save(Image(np.zeros((8, 8, 8), np.float32), Grid((8, 8, 8), np.eye(4))), here / "e.nii")
    uad("simulate", "e.nii", *SMALL).fails("simulate", 1, "e: no voxel above background")


def test_picture_draws_into_a_file_or_a_folder(uad, prepared, here):
    assert uad("simulate", prepared, *SMALL, "--picture", "p.png").status == 0
    assert uad("simulate", prepared, *SMALL, "--copies", 2, "-o", "out", "--picture", "drawn").status == 0
    assert names(here / "drawn") == ["p_1_simulated.png", "p_2_simulated.png"]
    assert (here / "p.png").read_bytes().startswith(b"\x89PNG")
    uad("simulate", prepared, *SMALL, "--force", "--picture", "p.png", "--copies", 2).fails("simulate", 2, "p.png")
    uad("simulate", prepared, *SMALL, "-o", "new", "--picture", "p.png").fails("simulate", 1, "p.png", "exists")
    uad("simulate", prepared, *SMALL, "-o", "new", "--picture", "p.txt").fails("simulate", 1, "p.txt", ".png")
    assert not (here / "new").exists()


def test_a_picture_never_replaces_an_input(uad, here):
    from PIL import Image as Pillow

    x, y = np.meshgrid(np.arange(40), np.arange(40), indexing="ij")
    Pillow.fromarray(np.where(np.hypot(x - 20, y - 20) < 15, 130, 25).astype(np.uint8)).save("a.png")
    words = ("a.png", "--kind", "sprites", "--picture", "a.png", "--force")
    uad("simulate", *words).fails("simulate", 1, "a.png: is an input")
    assert names(here) == ["a.png"]


def test_a_picture_of_several_studies_in_a_stream_needs_a_folder(uad, stream, phantom, here):
    other = b"".join(to_bytes(Image(i.data, i.grid, r, {"study": "b"})) for r, i in phantom.images.items())
    result = uad("simulate", *SMALL, "-o", "out", "--picture", "p.png", stdin=stream + other)
    result.fails("simulate", 2, "p.png is one file, and there are several scans (name a folder)")


def test_volume_chooses_of_a_4d_image(uad, prepared):
    data = nib.load(prepared).get_fdata()
    nib.save(nib.Nifti1Image(np.stack([data * 0, data], axis=-1), nib.load(prepared).affine), "four.nii")
    uad("simulate", "four.nii", *SMALL).fails("simulate", 1, "four.nii", "2 volumes", "--volume N")
    (told,) = uad("simulate", "four.nii", *SMALL, "--volume", 1, "--json").json
    assert told["lesion_voxels"] > 0


def test_verbose_tells_the_volume_and_quiet_is_silent(uad, prepared):
    words = (prepared, "--kind", "bias", "--force", "-v")
    assert uad("simulate", *words).err == "uad-simulate: p: bias, 0.00 mL of lesions\n"
    assert uad("simulate", *words, "-q").err == ""


def test_version(uad):
    assert uad("simulate", "--version").out.startswith(b"uadtools ")


def test_another_contrast_is_healed_and_judged_by_level(uad, prepared, tiny_model, here):
    for level in (0.3, 1, 2):
        assert uad("simulate", prepared, "--kind", "contrast", "--level", level, "-o", f"{level}/").status == 0
        assert uad("heal", f"{level}/p_simulated.nii.gz", "--model", tiny_model, "-o", f"{level}/").status == 0
    before, after = (read_image(path).data for path in (prepared, here / "2" / "p_simulated.nii.gz"))
    np.testing.assert_allclose(after[before > 0], np.maximum(before[before > 0] ** 2, 1e-3), rtol=1e-6)
    files = [[f"{level}/p_{what}.nii.gz" for level in (0.3, 1, 2)] for what in ("healed", "simulated")]
    words = ("eval", *files[0], "--scan", *files[1], "--by", "contrast")
    report = uad(*words, "--json").json
    assert [row["contrast"] for row in report["scans"]] == [0.3, 1, 2]
    groups = report["groups"]["contrast"]
    assert [(group["group"], group["scans"]) for group in groups] == [("0.3", 1), ("1", 1), ("2", 1)]
    assert [group["mean"]["kld"] for group in groups] == [row["kld"] for row in report["scans"]]
    assert "by contrast: means of scans" in uad(*words).out.decode().splitlines()
    words = ("eval", "1/p_healed.nii.gz", "--scan", prepared, "--by")
    assert uad(*words, "contrast", "--json").json["groups"]["contrast"][0]["group"] == "1"
    uad(*words, "contrast,sex").fails("eval", 2, "--by and --participants")


def test_a_contrast_without_history_is_not_guessed(uad, prepared):
    uad("eval", prepared, "--scan", prepared, "--by", "contrast").fails("eval", 1, "no scan tells its contrast")


def test_a_cavity_is_darker_than_a_dark_lesion(uad, prepared, masks, here):
    means = {}
    for kind in ("masks", "cavities"):
        (told,) = uad("simulate", prepared, "--kind", kind, "--masks", masks, "-o", f"of {kind}/", "--json").json
        assert told["drawn"]["mask"] == "m.nii.gz"
        inside = read_image(here / f"of {kind}" / "p_truth.nii.gz").data > 0
        means[kind] = read_image(here / f"of {kind}" / "p_simulated.nii.gz").data[inside].mean()
    assert means["cavities"] < means["masks"]
    uad("simulate", prepared, "--kind", "cavities").fails("simulate", 2, "--kind", "cavities needs lesion masks")


def test_a_glioma_is_one_lesion_of_a_size_and_a_tone(uad, prepared, here):
    dark, bright = (
        uad("simulate", prepared, "--kind", "glioma", "--size", 14, "--tone", tone, "-o", f"{tone}/", "--json").json[0]
        for tone in ("dark", "bright")
    )
    line = json.loads((here / "dark" / "p_simulated.json").read_text())["history"][-1]
    assert line["arguments"] == {"kind": "glioma", "tone": "dark", "size": [14, 14]}
    assert dark["lesion_voxels"] > 7
    assert dark["drawn"]["levels"][2] < bright["drawn"]["levels"][2]
    uad("simulate", prepared, "--kind", "glioma").fails("simulate", 1, "p: no room for a glioma of", "smaller --size")


def test_masks_box_is_a_name_or_six_numbers(uad, prepared, masks, here):
    words = (prepared, "--kind", "cavities", "--masks", masks, "--force")
    for box, told in (("ms", -57), ("-10,-20,-30,10,20,30", -10)):
        assert uad("simulate", *words, "--masks-box", box).status == 0
        line = json.loads((here / "p_simulated.json").read_text())["history"][-1]
        assert line["arguments"]["masks_box"][0] == told
    uad("simulate", *words, "--masks-box", "stroke").fails("simulate", 1, "--masks-box stroke: there are ms, mni152")
    uad("simulate", *words, "--masks-box", "1,2").fails("simulate", 1, "--masks-box 1,2: XMIN,YMIN,ZMIN")


@pytest.mark.parametrize(("kind", "level"), [("blur", 2), ("thick", 5), ("shift", 0.25)])
def test_another_sharpness_is_no_lesion(kind, level, uad, prepared, here):
    (told,) = uad("simulate", prepared, "--kind", kind, "--level", level, "--json").json
    assert (told["kind"], told["lesion_voxels"]) == (kind, 0)
    line = json.loads((here / "p_simulated.json").read_text())["history"][-1]
    assert line["arguments"]["level"] == level
    before, after = (read_image(here / name).data for name in ("p.nii.gz", "p_simulated.nii.gz"))
    assert np.abs(after - before).max() > 0.01
    np.testing.assert_array_equal(after > 0, before > 0)
    uad("simulate", prepared, "--kind", kind, "--level", 0, "--force").fails("simulate", 1, "--level 0: above 0")


def test_a_cropped_field_of_view_is_no_lesion(uad, prepared, here):
    (told,) = uad("simulate", prepared, "--kind", "crop", "--level", 8, "--json").json
    assert (told["kind"], told["lesion_voxels"]) == ("crop", 0)
    before, after = (read_image(here / name).data for name in ("p.nii.gz", "p_simulated.nii.gz"))
    assert 0 < (after > 0).sum() < (before > 0).sum()
    np.testing.assert_array_equal(after, np.where(after > 0, before, 0))
    uad("simulate", prepared, "--kind", "crop", "--level", 99, "--force").fails("simulate", 1, "p: 99 mm are all of it")


def test_shift_takes_an_interpolation(uad, prepared, here):
    words = (prepared, "--kind", "shift", "--force", "--interpolation")
    assert uad("simulate", *words, "spline", "--json").json[0]["drawn"]["interpolation"] == "spline"
    uad("simulate", *words, "sinc").fails("simulate", 2, "--interpolation", "sinc")


@pytest.mark.parametrize("role", ["scan", "healed", "score", "brain"])
def test_what_is_no_mask_of_lesions_gives_no_shapes(role, uad, prepared, masks, phantom, here):
    image = phantom.need("scan")
    save(Image(image.data, image.grid, role, {"history": [{"tool": "uad-x"}]}), here / "masks" / "x.nii.gz")
    result = uad("simulate", prepared, "--kind", "masks", "--masks", masks)
    result.fails("simulate", 1, f"x.nii.gz: is a {role}, not a mask of lesions")


def test_anonymous_leaves_the_names_of_masks_out(uad, prepared, masks, here):
    (masks / "m.nii.gz").rename(masks / "miller.nii.gz")
    words = ("simulate", prepared, "--kind", "masks", "--masks", masks, "-o")
    assert uad(*words, "named.nii").status == uad(*words, "s.nii", "--anonymous").status == 0
    assert b"miller" in (here / "named.json").read_bytes()
    assert not [path for path in here.glob("s*") if b"miller" in path.read_bytes()]
