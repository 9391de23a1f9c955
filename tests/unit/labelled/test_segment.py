"""Masks drawn from noise: who knows the mask draws it, draws agree with theory, and what is trained."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from uadtools.diffusion.bits import flip
from uadtools.diffusion.motion import moved
from uadtools.diffusion.process import add_noise, eps_from_x0
from uadtools.diffusion.schedule import Schedule
from uadtools.errors import UadError
from uadtools.healing.plan import plan
from uadtools.interface.learning import Batch, drawn
from uadtools.interface.recipe import Recipe
from uadtools.labelled import segment
from uadtools.metrics.ranking import average_precision
from uadtools.models.config import parse
from uadtools.models.model import Model, load_model
from uadtools.training.loop import Trainer
from uadtools.training.state import fresh

CPU = torch.device("cpu")
LINEAR = Schedule.of("linear")
KERNELS = {"segment": "gaussian", "bernoulli": "bernoulli", "cold": "cold"}
NAMES = tuple(KERNELS)


class Knows(nn.Module):
    """Knows the mask, (B, 1, H, W) of 0 and 1, and answers what such a network is asked for; notes slab and t."""

    def __init__(self, mask, kernel, target):
        super().__init__()
        self.mask, self.kernel, self.target, self.asked = mask, kernel, target, []

    def forward(self, x, t):
        self.asked.append((x[:, :-1].clone(), t.tolist()))
        noisy, truth = x[:, -1:], 2 * self.mask - 1
        if self.kernel == "bernoulli":
            return torch.where(noisy == truth, -20.0, 20.0)
        return truth if self.target == "x0" else eps_from_x0(noisy, t, truth, LINEAR)


def with_net(path, net, **changes):
    model = load_model(path, device="cpu", precision="fp32")
    return replace(model, net=net, config=model.config.model_copy(update=changes))


def noises(shape, seed=0):
    drawn = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(shape, generator=drawn)


@pytest.mark.parametrize(
    ("name", "target"), [("segment", "x0"), ("segment", "eps"), ("bernoulli", "eps"), ("cold", "x0")]
)
def test_who_knows_the_mask_draws_it(mask_models, name, target):
    mask = (torch.rand(2, 1, 16, 16) < 0.3).float()
    net = Knows(mask, KERNELS[name], target)
    model, x, asked = with_net(mask_models[name], net, target=target), torch.randn(2, 3, 16, 16), []
    (options,) = plan(model.config, steps=7).options
    made = segment.heal(replace(model, asked=asked.append), x, options, noises((2, 1, 16, 16)))
    assert made.healed is None
    torch.testing.assert_close(made.maps["anomaly"], mask, rtol=0, atol=1e-4)
    assert made.maps["anomaly"].min() > 0
    assert all(torch.equal(slab, x) for slab, _ in net.asked)
    assert [t for _, t in net.asked] == [[t, t] for t in (999, 856, 713, 570, 428, 285, 142)]
    assert sum(asked) == 2 * options.evaluations((16, 16)) == 14


@pytest.mark.parametrize("name", NAMES)
def test_of_a_lesion_that_is_nowhere_nothing_is_drawn(mask_models, name):
    net = Knows(torch.zeros(2, 1, 16, 16), KERNELS[name], "eps" if name == "bernoulli" else "x0")
    model = with_net(mask_models[name], net)
    made = segment.heal(model, torch.randn(2, 3, 16, 16), segment.Options(steps=5), noises((2, 1, 16, 16)))
    assert 0 < made.maps["anomaly"].min() <= made.maps["anomaly"].max() < 1e-6


def test_a_moved_mask_comes_in_from_nowhere_by_the_way_that_its_noise_says(mask_models):
    mask = torch.zeros(2, 1, 16, 16)
    mask[0, 0, 5:9, 6:9], eps = 1, noises((2, 1, 16, 16), seed=3)()
    net, seen = Knows(mask, "cold", "x0"), []
    net.register_forward_pre_hook(lambda _, given: seen.append((given[0][:, -1:] + 1) / 2))
    segment.heal(with_net(mask_models["cold"], net), torch.zeros(2, 3, 16, 16), segment.Options(8), lambda: eps)
    for (_, t), x_t in zip(net.asked, seen, strict=True):
        torch.testing.assert_close(x_t, moved(mask, t[0], eps, LINEAR), rtol=0, atol=1e-5)
    assert not seen[0].any()
    assert (seen[-1] - mask).abs().max() > 0


@pytest.mark.parametrize(
    ("name", "eta", "draws"), [("segment", 0.0, 1), ("segment", 1.0, 4), ("bernoulli", 0.0, 4), ("cold", 0.0, 1)]
)
def test_noise_is_drawn_at_the_start_and_where_eta_or_the_kernel_has_it_on_the_way(mask_models, name, eta, draws):
    model = load_model(mask_models[name], device="cpu", precision="fp32")
    (options,), drawn, noise = plan(model.config, steps=4, eta=eta).options, [], noises((1, 1, 16, 16))

    def counted():
        drawn.append(noise())
        return drawn[-1]

    segment.heal(model, torch.zeros(1, 3, 16, 16), options, counted)
    assert len(drawn) == draws


def test_the_walk_begins_where_the_schedule_ends_and_has_no_more_steps(mask_models):
    config = load_model(mask_models["segment"], device="cpu").config
    how = plan(config)
    assert (how.samples, how.options[0].steps, how.options[0].top, how.made) == (2, 20, 999, ("anomaly", "spread"))
    assert plan(config, samples=1).made == ("anomaly",)
    assert how.threshold_key == "segment x2"
    assert how.arguments == {"method": "segment", "steps": 20, "eta": 0.0, "top": 999, "samples": 2}
    with pytest.raises(UadError, match=r"^--steps 1001: from noise alone there are 1 to 1000$"):
        plan(config, steps=1001)
    with pytest.raises(UadError, match="-t has no effect with --method segment"):
        plan(config, t=300)
    with pytest.raises(UadError, match="--samples 0: at least 1"):
        plan(config, samples=0)
    for name in ("bernoulli", "cold"):
        other = load_model(mask_models[name], device="cpu").config
        assert plan(other, eta=0.0).options[0].eta == 0
        said = rf"^--eta 0.5: has no effect with a model of kernel {name} \(leave it out\)$"
        with pytest.raises(UadError, match=said):
            plan(other, eta=0.5)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_tells_mask_or_flips_and_leaves_out_what_is_ignored(mask_recipes, name):
    """By hand: a network that answers the same everywhere."""

    class Same(nn.Module):
        def forward(self, x, t):
            self.seen, self.t = x, t
            return torch.full_like(x[:, :1], 0.5)

    recipe, net, x, seeds = mask_recipes[name], Same(), torch.randn(3, 3, 16, 16), np.arange(3)
    labels = (torch.rand(3, 1, 16, 16) < 0.2).to(torch.uint8)
    labels[0, 0, :8] = 2
    lesion, counted = (labels == 1).float(), labels != 2
    made = segment.loss(recipe, net, Batch(x, seeds, labels=labels), 0)
    t, eps, _ = drawn(recipe, lesion, seeds)
    if name == "bernoulli":
        z_t = flip(lesion, t, eps, LINEAR)
        noisy, flipped = 2 * z_t - 1, z_t != lesion
        apart = torch.where(flipped, -np.log(1 / (1 + np.exp(-0.5))), -np.log(1 - 1 / (1 + np.exp(-0.5))))
    elif name == "cold":
        noisy, apart = 2 * moved(lesion, t, eps, LINEAR) - 1, (0.5 - (2 * lesion - 1)) ** 2
    else:
        noisy = add_noise(2 * lesion - 1, t, eps, LINEAR)
        apart = (0.5 - (2 * lesion - 1)) ** 2
    assert made.item() == pytest.approx(apart[counted].mean().item(), rel=1e-5)
    torch.testing.assert_close(net.seen, torch.cat([x, noisy], dim=1))
    assert torch.equal(net.t, t)
    assert len({*t.tolist()}) > 1


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shown_is_drawn_elsewhere(mask_recipes, sick, name):
    data, count = mask_recipes[name].model_dump(), 8
    training = data["training"] | {"steps": 50, "batch": 8, "log_every": 50, "validate_every": 50}
    recipe = Recipe.model_validate(data | {"training": training})
    others, state = sick(count, 1), fresh(recipe, 0, CPU)
    list(Trainer(recipe, sick(count, 0), None, 0, CPU, torch.float32).run(state))
    model, noise = Model(recipe.model({}), state.average.eval(), CPU), noises((count, 1, 16, 16))
    x = others.seen(others.windows(np.arange(count), 1))
    with torch.no_grad():
        draws = [segment.heal(model, x, segment.Options(steps=8), noise).maps["anomaly"] for _ in range(4)]
    mean = torch.stack(draws).mean(dim=0)
    assert average_precision(mean[:, 0].numpy(), others.labels == 1) > 0.7
    assert mean[1::2].max() < 0.4 < mean[::2].max()  # nothing is drawn where there is no lesion


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kernel": "poisson"}, "kernel"),
        ({"kernel": "bernoulli", "target": "x0"}, r"target x0: with kernel bernoulli the network tells what was flipp"),
        (
            {"kernel": "bernoulli", "target": "eps", "noise": {"kind": "simplex"}},
            "kernel bernoulli draws from gaussian",
        ),
        ({"kernel": "cold", "target": "eps"}, r"target eps: with kernel cold the network tells the mask \(x0\)"),
        ({"kernel": "cold", "noise": {"kind": "simplex"}}, "noise.kind simplex: kernel cold draws from gaussian"),
        ({"defaults": {"t": (300,)}}, r"defaults.t \[300\]: masks are drawn from noise alone \(leave it out\)"),
    ],
)
def test_settings_without_a_meaning_are_refused(mask_recipes, change, said):
    data = mask_recipes["segment"].model_dump()
    assert data["noise"]["kind"] == "gaussian"
    with pytest.raises(UadError, match=said):
        parse(Recipe, data | change, "r")


def test_flips_are_told_by_cross_entropy_alone(mask_recipes):
    data = mask_recipes["bernoulli"].model_dump()
    data["training"] |= {"loss": "l1"}
    with pytest.raises(UadError, match=r"training.loss l1: flips are told by cross-entropy"):
        parse(Recipe, data, "r")
