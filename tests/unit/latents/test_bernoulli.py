"""Bernoulli diffusion: which bits it heals, and which stay the scan's."""

from types import SimpleNamespace

import pytest
import torch

from uadtools.diffusion.schedule import Schedule
from uadtools.errors import UadError
from uadtools.latents import bernoulli
from uadtools.models.config import ModelConfig, parse

SHAPE = (2, 3, 4, 4)
CERTAIN = 60.0
"""A logit beyond doubt."""


class Model:
    """Three bits for 4x4 pixels: brighter than -.5, 0, .5; the network knows the healthy ones, of an image of .3."""

    schedule = Schedule.of("linear")

    def __init__(self, logits=None):
        self.net, self.asked, self.logits = self, [], logits

    def encode(self, x):
        mean = torch.nn.functional.avg_pool2d(x, 4)
        return torch.cat([mean > level for level in (-0.5, 0.0, 0.5)], dim=1).float()

    def decode(self, z):
        self.z = z
        return torch.nn.functional.interpolate(z.sum(dim=1, keepdim=True) / 2 - 1, scale_factor=4)

    def ask(self, z_t, t):
        self.asked.append(t.tolist())
        if self.logits:
            return self.logits(z_t, int(t[0]))
        return CERTAIN * (2 * (z_t - self.encode(torch.full((2, 1, 16, 16), 0.3))).abs() - 1)


def noises(shape=SHAPE):
    generator = torch.Generator().manual_seed(0)
    return lambda: torch.randn(shape, generator=generator)


def test_with_all_flips_known_the_healthy_bits_come_back(x):
    model = Model()
    made = bernoulli.heal(model, x, bernoulli.Options(), noises())
    assert torch.equal(model.z, model.encode(torch.full_like(x, 0.3)))
    assert (made.maps["flipped"][0, :, :4, :8] >= 1 / 3 - 1e-6).all()
    assert model.asked == [[t, t] for t in range(200, -1, -1)]
    assert len(model.asked) == bernoulli.Options().evaluations((16, 16)) == 201


def test_few_steps_take_as_many_evaluations(x):
    model, options = Model(), bernoulli.Options(steps=4)
    bernoulli.heal(model, x, options, noises())
    assert torch.equal(model.z, model.encode(torch.full_like(x, 0.3)))
    assert model.asked == [[t, t] for t in (200, 150, 100, 49)]
    assert len(model.asked) == options.evaluations((16, 16))


def test_where_nothing_is_sure_the_bits_are_the_scans(x):
    for logits, sure in ((None, 1.0), (lambda z_t, t: torch.zeros_like(z_t), 0.5)):
        model = Model(logits)
        made = bernoulli.heal(model, x, bernoulli.Options(t=40, sure=sure), noises())
        assert torch.equal(model.z, model.encode(x))
        assert torch.equal(made.healed, model.decode(model.encode(x)))
        assert not made.maps["flipped"].any()
        assert made.maps["flipped"].shape == x.shape


def test_what_was_sure_once_is_healed_to_the_end(x):
    """In the left half a bit is flipped with .9 at t = 1 and .4 at t = 0, in the right one with .4 at both."""
    left = torch.zeros(SHAPE, dtype=torch.bool)
    left[..., :2] = True
    draws = iter([torch.full(SHAPE, 9.0), torch.full(SHAPE, -9.0)])  # no flips, and then ones

    def logits(z_t, t):
        return torch.logit(torch.where(left & (t == 1), 0.9, 0.4))

    model = Model(logits)
    dark = torch.full_like(x, -0.9)  # zeros
    made = bernoulli.heal(model, dark, bernoulli.Options(t=1), lambda: next(draws))
    assert torch.equal(model.z == 1, left)
    assert torch.equal(made.maps["flipped"] == 1, left[:, :1].repeat_interleave(4, 2).repeat_interleave(4, 3))


@pytest.mark.parametrize(("sure", "share"), [(0.0, 1.0), (0.55, 2 / 3), (0.65, 1 / 3), (0.75, 0.0)])
def test_the_limit_is_what_the_probability_must_be_above(x, sure, share):
    probability = torch.tensor([0.5, 0.6, 0.7]).view(1, 3, 1, 1).expand(SHAPE)
    model = Model(lambda z_t, t: torch.logit(probability))
    made = bernoulli.heal(model, x, bernoulli.Options(t=0, sure=sure), noises())
    torch.testing.assert_close(made.maps["flipped"], torch.full_like(x, share), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"noise": {"kind": "simplex"}}, "noise.kind simplex: bits are flipped by gaussian"),
        ({"target": "x0"}, r"target x0: the network tells what was flipped \(eps\)"),
        ({"grid": {"shape": [96, 88, 8]}}, "88 is no multiple of 16"),
        ({"autoencoder": {"codes": 3}}, "autoencoder.codes: unknown key"),
        ({"network": {"axes": 3}}, "models of kind 'bernoulli' see slices"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change, said):
    network = {"base": 8, "multipliers": [1, 2], "groups": 4} | change.get("network", {})
    with pytest.raises(UadError, match=said):
        parse(ModelConfig, {"name": "m", "kind": "bernoulli", **change, "network": network}, "here")


def test_noise_has_a_number_for_each_bit():
    settings = bernoulli.Settings.model_construct(autoencoder=SimpleNamespace(bits=5, divisor=8))
    assert settings.noise_shape((64, 32)) == (5, 8, 4)
