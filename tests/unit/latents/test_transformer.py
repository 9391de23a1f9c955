"""Healing by a transformer of codes: what is unlikely, what is drawn anew, and what is left alone."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from uadtools.errors import UadError
from uadtools.interface.recipe import Recipe
from uadtools.latents import transformer
from uadtools.models.model import Model, build, load_model
from uadtools.nets.transformer import ORDERS, CodeTransformer
from uadtools.training.data import Slices

CPU = torch.device("cpu")
SHAPE, CODES = (4, 4), 5


class Autoencoded:
    """Codes are the grey level of each square of 4x4; the network believes in codes of 2, and sees nothing else."""

    def __init__(self, limits, sure=0.9):
        self.transformer = CodeTransformer(SHAPE, CODES, width=8, layers=1, heads=2)
        self.limits = torch.full((ORDERS, *SHAPE), float(limits))
        self.told = torch.full((CODES,), (1 - sure) / (CODES - 1))
        self.told[2] = sure

    def encode(self, x):
        return (torch.nn.functional.avg_pool2d(x, 4)[:, 0] * CODES).long()

    def decode(self, codes):
        self.decoded = codes
        return torch.nn.functional.interpolate(codes[:, None].float() / CODES, scale_factor=4)


class Telling:
    """Tells the same probabilities at every step."""

    def __init__(self, net):
        self.net, self.count, self.calls = net, 0, 0

    def asked(self, count):
        self.count += count

    def ask(self, sequence, orders, cache=None, until=None, of=None):
        self.calls += 1
        if of is None:
            self.count += len(sequence)
        steps = until - cache.told if cache else sequence.shape[1]
        if cache:
            cache.told = until
        return self.net.told.log().expand(len(sequence), steps, CODES)


@pytest.fixture
def x():
    """Two slices of code 2 everywhere, and a lesion of code 4 in the first one."""
    made = torch.full((2, 1, 16, 16), 0.5)
    made[0, :, 4:8, 8:16] = 0.9
    return made


def noises(value=0.0):
    return lambda: torch.full((2, 1, *SHAPE), value)


@pytest.mark.parametrize("orders", [1, 3, 8])
def test_what_is_unlikely_is_drawn_anew_and_the_rest_keeps_its_codes(x, orders):
    net = Autoencoded(1.0)
    made = transformer.heal(Telling(net), x, transformer.Options(orders=orders), noises())
    lesion = x > 0.8
    torch.testing.assert_close(made.maps["region"], lesion.float(), rtol=0, atol=0)
    torch.testing.assert_close(made.healed, torch.full_like(x, 2 / CODES), rtol=0, atol=1e-6)
    expected = torch.where(lesion, torch.tensor(0.1 / 4).log(), torch.tensor(0.9).log())
    torch.testing.assert_close(made.maps["nll"], -expected, rtol=0, atol=1e-5)


def test_where_nothing_is_unlikely_nothing_is_healed(x):
    model = Telling(Autoencoded(1e9))
    made = transformer.heal(model, x, transformer.Options(orders=8), noises())
    assert not made.maps["region"].any()
    torch.testing.assert_close(made.healed, model.net.decode(model.net.encode(x)), rtol=0, atol=1e-6)
    assert model.calls == 8  # nothing was drawn


def test_codes_are_drawn_with_their_probabilities(x):
    net = Autoencoded(0.0, sure=0.6)
    expected = net.told.cumsum(0)
    for share in (0.05, 0.35, 0.75, 0.95, 1.0):
        luck = torch.special.ndtri(torch.tensor(min(share, 1 - 1e-7))).item()
        codes = transformer.resampled(
            Telling(net), net.encode(x), 3, torch.ones(2, *SHAPE, dtype=torch.bool), torch.full((2, *SHAPE), luck)
        )
        assert (codes == (expected < share).sum().clamp(max=CODES - 1)).all()


def test_a_place_is_healed_to_the_mean_of_the_orders_that_drew_it_anew(x):
    """The first order draws the lesion alone, the second one all of the slice, to another code."""
    net = Autoencoded(1.0)
    net.limits[1] = 0.0
    draws = iter([noises(0.0)(), noises(9.0)()])
    made = transformer.heal(Telling(net), x, transformer.Options(orders=2), lambda: next(draws))
    lesion = x > 0.8
    torch.testing.assert_close(made.maps["region"], torch.where(lesion, 1.0, 0.5), rtol=0, atol=0)
    expected = torch.where(lesion, (2 + 4) / 2, 4.0) / CODES
    torch.testing.assert_close(made.healed, expected, rtol=0, atol=1e-6)


def test_a_region_that_grows_is_drawn_anew_in_all_of_it(x):
    model = Telling(Autoencoded(1.0))
    made = transformer.heal(model, x, transformer.Options(orders=2, grow=1), noises(9.0))
    region = torch.zeros_like(x)
    region[0, :, :12, 4:] = 1  # the lesion's cells are those of row 1 and columns 2 and 3
    torch.testing.assert_close(made.maps["region"], region, rtol=0, atol=0)
    torch.testing.assert_close(made.healed, torch.where(region > 0, 4 / CODES, 2 / CODES), rtol=0, atol=1e-6)


@pytest.mark.parametrize("orders", [1, 8])
def test_evaluations(x, orders):
    model, options = Telling(Autoencoded(1.0)), transformer.Options(orders=orders)
    made = transformer.heal(model, x, options, noises())
    assert model.count == 2 * options.evaluations((16, 16)) == 2 * 2 * orders
    assert set(made.maps) == set(options.maps)


def test_drawn_codes_are_seen_by_those_after_them(guided_recipes):
    """As if each were drawn with a full pass over all that was drawn before."""
    torch.manual_seed(0)
    config = guided_recipes["transformer"].model({})
    model = Model(config, build(config).eval().requires_grad_(False), CPU)
    for weight in model.net.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    codes, region = torch.randint(16, (3, 4, 4)), torch.rand(3, 4, 4) > 0.4
    noise = torch.randn(3, 4, 4)
    for order in range(ORDERS):
        orders, net = torch.full((3,), order), model.net.transformer
        sequence = net.in_order(codes, orders)
        inside, luck = net.in_order(region, orders), net.in_order(torch.special.ndtr(noise), orders)
        for step in range(16):
            told = net(sequence, orders)[:, step].softmax(dim=-1)
            drawn = (told.cumsum(dim=-1) < luck[:, step, None]).sum(dim=-1).clamp(max=15)
            sequence[:, step] = torch.where(inside[:, step], drawn, sequence[:, step])
        made = transformer.resampled(model, codes, order, region, noise)
        assert torch.equal(made, net.on_grid(sequence, orders))
        assert torch.equal(made[~region], codes[~region])
    assert not torch.equal(made, codes)


def test_a_slice_is_drawn_alike_in_any_batch(tiny_guided):
    model = load_model(tiny_guided["transformer"], device="cpu", precision="fp32")
    model.net.limits.zero_()
    x = 2 * torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0)) - 1
    keys, options = [(0, i) for i in range(3)], transformer.Options(orders=2)
    with torch.inference_mode():
        whole = transformer.heal(model, x, options, model.noise((16, 16), keys)).healed
        alone = [
            transformer.heal(model, x[i : i + 1], options, model.noise((16, 16), keys[i : i + 1])).healed
            for i in range(3)
        ]
        other = transformer.heal(model, x, options, model.noise((16, 16), [(1, i) for i in range(3)])).healed
    torch.testing.assert_close(whole, torch.cat(alone), rtol=0, atol=1e-5)
    assert not torch.allclose(whole, other, atol=1e-3)


def test_limits_are_the_percentile_of_healthy_slices_at_each_position_in_each_order(tiny_guided):
    model = load_model(tiny_guided["transformer"], device="cpu", precision="fp32")
    pixels = np.random.default_rng(0).uniform(0.2, 0.8, (40, 16, 16)).astype(np.float16)
    slices = Slices(pixels, np.zeros(40, np.intp))
    z = model.net.autoencoder.encode(slices.seen(slices.windows(np.arange(40), 0, CPU))).movedim(1, -1).flatten(0, 2)
    model.net.autoencoder.codebook.codes.copy_(z[:: len(z) // 16][:16])
    made, told = transformer.finish(model, slices, 0)
    assert told == {}
    assert made["limits"].shape == (ORDERS, 4, 4)
    codes = model.net.encode(slices.seen(slices.windows(np.arange(40), 0, CPU)))
    for order in range(ORDERS):
        expected = transformer.unlikeliness(model, codes, order).quantile(0.975, dim=0)
        torch.testing.assert_close(made["limits"][order], expected, rtol=0, atol=1e-4)
    model.net.limits.copy_(made["limits"])
    region = transformer.unlikeliness(model, codes, 5) > model.net.limits[5]
    assert 0 < region.float().mean() < 0.05


def test_a_model_that_does_not_know_what_is_healthy_is_refused(x):
    model = SimpleNamespace(net=Autoencoded(torch.inf))
    with pytest.raises(UadError, match=r"does not know how unlikely a healthy code may be.*uad-train --resume"):
        transformer.heal(model, x, transformer.Options(), noises())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"training": {"steps": 2, "loss": "l1"}}, "training.loss l1: codes are told by cross-entropy"),
        ({"autoencoder": {"axes": 3}}, "autoencoder.axes 3: models of kind 'transformer' see slices"),
        ({"network": {"width": 10, "heads": 4}}, "heads = 4 must divide"),
        ({"region": {"percentile": 95, "bounds": [20]}}, "region.bounds: without a meaning for models of kind"),
        ({"region": {"percentile": 0}}, "greater than 0"),
        ({"defaults": {"t": [200]}}, "defaults.t: without a meaning"),
        ({"noise": {"kind": "simplex"}}, "noise: without a meaning"),
    ],
)
def test_what_has_no_meaning_is_refused(guided_recipes, change, said):
    with pytest.raises(ValidationError, match=said):
        Recipe.model_validate(guided_recipes["transformer"].model_dump() | change)


def test_memory_for_keys_and_values_is_reckoned_with(guided_recipes):
    settings = guided_recipes["transformer"]
    assert 16 * settings.held((16, 16)) == 2 * 2 * 16 * 16  # keys and values, layers, width, codes


def test_only_the_transformer_learns(guided_recipes):
    from uadtools.interface.learning import Batch

    recipe = guided_recipes["transformer"]
    net = build(recipe)
    x0 = 2 * torch.rand(3, 1, 16, 16) - 1
    lost = transformer.loss(recipe, net, Batch(x0, np.arange(3)), 0)
    lost.backward()
    assert all(p.grad is None for p in net.autoencoder.parameters())
    assert all(p.grad is not None for p in net.transformer.parameters())
    assert lost.item() == pytest.approx(np.log(16), abs=0.5)  # knows nothing yet


def test_the_loss_is_that_of_the_order_that_follows_from_the_seed(guided_recipes):
    from uadtools.interface.learning import Batch, streams_of

    recipe, net = guided_recipes["transformer"], build(guided_recipes["transformer"]).eval()
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    model, x0 = Model(recipe.model({}), net, CPU), 2 * torch.rand(1, 1, 16, 16) - 1
    codes, drawn = net.encode(x0), set()
    with torch.no_grad():
        for seed in range(24):
            order = int(streams_of(np.array([seed]))[0].integers(ORDERS))
            lost = transformer.loss(recipe, net, Batch(x0, np.array([seed])), 0)
            torch.testing.assert_close(lost, transformer.unlikeliness(model, codes, order).mean(), rtol=0, atol=1e-5)
            drawn.add(order)
    assert drawn == set(range(ORDERS))
