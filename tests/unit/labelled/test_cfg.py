"""Classifier-free guidance: classes are dropped as often as the recipe says, and lead where they should; AnoFPDM."""

import numpy as np
import pytest
import torch

from uadtools.diffusion.process import ConditionedDenoiser, both
from uadtools.diffusion.schedule import Schedule
from uadtools.interface.learning import Batch
from uadtools.interface.recipe import Recipe
from uadtools.labelled import anofpdm, cfg
from uadtools.methods.encode import there_and_back
from uadtools.models.model import build, load_model
from uadtools.nets.classifier import HEALTHY, NONE, SICK

SHAPE = (3, 1, 8, 6)
HOW = {"t": 300, "steps": 10}


def test_classes_are_dropped_as_often_as_the_recipe_says(weak_recipes):
    recipe, told = weak_recipes["cfg"], []

    def net(x_t, t, kinds):
        told.append(kinds)
        return x_t

    count = 4000
    batch = Batch(torch.zeros(count, 1, 2, 2), np.arange(count), sick=torch.arange(count) % 2 == 0)
    cfg.loss(recipe, net, batch, 0)
    none = told[0] == NONE
    deviation = np.sqrt(0.35 * 0.65 / count)
    assert none.float().mean().item() == pytest.approx(0.35, abs=4 * deviation)
    assert none[batch.sick].float().mean().item() == pytest.approx(0.35, abs=6 * deviation)
    assert torch.equal(told[0][~none], torch.where(batch.sick, SICK, HEALTHY)[~none])
    cfg.loss(recipe, net, batch, 0)
    assert torch.equal(told[0], told[1])
    for share in (0.0, 1.0):
        cfg.loss(recipe.model_copy(update={"p_drop": share}), net, batch, 0)
        assert (told[-1] == NONE).float().mean() == share


def test_the_noise_does_not_depend_on_what_is_dropped(weak_recipes):
    seen = []

    def net(x_t, t, kinds):
        seen.append((x_t, t))
        return x_t

    batch = Batch(torch.zeros(5, 1, 16, 16), np.arange(5), sick=torch.ones(5, dtype=torch.bool))
    for share in (0.0, 1.0):
        cfg.loss(weak_recipes["cfg"].model_copy(update={"p_drop": share}), net, batch, 0)
    assert torch.equal(seen[0][0], seen[1][0])
    assert torch.equal(seen[0][1], seen[1][1])


@pytest.mark.parametrize("start", [False, True])
def test_the_loss_of_a_batch_is_the_mean_of_its_slices(weak_recipes, start):
    recipe = weak_recipes["cfg"]
    torch.manual_seed(0)
    net = build(recipe).eval()
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    x0, seeds, sick = torch.rand(4, 1, 16, 16) * 2 - 1, np.arange(4), torch.tensor([True, False, True, False])
    together = cfg.loss(recipe, net, Batch(x0, seeds, sick=sick), 0)
    alone = [cfg.loss(recipe, net, Batch(x0[i : i + 1], seeds[i : i + 1], sick=sick[i : i + 1]), 0) for i in range(4)]
    torch.testing.assert_close(together, torch.stack(alone).mean(), rtol=1e-4, atol=1e-5)


class Lesions:
    """A model that sees the scan behind all noise: without its lesion where it is told "healthy", less of it by a tenth
    where it is told nothing.
    """

    def __init__(self, scan, lesion):
        self.schedule, self.scan, self.lesion, self.net, self.asked = Schedule.of("linear"), scan, lesion, self, []

    def code(self, kind, count):
        return torch.tensor({HEALTHY: 1.0, NONE: 0.1, SICK: 0.0}[kind], dtype=torch.float64).expand(count, 1)

    def predict(self, x_t, t, *, clamp=False, code=None):
        self.asked.append(t)
        x0 = self.scan - code.view(-1, 1, 1, 1) * self.lesion
        return both(x0, "x0", x_t, t, self.schedule, clamp=clamp)


@pytest.fixture
def scan():
    return torch.linspace(-0.2, 0.5, 144, dtype=torch.float64).view(SHAPE)


@pytest.fixture
def lesion():
    """0.4 in four pixels of the first slice, half of that in the second; the third is healthy."""
    made = torch.zeros(SHAPE, dtype=torch.float64)
    made[:2, 0, 3:5, 2:4] = torch.tensor([0.4, 0.2]).view(2, 1, 1)
    return made


def test_the_lesion_is_healed_as_far_as_the_guidance_says(scan, lesion):
    for guidance, expected in ((0.0, 0.1), (1.0, 1.0), (0.5, 0.55)):
        options = cfg.Options(**HOW, guidance=guidance, percentile=100.0)
        made = cfg.heal(Lesions(scan, lesion), scan, options, lambda: 1 / 0).healed
        torch.testing.assert_close(made, scan - expected * lesion, rtol=0, atol=1e-9)


def test_guidance_of_0_is_a_walk_that_is_told_nothing(scan, lesion):
    model = Lesions(scan, lesion)
    plain = ConditionedDenoiser(model, model.code(NONE, 3))
    expected = there_and_back(plain, plain, scan, 300, 10, lambda: 1 / 0)
    made = cfg.heal(model, scan, cfg.Options(**HOW, guidance=0.0, percentile=100.0), lambda: 1 / 0).healed
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-6)


def test_what_is_led_too_bright_is_scaled_back(scan, lesion):
    for percentile in (100.0, 99.0):
        options = cfg.Options(**HOW, guidance=10.0, percentile=percentile)
        made = cfg.heal(Lesions(scan, -lesion), scan, options, lambda: 1 / 0).healed
        assert made.max() <= 1
        ratio = (made[0, 0, 0] + 1) / (scan[0, 0, 0] + 1)
        assert ratio.max() < 0.9
        torch.testing.assert_close(ratio, ratio[:1].expand(6), rtol=0, atol=1e-6)
    torch.testing.assert_close(made[2], scan[2], rtol=0, atol=1e-9)


@pytest.mark.parametrize("method", [cfg, anofpdm])
@pytest.mark.parametrize(("t", "steps"), [(300, 10), (5, 6), (0, 1)])
def test_what_is_asked_is_what_is_said(method, t, steps, scan, lesion):
    model, options = Lesions(scan, lesion), method.Options(t=t, steps=steps)
    method.heal(model, scan, options, lambda: 1 / 0)
    assert len(model.asked) == options.evaluations(SHAPE[2:])


@pytest.mark.parametrize("method", [cfg, anofpdm])
def test_a_slice_is_healed_alike_in_any_batch(weak_models, method):
    model = load_model(weak_models["cfg"], device="cpu", precision="fp32")
    x = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0)) - 0.5
    options = method.Options(t=60, steps=4)
    whole = method.heal(model, x, options, lambda: 1 / 0)
    for i in range(3):
        alone = method.heal(model, x[i : i + 1], options, lambda: 1 / 0)
        for one, other in zip((alone.healed, *alone.maps.values()), (whole.healed, *whole.maps.values()), strict=True):
            if one is not None:
                torch.testing.assert_close(one, other[i : i + 1], rtol=0, atol=1e-5)


def test_each_slice_is_watched_up_to_the_step_where_being_led_matters_most():
    """By hand: two slices of one pixel, three steps."""
    x = torch.zeros(2, 1, 1, 1)
    led = [torch.tensor([a, b]).view(2, 1, 1, 1) for a, b in ((0.2, 1.0), (0.6, 0.4), (0.8, 0.2))]
    plain = [torch.tensor([a, b]).view(2, 1, 1, 1) for a, b in ((0.2, 0.0), (0.0, 0.0), (0.7, 0.0))]
    made = anofpdm.aggregated(x, led, plain).flatten()
    expected = [np.sqrt((0.2**2 + 0.6**2) / 2) / 2, 1.0 / 2]
    np.testing.assert_allclose(made.numpy(), expected, rtol=0, atol=1e-6)


def test_the_map_is_where_being_led_changes_what_is_seen(scan, lesion):
    model = Lesions(scan, lesion)
    made = anofpdm.heal(model, scan, anofpdm.Options(**HOW, guidance=2.0), lambda: 1 / 0)
    assert made.healed is None
    found = made.maps["anomaly"]
    # led: 0.1 + 2 (1 - 0.1) = 1.9 times the lesion less than the scan, in the units of [0, 1]
    torch.testing.assert_close(found, (1.9 * lesion / 2).clamp(min=anofpdm.LOWEST), rtol=0, atol=1e-9)
    plain = anofpdm.heal(model, scan, anofpdm.Options(**HOW, guidance=0.0), lambda: 1 / 0).maps["anomaly"]
    torch.testing.assert_close(plain, (0.1 * lesion / 2).clamp(min=anofpdm.LOWEST), rtol=0, atol=1e-9)


def test_a_recipe_without_a_model_begins_with_fresh_weights(weak_recipes):
    data = weak_recipes["cfg"].model_dump(exclude={"network"})
    assert Recipe.model_validate(data | {"network": {"base": 8, "groups": 4}}).donor is None
