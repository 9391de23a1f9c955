"""How far healthy scans are from their healed selves, and what a score in such units is."""

from dataclasses import replace

import numpy as np
import pytest

from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.healing.expected import on_grid
from uadtools.healing.heal import heal
from uadtools.healing.plan import plan
from uadtools.healing.reference import LEAST_SCANS, healed_of, keep_reference, learn_reference
from uadtools.models.checkpoint import read_config, read_tensors
from uadtools.models.defaults import ReferenceConfig
from uadtools.models.model import load_model
from uadtools.scoring.score import score
from uadtools.volume.io import Image, save
from uadtools.volume.stream import Study

SHAPE = (26, 24, 20)
RADII = [np.linspace(-1, 1, n) for n in SHAPE]
BRAIN = sum(axis**2 for axis in np.meshgrid(*RADII, indexing="ij")) < 0.8
ABOUT = ReferenceConfig(scans=9, smooth=1.5)


def healthy(deviation, count=12, shape=SHAPE, brain=BRAIN):
    """Scans and what they might be healed to, with residuals of this deviation: one for all places, or one for each."""
    grid = Grid(shape, np.diag([2.0, 2.0, 2.0, 1.0]))
    for seed in range(count):
        rng = np.random.default_rng(seed)
        scan = np.where(brain, rng.uniform(0.3, 0.7, shape), 0)
        healed = np.where(brain, scan + deviation * rng.standard_normal(shape), 0)
        images = {"healed": healed, "scan": scan}
        yield Study(f"s{seed}", {r: Image(d.astype(np.float32), grid, r) for r, d in images.items()})


def test_residuals_of_one_deviation_have_a_flat_reference():
    """Twice that deviation, in the brain, at its border and outside."""
    expected, about = learn_reference(healthy(0.05))
    assert expected.shape == (13, 12, 10)
    assert expected.dtype == np.float32
    np.testing.assert_allclose(expected, 2 * 0.05, rtol=0.1)
    assert about == ReferenceConfig(scans=12, smooth=1.5)


def test_where_residuals_are_larger_more_is_expected():
    right = np.arange(SHAPE[0])[:, None, None] >= 13
    expected, _ = learn_reference(healthy(np.where(right, 0.09, 0.03)))
    left, right = expected[3, 6, 5], expected[9, 6, 5]
    assert right - left == pytest.approx(0.06, rel=0.1)
    assert 2 * 0.03 < left < 0.03 + 0.09
    with_a_hole, _ = learn_reference(healthy(np.where(right, 0.05, 0.0)))
    assert (with_a_hole > 0.02).all()  # no place is taken for free of errors


def test_a_place_that_few_brains_cover_is_filled_up_with_what_the_others_have():
    def moved():
        """One of the brains reaches further, and has large residuals there."""
        yield from healthy(0.05, brain=BRAIN & (np.arange(SHAPE[2]) < 14))
        yield from healthy(np.where(np.arange(SHAPE[2]) < 14, 0.05, 0.5), count=1)

    expected, _ = learn_reference(moved())
    assert 0.1 < expected[6, 6, 8] < 0.5 + 0.05
    assert expected[6, 6, 3] == pytest.approx(0.1, rel=0.1)


def test_what_teaches_nothing_is_refused():
    with pytest.raises(UadError, match=f"^{LEAST_SCANS - 1} healthy scans: a reference needs at least {LEAST_SCANS}$"):
        learn_reference(healthy(0.05, count=LEAST_SCANS - 1))
    learn_reference(healthy(0.05, count=LEAST_SCANS))
    with pytest.raises(UadError, match="0 healthy scans"):
        learn_reference(())
    with pytest.raises(UadError, match="the healed scans are the scans themselves"):
        learn_reference(healthy(0.0))
    others = healthy(0.05, shape=(26, 24, 21), brain=np.ones((26, 24, 21), bool))
    with pytest.raises(UadError, match=r"^s0: lies on another grid than the scans before it$"):
        learn_reference((*healthy(0.05), *others))


@pytest.mark.parametrize("shape", [(16, 12, 8), (15, 13, 9), (2, 1, 3)])
def test_on_the_models_grid_even_voxels_have_their_values_and_others_the_mean_of_their_neighbours(shape):
    known = np.random.default_rng(0).uniform(0.1, 1, [-(-n // 2) for n in shape]).astype(np.float32)
    made = on_grid(known, shape)
    assert made.shape == shape
    assert made.dtype == np.float32
    np.testing.assert_allclose(made[::2, ::2, ::2], known, rtol=1e-6)
    between = (known[:-1] + known[1:]) / 2
    np.testing.assert_allclose(made[1:-1:2, ::2, ::2][: len(between)], between[: made[1:-1:2].shape[0]], rtol=1e-6)
    assert known.min() <= made.min()
    assert made.max() <= known.max()


@pytest.mark.parametrize("stored", ["half", "whole"])
def test_a_model_file_keeps_its_weights_bit_for_bit(tiny_guided, fine_model, tmp_path, stored):
    path, expected = fine_model if stored == "whole" else tiny_guided["restoration"], np.full((8, 8, 4), 0.25)
    made = keep_reference(path, expected, ABOUT, tmp_path / "m.safetensors")
    before, after = read_tensors(path), read_tensors(made)
    kept = after.pop("reference.expected")
    assert before.keys() == after.keys()
    assert all(before[name].dtype == after[name].dtype and (before[name] == after[name]).all() for name in before)
    assert (kept == 0.25).all()
    assert read_config(made) == read_config(path).model_copy(update={"reference": ABOUT})
    again = keep_reference(made, 2 * expected, ABOUT.model_copy(update={"scans": 10}), made, force=True)
    assert (read_tensors(again)["reference.expected"] == 0.5).all()
    assert read_config(again).reference.scans == 10


def test_a_contrast_has_a_reference_of_its_own_beside_that_for_all(tiny_guided, tmp_path, phantom):
    path, out = tiny_guided["restoration"], tmp_path / "m.safetensors"
    with pytest.raises(UadError, match="has no reference for all scans yet"):
        keep_reference(path, np.ones((8, 8, 4)), ABOUT, out, contrast="T2")
    keep_reference(path, np.full((8, 8, 4), 0.25), ABOUT, out)
    with pytest.raises(UadError, match=r"^--contrast T3: scans are recognised as T1, T2, FLAIR, PD$"):
        keep_reference(out, np.ones((8, 8, 4)), ABOUT, out, contrast="T3", force=True)
    keep_reference(out, np.full((8, 8, 4), 0.5), ABOUT.model_copy(update={"scans": 8}), out, contrast="T2", force=True)
    keep_reference(out, np.full((8, 8, 4), 0.125), ABOUT, out, force=True)  # the other stays
    assert read_config(out).reference == ABOUT.model_copy(update={"contrasts": {"T2": 8}})
    model, scan = load_model(out, device="cpu", precision="fp32"), phantom.need("scan")
    brain = phantom.need("brain").data > 0
    for contrast, expected in (("T2", 0.5), ("T1", 0.125), ("other", 0.125), (None, 0.125)):
        told = {"name": contrast, "p": {"T1": 0.4, "T2": 0.6}, "away": 0.3}
        known = replace(scan, provenance={"contrast": told} if contrast else {})
        made = heal(phantom.adding(known), model).need("expected").data
        np.testing.assert_array_equal(made, np.where(brain, np.float32(expected), 0))


def test_a_model_file_is_neither_replaced_unasked_nor_named_otherwise(tiny_guided, tmp_path):
    path, expected = tiny_guided["restoration"], np.ones((8, 8, 4), np.float32)
    (tmp_path / "m.safetensors").write_text("precious")
    with pytest.raises(UadError, match=r"m\.safetensors: exists"):
        keep_reference(path, expected, ABOUT, tmp_path / "m.safetensors")
    with pytest.raises(UadError, match=r"m\.pt: a model file ends in \.safetensors"):
        keep_reference(path, expected, ABOUT, tmp_path / "m.pt")
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]


def test_healing_adds_what_is_expected_and_the_score_is_relative_to_it(measured_model, tiny_guided, phantom):
    model, plain = (load_model(p, device="cpu", precision="fp32") for p in (measured_model, tiny_guided["restoration"]))
    made, other = heal(phantom, model), heal(phantom, plain)
    brain = phantom.need("brain").data > 0
    np.testing.assert_array_equal(made.need("healed").data, other.need("healed").data)
    np.testing.assert_array_equal(made.need("probability").data, other.need("probability").data)
    assert "expected" not in other.images
    known = on_grid(model.expected[""], brain.shape)
    np.testing.assert_array_equal(made.need("expected").data, np.where(brain, known, 0))
    told = made.need("healed").provenance["history"][-1]["maps"]
    assert sorted(told) == ["expected", "probability"]
    relative, product = score(made), score(other)
    how = [one.need("score").provenance["history"][-1]["arguments"]["metric"] for one in (relative, product)]
    assert how == ["relative", "product"]
    np.testing.assert_allclose(
        relative.need("score").data[brain], (product.need("score").data / known)[brain], rtol=1e-4, atol=2e-5
    )


def test_what_is_expected_belongs_to_the_models_own_method(measured_model, phantom):
    model = load_model(measured_model, device="cpu", precision="fp32")
    assert "expected" in plan(model.config).maps
    made = heal(phantom, model, plan(model.config, method="disyre", steps=2))
    assert list(made.images) == ["healed", "probability", "scan", "brain"]


def test_a_model_without_noise_has_one_too(tiny_models, phantom, tmp_path):
    path = keep_reference(tiny_models["ae"], np.full((8, 8, 4), 0.5, np.float32), ABOUT, tmp_path / "a.safetensors")
    made = heal(phantom, load_model(path, device="cpu", precision="fp32"))
    assert list(made.images) == ["healed", "expected", "scan", "brain"]
    assert made.need("expected").data[phantom.need("brain").data > 0].mean() == 0.5
    assert score(made).need("score").provenance["history"][-1]["arguments"]["metric"] == "relative"


def test_scans_are_healed_in_the_models_own_way(tiny_guided, phantom, tmp_path):
    model, told = load_model(tiny_guided["restoration"], device="cpu", precision="fp32"), []
    scan = phantom.need("scan")
    for name, power in (("a", 1.0), ("b", 0.8)):
        save(scan.derive(scan.data**power, "scan"), tmp_path / f"{name}.nii.gz")
    made = list(healed_of([str(tmp_path)], model, watch=lambda *now: told.append(now)))
    assert told == [(1, 2), (2, 2)]
    np.testing.assert_array_equal(
        made[0].need("healed").data, heal(Study("a", {"scan": scan}), model).need("healed").data
    )
    assert np.abs(made[0].need("healed").data - made[1].need("healed").data).max() > 0.01


def test_a_model_of_single_slices_has_no_places(tiny_guided):
    from dataclasses import replace

    model = load_model(tiny_guided["restoration"], device="cpu")
    grid = model.config.grid.model_copy(update={"shape": (16, 16, 1)})
    flat = replace(model, config=model.config.model_copy(update={"grid": grid}))
    with pytest.raises(UadError, match="a model of single slices knows no places"):
        list(healed_of([], flat))
