import json
from dataclasses import replace

import numpy as np
import pytest

from uadtools.anatomy.intensity import FLOOR
from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.healing.heal import check_prepared
from uadtools.models.config import ModelConfig
from uadtools.report.picture import drawn, truth_picture
from uadtools.simulation.history import contrast_level
from uadtools.simulation.plan import Simulation
from uadtools.simulation.simulate import measured, read_masks, simulate
from uadtools.volume.io import Image, save
from uadtools.volume.stream import Study

BESIDE = (25.5, -19.5, 8.5)
"""In white matter, in mm of the masks' own coordinates."""
RANDOM = ("blobs", "masks", "cavities", "sprites", "glioma", "coarse", "motion", "ghost", "bias", "thick", "shift")
KINDS = (*RANDOM, "contrast", "blur")
LESIONS = ("blobs", "masks", "cavities", "sprites", "glioma")


@pytest.fixture
def study(layered):
    brain = layered.derive((layered.data > 0).astype(np.uint8), "brain")
    return Study("a", {"scan": layered, "brain": brain})


@pytest.fixture
def plan(mni_mask):
    masks = {"m.nii": mni_mask(BESIDE)}
    return lambda kind, **options: Simulation(kind, masks=masks if kind in ("masks", "cavities") else {}, **options)


@pytest.fixture
def stack():
    """Three images of 40x36 as in HeadCT, of which the second shows nothing."""
    x, y = np.meshgrid(np.arange(40), np.arange(36), indexing="ij")
    data = np.full((40, 36, 3), 25 / 255, np.float32)
    for z in (0, 2):
        data[np.hypot(x - 20, y - 18) < 14, z] = 0.5
    return Study("stack", {"scan": Image(data, Grid(data.shape, np.diag([-1.0, -1, 1, 1])))})


@pytest.mark.parametrize("kind", KINDS)
def test_background_stays_0_and_the_brain_above_0(kind, study, plan):
    before = study.need("scan").data
    made = simulate(study, plan(kind))
    scan, truth = made.need("scan").data, made.need("truth").data
    assert list(made.images) == ["scan", "truth", "brain"]
    assert scan.dtype == np.float32
    assert truth.dtype == np.uint8
    np.testing.assert_array_equal(scan > 0, before > 0)
    assert FLOOR <= scan[scan > 0].min() <= scan.max() <= 1
    assert (scan != before).any()
    assert truth.max() == (kind in LESIONS)
    assert not (truth & (before == 0)).any()


@pytest.mark.parametrize("kind", RANDOM)
def test_the_draw_is_told_and_hangs_on_seed_copy_and_name_alone(kind, study, plan):
    def drawn(name="a", **key):
        made = simulate(replace(study, name=name), plan(kind), **key)
        return made.need("scan").data.tobytes()

    made = simulate(study, plan(kind), seed=3, copy=1)
    assert drawn(seed=3, copy=1) == made.need("scan").data.tobytes()
    others = {drawn(), drawn(seed=1), drawn(copy=1), drawn("b")}
    assert len(others) >= (2 if kind == "shift" else 4)  # which has eight directions
    for image in (made.need("scan"), made.need("truth")):
        line = json.loads(json.dumps(image.provenance["history"][-1]))
        assert (line["tool"], line["seed"], line["copy"], line["arguments"]["kind"]) == ("uad-simulate", 3, 1, kind)
        assert line["drawn"]


@pytest.mark.parametrize("kind", ["blobs", "contrast"])
def test_a_prepared_scan_stays_prepared(kind, study, layered):
    config = ModelConfig.model_validate(
        {
            "name": "m",
            "network": {"base": 8, "multipliers": [1], "attention": [], "groups": 4},
            "grid": {"shape": [48, 48, 48]},
            "target": "x0",
            "defaults": {"t": [200]},
        }
    )
    chain = [{"step": "input", "grid": layered.grid.to_json()}]
    history = [{"tool": "uad-preprocess", "arguments": {"intensity": config.intensity.model_dump(mode="json")}}]
    known = replace(layered, provenance={"study": "a", "chain": chain, "history": history})
    scan = simulate(Study("a", {"scan": known}), Simulation(kind)).need("scan")
    check_prepared(Study("a", {"scan": scan}), config)
    assert scan.provenance["chain"] == chain
    assert [line["tool"] for line in scan.provenance["history"]] == ["uad-preprocess", "uad-simulate"]


def test_every_image_of_a_stack_gets_one_sprite_but_those_without_head(stack):
    told = []
    made = simulate(stack, Simulation("sprites"), tell=told.append)
    drawn = measured(made)["drawn"]["sprites"]
    truth = made.need("truth").data
    assert [bool(sprite) for sprite in drawn] == [True, False, True]
    assert truth.any(axis=(0, 1)).tolist() == [True, False, True]
    assert told == ["stack: 1 of 3 images show too little of a head, and get no sprite"]
    for z in (0, 2):
        middle = np.argwhere(truth[:, :, z]).mean(axis=0)
        np.testing.assert_allclose(middle, (drawn[z]["x"], drawn[z]["y"]), atol=1)


def test_a_sprite_hangs_on_its_place_in_the_stack_and_not_on_the_others(stack):
    scan = stack.need("scan")
    whole = simulate(stack, Simulation("sprites")).need("scan").data
    first = Image(scan.data[:, :, :1], Grid((40, 36, 1), scan.grid.affine))
    alone = simulate(Study("stack", {"scan": first}), Simulation("sprites")).need("scan").data
    np.testing.assert_array_equal(alone[:, :, 0], whole[:, :, 0])
    without = scan.data.copy()
    without[:, :, 0] = 25 / 255
    last = simulate(Study("stack", {"scan": scan.derive(without, "scan")}), Simulation("sprites")).need("scan").data
    np.testing.assert_array_equal(last[:, :, 2], whole[:, :, 2])


def test_a_raw_head_gets_artefacts_beyond_its_border(head):
    study = Study("a", {"scan": head})
    outside = head.data == 0
    ghost = simulate(study, Simulation("ghost")).need("scan").data
    assert (ghost[outside] > 1).any()
    assert ghost.max() > 500


def test_a_stripped_raw_scan_stays_stripped(stripped):
    made = simulate(Study("a", {"scan": stripped}), Simulation("motion")).need("scan").data
    assert not made[stripped.data == 0].any()
    assert made.max() > 300


@pytest.mark.parametrize("kind", ["blobs", "masks", "cavities", "sprites", "glioma", "coarse", "contrast"])
def test_a_raw_scan_must_be_prepared_first(kind, head, plan):
    with pytest.raises(UadError, match=r"^a: values 0 to 900, and not 0 to 1 \(uad-preprocess SCAN -o - \| "):
        simulate(Study("a", {"scan": head}), plan(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_scan_is_refused(kind, layered, plan):
    with pytest.raises(UadError, match=r"^a: no voxel above background"):
        simulate(Study("a", {"scan": layered.derive(np.zeros_like(layered.data), "scan")}), plan(kind))


def test_lesions_need_a_brain_with_nothing_around_it(stack):
    with pytest.raises(UadError, match="where is the brain"):
        simulate(stack, Simulation("blobs"))


def test_a_crop_cuts_scan_brain_and_truth_and_is_told(study):
    lesioned = simulate(study, Simulation("blobs", size=(20, 30), count=(3, 3)), seed=1)
    made = simulate(lesioned, Simulation("crop", level=40), seed=2)
    again = simulate(lesioned, "crop", level=40, seed=2)
    scan, brain, truth = (made.need(role).data for role in ("scan", "brain", "truth"))
    before = lesioned.need("scan").data
    shown = scan > 0
    assert 0.2 < shown.sum() / (before > 0).sum() < 0.8
    np.testing.assert_array_equal(scan, np.where(shown, before, 0))
    np.testing.assert_array_equal(again.need("scan").data, scan)
    np.testing.assert_array_equal(brain > 0, shown)
    np.testing.assert_array_equal(truth > 0, (lesioned.need("truth").data > 0) & shown)
    assert truth.sum() < lesioned.need("truth").data.sum()
    assert made.product.provenance["history"][-1]["arguments"] == {"kind": "crop", "level": 40}
    others = [simulate(study, "crop", seed=seed, copy=copy) for seed in range(4) for copy in range(3)]
    assert len({other.need("scan").data.tobytes() for other in others}) > 3
    assert not any(other.need("truth").data.any() for other in others)
    assert others[0].product.provenance["history"][-1]["arguments"]["level"] == 20


def test_a_raw_head_is_cropped_in_its_own_units(head):
    made = simulate(Study("a", {"scan": head}), Simulation("crop", level=50)).need("scan").data
    shown = made > 0
    assert 0.3 < shown.sum() / (head.data > 0).sum() < 0.95
    np.testing.assert_array_equal(made, np.where(shown, head.data, 0))


@pytest.mark.parametrize("kind", ["motion", "ghost", "bias", "blur", "thick", "shift", "crop"])
def test_artefacts_of_mri_need_a_volume_of_mri(kind, layered):
    with pytest.raises(UadError, match=f"values from -1000, but {kind} is an artefact of MRI"):
        simulate(Study("a", {"scan": layered.derive(2000 * layered.data - 1000, "scan")}), Simulation(kind))
    slice_ = Image(layered.data[:, :, 20:21], Grid((48, 48, 1), layered.grid.affine))
    with pytest.raises(UadError, match=f"a single slice, but {kind} is an artefact of volumes"):
        simulate(Study("a", {"scan": slice_}), Simulation(kind))


def test_a_stack_without_any_head_is_refused(stack):
    scan = stack.need("scan")
    with pytest.raises(UadError, match=r"^stack: no image shows enough of a head for a sprite of 5 pixels"):
        simulate(Study("stack", {"scan": scan.derive(np.full_like(scan.data, 0.1), "scan")}), Simulation("sprites"))


def test_size_and_count_are_those_of_the_plan(study):
    drawn = measured(simulate(study, Simulation("blobs", size=(8, 8), count=(5, 5))))["drawn"]
    assert drawn["diameters"] == pytest.approx([8] * 5)


def test_tone_has_an_effect_on_blobs_and_masks(study, plan):
    for kind in ("blobs", "masks"):
        made = {tone: simulate(study, plan(kind, tone=tone)) for tone in ("dark", "bright")}
        levels = {tone: measured(m)["drawn"]["levels"] for tone, m in made.items()}
        assert max(levels["dark"]) < 0.6
        assert min(levels["bright"]) > 0.8


@pytest.mark.parametrize("kind", ["coarse", "motion", "ghost", "bias"])
def test_strength_has_an_effect(kind, study):
    before = study.need("scan").data
    weak, strong = (
        np.abs(simulate(study, Simulation(kind, strength=s)).need("scan").data - before).mean() for s in (0.2, 1)
    )
    assert 0 < weak < strong


def test_coarse_noise_is_that_of_the_denoising_autoencoder(study):
    before = study.need("scan").data
    changed = simulate(study, Simulation("coarse", strength=0.1)).need("scan").data
    noise = (changed - before)[18:30, 18:30, 18:30]
    assert noise.std() == pytest.approx(0.02 * 2 / 3, rel=0.3)
    pairs = [(noise.take(range(11), axis).ravel(), noise.take(range(1, 12), axis).ravel()) for axis in range(3)]
    alike = [np.corrcoef(*pair)[0, 1] for pair in pairs]
    assert min(alike[:2]) > 0.6
    assert abs(alike[2]) < 0.4


def test_what_was_drawn_is_measured(study, plan):
    found = measured(simulate(study, plan("masks")))
    assert found["drawn"]["mask"] == "m.nii"
    assert found["lesion_voxels"] > 7
    assert found["lesion_ml"] == pytest.approx(found["lesion_voxels"] * 0.008)
    assert np.pi / 6 * np.sum(np.power(found["drawn"]["diameters"], 3)) == pytest.approx(1000 * found["lesion_ml"])


def test_the_volume_of_what_was_drawn_after_registration_is_the_persons(study, plan, registered):
    found = measured(registered(simulate(study, plan("masks"))))
    assert found["lesion_ml"] == pytest.approx(found["lesion_voxels"] * 0.001)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "blobs", "size": (0, 5)}, "--size 0,5"),
        ({"kind": "blobs", "size": (9, 5)}, "--size 9,5"),
        ({"kind": "blobs", "size": (5, np.inf)}, "--size 5,inf"),
        ({"kind": "blobs", "size": (np.nan, 5)}, "--size nan,5"),
        ({"kind": "sprites", "size": (2, 5)}, "no sprite is smaller than 3 pixels"),
        ({"kind": "blobs", "count": (0, 3)}, "--count 0,3"),
        ({"kind": "blobs", "count": (4, 3)}, "--count 4,3"),
        ({"kind": "blobs", "count": (1, 101)}, "--count 1,101"),
        ({"kind": "bias", "strength": -1}, "--strength -1"),
        ({"kind": "bias", "strength": np.nan}, "--strength nan"),
        ({"kind": "contrast", "level": 0}, "--level 0: above 0, to 10"),
        ({"kind": "contrast", "level": 10.5}, "--level 10.5"),
        ({"kind": "contrast", "level": np.nan}, "--level nan"),
        ({"kind": "crop", "level": 101}, "--level 101: above 0, to 100"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, words):
    with pytest.raises(UadError, match=words):
        Simulation(**options)


def test_masks_are_read_from_files_and_folders_and_keep_apart(tmp_path, mni_mask):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        save(mni_mask(BESIDE), tmp_path / folder / "m.nii")
    found = read_masks([str(tmp_path / "one"), str(tmp_path / "two" / "m.nii")])
    assert list(found) == ["m.nii", str(tmp_path / "two" / "m.nii")]


def test_an_empty_mask_is_refused(tmp_path, mni_mask):
    save(mni_mask(), tmp_path / "m.nii")
    with pytest.raises(UadError, match=r"m.nii: an empty mask \(leave it out\)"):
        read_masks([str(tmp_path)])


@pytest.mark.parametrize("kind", ["blobs", "ghost"])
def test_a_picture_is_drawn_with_and_without_truth(kind, study, head, tmp_path):
    truth_picture(simulate(study, Simulation(kind)), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_raw_head_is_drawn_in_its_own_range(head, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(
        "uadtools.report.picture.drawn", lambda *args, **options: shown.append(drawn(*args, **options)) or shown[0]
    )
    made = simulate(Study("a", {"scan": head}), Simulation("bias", strength=0.01))
    truth_picture(made, tmp_path / "a.png")
    low, high = shown[0].axes[0].images[0].get_clim()
    inside = made.need("scan").data[made.need("scan").data > 0]
    assert 0 < low <= np.percentile(inside, 5)
    assert np.percentile(inside, 95) <= high <= inside.max()


def test_what_was_drawn_before_keeps_its_truth(study, plan):
    once = simulate(study, plan("blobs"), seed=1)
    twice = simulate(once, plan("blobs"), seed=2)
    first, both = once.need("truth").data > 0, twice.need("truth").data > 0
    assert both[first].all()
    assert both.sum() > first.sum()
    np.testing.assert_array_equal(simulate(once, plan("bias"), seed=2).need("truth").data > 0, first)


def test_drawn_lesions_without_their_truth_are_refused(study, plan):
    once = simulate(study, plan("blobs"), seed=1)
    with pytest.raises(UadError, match="holds drawn lesions, but not their truth"):
        simulate(Study("a", {"scan": once.need("scan")}), plan("coarse"))
    simulate(Study("a", {"scan": simulate(study, plan("coarse")).need("scan")}), plan("blobs"))


@pytest.mark.parametrize("level", [0.3, 1.0, 2.0])
def test_a_contrast_is_a_power_inside_the_brain_and_told(level, study):
    before = study.need("scan").data
    made = simulate(study, Simulation("contrast", level=level), seed=1)
    np.testing.assert_allclose(made.need("scan").data, np.where(before > 0, np.maximum(before**level, FLOOR), 0), 1e-6)
    assert not made.need("truth").data.any()
    assert made.product.provenance["history"][-1]["arguments"] == {"kind": "contrast", "level": level}
    assert contrast_level(made.need("scan")) == level


def test_levels_of_contrast_multiply_and_lesions_keep_their_truth(study, plan):
    lesioned = simulate(study, plan("blobs"))
    made = simulate(simulate(lesioned, Simulation("contrast", level=2)), Simulation("contrast", level=1.5))
    assert contrast_level(made.need("scan")) == 3
    assert contrast_level(lesioned.need("scan")) is None
    np.testing.assert_array_equal(made.need("truth").data, lesioned.need("truth").data)


@pytest.mark.parametrize("kind", ["blur", "thick", "shift"])
def test_another_level_of_sharpness_is_told(kind, study):
    before = study.need("scan").data
    weak, strong = {"blur": (0.8, 3), "thick": (3, 8), "shift": (0.1, 0.5)}[kind]
    made = [simulate(study, Simulation(kind, level=level)) for level in (weak, strong)]
    assert [m.product.provenance["history"][-1]["arguments"]["level"] for m in made] == [weak, strong]
    changes = [np.abs(m.need("scan").data - before).mean() for m in made]
    assert 0 < changes[0] < changes[1]
    default = simulate(study, Simulation(kind)).product.provenance["history"][-1]["arguments"]["level"]
    assert default == {"blur": 1, "thick": 3, "shift": 0.5}[kind]


def test_shift_by_splines_differs_and_is_told(study):
    linear, spline = (simulate(study, Simulation("shift", interpolation=way)) for way in ("linear", "spline"))
    assert (linear.need("scan").data != spline.need("scan").data).any()
    for made, way in ((linear, "linear"), (spline, "spline")):
        line = made.product.provenance["history"][-1]
        assert line["arguments"]["interpolation"] == line["drawn"]["interpolation"] == way


def test_masks_are_laid_over_by_the_box_of_the_brains_they_are_from(study, plan):
    def truth(kind, box=None):
        return simulate(study, plan(kind, masks_box=box)).need("truth").data

    for kind, own, other in (("masks", "ms", "mni152"), ("cavities", "mni152", "ms")):
        np.testing.assert_array_equal(truth(kind), truth(kind, own))
        assert (truth(kind) != truth(kind, other)).any()
    np.testing.assert_array_equal(truth("cavities"), truth("cavities", (-66, -99, -58, 66, 66, 74)))
    line = simulate(study, plan("cavities")).product.provenance["history"][-1]
    assert line["arguments"]["masks_box"] == [-66, -99, -58, 66, 66, 74]


@pytest.mark.parametrize("box", ["mni", (1, 2, 3), (0, 0, 0, 1, 1, 0), (0, 0, 0, 1, 1, float("nan"))])
def test_a_box_that_is_none_is_refused(box):
    with pytest.raises(UadError, match=r"^--masks-box .*XMIN,YMIN,ZMIN,XMAX,YMAX,ZMAX in mm"):
        Simulation("masks", masks_box=box)


def test_a_drawn_cavity_without_its_truth_is_seen(study, plan):
    scan = simulate(study, plan("cavities")).need("scan")
    with pytest.raises(UadError, match="holds drawn lesions, but not their truth"):
        simulate(Study("a", {"scan": scan}), Simulation("blur"))


def test_a_kind_and_words_are_a_plan_and_words_change_one_that_is_there(study):
    expected = simulate(study, Simulation("blobs", tone="bright", size=(8, 12)), seed=3).need("scan").data
    for given, words in (
        ("blobs", {"tone": "bright", "size": (8, 12)}),
        (Simulation("blobs", tone="bright"), {"size": (8, 12)}),
    ):
        np.testing.assert_array_equal(simulate(study, given, seed=3, **words).need("scan").data, expected)


@pytest.mark.parametrize("options", [{"kind": "nosuch"}, {"kind": "blobs", "tone": "green"}])
def test_a_kind_or_tone_that_there_is_not_is_told(options):
    with pytest.raises(UadError, match=r"^--(kind nosuch|tone green): there are "):
        Simulation(**options)


def test_without_masks_there_is_nothing_to_draw_from(phantom):
    with pytest.raises(UadError, match=r"^--kind: cavities needs lesion masks to draw from \(--masks "):
        simulate(phantom, "cavities")
