"""Counterfactuals: saliency of a classifier whose gradient is known, and two walks that are one at each step."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from uadtools.diffusion.process import both
from uadtools.diffusion.schedule import Schedule
from uadtools.labelled import counterfactual
from uadtools.methods import ddpm, encode
from uadtools.models.model import load_model

SHAPE = (2, 1, 16, 12)
HOW = {"t": 60, "steps": 8}
EVERY = {"t": 20, "steps": 21}
NEAR = {"rtol": 0, "atol": 1e-6}


class Looks(nn.Module):
    """Says "sick" as loud as the weighted sum of the pixels in one place is."""

    def __init__(self, rows=slice(6, 9), columns=slice(4, 7), weight=0.1):
        super().__init__()
        self.weight = torch.zeros(SHAPE[1:], dtype=torch.float64)
        self.weight[:, rows, columns] = weight

    def forward(self, x, t):
        return (x * self.weight).sum(dim=(1, 2, 3)) + t / 1000


class Sees:
    """A model that sees half of each pixel behind all noise, or a scan that it knows, and notes what it is asked."""

    def __init__(self, classifier=None, knows=None):
        self.schedule, self.net = Schedule.of("linear"), SimpleNamespace(classifier=classifier)
        self.knows, self.asked = knows, []

    def predict(self, x_t, t, *, clamp=False):
        self.asked.append(x_t)
        x0 = x_t / 2 if self.knows is None else self.knows.expand_as(x_t)
        return both(x0, "x0", x_t, t, self.schedule, clamp=clamp)


@pytest.fixture
def scan():
    return torch.linspace(-0.6, 0.5, 384, dtype=torch.float64).view(SHAPE)


def noises(shape=SHAPE, skip=0):
    generator = torch.Generator().manual_seed(0)

    def draw():
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    for _ in range(skip):
        draw()
    return draw


def half():
    """Masks, one half of each slice."""
    mask = torch.zeros(SHAPE, dtype=torch.float64)
    mask[:, :, :8] = 1
    return mask


def test_with_no_mask_it_is_noise_encoding(scan):
    expected = encode.heal(Sees(), scan, encode.Options(**HOW), lambda: 1 / 0).healed
    for model, options in (
        (Sees(Looks(weight=0.0)), counterfactual.Options(**HOW)),  # nothing is salient
        (Sees(Looks()), counterfactual.Options(**HOW, salient=100.0)),
    ):
        made = counterfactual.heal(model, scan, options, noises())
        torch.testing.assert_close(made.healed, expected, **NEAR)


def test_with_all_masked_it_is_ddpm(scan):
    options = counterfactual.Options(**EVERY)
    expected = ddpm.heal(Sees(), scan, ddpm.Options(t=20), noises()).healed
    made = counterfactual.fused(Sees(), scan, torch.ones_like(scan), options, noises())
    torch.testing.assert_close(made, expected, **NEAR)
    looks = Looks()
    looks.weight = torch.linspace(0.1, 0.2, 192, dtype=torch.float64).view(SHAPE[1:])
    whole = counterfactual.heal(Sees(looks), scan, replace(options, salient=0.0), noises()).healed
    drawn = ddpm.heal(Sees(), scan, ddpm.Options(t=20), noises(skip=len(counterfactual.LEVELS))).healed
    torch.testing.assert_close(whole, drawn, **NEAR)


def test_each_side_of_the_mask_goes_its_own_way_in_one_image(scan):
    """The model sees each pixel by itself: inside all is as in ddpm, and outside as in encode, at every step."""
    models = [Sees(), Sees(), Sees()]
    options, inside = counterfactual.Options(**EVERY), half() > 0
    made = counterfactual.fused(models[0], scan, half(), options, noises())
    walks = (
        ddpm.heal(models[1], scan, ddpm.Options(t=20), noises()).healed,
        encode.heal(models[2], scan, encode.Options(**EVERY), lambda: 1 / 0).healed,
    )
    torch.testing.assert_close(made, torch.where(inside, *walks), **NEAR)
    for fused, drawn, coded in zip(*(model.asked[-21:] for model in models), strict=True):
        torch.testing.assert_close(fused, torch.where(inside, drawn, coded), **NEAR)


def test_saliency_is_where_the_classifier_looks(scan):
    """By hand: of a linear classifier it is |weight| times the mean of C(sick), here under hardly any smoothing."""
    looks, x = Looks(), scan.clone()
    x[:, :, :, 0] = -1
    noise = torch.zeros(SHAPE, dtype=torch.float64)
    found = counterfactual.saliency(Sees(looks), x, lambda: noise)
    assert found.shape == SHAPE
    assert not found[:, :, :, 0].any()
    schedule = Schedule.of("linear")
    sick = sum(
        torch.sigmoid(looks(x * schedule.alpha_bar(t) ** 0.5, torch.full((2,), t))) for t in counterfactual.LEVELS
    )
    total = sick / 3 * looks.weight.sum()
    torch.testing.assert_close(found.sum(dim=(1, 2, 3)), total, rtol=0.05, atol=0)  # some is smoothed off the image
    assert (found.flatten(1).argmax(dim=1) == 7 * 12 + 5).all()


def test_saliency_of_several_contrasts_is_their_mean(scan):
    class First(nn.Module):
        def forward(self, x, t):
            return Looks()(x[:, :1], t)

    one = counterfactual.saliency(Sees(Looks()), scan, lambda: torch.zeros_like(scan))
    both_of_them = scan.expand(-1, 2, -1, -1)
    two = counterfactual.saliency(Sees(First()), both_of_them, lambda: torch.zeros_like(both_of_them))
    torch.testing.assert_close(two, one / 2, **NEAR)
    options = counterfactual.Options(**HOW)
    made = counterfactual.heal(Sees(First()), both_of_them, options, noises((2, 2, 16, 12)))
    assert (made.healed.shape, made.maps["anomaly"].shape) == ((2, 2, 16, 12), SHAPE)


def test_a_lesion_is_found_where_the_classifier_looks_and_a_change_elsewhere_hardly(scan):
    """The model knows the healthy scan; the lesion is 0.4 in what the classifier looks at, and 0.4 far from there."""
    lesion = torch.zeros(SHAPE, dtype=torch.float64)
    lesion[:, :, 6:9, 4:7] = lesion[:, :, 0, 0] = 0.4
    model = Sees(Looks(), knows=scan)
    made = counterfactual.heal(model, scan + lesion, counterfactual.Options(**HOW), noises())
    torch.testing.assert_close(made.healed, scan, **NEAR)
    found = made.maps["anomaly"]
    torch.testing.assert_close(found[:, :, 7, 5], torch.full_like(found[:, :, 7, 5], 0.2), **NEAR)
    assert (found[:, :, 0, 0] < 0.02).all()


@pytest.mark.parametrize(("t", "steps"), [(60, 8), (5, 6), (0, 1)])
def test_what_is_asked_is_what_is_said(t, steps, scan):
    model, options = Sees(Looks()), counterfactual.Options(t=t, steps=steps)
    counterfactual.heal(model, scan, options, noises())
    assert len(model.asked) == options.evaluations(SHAPE[2:])


def test_a_slice_is_healed_alike_in_any_batch(weak_models):
    model = load_model(weak_models["classifier"], device="cpu", precision="fp32")
    x = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0)) - 0.5
    options, keys = counterfactual.Options(**HOW), [(0, i, 60, 0) for i in range(3)]
    whole = counterfactual.heal(model, x, options, model.noise((16, 16), keys))
    assert (whole.healed - encode.heal(model, x, encode.Options(**HOW), None).healed).abs().max() > 1e-3
    for i in range(3):
        alone = counterfactual.heal(model, x[i : i + 1], options, model.noise((16, 16), keys[i : i + 1]))
        torch.testing.assert_close(alone.healed, whole.healed[i : i + 1], rtol=0, atol=1e-5)
        torch.testing.assert_close(alone.maps["anomaly"], whole.maps["anomaly"][i : i + 1], rtol=0, atol=1e-5)
