from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import torch

import uadtools
from uadtools.errors import UadError
from uadtools.healing.batches import fitting
from uadtools.healing.heal import heal
from uadtools.healing.plan import Plan, plan, repeated
from uadtools.interface.healing import Option
from uadtools.models.config import DefaultsConfig, ModelConfig
from uadtools.models.model import load_model
from uadtools.models.networks import UNetConfig
from uadtools.volume.stream import Study

DIFFUSION = ModelConfig.of_kind("diffusion")
CONFIG = DIFFUSION(name="m", defaults=DefaultsConfig(method="sss", t=(250, 350), samples=2))


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_model(tiny_model, device="cpu", precision="fp32")


def changed(study, role, **change):
    return Study(study.name, {**study.images, role: replace(study.images[role], **change)})


def test_without_options_the_models_defaults_are_used():
    how = plan(CONFIG)
    assert how.method == "sss"
    assert [o.t for o in how.options] == [250, 350]
    assert how.samples == 2
    assert how.evaluations((16, 16)) == 4


def test_a_method_the_model_does_not_name_has_the_papers_defaults():
    how = plan(CONFIG, method="ddim")
    assert [(o.t, o.steps, o.eta) for o in how.options] == [(250, 10, 0.0)]
    assert how.samples == 1
    assert how.evaluations((16, 16)) == 10


def test_what_is_given_counts():
    how = plan(CONFIG, method="ddim", t=(100, 200), samples=3, combine="vote", steps=10, eta=None)
    assert [(o.t, o.steps, o.eta) for o in how.options] == [(100, 10, 0.0), (200, 10, 0.0)]
    assert how.evaluations((16, 16)) == 3 * 20
    assert how.arguments == {
        "method": "ddim",
        "t": [100, 200],
        "steps": 10,
        "eta": 0.0,
        "solver": "ddim",
        "samples": 3,
        "combine": "vote",
    }


def test_a_given_t_is_drawn_once():
    assert plan(CONFIG, t=(300,)).samples == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"method": "magic"},
            r"no method 'magic' \(there are: ae, andi, anofpdm, autoddpm, bernoulli, binary, blur, cddpm, cevae, cfg, ",
        ),
        ({"sigma": 3.0}, r"--sigma has no effect with --method sss \(leave it out\)"),
        ({"method": "blur", "sigma": -1.0}, "--sigma -1: a width in mm"),
        ({"method": "blur", "t": (300,)}, r"-t has no effect with --method blur \(leave it out\)"),
        (
            {"method": "threshold", "samples": 2, "sigma": 3.0},
            "--samples, --sigma has no effect with --method threshold",
        ),
        ({"steps": 4}, r"--steps has no effect with --method sss \(leave it out\)"),
        ({"steps": 4, "eta": 1.0}, "--eta, --steps has no effect"),
        ({"t": (1000,)}, "-t 1000: outside 0 to 999, the model's steps"),
        ({"t": (300, -1)}, "-t -1: outside"),
        ({"t": (300, 300)}, "-t 300 -t 300: the same step twice"),
        ({"samples": 0}, "--samples 0: at least 1"),
        ({"method": "ddim", "t": (5,), "steps": 10}, "--steps 10: from -t 5 there are 1 to 6"),
        ({"method": "ddim", "steps": 0}, "--steps 0: from -t 250 there are 1 to 251"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(options, reason):
    with pytest.raises(UadError, match=reason):
        plan(CONFIG, **options)


def test_a_model_of_another_kind_is_refused():
    with pytest.raises(UadError, match=r"does not work with models of kind 'dae' \(this one can do: dae\)"):
        plan(CONFIG.model_copy(update={"kind": "dae"}))
    with pytest.raises(
        UadError, match=r"--method vae does not work .*'diffusion' \(this one can do: andi, autoddpm, ddim, ddpm,"
    ):
        plan(CONFIG, method="vae")


def test_a_method_that_needs_a_model_is_refused_without_one(phantom):
    for name in ("sss", "ae"):
        with pytest.raises(UadError, match=f"--method {name} needs a model"):
            plan(method=name)
    with pytest.raises(UadError, match="--method sss needs a model"):
        heal(phantom, None, plan(CONFIG))


def test_without_a_t_the_methods_own_is_taken():
    for name, t in (("sss", 300), ("ddpm", 250)):
        assert [o.t for o in plan(DIFFUSION(name="m", defaults=DefaultsConfig(method=name))).options] == [t]


def test_the_way_of_healing_in_words():
    ways = {
        "sss 250,350 x2": plan(CONFIG),
        "sss 300": plan(CONFIG, t=(300,)),
        "ddim 250": plan(CONFIG, method="ddim", eta=1.0),
        "blur": plan(method="blur", sigma=4.0),
        "threshold": plan(method="threshold"),
    }
    assert {way: how.threshold_key for way, how in ways.items()} == {way: way for way in ways}


def test_healed_comes_first_and_the_rest_is_kept(model, phantom):
    made = heal(phantom, model)
    assert list(made.images) == ["healed", "scan", "brain"]
    healed, brain = made.product.data, phantom.images["brain"].data > 0
    assert healed.dtype == np.float32
    assert not healed[~brain].any()
    assert healed[brain].min() > 0
    assert healed.max() <= 1
    assert made.product.grid.same(phantom.images["scan"].grid)
    assert made.images["scan"] is phantom.images["scan"]


def test_several_draws_make_a_spread(model, phantom):
    made = heal(phantom, model, plan(model.config, t=(200,), samples=3))
    assert list(made.images) == ["healed", "spread", "scan", "brain"]
    single = [heal(phantom, model, plan(model.config, t=(200,), samples=k)).product.data for k in (1, 2)]
    spread = made.images["spread"].data
    assert not spread[phantom.images["brain"].data == 0].any()
    assert spread.max() > 0
    np.testing.assert_allclose(  # of two draws the spread is half their distance, and the first is known
        heal(phantom, model, plan(model.config, t=(200,), samples=2)).images["spread"].data,
        np.abs(single[0] - single[1]),
        rtol=0,
        atol=1e-5,
    )


def test_several_t_are_combined(model, phantom):
    alone = [heal(phantom, model, plan(model.config, t=(t,))).product.data for t in (100, 200, 300)]
    mean = heal(phantom, model, plan(model.config, t=(100, 200, 300))).product.data
    np.testing.assert_allclose(mean, np.mean(alone, axis=0), rtol=0, atol=1e-6)
    vote = heal(phantom, model, plan(model.config, t=(100, 200, 300), combine="vote")).product.data
    scan = phantom.images["scan"].data
    residuals = np.sort(np.abs(scan - np.stack(alone)), axis=0)
    np.testing.assert_allclose(np.abs(scan - vote), residuals[1], rtol=0, atol=1e-6)


def test_a_scan_alone_says_where_its_brain_is(model, phantom):
    alone = Study("alone", {"scan": phantom.images["scan"]})
    np.testing.assert_array_equal(heal(alone, model).product.data, heal(phantom, model).product.data)


def test_the_history_says_how_it_was_healed(model, phantom):
    made = heal(phantom, replace(model, name="abc"), plan(model.config, t=(150,)), seed=5)
    line = made.product.provenance["history"][-1]
    assert line["tool"] == "uad-heal"
    assert line["arguments"] == {"method": "sss", "t": [150], "samples": 1, "combine": "mean"}
    assert (line["seed"], line["model"], line["threshold"]) == (5, "abc", None)


@pytest.mark.parametrize("kind", ["ae", "dae", "fanogan", "svae", "vae"])
def test_a_model_without_noise_heals_and_notes_its_threshold(tiny_models, phantom, kind):
    model = load_model(tiny_models[kind], device="cpu", precision="fp32")
    defaults = model.config.defaults.model_copy(update={"thresholds": {kind: 0.05}})
    made = heal(phantom, replace(model, config=model.config.model_copy(update={"defaults": defaults})), seed=3)
    assert list(made.images) == ["healed", "scan", "brain"]
    healed, brain = made.product.data, phantom.images["brain"].data > 0
    np.testing.assert_array_equal(healed > 0, brain)
    assert healed[brain].std() > 1e-4
    line = made.product.provenance["history"][-1]
    assert line["arguments"] == {"method": kind}
    assert (line["seed"], line["model"], line["threshold"]) == (3, model.name, 0.05)
    assert model.name.startswith(f"tiny-{kind}:")


@pytest.mark.parametrize(("method", "arguments"), [("threshold", {}), ("blur", {"sigma": 4.0})])
def test_a_scan_heals_by_itself_on_any_grid(phantom, method, arguments):
    cut = {}
    for role, image in phantom.images.items():
        grid = replace(image.grid, shape=(15, 13, 8), affine=np.diag([1.5, 2.0, 5.0, 1.0]))
        cut[role] = replace(image, data=image.data[:15, 3:], grid=grid)
    made = heal(Study("cut", cut), None, plan(method=method, **arguments))
    assert list(made.images) == ["healed", "scan", "brain"]
    np.testing.assert_array_equal(made.product.data > 0, cut["brain"].data > 0)
    (line,) = made.product.provenance["history"]
    assert line["arguments"] == {"method": method, **arguments}
    assert not {"model", "seed", "threshold"} & line.keys()


def test_a_method_without_a_model_does_not_ask_the_one_it_is_given(model, phantom):
    how = plan(model.config, method="threshold")
    one, two = heal(phantom, model, how).product, heal(phantom, None, how).product
    np.testing.assert_array_equal(one.data, two.data)
    assert one.provenance == two.provenance


def test_a_mask_limits_what_the_median_is_of(phantom):
    brain = phantom.images["brain"]
    half = np.where(np.arange(16)[:, None, None] < 8, brain.data, 0).astype(np.uint8)
    made = heal(changed(phantom, "brain", data=half), None, plan(method="threshold")).product.data
    assert set(np.unique(made)) == {0, np.median(phantom.images["scan"].data[half > 0])}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda s: 900 * s,
            r"odd: not prepared: values 0 to 7\d\d.*, expected 0 to 1 \(uad-.* --method blur",
        ),
        (lambda s: s - 0.5, "odd: not prepared"),
        (lambda s: 0 * s, "odd: no voxel above background"),
        (lambda s: (s > 0).astype(np.float32), "odd: all one value inside the brain"),
    ],
)
def test_a_scan_without_a_model_must_be_prepared_too(phantom, change, reason):
    scan = phantom.images["scan"]
    with pytest.raises(UadError, match=reason):
        heal(Study("odd", {"scan": replace(scan, data=change(scan.data))}), None, plan(method="blur"))


@pytest.mark.parametrize(
    ("how", "noted"),
    [
        ({"t": (150,)}, 0.07),
        ({"t": (150, 200)}, 0.06),
        ({"t": (150, 200), "combine": "vote"}, None),
        ({"t": (150,), "samples": 2}, None),
        ({"t": (160,)}, None),
        ({"method": "ddim", "t": (150,), "steps": 2}, None),
    ],
)
def test_a_threshold_goes_with_the_way_of_healing_it_was_found_for(model, phantom, how, noted):
    thresholds = {"sss 150": 0.07, "sss 150,200": 0.06, "ddim 150": 0.05}
    defaults = model.config.defaults.model_copy(update={"thresholds": thresholds})
    calibrated = replace(model, config=model.config.model_copy(update={"defaults": defaults}))
    made = heal(phantom, calibrated, plan(calibrated.config, **how))
    assert made.product.provenance["history"][-1]["threshold"] == noted


def test_progress_is_told_to_the_end(model, phantom):
    told = []
    heal(phantom, model, plan(model.config, t=(100, 200), samples=2), batch=3, watch=lambda *now: told.append(now))
    slices = int((phantom.images["brain"].data > 0).any(axis=(0, 1)).sum())
    assert told[-1] == (4 * slices, 4 * slices)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda s: {"data": 1.5 * s.data},
            r"not prepared for model tiny.*\(uad-preprocess SCAN --model MODEL -o - \| uad-heal",
        ),
        (lambda s: {"data": s.data - 0.5}, "not prepared for model tiny"),
        (lambda s: {"data": 0 * s.data}, "no voxel above background"),
        (lambda s: {"data": (s.data > 0).astype(np.float32)}, "all one value inside the brain"),
        (lambda s: {"grid": replace(s.grid, affine=np.diag([2.0, 2.0, 3.0, 1.0]))}, "not prepared for model tiny"),
        (lambda s: {"grid": replace(s.grid, affine=np.diag([-2.0, 2.0, 2.0, 1.0]))}, "LAS"),
        (
            lambda s: {"data": s.data[:-2], "grid": replace(s.grid, shape=(14, 16, 8))},
            "14x16x8.*the model wants 16x16x8",
        ),
    ],
)
def test_a_scan_that_was_not_prepared_is_refused(model, phantom, change, reason):
    scan = replace(phantom.images["scan"], **change(phantom.images["scan"]))
    with pytest.raises(UadError, match=reason):
        heal(Study("odd", {"scan": scan}), model)


def test_the_pipe_that_works_names_a_bundled_model(model, phantom, monkeypatch):
    monkeypatch.setattr("uadtools.healing.heal.bundled", lambda: [Path("tiny.safetensors")])
    with pytest.raises(UadError, match=r"\(uad-preprocess SCAN --model tiny -o - \| uad-heal --model tiny -o OUT"):
        heal(changed(phantom, "scan", data=2 * phantom.images["scan"].data), model)


def test_a_mask_on_another_grid_is_refused(model, phantom):
    grid = replace(phantom.images["brain"].grid, affine=np.diag([2.0, 2.0, 2.5, 1.0]))
    with pytest.raises(UadError, match="phantom: scan and brain lie on different grids"):
        heal(changed(phantom, "brain", grid=grid), model)


def test_a_study_without_a_scan_is_refused(model, phantom):
    with pytest.raises(UadError, match="no image of role 'scan'"):
        heal(Study("empty", {"brain": phantom.images["brain"]}), model)


GUIDED = ModelConfig.model_validate({"name": "p", "kind": "pddpm", "target": "x0", "patches": {"sizes": [48, 60]}})


def test_a_plan_of_patches():
    """The model's sizes, unless others are given, each at every t."""
    how = plan(GUIDED)
    assert [(o.t, o.patch, o.stride) for o in how.options] == [(500, 48, None), (500, 60, None)]
    assert how.threshold_key == "pddpm 500 p48,60"
    assert how.evaluations((96, 96)) == 8
    how = plan(GUIDED, t=(250, 500), patch=(32,), stride=16)
    assert [(o.t, o.patch, o.stride) for o in how.options] == [(250, 32, 16), (500, 32, 16)]
    assert how.evaluations((96, 96)) == 2 * 25
    assert how.arguments == {
        "method": "pddpm", "t": [250, 500], "patch": [32], "stride": 16, "samples": 1, "combine": "mean"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"patch": (97,)}, "--patch 97: outside 1 to 96, the shorter side of the model's slices"),
        ({"patch": (0,)}, "--patch 0: outside"),
        ({"patch": (48, 48)}, "--patch 48 --patch 48: the same size twice"),
        ({"stride": 49}, "--stride 49: leaves gaps between patches of 48 pixels"),
        ({"method": "sss"}, r"--method sss does not work with models of kind 'pddpm' \(this one can do: pddpm\)"),
    ],
)
def test_patches_that_cannot_be_are_refused(options, reason):
    with pytest.raises(UadError, match=reason):
        plan(GUIDED, **options)


def test_patches_have_no_effect_elsewhere():
    with pytest.raises(UadError, match="--patch, --stride has no effect with --method sss"):
        plan(CONFIG, patch=(48,), stride=3)


def test_an_encoder_heals_nothing():
    config = ModelConfig.model_validate({"name": "e", "kind": "spark"})
    with pytest.raises(UadError, match="models of kind 'spark' heal nothing: cddpm starts from them"):
        plan(config)


def test_the_threshold_of_a_plan_of_patches_is_found(tiny_guided, phantom):
    model = load_model(tiny_guided["pddpm"], device="cpu", precision="fp32")
    defaults = model.config.defaults.model_copy(update={"thresholds": {"pddpm 500 p8": 0.25}})
    model = replace(model, config=model.config.model_copy(update={"defaults": defaults}))
    told = [heal(phantom, model, how).images["healed"].provenance["history"][-1]["threshold"] for how in (
        plan(model.config), plan(model.config, stride=4), plan(model.config, t=(400,)))]  # fmt: skip
    assert told == [0.25, None, None]


def as_study(image):
    return Study("shown", {"scan": image})


def test_the_image_to_condition_on_changes_what_is_healed(tiny_guided, phantom):
    model, scan = load_model(tiny_guided["cddpm"], device="cpu", precision="fp32"), phantom.images["scan"]
    own = heal(phantom, model).images["healed"].data
    same = heal(phantom, model, condition=as_study(scan)).images["healed"].data
    other = heal(phantom, model, condition=as_study(scan.derive(scan.data / 2, "scan"))).images["healed"].data
    np.testing.assert_array_equal(own, same)
    assert np.abs(own - other).max() > 1e-4


def test_an_image_to_condition_on_that_does_not_fit_is_refused(tiny_guided, phantom, model):
    guided, scan = load_model(tiny_guided["cddpm"], device="cpu", precision="fp32"), phantom.images["scan"]
    with pytest.raises(UadError, match="--condition has no effect with --method sss"):
        heal(phantom, model, condition=as_study(scan))
    with pytest.raises(UadError, match="shown: not prepared: values 0 to "):
        heal(phantom, guided, condition=as_study(scan.derive(scan.data * 900, "scan")))
    away = scan.grid.affine.copy()
    away[0, 3] += 5
    moved = replace(scan, grid=replace(scan.grid, affine=away))
    with pytest.raises(UadError, match="shown: has another grid than the scan"):
        heal(phantom, guided, condition=as_study(moved))


@pytest.mark.parametrize(
    ("network", "shape", "precision", "batch"),
    [
        ({}, (16, 16), torch.float32, 16),
        ({"base": 128, "groups": 32}, (256, 256), torch.bfloat16, 2),
        ({"base": 128, "groups": 32}, (256, 256), torch.float32, 1),
        ({"base": 128, "groups": 32, "patch": 2}, (256, 256), torch.bfloat16, 8),
        ({"base": 512, "groups": 32}, (512, 512), torch.float32, 1),
    ],
)
def test_large_slices_are_asked_about_in_small_batches(model, network, shape, precision, batch):
    sizes = UNetConfig(**network)
    large = replace(model, config=model.config.model_copy(update={"network": sizes}), precision=precision)
    assert fitting(large, shape) == batch


@pytest.mark.parametrize("verb", ["heal", "score", "postproc"])
def test_what_is_no_study_is_told(verb):
    with pytest.raises(UadError, match=r"^scan.nii.gz: neither a study nor an image "):
        getattr(uadtools, verb)("scan.nii.gz")


def test_options_that_may_be_repeated_are_in_the_order_in_which_they_are_declared():
    """By them noise is seeded and thresholds are called, so the order must be the same in every process."""

    @dataclass(frozen=True)
    class Options:
        width: Annotated[int, Option("A width.", several=True)] = 1
        angle: Annotated[int, Option("An angle.", several=True)] = 2
        blur: Annotated[int, Option("A blur.", several=True)] = 3
        other: Annotated[int, Option("Not repeated.")] = 4

    assert repeated(Options) == ["width", "angle", "blur"]
    made = Plan("m", (Options(), Options(angle=5)))
    assert (made.threshold_key, made.noise_key(made.options[1])) == ("m w1 a2,5 b3", (1, 5, 3))
