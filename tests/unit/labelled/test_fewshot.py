"""A few labels: what is read from a frozen network, and that a classifier of it learns a lesion from one example."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from uadtools.errors import UadError
from uadtools.interface.recipe import Recipe
from uadtools.labelled import fewshot
from uadtools.metrics.ranking import average_precision
from uadtools.models.checkpoint import read_tensors
from uadtools.models.config import parse
from uadtools.models.model import build, load_model
from uadtools.nets.readout import Readout, statistics
from uadtools.training.data import Slices
from uadtools.training.loop import Trainer
from uadtools.training.start import donor_of, start_from
from uadtools.training.state import fresh

CPU = torch.device("cpu")


@pytest.mark.parametrize("skips", ["all", "blocks"])
@pytest.mark.parametrize("resample", ["residual", "conv", "pool"])
@pytest.mark.parametrize("patch", [1, 2])
@torch.no_grad()
def test_a_network_that_is_looked_into_answers_as_ever(random_unet, skips, resample, patch):
    net, x, t = (
        random_unet(skips=skips, resample=resample, patch=patch),
        torch.randn(2, 1, 32, 16),
        torch.tensor([3, 70]),
    )
    answer, levels = net.looked_into(x, t)
    assert torch.equal(answer, net(x, t))
    down, up = levels[:3], levels[3:]
    for one, other in zip(down, net.features(x, t), strict=True):
        assert torch.equal(one, other)
    assert [tuple(level.shape[1:]) for level in down] == [
        (8 * m, 32 // patch >> i, 16 // patch >> i) for i, m in enumerate((1, 2, 3))
    ]
    assert [tuple(level.shape[1:]) for level in up] == [
        (24, 16 // patch, 8 // patch), (16, 32 // patch, 16 // patch), (8, 32 // patch, 16 // patch)
    ]  # fmt: skip
    last = net.out_conv(torch.nn.functional.silu(net.out_norm(up[-1])))
    torch.testing.assert_close(nn.functional.pixel_shuffle(last, patch), answer)


@torch.no_grad()
def test_the_first_convolution_is_one_on_all_features_at_the_size_of_the_slice(random_unet):
    """Brought to the size of the slice and put together, with the weights put together, as the paper has it."""
    net = Readout(random_unet(), [8, 16, 24, 24, 16, 8], 2, looks=2, width=5, depth=2, dropout=0.0).eval()
    nn.init.normal_(net.bias)
    net.centre.normal_()
    net.scale.uniform_(0.5, 2)
    x, middle, t = torch.randn(6, 1, 16, 16), torch.randn(3, 1, 16, 16), torch.tensor([3, 70] * 3)
    parts = net.raw(x, t, middle)
    assert [part.shape[:2] for part in parts] == [(3, 2 * c) for c in (8, 16, 24, 24, 16, 8, 2)]
    torch.testing.assert_close(parts[-1][:, 1::2], middle.expand(-1, 2, -1, -1))
    torch.testing.assert_close(parts[-1][1, 2], net.frozen(x[3:4], t[3:4])[0, 0], rtol=0, atol=1e-5)
    large = [nn.functional.interpolate(part, size=(16, 16), mode="bilinear", align_corners=False) for part in parts]
    known = (torch.cat(large, dim=1) - net.centre[:, None, None]) / net.scale[:, None, None]
    weight = torch.cat([convolution.weight for convolution in net.first], dim=1)
    expected = net.rest(nn.functional.conv2d(known, weight, net.bias))
    torch.testing.assert_close(net(x, t, middle), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_without_levels_the_answer_and_the_slice_alone_are_read(random_unet):
    net = Readout(random_unet(), [], 2, looks=2, width=5, depth=1, dropout=0.0).eval()
    x, middle, t = torch.randn(4, 1, 16, 16), torch.randn(2, 1, 16, 16), torch.tensor([3, 70] * 2)
    answers = net.frozen(x, t).reshape(2, 2, 16, 16)
    known = torch.stack([answers[:, 0], middle[:, 0], answers[:, 1], middle[:, 0]], dim=1)
    expected = net.rest(nn.functional.conv2d(known, net.first[0].weight, net.bias))
    torch.testing.assert_close(net(x, t, middle), expected, rtol=0, atol=1e-5)


def test_a_recipe_leaves_levels_out(few_recipe):
    few = longer(few_recipe, features={"levels": False})
    assert [convolution.in_channels for convolution in fewshot.build(few).first] == [len(few.features.told) * 3]


def test_features_are_normalised_inside_the_brain():
    brain = torch.zeros(2, 1, 8, 8)
    brain[:, :, :4] = 1
    fine, coarse = torch.randn(2, 3, 8, 8), torch.randn(2, 2, 4, 4)
    fine[:, 2] = 7.0
    centre, scale = statistics([fine, coarse], brain)
    torch.testing.assert_close(centre, torch.cat([fine[:, :, :4].mean((0, 2, 3)), coarse[:, :, :2].mean((0, 2, 3))]))
    torch.testing.assert_close(scale[:2], fine[:, :2, :4].std((0, 2, 3)))
    assert scale[2] == 1


def test_the_frozen_network_stays_as_it_heals(random_unet):
    net = Readout(random_unet(dropout=0.5), [8, 16, 24, 24, 16, 8], 2, looks=1, width=5, depth=1, dropout=0.5).train()
    assert net.rest.training
    assert not any(part.training for part in net.frozen.modules())
    assert {name.partition(".")[0] for name, weight in net.named_parameters() if weight.requires_grad} == {
        "first", "rest", "bias"
    }  # fmt: skip


def test_a_network_of_diffusion_sees_one_field_of_noise_at_its_t_and_one_of_restoration_the_slab(few_models):
    from uadtools.diffusion.process import add_noise
    from uadtools.diffusion.schedule import Schedule

    model = load_model(few_models["diffusion"], device="cpu", precision="fp32")
    x = torch.rand(3, 1, 16, 16) - 0.5
    seen, t, middle = fewshot.looks_at(model.config, x)
    assert (t.tolist(), seen.shape) == ([20, 60] * 3, (6, 1, 16, 16))
    assert torch.equal(middle, x)
    clean = [add_noise(x, step, torch.zeros_like(x), Schedule.of("linear")) for step in (20, 60)]
    fields = [seen[i::2] - clean[i] for i in (0, 1)]
    for field in fields:
        torch.testing.assert_close(field, field[:1].expand_as(field), rtol=0, atol=1e-6)
    low, high = (float(1 - Schedule.of("linear").alpha_bar(step)) ** 0.5 for step in (20, 60))
    torch.testing.assert_close(fields[1], high / low * fields[0], rtol=0, atol=1e-5)
    assert fields[0].std() > 0.1 * low
    slab = load_model(few_models["restoration"], device="cpu", precision="fp32")
    x = torch.rand(3, 5, 16, 16)
    seen, t, middle = fewshot.looks_at(slab.config, x)
    assert torch.equal(seen, x)
    assert (t.tolist(), middle.shape) == ([999] * 3, (3, 1, 16, 16))
    assert torch.equal(middle, x[:, 2:3])


@pytest.mark.parametrize("engine", ["diffusion", "restoration"])
def test_what_is_asked_is_counted_and_the_map_is_above_0(few_models, engine):
    model, asked = load_model(few_models[engine], device="cpu", precision="fp32"), []
    (options,) = (fewshot.Options(**given) for given in fewshot.settle(model.config, {}))
    x = torch.full((2, 2 * model.config.reach + 1, 16, 16), -1.0)
    made = fewshot.heal(replace(model, asked=asked.append), x, options, lambda: 1 / 0)
    assert made.healed is None
    assert sum(asked) == 2 * options.evaluations((16, 16)) == {"diffusion": 4, "restoration": 2}[engine]
    assert 0 < made.maps["anomaly"].min() <= made.maps["anomaly"].max() < 1


def sick(places, level=0.9, seed=0):
    """Grey slices, each with a bright square at its place, or none."""
    waves = np.random.default_rng(seed).uniform(0.38, 0.42, (len(places), 16, 16))
    labels = np.zeros((len(places), 16, 16), np.uint8)
    for pixels, label, place in zip(waves, labels, places, strict=True):
        if place:
            y, x = place
            pixels[y : y + 3, x : x + 3], label[y : y + 3, x : x + 3] = level, 1
    return Slices(waves.astype(np.float16), np.zeros(len(places), int), labels=labels)


def longer(recipe, **tables):
    data = recipe.model_dump()
    for table, values in tables.items():
        data[table] = data[table] | values
    return Recipe.model_validate(data)


def begun(recipe, slices):
    state = fresh(recipe, 0, CPU)
    start_from(donor_of(recipe), state, recipe, slices)
    return state


def found(net, recipe, slices):
    windows = slices.seen(slices.windows(np.arange(len(slices)), recipe.reach))
    with torch.no_grad():
        logit = net(*fewshot.looks_at(recipe, windows))
    return average_precision(logit[:, 0].numpy(), slices.labels == 1)


def test_a_lesion_of_which_one_example_was_seen_is_found_elsewhere(few_recipe):
    one, others = sick([(3, 4), None, None, None]), sick([(9, 9), (8, 2), None, (2, 11)], seed=1)
    training = {"steps": 80, "batch": 8, "log_every": 40, "validate_every": 80}
    recipe = longer(few_recipe, training=training, augment={"affine": 1.0, "shift": 5.0, "gamma": 0.0})
    state = begun(recipe, one)
    assert found(state.average, recipe, others) < 0.6
    reports = list(Trainer(recipe, one, None, 0, CPU, torch.float32).run(state))
    assert reports[-1].loss < reports[0].loss
    assert found(state.average, recipe, others) > 0.95


def test_the_network_comes_from_its_model_and_is_not_trained(few_recipe, tiny_guided):
    slices = sick([(3, 4), None])
    state = begun(few_recipe, slices)
    list(Trainer(few_recipe, slices, None, 0, CPU, torch.float32).run(state))
    donor = read_tensors(tiny_guided["restoration"])
    for net in (state.net, state.average):
        weights = net.frozen.state_dict()
        assert weights.keys() == donor.keys()
        assert all(torch.equal(weights[name], value.float()) for name, value in donor.items())
    assert state.net.scale.std() > 0
    assert not torch.equal(state.net.first[0].weight, begun(few_recipe, slices).net.first[0].weight)


def test_the_loss_weighs_lesions_and_the_rest_alike_and_leaves_out_what_is_ignored(few_recipe):
    """By hand: a network that tells the same logit everywhere."""
    from uadtools.interface.learning import Batch

    class Same(nn.Module):
        def forward(self, x, t, middle):
            return torch.full_like(middle, 1.5)

    x, labels = torch.zeros(2, 5, 16, 16), torch.zeros(2, 1, 16, 16, dtype=torch.uint8)
    x[:, :, :4] = -1  # no brain
    labels[0, 0, 2:6, 0] = 1  # 2 of these 4 in the brain
    labels[0, 0, 10] = 2
    p, seen = 1 / (1 + np.exp(-1.5)), 2 * 12 * 16 - 16
    bce = (-np.log(p) - np.log(1 - p)) / 2
    dice = 1 - (2 * 2 * p + 1) / (p * seen + 2 + 1)
    made = fewshot.loss(few_recipe, Same(), Batch(x, np.arange(2), labels=labels), 0)
    assert made.item() == pytest.approx(bce + dice, abs=1e-5)
    healthy = fewshot.loss(few_recipe, Same(), Batch(x, np.arange(2), labels=0 * labels), 0)
    assert healthy.item() == pytest.approx(-np.log(1 - p) / 2 + 1 - 1 / (p * 2 * 12 * 16 + 1), abs=1e-5)


@pytest.mark.parametrize("change", [{"features": {"t": (500,)}}, {"head": {"width": 4}}, {"head": {"depth": 1}},
                                    {"head": {"dropout": 0.5}}, {"data": {"lesions": 1.0}}], ids=str)  # fmt: skip
def test_every_setting_is_read(few_recipe, change):
    slices = sick([(3, 4), None, (8, 8), None])

    def trained(recipe):
        state = begun(recipe, slices)
        list(Trainer(recipe, slices, None, 0, CPU, torch.float32).run(state))
        return found(state.net, recipe, sick([(5, 5), None], seed=2))

    assert trained(few_recipe) != trained(longer(few_recipe, **change))


def test_a_recipe_takes_the_network_of_its_features(few_recipe, tiny_model, tiny_guided):
    data = few_recipe.model_dump(exclude={"network", "features"})
    made = parse(Recipe, data | {"features": {"pretrained": str(tiny_model)}}, "r")
    assert made.features.engine == "diffusion"
    assert made.features.told == (50, 150, 250)
    assert made.network.attention == (2,)
    assert few_recipe.features.engine == "restoration"
    assert few_recipe.reach == 2
    config = few_recipe.model({})
    assert "pretrained" not in config.features.model_dump()
    assert build(config).frozen.first.in_channels == 5


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ({}, "features.pretrained is needed"),
        ({"pretrained": "nowhere.safetensors"}, "nowhere.safetensors: No such file"),
        ({"pretrained": "t1-dpm"}, "did you mean t1-ddpm?"),
        ({"pretrained": "ae"}, "a model of kind 'ae', whose features are not read"),
        ({"pretrained": "diffusion", "t": (1000,)}, r"t \[1000\]: must be below 1000"),
        ({"pretrained": "diffusion", "engine": "restoration"}, "not of the kind and sizes that the recipe says"),
    ],
)
def test_features_that_are_none_are_refused(few_recipe, tiny_model, tiny_models, features, said):
    files = {"ae": str(tiny_models["ae"]), "diffusion": str(tiny_model)}
    if "pretrained" in features:
        features = features | {"pretrained": files.get(features["pretrained"], features["pretrained"])}
    data = few_recipe.model_dump(exclude={"network", "features"}) | {"features": features}
    with pytest.raises(UadError, match=said) as fault:
        begun(parse(Recipe, data, "r"), sick([(3, 4)]))
    assert "\n" not in str(fault.value)


def test_features_of_another_grid_or_other_intensities_are_refused(few_recipe):
    for table, change in (("grid", {"spacing": (1.0, 1.0, 1.0)}), ("intensity", {"low": 5.0})):
        key = f"{table}.{next(iter(change))}"
        with pytest.raises(UadError, match=rf"{key} is .+ there, .+ in the recipe \(--set {key}="):
            begun(longer(few_recipe, **{table: change}), sick([(3, 4)]))
