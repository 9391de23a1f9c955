"""With a network that knows the healthy image, walks that keep what is healthy give it back, and say what was not."""

import pytest
import torch
from oracles import Gaussian, Knows

from uadtools.diffusion.schedule import Schedule
from uadtools.methods import autoddpm, ddpm, encode, thor

SHAPE = (2, 1, 8, 6)


class Perceives(Knows):
    """Finds images unlike, everywhere alike, where they differ anywhere."""

    def perceive(self, x, other):
        return (x != other).flatten(1).any(dim=1).view(-1, 1, 1, 1) * torch.full_like(x, 0.5)


def drawn(seed, scale=1.0):
    return scale * torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def noises():
    seeds = iter(range(10_000, 20_000))
    return lambda: drawn(next(seeds))


@pytest.fixture
def healthy():
    return drawn(0, 0.3).clamp(-0.6, 0.6)


@pytest.fixture
def scan(healthy):
    """With a lesion in the first slice, of 4 pixels, which is more than a twentieth; the other is healthy."""
    lesion = torch.zeros(SHAPE, dtype=torch.float64)
    lesion[0, 0, 3:5, 2:4] = 0.3
    return healthy + lesion


WALKS = [(autoddpm, {"t": 200}), (autoddpm, {"t": 60, "again": 10, "repeats": 1}), (thor, {}), (thor, {"every": 50})]


@pytest.mark.parametrize("target", ["eps", "x0"])
@pytest.mark.parametrize(("method", "how"), WALKS)
def test_the_healthy_image_comes_back_and_the_lesion_is_what_was_found(method, how, target, healthy, scan):
    model = Perceives(healthy, Schedule.of("linear"), target)
    exact = {"rtol": 0, "atol": 1e-9}
    made = method.heal(model, scan, method.Options(**how), noises())
    torch.testing.assert_close(made.healed, healthy, **exact)
    # autoddpm: 0.5 times a residual of 1 (over its percentile) times 0.15; thor: 0.5 times 0.15, in [0, 1]
    torch.testing.assert_close(made.maps["anomaly"], 0.25 * (scan - healthy), **exact)
    torch.testing.assert_close(made.maps["perceptual"][0], torch.full(SHAPE[1:], 0.5, dtype=torch.float64), **exact)


@pytest.mark.parametrize("variance", ["small", "large"])
def test_the_truth_comes_back_whatever_the_variance(variance, healthy, scan):
    model = Perceives(healthy, Schedule.of("linear"), "eps")
    made = ddpm.heal(model, scan, ddpm.Options(variance=variance), noises())
    torch.testing.assert_close(made.healed, healthy, rtol=0, atol=1e-9)


def test_what_was_encoded_is_decoded_as_steps_grow():
    """A network without a lesion in its data gives back the scan all the same: there is no way to another one."""
    model, x = Gaussian(Schedule.of("linear")), drawn(3, 0.3).clamp(-1, 1)
    errors = [
        (encode.heal(model, x, encode.Options(t=500, steps=steps), noises()).healed - x).abs().max().item()
        for steps in (10, 50, 250)
    ]
    assert errors[1] < errors[0] / 3
    assert errors[2] < errors[1] / 3
    assert errors[2] < 0.02
