"""What a slice gets depends on its own seed and place: not on the batch, the other slices, or the machine's cores."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from uadtools.healing.heal import heal
from uadtools.healing.plan import plan
from uadtools.models.config import NoiseConfig
from uadtools.models.model import build, load_model
from uadtools.nets.unet import UNet
from uadtools.noise.source import SliceNoise, fields

ROUNDING = {"rtol": 0, "atol": 2e-6}
"""Convolutions add up in another order in another batch, so that healed scans differ in their last bits."""
NOISY = ("autoddpm", "ddim", "ddpm", "sss", "thor")
SHORT = {"ddim": {"steps": 4}, "autoddpm": {"again": 4, "mask": 1e-3}, "thor": {"every": 6}}
"""Options with which a walk is short, and does all that it can."""
RECONSTRUCTING = ("ae", "cevae", "dae", "fanogan", "mae", "svae", "vae")
KINDS = [NoiseConfig(kind=kind) for kind in ("gaussian", "simplex", "pyramid", "poisson", "speckle")]
KINDS += [NoiseConfig(kind="simplex", scale="unit")]


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_model(tiny_model, device="cpu", precision="fp32")


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def healed(study, model, **how):
    settings = {key: how.pop(key) for key in ("seed", "batch") if key in how}
    return heal(study, model, plan(model.config, **how), **settings).images


@pytest.mark.parametrize("config", KINDS, ids=lambda c: f"{c.kind}-{c.scale}")
def test_fields_of_a_batch_are_the_fields_of_its_seeds(config):
    seeds = np.array([5, -3, 2**62, 5, 0])
    together = fields(config, (1, 12, 20), seeds)
    assert together.shape == (5, 1, 12, 20)
    assert together.dtype == np.float32
    np.testing.assert_array_equal(
        together, np.concatenate([fields(config, (1, 12, 20), seeds[i : i + 1]) for i in range(5)])
    )
    np.testing.assert_array_equal(together[0], together[3])
    assert np.abs(together[0] - together[1]).max() > 0.1


@pytest.mark.parametrize("config", KINDS, ids=lambda c: f"{c.kind}-{c.scale}")
def test_noise_of_a_batch_is_the_noise_of_its_slices(config):
    keys, cpu = [(0, 3, 250, 0), (0, 4, 250, 0), (1, 3, 250, 0)], torch.device("cpu")
    together = SliceNoise(config, (1, 16, 8), keys, cpu)
    alone = [SliceNoise(config, (1, 16, 8), [key], cpu) for key in keys]
    first, second = together(), together()
    for made in (first, second):
        torch.testing.assert_close(made, torch.cat([one() for one in alone]), rtol=0, atol=0)
    assert (first - second).abs().max() > 0.1


@pytest.mark.parametrize("skips", ["all", "blocks"])
@pytest.mark.parametrize("resample", ["residual", "conv", "pool"])
@pytest.mark.parametrize("embedding", ["add", "scale_shift"])
@torch.no_grad()
def test_network_of_a_batch_is_the_network_of_its_items(resample, embedding, skips):
    torch.manual_seed(0)
    sizes = {"base": 8, "multipliers": (1, 2), "res_blocks": 1, "attention": (2,), "groups": 4}
    net = UNet(**sizes, resample=resample, embedding=embedding, skips=skips)
    for weight in net.parameters():
        weight.normal_(0, 0.2)
    x, t = torch.randn(5, 1, 16, 8), torch.tensor([0, 3, 250, 999, 3])
    together = net.eval()(x, t)
    assert together.shape == x.shape
    alone = torch.cat([net(x[i : i + 1], t[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    assert together.std() > 0.01


@pytest.mark.parametrize("method", NOISY)
def test_healing_in_batches_is_healing_one_by_one(model, phantom, method):
    how = {"method": method, "t": (8, 16), "samples": 2, **SHORT.get(method, {})}
    if method == "ddim":
        how |= {"eta": 1.0}
    whole = healed(phantom, model, **how, seed=3, batch=32)
    for batch in (1, 3):
        parts = healed(phantom, model, **how, seed=3, batch=batch)
        assert parts.keys() == whole.keys() >= {"healed", "spread"}
        for role in whole:
            np.testing.assert_allclose(parts[role].data, whole[role].data, **ROUNDING)


def test_distances_in_batches_are_those_one_by_one(model, phantom):
    how = {"method": "andi", "t": (8, 16), "low": 2, "steps": 3, "samples": 2}
    whole, other = (healed(phantom, model, **how, seed=seed, batch=32)["anomaly"].data for seed in (3, 4))
    assert np.abs(whole - other).max() > 1e-4
    for batch in (1, 3):
        np.testing.assert_allclose(
            healed(phantom, model, **how, seed=3, batch=batch)["anomaly"].data, whole, **ROUNDING
        )


@pytest.mark.parametrize(("kind", "how"), [("pddpm", {"patch": (8, 12), "stride": 6}), ("cddpm", {})])
def test_patches_and_codes_in_batches_are_those_one_by_one(tiny_guided, phantom, kind, how):
    model = load_model(tiny_guided[kind], device="cpu", precision="fp32")
    whole, other = (healed(phantom, model, t=(200, 500), **how, seed=s, batch=32)["healed"].data for s in (3, 4))
    assert np.abs(whole - other).max() > 1e-3
    for batch in (1, 3):
        parts = healed(phantom, model, t=(200, 500), **how, seed=3, batch=batch)["healed"].data
        np.testing.assert_allclose(parts, whole, **ROUNDING)


@pytest.mark.parametrize("goal", ["progressive", "consistency"])
def test_steps_that_were_learnt_in_batches_are_those_one_by_one(tiny_guided, phantom, goal):
    model = load_model(tiny_guided["distilled"], device="cpu", precision="fp32")
    walk = model.config.walk.model_copy(update={"goal": goal})
    model = replace(model, config=model.config.model_copy(update={"walk": walk}))
    how = {"t": (200, 100), "steps": 2, "samples": 2}
    whole, other = (healed(phantom, model, **how, seed=seed, batch=32)["healed"].data for seed in (3, 4))
    assert np.abs(whole - other).max() > 1e-3
    for batch in (1, 3):
        np.testing.assert_allclose(healed(phantom, model, **how, seed=3, batch=batch)["healed"].data, whole, **ROUNDING)


def test_bits_in_batches_are_those_one_by_one(tiny_guided, phantom):
    """Of the walk, too: a bit is drawn by the number of its own slice."""
    model = load_model(tiny_guided["bernoulli"], device="cpu", precision="fp32")
    whole, other = (healed(phantom, model, t=(40, 300), sure=0.4, seed=s, batch=32) for s in (3, 4))
    assert np.abs(whole["healed"].data - other["healed"].data).max() > 1e-3
    for batch in (1, 3):
        parts = healed(phantom, model, t=(40, 300), sure=0.4, seed=3, batch=batch)
        for role in ("healed", "flipped"):
            np.testing.assert_allclose(parts[role].data, whole[role].data, **ROUNDING)


@pytest.mark.parametrize(
    "how", [{}, {"flips": True}, {"t": (300, 999)}, {"method": "disyre", "steps": 3}, {"method": "disyre", "t": (500,)}]
)
def test_restoring_in_batches_is_restoring_one_by_one_whatever_the_seed(tiny_guided, phantom, how):
    """The slabs reach over the ends of their batches."""
    model = load_model(tiny_guided["restoration"], device="cpu", precision="fp32")
    whole = healed(phantom, model, **how, batch=32)
    for batch in (1, 3):
        parts = healed(phantom, model, **how, batch=batch)
        for role in ("healed", "probability"):
            np.testing.assert_allclose(parts[role].data, whole[role].data, **ROUNDING)
    again = healed(phantom, model, **how, batch=32, seed=9)
    for role in ("healed", "probability"):
        np.testing.assert_array_equal(again[role].data, whole[role].data)
        assert whole[role].data[phantom.images["brain"].data > 0].std() > 1e-4


@pytest.mark.parametrize("engine", ["restoration", "diffusion"])
def test_lesions_told_in_batches_are_those_told_one_by_one_whatever_the_seed(few_models, phantom, engine):
    model = load_model(few_models[engine], device="cpu", precision="fp32")
    whole = healed(phantom, model, batch=32)["anomaly"].data
    for batch in (1, 3):
        np.testing.assert_allclose(healed(phantom, model, batch=batch)["anomaly"].data, whole, **ROUNDING)
    np.testing.assert_array_equal(healed(phantom, model, batch=32, seed=9)["anomaly"].data, whole)
    assert whole[phantom.images["brain"].data > 0].std() > 1e-4


@pytest.mark.parametrize("kind", RECONSTRUCTING)
def test_reconstructing_in_batches_is_doing_so_one_by_one_whatever_the_seed(tiny_models, phantom, kind):
    """The windows of a sequence reach over the ends of its batches."""
    model = load_model(tiny_models[kind], device="cpu", precision="fp32")
    whole = healed(phantom, model, batch=32)["healed"].data
    for batch in (1, 3):
        np.testing.assert_allclose(healed(phantom, model, batch=batch)["healed"].data, whole, **ROUNDING)
    np.testing.assert_array_equal(healed(phantom, model, batch=32, seed=9)["healed"].data, whole)
    assert whole.std() > 1e-3


def test_a_slice_in_a_sequence_depends_on_its_neighbours_alone(tiny_models, phantom):
    """As far as the window reaches, which is one slice; the outermost slices are their own neighbours."""
    from uadtools.volume.stream import Study

    model, scan = load_model(tiny_models["svae"], device="cpu", precision="fp32"), phantom.images["scan"]
    assert model.config.reach == 1
    data = scan.data.copy()
    data[:, :, 4] *= 0.5
    one, two = (healed(Study("s", {"scan": replace(scan, data=d)}), model)["healed"].data for d in (scan.data, data))
    moved = np.abs(one - two).max(axis=(0, 1)) > 1e-6
    np.testing.assert_array_equal(np.flatnonzero(moved), [3, 4, 5])


def test_healing_is_the_same_on_any_number_of_cores(model, phantom, threads):
    made = []
    for count in (1, 2):
        threads(count)
        made.append(healed(phantom, model, t=(200, 300))["healed"].data)
    np.testing.assert_allclose(made[0], made[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", NOISY)
def test_the_same_seed_heals_the_same_and_another_seed_another_way(model, phantom, method):
    how = {"method": method, "t": (150,) if method in ("ddim", "sss") else (20,), **SHORT.get(method, {})}
    first, again, other = (healed(phantom, model, **how, seed=seed)["healed"].data for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    assert ((first != 0) == (phantom.images["brain"].data > 0)).all()


def test_a_slice_heals_the_same_whatever_else_is_in_the_scan(model, phantom):
    """Slices that are emptied leave the others as they were."""
    from uadtools.volume.stream import Study

    less = {}
    for role, image in phantom.images.items():
        data = image.data.copy()
        data[:, :, :4] = 0
        less[role] = replace(image, data=data)
    whole = healed(phantom, model, t=(200,), batch=4)["healed"].data
    part = healed(Study("part", less), model, t=(200,), batch=4)["healed"].data
    np.testing.assert_allclose(part[:, :, 4:], whole[:, :, 4:], **ROUNDING)
    assert not part[:, :, :4].any()


def test_every_draw_and_every_t_has_its_own_noise(model, phantom):
    assert healed(phantom, model, t=(200,), samples=3)["spread"].data.max() > 1e-4
    one, two = (healed(phantom, model, t=(t,))["healed"].data for t in (200, 201))
    assert np.abs(one - two).max() > 1e-4


def test_weights_are_drawn_without_a_trace(tiny_recipe):
    from uadtools.training.state import fresh

    before = torch.random.get_rng_state()
    first, again, other = (fresh(tiny_recipe, seed, torch.device("cpu")).net.state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["first.weight"], other["first.weight"])
    assert build(tiny_recipe).state_dict().keys() == first.keys()
