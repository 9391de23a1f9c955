"""Masks drawn in their latent: who knows that draws what it decodes to, and what is trained."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from uadtools.diffusion.process import add_noise, eps_from_x0
from uadtools.diffusion.schedule import Schedule
from uadtools.errors import UadError
from uadtools.healing.plan import plan
from uadtools.interface.learning import Batch, drawn
from uadtools.interface.recipe import Recipe
from uadtools.labelled import lsegdiff
from uadtools.labelled._lesions import distance
from uadtools.labelled.segment import Beside
from uadtools.metrics.ranking import average_precision
from uadtools.models.config import parse
from uadtools.models.model import Model, build, load_model
from uadtools.training.loop import Trainer
from uadtools.training.state import fresh

CPU = torch.device("cpu")
LINEAR = Schedule.of("linear")


class Knows(nn.Module):
    """Knows the latent, (B, D, h, w), and answers what a network is asked for; notes what it sees beside it, and t."""

    def __init__(self, z, target):
        super().__init__()
        self.z, self.target, self.asked = z, target, []

    def forward(self, x, t):
        seen, noisy = x.split([x.shape[1] - self.z.shape[1], self.z.shape[1]], dim=1)
        self.asked.append((seen.clone(), t.tolist()))
        return self.z if self.target == "x0" else eps_from_x0(noisy, int(t[0]), self.z, LINEAR)


def noises(shape, seed=0):
    drawn = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(shape, generator=drawn)


@pytest.fixture
def model(mask_models):
    return load_model(mask_models["lsegdiff"], device="cpu", precision="fp32")


@pytest.mark.parametrize("target", ["x0", "eps"])
def test_who_knows_the_latent_draws_what_that_decodes_to(model, target):
    mask, x, asked = (torch.rand(2, 1, 16, 16) < 0.3).float(), torch.randn(2, 3, 16, 16), []
    z = model.net.encode(2 * mask - 1)
    model.net.unet = net = Knows(z, target)
    knowing = replace(model, config=model.config.model_copy(update={"target": target}), asked=asked.append)
    (options,) = plan(model.config, steps=7).options
    made = lsegdiff.heal(knowing, x, options, noises((2, 3, 8, 8)))
    assert made.healed is None
    torch.testing.assert_close(made.maps["anomaly"], model.net.decode(z).sigmoid(), rtol=0, atol=1e-4)
    places = x.view(2, 3, 8, 2, 8, 2).permute(0, 1, 3, 5, 2, 4).reshape(2, 12, 8, 8)
    assert all(torch.equal(seen, places) for seen, _ in net.asked)
    assert [t for _, t in net.asked] == [[t, t] for t in (999, 856, 713, 570, 428, 285, 142)]
    assert sum(asked) == 2 * options.evaluations((16, 16)) == 14


@pytest.mark.parametrize(("eta", "draws"), [(0.0, 1), (1.0, 4)])
def test_noise_is_of_the_latents_size_and_drawn_where_eta_has_it(model, eta, draws):
    (options,), drawn = plan(model.config, steps=4, eta=eta).options, []
    source = model.noise((16, 16), [(1, 0)])

    def counted():
        drawn.append(source())
        return drawn[-1]

    lsegdiff.heal(model, torch.zeros(1, 3, 16, 16), options, counted)
    assert [noise.shape for noise in drawn] == [(1, 3, 8, 8)] * draws


def test_latents_lie_within_1_and_the_walk_is_kept_there(model):
    assert model.net.encode(100 * torch.randn(2, 1, 16, 16)).abs().max() <= 1
    model.net.unet = Knows(5 * torch.ones(1, 3, 8, 8), "x0")
    made = lsegdiff.heal(model, torch.zeros(1, 3, 16, 16), lsegdiff.Options(steps=3), noises((1, 3, 8, 8)))
    torch.testing.assert_close(made.maps["anomaly"], model.net.decode(torch.ones(1, 3, 8, 8)).sigmoid())


def test_the_loss_tells_mask_and_latent_and_leaves_out_what_is_ignored(mask_recipes):
    """By hand: a network that answers the same everywhere."""

    class Same(nn.Module):
        def forward(self, x, t):
            self.seen, self.t = x, t
            return torch.full_like(x[:, :3], 0.5)

    recipe, x, seeds = mask_recipes["lsegdiff"], 2 * torch.rand(3, 3, 16, 16) - 1, np.arange(3)
    net, labels = build(recipe), (torch.rand(3, 1, 16, 16) < 0.2).to(torch.uint8)
    net.unet, labels[0, 0, :7] = Same(), 2
    lesion, counted = (labels == 1).float(), labels != 2
    made = lsegdiff.loss(recipe, net, Batch(x, seeds, labels=labels), 0)
    z = net.encode(2 * lesion - 1)
    t, eps, _ = drawn(recipe, z, seeds)
    mask = distance(net.decode(z + 0.2 * eps), x[:, 1:2], labels)
    places = counted.view(3, 1, 8, 2, 8, 2).all(dim=5).all(dim=3)
    latent = ((0.5 - z) ** 2).mean(dim=1, keepdim=True)[places].mean()
    assert (~places).sum() == 32
    assert made.item() == pytest.approx((mask + latent).item(), rel=1e-5)
    torch.testing.assert_close(net.unet.seen[:, 12:], add_noise(z, t, eps, LINEAR))
    assert torch.equal(net.unet.t, t)


def test_the_noise_teaches_the_autoencoder_nothing(mask_recipes):
    recipe, labels = mask_recipes["lsegdiff"], (torch.rand(2, 1, 16, 16) < 0.2).to(torch.uint8)
    x, gradients = torch.rand(2, 3, 16, 16), []
    for scale in (1, 3):
        torch.manual_seed(0)
        net = build(recipe)
        torch.nn.init.normal_(net.unet.out_conv.weight)
        lsegdiff.loss(recipe, net, Batch(scale * x, np.arange(2), labels=labels), 0).backward()
        gradients.append([weight.grad.clone() for part in (net.encoder, net.decoder) for weight in part.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    assert all(gradient.any() for gradient in gradients[0][::2])


def test_what_is_shown_is_drawn_elsewhere_and_nothing_where_there_is_no_lesion(mask_recipes, sick):
    data, count = mask_recipes["lsegdiff"].model_dump(), 8
    training = data["training"] | {"steps": 120, "batch": 8, "log_every": 120, "validate_every": 120}
    recipe = Recipe.model_validate(data | {"training": training})
    others, state = sick(count, 1), fresh(recipe, 0, CPU)
    list(Trainer(recipe, sick(16, 0), None, 0, CPU, torch.float32).run(state))
    model, noise = Model(recipe.model({}), state.average.eval(), CPU), noises((count, 3, 8, 8))
    x, truth = others.seen(others.windows(np.arange(count), 1)), torch.from_numpy(others.labels == 1)[:, None].float()
    with torch.no_grad():
        again = model.net.decode(model.net.encode(2 * truth - 1)).sigmoid()
        draws = [lsegdiff.heal(model, x, lsegdiff.Options(steps=8), noise).maps["anomaly"] for _ in range(4)]
    mean = torch.stack(draws).mean(dim=0)
    assert average_precision(again[:, 0].numpy(), others.labels == 1) > 0.9
    assert average_precision(mean[:, 0].numpy(), others.labels == 1) > 0.7
    assert mean[1::2].max() < 0.4 < mean[::2].max()
    assert mean.min() > 0


def test_the_probe_decodes_what_the_network_makes_of_slices(model):
    x = torch.rand(2, 3, 16, 16)
    beside = Beside(model, F.pixel_unshuffle(x, 2))
    told = model.net.decode(beside.predict(torch.zeros(2, 3, 8, 8), 0).x0)
    assert torch.equal(lsegdiff.probe(model, x), told)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"noise": {"kind": "simplex"}}, "noise.kind simplex: latents are noised with gaussian"),
        ({"defaults": {"t": (300,)}}, r"defaults.t \[300\]: masks are drawn from noise alone \(leave it out\)"),
        ({"kernel": "cold"}, "kernel: without a meaning for models of kind 'lsegdiff'"),
        ({"grid": {"shape": (18, 16, 8)}}, "18 is no multiple of 4"),
    ],
)
def test_settings_without_a_meaning_are_refused(mask_recipes, change, said):
    data = mask_recipes["lsegdiff"].model_dump()
    assert data["noise"]["kind"] == "gaussian"
    with pytest.raises(UadError, match=said) as fault:
        parse(Recipe, data | change, "r")
    assert "\n" not in str(fault.value)


def test_the_walk_has_no_more_steps_than_the_schedule(model):
    with pytest.raises(UadError, match=r"^--steps 1001: from noise alone there are 1 to 1000$"):
        plan(model.config, steps=1001)
