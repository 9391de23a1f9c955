"""restore and disyre, with networks whose answers are known."""

import math

import pytest
import torch

from uadtools import methods
from uadtools.diffusion.samplers import blended, cold
from uadtools.diffusion.steps import spaced
from uadtools.nets.restored import restored

CLEAN = torch.linspace(-0.9, 0.9, 32).view(2, 1, 4, 4)


class Perfect:
    """A network that knows the clean slices, and says that what differs from them was changed."""

    channels = 1

    def __init__(self):
        self.asked = []

    def ask(self, x, t):
        self.asked.append(t[0].item())
        middle = x[:, [x.shape[1] // 2]]
        mirrored = len(self.asked) > 1 and torch.equal(x.flip(-1), self.first)
        self.first = x if len(self.asked) == 1 else self.first
        clean = CLEAN.flip(-1) if mirrored else CLEAN
        return torch.cat([clean - middle, 40 * (middle - clean).abs() - 4], dim=1)


@pytest.fixture
def slabs():
    made = CLEAN.repeat(1, 5, 1, 1)
    made[:, :, 1:3, 1:3] += 0.3
    return made


@pytest.mark.parametrize(
    ("name", "options", "asked"),
    [
        ("restore", {}, [999]),
        ("restore", {"t": 300}, [300]),
        ("restore", {"flips": True}, [999, 999]),
        ("disyre", {}, [999, 799, 599, 399, 199]),
        ("disyre", {"t": 400, "steps": 2}, [400, 200]),
        ("disyre", {"accumulate": "mean"}, [999, 799, 599, 399, 199]),
    ],
)
def test_with_a_perfect_network_the_clean_scan_comes_back(slabs, name, options, asked):
    module, model = methods.get(name), Perfect()
    chosen = module.Options(**options)
    made = module.heal(model, slabs, chosen, None)
    torch.testing.assert_close(made.healed, CLEAN, rtol=0, atol=1e-5)
    assert model.asked == asked
    assert len(asked) == chosen.evaluations((4, 4))
    probability = made.maps["probability"]
    assert probability.shape == CLEAN.shape
    assert (probability[:, :, 1:3, 1:3] > 0.9).all()
    assert chosen.maps == ("probability",)


def test_the_walk_takes_equal_steps_from_a_constant_guess():
    """The change left is the share of severities left."""
    x, goal = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    left = [step.x_t.mean().item() for step in cold(lambda x_t, s: goal, x, spaced(99, 4), blended(x, 99))]
    assert left == pytest.approx([0.75, 0.5, 0.25, 0.0], abs=0.011)


def test_the_walk_asks_about_where_it_arrived_and_leaves_the_neighbours():
    seen = []

    class Model:
        channels = 1

        def ask(self, x, t):
            seen.append(x)
            return torch.cat([-x[:, 1:2], torch.zeros_like(x[:, :1])], dim=1)

    module = methods.get("disyre")
    module.heal(Model(), torch.ones(1, 3, 2, 2), module.Options(t=99, steps=2), None)
    assert seen[1][0, 0].mean() == seen[1][0, 2].mean() == 1
    assert seen[1][0, 1].mean().item() == pytest.approx(0.5, abs=0.02)


def test_the_mean_asks_about_the_scan_itself_at_each_severity():
    seen = []

    class Model:
        channels = 1

        def ask(self, x, t):
            seen.append(x)
            t = t[0].item()
            return torch.cat([t / 1000 - x[:, 1:2], torch.full_like(x[:, :1], -t / 100.0)], dim=1)

    module, x = methods.get("disyre"), torch.ones(1, 3, 2, 2)
    made = module.heal(Model(), x, module.Options(t=99, steps=2, accumulate="mean"), None)
    assert len(seen) == 2
    assert all(torch.equal(slab, x) for slab in seen)
    assert made.healed.mean().item() == pytest.approx((0.099 + 0.049) / 2)
    assert made.maps["probability"].mean().item() == pytest.approx(1 / (1 + math.exp(0.49)))  # the larger one


def test_a_network_that_answers_nothing_leaves_the_slice():
    x = torch.rand(2, 7, 4, 4)
    made = restored(x, torch.zeros(2, 2, 4, 4))
    torch.testing.assert_close(made.x0, x[:, 3:4], rtol=0, atol=0)
    assert not made.logit.any()
