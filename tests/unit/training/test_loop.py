import copy
import dataclasses

import numpy as np
import pytest
import torch

from uadtools.errors import UadError
from uadtools.latents.ldm import healthy_limits
from uadtools.models.checkpoint import file_hash, read_tensors
from uadtools.training.data import Slices
from uadtools.training.loop import Trainer, follow, learning_rate, validate
from uadtools.training.start import donor_of, start_from
from uadtools.training.state import fresh, load_state, save_state

CPU = torch.device("cpu")


def begun(state, recipe, slices):
    return start_from(donor_of(recipe), state, recipe, slices)


@pytest.fixture(scope="module")
def slices():
    """Forty blobs at different places, of four scans."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16]
    centres = rng.uniform(5, 11, (40, 2, 1, 1))
    blobs = np.exp(-((y - centres[:, 0]) ** 2 + (x - centres[:, 1]) ** 2) / 8)
    return Slices(blobs.astype(np.float16), np.repeat(np.arange(4), 10))


def first(slices, count):
    return Slices(slices.pixels[:count], slices.scans[:count])


def changed(recipe, **tables):
    data = recipe.model_dump()
    for table, values in tables.items():
        if isinstance(values, dict):
            data[table] |= values
        else:
            data[table] = values
    return type(recipe).model_validate(data)


def trainer(recipe, slices, validation=None, seed=0):
    return Trainer(recipe, slices, validation, seed, CPU, torch.float32)


def trained(recipe, slices, validation=None, seed=0):
    state = fresh(recipe, seed, CPU)
    return state, list(trainer(recipe, slices, validation, seed).run(state))


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(("target", "loss"), [("x0", "l1"), ("eps", "l2")])
def test_the_loss_falls(tiny_recipe, slices, target, loss):
    recipe = changed(
        tiny_recipe,
        target=target,
        optimiser={"learning_rate": 3e-3},
        training={"steps": 40, "batch": 8, "loss": loss, "log_every": 20, "validate_every": 40},
    )
    before = validate(trainer(recipe, slices, slices), fresh(recipe, 0, CPU).average)
    state, reports = trained(recipe, slices, slices)
    assert [report.step for report in reports] == [20, 40]
    assert reports[1].loss < 0.75 * reports[0].loss
    assert reports[1].validation < 0.5 * before
    assert state.step == 40


@pytest.mark.parametrize(
    ("kind", "steps", "least"),
    [
        *((kind, 120, 0.4) for kind in ("ae", "dae", "vae", "cevae", "svae", "mae")),
        *((kind, 160, 0.75) for kind in ("pddpm", "cddpm", "spark", "vqvae", "binary")),
        ("restoration", 160, 0.93),
    ],
)
def test_every_kind_of_model_learns(tiny_recipes, guided_recipes, slices, kind, steps, least):
    """The validation loss falls below this share of what it was."""
    training = {"steps": steps, "batch": 8, "log_every": 40, "validate_every": 40}
    recipe = (tiny_recipes | guided_recipes)[kind]
    recipe = changed(recipe, augment={"gamma": 0}, training=training, optimiser={"learning_rate": 3e-3})
    before = validate(trainer(recipe, slices, slices), fresh(recipe, 0, CPU).average)
    _, reports = trained(recipe, slices, slices)
    assert reports[-1].validation < least * before


def test_restoration_learns_to_take_out_what_was_put_in(guided_recipes, slices):
    """Single bright spots, for a start."""
    left_out = dict.fromkeys(("factor", "foreign", "waves", "blur", "texture", "push", "dark"), 0)
    spots = {"looks": left_out, "shapes": dict.fromkeys(("many", "cloud", "ring"), 0), "most": 1, "radius": (3, 5)}
    recipe = changed(
        guided_recipes["restoration"],
        corruption={"anomalies": spots | {"fade": 10**6}, "domains": {"contrast": 0, "warp": 0}},
        training={"steps": 160, "batch": 8, "log_every": 40, "validate_every": 40},
        optimiser={"learning_rate": 3e-3},
    )
    before = validate(trainer(recipe, slices, slices), fresh(recipe, 0, CPU).average)
    _, reports = trained(recipe, slices, slices)
    assert reports[-1].validation < 0.75 * before


def test_statistics_of_the_average_are_those_of_the_network(guided_recipes, slices, tmp_path):
    """Batch normalisation counts by itself; that is kept for resumption, too."""
    state, _ = trained(guided_recipes["cddpm"], slices)
    for made in (dict(state.net.named_buffers()), dict(state.average.named_buffers())):
        assert made["encoder.norm.running_mean"].abs().max() > 0.01
        assert made["encoder.norm.num_batches_tracked"] == 12
    save_state(tmp_path / "s.safetensors", state, {})
    other = fresh(guided_recipes["cddpm"], 1, CPU)
    load_state(tmp_path / "s.safetensors", other, {})
    for one, two in zip(state.net.buffers(), other.net.buffers(), strict=True):
        assert torch.equal(one, two)


def test_cddpm_starts_from_an_encoder(guided_recipes, tiny_guided, slices):
    assert begun(fresh(guided_recipes["cddpm"], 0, CPU), guided_recipes["cddpm"], slices) == ""
    recipe = changed(guided_recipes["cddpm"], encoder={"pretrained": str(tiny_guided["spark"])})
    state = fresh(recipe, 0, CPU)
    before = copy.deepcopy(state.net)
    assert begun(state, recipe, slices) == f"tiny-spark:{file_hash(tiny_guided['spark'])}"
    kept = read_tensors(tiny_guided["spark"])
    for net in (state.net, state.average):
        for name, weight in net.encoder.state_dict().items():
            expected = before.encoder.head.state_dict() if name.startswith("head.") else None
            wanted = expected[name.removeprefix("head.")] if expected else kept[f"encoder.{name}"].to(weight.dtype)
            assert torch.equal(weight, wanted)
    assert same(state.net.unet, before.unet)
    larger = changed(recipe, encoder={"base": 8})
    with pytest.raises(UadError, match=r"other sizes: base is 4 there, 8 in the recipe \(--set encoder.base="):
        begun(fresh(larger, 0, CPU), larger, slices)
    for other in ("cddpm", "vqvae"):  # with an encoder of that kind, and without any
        with pytest.raises(UadError, match=f"a model of kind '{other}', not 'spark'"):
            begun(state, changed(recipe, encoder={"pretrained": str(tiny_guided[other])}), slices)


def test_latent_diffusion_starts_from_an_autoencoder_and_learns_its_scaled_latents(guided_recipes, tiny_guided, slices):
    recipe = changed(
        guided_recipes["ldm"],
        autoencoder={"pretrained": str(tiny_guided["vqvae"])},
        augment={"gamma": 0},
        training={"steps": 160, "batch": 8, "log_every": 40, "validate_every": 40, "t_range": (0, 300)},
        optimiser={"learning_rate": 3e-3},
    )
    with pytest.raises(UadError, match=r"autoencoder.pretrained is needed: a model of kind vqvae \(uad-train --recipe"):
        begun(fresh(guided_recipes["ldm"], 0, CPU), guided_recipes["ldm"], slices)
    state = fresh(recipe, 0, CPU)
    assert begun(state, recipe, slices).startswith("tiny-vqvae:")
    before = copy.deepcopy(state.net.autoencoder.state_dict())
    x = 2 * slices.windows(np.arange(40), 0) - 1
    assert state.net.encode(x).std().item() == pytest.approx(1, abs=0.05)
    first = validate(trainer(recipe, slices, slices), state.average)
    reports = list(trainer(recipe, slices, slices).run(state))
    assert reports[-1].validation < 0.8 * first
    after = state.average.autoencoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_bernoulli_diffusion_starts_from_an_autoencoder_of_bits_and_learns_their_flips(
    guided_recipes, tiny_guided, slices
):
    recipe = changed(
        guided_recipes["bernoulli"],
        autoencoder={"pretrained": str(tiny_guided["binary"])},
        augment={"gamma": 0},
        training={"steps": 120, "batch": 8, "log_every": 40, "validate_every": 40, "t_range": (0, 300)},
        optimiser={"learning_rate": 3e-3},
    )
    with pytest.raises(
        UadError, match=r"autoencoder.pretrained is needed: a model of kind binary \(uad-train --recipe"
    ):
        begun(fresh(guided_recipes["bernoulli"], 0, CPU), guided_recipes["bernoulli"], slices)
    state = fresh(recipe, 0, CPU)
    assert begun(state, recipe, slices).startswith("tiny-binary:")
    kept = read_tensors(tiny_guided["binary"])
    for net in (state.net, state.average):
        assert all(torch.equal(net.autoencoder.state_dict()[name], value.float()) for name, value in kept.items())
    first = validate(trainer(recipe, slices, slices), state.average)
    reports = list(trainer(recipe, slices, slices).run(state))
    assert reports[-1].validation < 0.8 * first
    after = state.average.autoencoder.state_dict()
    assert all(torch.equal(after[name], value.float()) for name, value in kept.items())
    larger = changed(recipe, autoencoder={"bits": 7})
    with pytest.raises(UadError, match=r"other sizes: bits is 6 there, 7 in the recipe \(--set autoencoder.bits="):
        begun(fresh(larger, 0, CPU), larger, slices)
    with pytest.raises(UadError, match="a model of kind 'vqvae', not 'binary'"):
        begun(state, changed(recipe, autoencoder={"pretrained": str(tiny_guided["vqvae"])}), slices)


def test_healthy_slices_are_within_the_limits_of_the_bound(guided_recipes, tiny_guided, slices):
    from uadtools.models.model import load_model

    model = load_model(tiny_guided["ldm"], device="cpu")
    limits = healthy_limits(model, slices, 0)
    assert limits.shape == (1, 4, 4)
    assert limits.isfinite().all()

    def changed_region(**change):
        region = model.config.region.model_copy(update=change)
        return dataclasses.replace(model, config=model.config.model_copy(update={"region": region}))

    several = healthy_limits(changed_region(bounds=(100, 50)), slices, 0)
    assert several.shape == (2, 4, 4)
    assert not torch.equal(several[0], several[1])
    assert torch.equal(limits, healthy_limits(model, slices, 0))
    assert (healthy_limits(changed_region(percentile=100.0), slices, 0) >= limits).all()


def test_limits_are_measured_over_the_steps_that_they_are_for(tiny_guided, slices, monkeypatch):
    from uadtools.models.model import load_model

    model, asked = load_model(tiny_guided["ldm"], device="cpu"), []
    region = model.config.region.model_copy(update={"bounds": (100, 50)})
    model = dataclasses.replace(model, config=model.config.model_copy(update={"region": region}))
    monkeypatch.setattr("uadtools.diffusion.bound.bound_map", lambda m, z, s, noise: asked.append(len(s)) or z[:, :1])
    healthy_limits(model, slices, 0)
    assert asked == [50, 100] * (len(asked) // 2)


def test_an_f_anogan_learns_to_generate_and_then_to_reconstruct(tiny_recipes, slices):
    """Of the 120 steps that are validated, all are the encoder's."""
    recipe = changed(
        tiny_recipes["fanogan"],
        gan={"critic": 1},
        optimiser={"learning_rate": 3e-3, "betas": (0.0, 0.9)},
        training={"steps": 240, "batch": 8, "log_every": 40, "validate_every": 40},
    )
    before = validate(trainer(recipe, slices, slices), fresh(recipe, 0, CPU).average)
    _, reports = trained(recipe, slices, slices)
    measured = [report.validation for report in reports if report.validation is not None]
    assert len(measured) == 3
    assert measured[-1] < 0.95 * measured[0] < 0.3 * before


def test_before_its_encoder_learns_nothing_of_an_f_anogan_is_best(tiny_recipes, slices):
    recipe = changed(tiny_recipes["fanogan"], training={"validate_every": 3})
    state, reports = trained(recipe, slices, slices)
    assert [report.step for report in reports if report.improved] == [9, 12]
    assert [report.step for report in reports if report.validation is not None] == [9, 12]
    assert state.best == min(report.validation for report in reports if report.validation is not None)
    assert [report.step for report in trained(recipe, slices)[1] if report.improved] == [9, 12]


def test_parts_that_are_not_trained_in_a_step_stay_as_they_are(tiny_recipes, slices):
    """Neither momentum nor weight decay moves them."""
    recipe = changed(tiny_recipes["fanogan"], optimiser={"weight_decay": 0.5})
    state, moved = fresh(recipe, 0, CPU), []
    before = copy.deepcopy(state.net)
    for _ in trainer(recipe, slices).run(state):
        pairs = zip(state.net.named_children(), before.children(), strict=True)
        moved.append("".join(name[0] for (name, part), old in pairs if not same(part, old)))
        before = copy.deepcopy(state.net)
    assert moved == ["c", "c", "g"] * 2 + ["e"] * 6


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("vae", {"beta": 0.5}),
        ("svae", {"beta": 0.5}),
        ("dae", {"coarse": {"resolution": 5}}),
        ("dae", {"coarse": {"std": 0.5}}),
        ("fanogan", {"gan": {"share": 0.3}}),
        ("fanogan", {"gan": {"critic": 3}}),
        ("fanogan", {"gan": {"penalty": 1.0}}),
        ("fanogan", {"gan": {"features": 0.5}}),
        ("pddpm", {"patches": {"sizes": (4,)}}),
        ("pddpm", {"patches": {"stride": 2}}),
        ("pddpm", {"training": {"positions": "random"}}),
        ("pddpm", {"training": {"loss_on": "image"}}),
        ("pddpm", {"training": {"loss": "l1"}}),
        ("cddpm", {"encoder": {"mlp": True}}),
        ("spark", {"hidden": 0.3}),
        ("vqvae", {"commitment": 1.0}),
    ],
    ids=str,
)
def test_every_setting_of_an_objective_is_read(tiny_recipes, guided_recipes, slices, kind, change):
    recipe = (tiny_recipes | guided_recipes)[kind]
    one, _ = trained(recipe, slices)
    other, _ = trained(changed(recipe, **change), slices)
    assert not same(one.net, other.net)


def test_the_average_learns_too(tiny_recipe, slices):
    recipe = changed(tiny_recipe, training={"steps": 60, "log_every": 20, "validate_every": 20})
    _, reports = trained(recipe, slices, first(slices, 8))
    measured = [report.validation for report in reports]
    assert measured[-1] < 0.7 * measured[0]
    assert [report.improved for report in reports] == [True, measured[1] < measured[0], measured[2] < min(measured[:2])]


def test_the_same_seed_trains_the_same(tiny_recipe, slices):
    (one, reports), (again, _), (other, others) = (trained(tiny_recipe, slices, seed=seed) for seed in (0, 0, 1))
    assert same(one.net, again.net)
    assert same(one.average, again.average)
    assert not same(one.net, other.net)
    assert reports[0].loss != others[0].loss


def test_training_leaves_the_global_generators_alone(tiny_recipe, slices):
    torch.manual_seed(5)
    np.random.seed(5)
    before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    trained(tiny_recipe, slices)
    assert torch.equal(torch.random.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)


def test_dropout_is_drawn_from_the_seed(tiny_recipe, slices):
    recipe = changed(tiny_recipe, network={"dropout": 0.5})
    torch.manual_seed(1)
    one, _ = trained(recipe, slices)
    torch.manual_seed(2)
    again, _ = trained(recipe, slices)
    assert same(one.net, again.net)
    assert not same(one.net, trained(tiny_recipe, slices)[0].net)


@pytest.mark.parametrize(
    ("log_every", "validate_every", "expected"),
    [(5, 10, [5, 10, 12]), (5, 4, [4, 5, 8, 10, 12]), (100, 100, [12]), (7, 100, [7, 12])],
)
def test_reports_come_as_often_as_asked(tiny_recipe, slices, log_every, validate_every, expected):
    recipe = changed(tiny_recipe, training={"log_every": log_every, "validate_every": validate_every})
    _, reports = trained(recipe, slices, first(slices, 4))
    assert [report.step for report in reports] == expected
    due = [step for step in expected if step % validate_every == 0 or step == 12]
    assert [report.step for report in reports if report.validation is not None] == due


def test_slow_steps_are_reported_and_stopped_one_by_one(tiny_recipe, slices, monkeypatch):
    """The caller saves, shows and stops at reports."""
    recipe = changed(tiny_recipe, training={"log_every": 50, "validate_every": 50})
    monkeypatch.setattr("uadtools.training.loop.PATIENCE", 0.0)
    assert [report.step for report in trained(recipe, slices)[1]] == list(range(1, 13))
    monkeypatch.undo()
    assert [report.step for report in trained(recipe, slices)[1]] == [12]
    state = fresh(recipe, 0, CPU)
    assert [report.step for report in trainer(recipe, slices).run(state, stop=lambda: state.step == 2)] == [2]


def test_without_validation_every_due_state_is_kept(tiny_recipe, slices):
    _, reports = trained(changed(tiny_recipe, training={"validate_every": 5}), slices)
    assert [report.step for report in reports if report.improved] == [5, 10, 12]


def test_the_loss_reported_is_the_mean_since_the_last_report(tiny_recipe, slices):
    each = trained(tiny_recipe, slices)[1]
    fours = trained(changed(tiny_recipe, training={"log_every": 4, "validate_every": 100}), slices)[1]
    expected = np.array([report.loss for report in each]).reshape(3, 4).mean(axis=1)
    np.testing.assert_allclose([report.loss for report in fours], expected, rtol=0, atol=1e-9)


def test_stop_ends_the_run_at_a_report(tiny_recipe, slices):
    recipe, state = changed(tiny_recipe, training={"log_every": 4, "validate_every": 100}), fresh(tiny_recipe, 0, CPU)
    reports = list(trainer(recipe, slices).run(state, stop=lambda: state.step >= 6))
    assert [report.step for report in reports] == [4, 6]
    assert state.step == 6


def test_a_run_that_diverges_is_stopped(tiny_recipe, slices):
    recipe = changed(tiny_recipe, optimiser={"learning_rate": 1e30, "clip": 0.0}, training={"loss": "l2"})
    with pytest.raises(UadError, match=r"the loss is (nan|inf) at step \d+: training diverged"):
        trained(recipe, slices)


@pytest.mark.parametrize(
    "change",
    [
        {"target": "eps"},
        {"noise": {"kind": "gaussian"}},
        {"noise": {"scale": "unit"}},
        {"schedule": {"kind": "cosine"}},
        {"augment": {"gamma": 0.4}},
        {"augment": {"gamma_share": 0.5}},
        {"augment": {"blur": 0.5}},
        {"augment": {"blur": 1, "blur_std": 0.3}},
        {"augment": {"bias": 0.5}},
        {"augment": {"bias": 1, "bias_size": 0.1}},
        {"augment": {"ghosting": 0.5}},
        {"augment": {"ghosting": 1, "ghosts": (2, 2)}},
        {"augment": {"ghosting": 1, "dimmed": (0.1, 0.1)}},
        {"optimiser": {"learning_rate": 2e-2}},
        {"optimiser": {"weight_decay": 0.5}},
        {"optimiser": {"betas": (0.8, 0.9)}},
        {"optimiser": {"warmup": 0}},
        {"optimiser": {"decay": 9}},
        {"optimiser": {"clip": 0.01}},
        {"training": {"batch": 5}},
        {"training": {"loss": "l1"}},
        {"training": {"t_range": (0, 200)}},
    ],
    ids=str,
)
def test_every_setting_is_read(tiny_recipe, slices, change):
    brief = {"steps": 2, "validate_every": 2}
    one, _ = trained(changed(tiny_recipe, training=brief), slices)
    other, _ = trained(changed(changed(tiny_recipe, training=brief), **change), slices)
    assert not same(one.net, other.net)


def test_warm_up_and_learning_rate(tiny_recipe, slices):
    state, rates = fresh(tiny_recipe, 0, CPU), []
    for _ in trainer(tiny_recipe, slices).run(state):
        rates.append(state.optimiser.param_groups[0]["lr"])
    np.testing.assert_allclose(rates[:5], [0.0025, 0.005, 0.0075, 0.01, 0.01], rtol=0, atol=1e-12)
    assert rates[-1] == 0.01


def test_the_learning_rate_falls_at_the_end(tiny_recipe):
    recipe = changed(tiny_recipe, optimiser={"decay": 4})
    rates = [learning_rate(recipe, step) for step in range(12)]
    np.testing.assert_allclose(rates[:3], [0.0025, 0.005, 0.0075], rtol=0, atol=1e-12)
    np.testing.assert_allclose(rates[3:], [0.01] * 6 + [0.0075, 0.005, 0.0025], rtol=0, atol=1e-12)


def test_follow_moves_the_average_towards_the_weights(tiny_recipe):
    average, net = fresh(tiny_recipe, 0, CPU).net, fresh(tiny_recipe, 1, CPU).net
    before = [weight.clone() for weight in average.parameters()]
    follow(average, net, 0.75)
    for made, was, weight in zip(average.parameters(), before, net.parameters(), strict=True):
        torch.testing.assert_close(made, 0.75 * was + 0.25 * weight, rtol=0, atol=1e-6)


def test_validation_is_fixed_and_weighs_every_slice_alike(tiny_recipe, slices):
    recipe = changed(tiny_recipe, training={"validation_slices": 7, "batch": 3})
    net = fresh(recipe, 0, CPU).net
    with torch.no_grad():
        net.out_conv.weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    in_threes, at_once, other = (
        validate(trainer(r, slices, slices), net)
        for r in (recipe, changed(recipe, training={"batch": 7}), changed(recipe, training={"validation_slices": 5}))
    )
    assert in_threes == pytest.approx(at_once, abs=1e-6)
    assert in_threes != other


def test_a_state_comes_back_as_it_was(tiny_recipe, slices, tmp_path):
    state, _ = trained(tiny_recipe, slices)
    state.best = 0.25
    save_state(tmp_path / "s.safetensors", state, {"seed": 0})
    other = fresh(tiny_recipe, 1, CPU)
    load_state(tmp_path / "s.safetensors", other, {"seed": 0})
    assert (other.step, other.best) == (12, 0.25)
    assert same(state.net, other.net)
    assert same(state.average, other.average)
    for one, two in zip(state.net.parameters(), other.net.parameters(), strict=True):
        held, loaded = state.optimiser.state[one], other.optimiser.state[two]
        assert held.keys() == loaded.keys()
        assert all(torch.equal(held[key], loaded[key]) for key in held)


def test_a_fresh_state_comes_back_as_it_was(tiny_recipe, tmp_path):
    state = fresh(tiny_recipe, 0, CPU)
    save_state(tmp_path / "s.safetensors", state, {})
    other = fresh(tiny_recipe, 1, CPU)
    load_state(tmp_path / "s.safetensors", other, {})
    assert same(state.net, other.net)
    assert (other.step, other.best) == (0, float("inf"))


@pytest.mark.parametrize("about", [{"seed": 1, "data": 2}, {"seed": 0, "data": 3}, {"seed": 0, "data": 2, "recipe": 4}])
def test_the_state_of_another_run_is_refused(tiny_recipe, tmp_path, about):
    state = fresh(tiny_recipe, 0, CPU)
    save_state(tmp_path / "s.safetensors", state, {"seed": 0, "data": 2})
    with pytest.raises(UadError, match=r"belongs to a run with another (seed|data|recipe) \("):
        load_state(tmp_path / "s.safetensors", state, about)


def test_what_is_no_state_is_refused(tiny_recipe, tiny_model, tmp_path):
    state = fresh(tiny_recipe, 0, CPU)
    with pytest.raises(UadError, match="not the state of a training run"):
        load_state(tiny_model, state, {})
    save_state(tmp_path / "s.safetensors", state, {})
    whole = (tmp_path / "s.safetensors").read_bytes()
    (tmp_path / "s.safetensors").write_bytes(whole[:-50])
    with pytest.raises(UadError, match="damaged or cut short"):
        load_state(tmp_path / "s.safetensors", state, {})


def test_the_state_of_another_network_is_refused(tiny_recipe, tmp_path):
    save_state(tmp_path / "s.safetensors", fresh(tiny_recipe, 0, CPU), {})
    wider = changed(tiny_recipe, network={"base": 16})
    with pytest.raises(UadError, match="its weights do not fit the recipe"):
        load_state(tmp_path / "s.safetensors", fresh(wider, 0, CPU), {})


def test_progress_and_trainer_are_frozen(tiny_recipe, slices):
    with pytest.raises(dataclasses.FrozenInstanceError):
        trainer(tiny_recipe, slices).seed = 2
