"""Gradient guidance: the gradient of a classifier whose gradient is known, and what one that knows lesions leads to."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from uadtools.diffusion.process import both
from uadtools.errors import UadError
from uadtools.interface.learning import Batch
from uadtools.interface.recipe import Recipe
from uadtools.labelled import classifier, guided
from uadtools.methods import encode
from uadtools.models.checkpoint import read_tensors
from uadtools.models.config import parse
from uadtools.models.model import load_model
from uadtools.training.data import Slices
from uadtools.training.loop import Trainer
from uadtools.training.start import donor_of, start_from
from uadtools.training.state import fresh

CPU = torch.device("cpu")
SHAPE = (3, 1, 6, 5)


class Linear(nn.Module):
    """Says "sick" as loud as the weighted sum of the pixels is."""

    def __init__(self):
        super().__init__()
        self.weight = torch.randn(SHAPE[1:], generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def forward(self, x, t):
        return (x * self.weight).sum(dim=(1, 2, 3)) + t / 1000


def drawn(seed=1, dtype=torch.float64):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=dtype) / 4


@pytest.mark.parametrize("inference", [False, True])
def test_the_gradient_of_a_linear_classifier_is_right(inference):
    """log C(healthy) = log sigmoid(-z), so its gradient is -sigmoid(z) weight."""
    toy, t = Linear(), 200
    with torch.inference_mode(inference):
        x = drawn()
        made = guided.log_healthy(toy)(x, t)
        expected = -torch.sigmoid(toy(x, torch.full((3,), t))).view(3, 1, 1, 1) * toy.weight
        torch.testing.assert_close(made, expected, rtol=0, atol=1e-6)
        alone = guided.log_healthy(toy)(x[1:2], t)
    torch.testing.assert_close(alone, made[1:2], rtol=0, atol=1e-12)


class Sees:
    """A model that sees half of what it is shown behind all noise, and has a classifier beside it."""

    def __init__(self, toy):
        from types import SimpleNamespace

        from uadtools.diffusion.schedule import Schedule

        self.schedule, self.net, self.asked = Schedule.of("linear"), SimpleNamespace(classifier=toy), []

    def predict(self, x_t, t, *, clamp=False):
        self.asked.append(t)
        return both(x_t / 2, "x0", x_t, t, self.schedule, clamp=clamp)


def test_without_guidance_it_is_noise_encoding():
    how = {"t": 300, "steps": 10}
    plain = encode.heal(Sees(None), drawn(), encode.Options(**how), lambda: 1 / 0).healed
    made = guided.heal(Sees(Linear()), drawn(), guided.Options(**how, guidance=0.0), lambda: 1 / 0).healed
    assert torch.equal(made, plain)
    led = guided.heal(Sees(Linear()), drawn(), guided.Options(**how, guidance=0.5), lambda: 1 / 0).healed
    assert (Linear()(led, 0) < Linear()(plain, 0)).all()


@pytest.mark.parametrize(("t", "steps"), [(300, 10), (5, 6), (0, 1)])
def test_what_it_asks_is_what_it_says_it_asks(t, steps):
    model, options = Sees(Linear()), guided.Options(t=t, steps=steps)
    guided.heal(model, drawn(), options, lambda: 1 / 0)
    assert len(model.asked) == options.evaluations(SHAPE[2:])


def test_a_model_file_heals_and_without_guidance_as_its_diffusion_model_does(weak_models, tiny_model):
    model, plain = (
        load_model(path, device="cpu", precision="fp32") for path in (weak_models["classifier"], tiny_model)
    )
    model.net.unet.load_state_dict(plain.net.state_dict())
    x = (torch.rand(2, 1, 16, 16) - 0.5).clamp(-1, 1)
    how = {"t": 100, "steps": 5}
    made = [guided.heal(model, x, guided.Options(**how, guidance=scale), lambda: 1 / 0).healed for scale in (0.0, 1e4)]
    expected = encode.heal(plain, x, encode.Options(**how), lambda: 1 / 0).healed
    torch.testing.assert_close(made[0], expected, rtol=0, atol=1e-6)
    assert (made[1] - expected).abs().max() > 1e-4
    counted = []
    guided.heal(replace(model, asked=counted.append), x, guided.Options(**how), lambda: 1 / 0)
    assert sum(counted) == 2 * guided.Options(**how).evaluations((16, 16))


def two_kinds(count=16, seed=0):
    """Grey slices; the second half has a bright square each."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(0.38, 0.42, (count, 16, 16))
    kinds = (np.arange(count) >= count // 2).astype(np.uint8)
    for i in np.flatnonzero(kinds):
        y, x = rng.integers(2, 10, 2)
        pixels[i, y : y + 4, x : x + 4] = 0.9
    return Slices(pixels.astype(np.float16), np.arange(count), kinds=kinds)


def begun(recipe, slices):
    state = fresh(recipe, 0, CPU)
    start_from(donor_of(recipe), state, recipe, slices)
    return state


def longer(recipe, **tables):
    data = recipe.model_dump()
    for table, values in tables.items():
        data[table] = data[table] | values
    return Recipe.model_validate(data)


def test_it_learns_which_slices_are_sick_and_the_network_is_not_trained(weak_recipes, tiny_model):
    training = {"steps": 60, "batch": 8, "t_range": (0, 30), "log_every": 30, "validate_every": 60}
    recipe = longer(weak_recipes["classifier"], training=training, augment={"gamma": 0.0})
    slices, others = two_kinds(), two_kinds(seed=1)
    state = begun(recipe, slices)
    donor = read_tensors(tiny_model)
    first = state.net.classifier.state_dict()
    assert all(torch.equal(first[name], value.float()) for name, value in donor.items() if name in first)
    reports = list(Trainer(recipe, slices, others, 0, CPU, torch.float32).run(state))
    assert reports[-1].validation < 0.4  # and .69 where nothing is known
    x = others.seen(others.windows(np.arange(16), 0))
    with torch.no_grad():
        said = state.average(x, torch.full((16,), 5)) > 0
    assert (said.numpy() == (others.kinds == 1)).mean() >= 0.9
    for net in (state.net, state.average):
        weights = net.unet.state_dict()
        assert all(torch.equal(weights[name], value.float()) for name, value in donor.items())


def test_the_loss_is_cross_entropy_by_hand(weak_recipes):
    def net(x_t, t):
        return torch.tensor([2.0, -1.0])

    batch = Batch(torch.zeros(2, 1, 16, 16), np.arange(2), sick=torch.tensor([True, False]))
    expected = (np.log(1 + np.exp(-2.0)) + np.log(1 + np.exp(-1.0))) / 2
    assert classifier.loss(weak_recipes["classifier"], net, batch, 0).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", ["classifier", "cfg"])
def test_a_recipe_takes_network_schedule_and_noise_of_its_model(weak_recipes, tiny_config, kind):
    recipe = weak_recipes[kind]
    assert recipe.network.model_dump(exclude={"pretrained"}) == tiny_config.network.model_dump()
    assert (recipe.target, recipe.schedule, recipe.noise) == ("x0", tiny_config.schedule, tiny_config.noise)
    assert "pretrained" not in recipe.model({}).network.model_dump()


@pytest.mark.parametrize("kind", ["classifier", "cfg"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pretrained": "nowhere.safetensors"}, "nowhere.safetensors: No such file"),
        ({"pretrained": "t1-dpm"}, r"did you mean t1-ddpm\?"),
        ({"pretrained": "ae"}, "network.pretrained .*: a model of kind 'ae', not 'diffusion'"),
        ({"base": 16}, r"network.base is 8 there, 16 in the recipe \(--set network.base="),
    ],
)
def test_a_network_that_is_none_is_refused(weak_recipes, tiny_models, kind, change, said):
    recipe = weak_recipes[kind]
    if change.get("pretrained") == "ae":
        change = {"pretrained": str(tiny_models["ae"])}
    data = recipe.model_dump() | {"network": {"pretrained": recipe.network.pretrained} | change}
    with pytest.raises(UadError, match=said) as fault:
        begun(parse(Recipe, data, "r"), two_kinds())
    assert "\n" not in str(fault.value)


def test_a_classifier_needs_a_network(weak_recipes):
    data = weak_recipes["classifier"].model_dump(exclude={"network"})
    with pytest.raises(UadError, match=r"network\.pretrained is needed: a model of kind diffusion"):
        begun(parse(Recipe, data, "r"), two_kinds())
