"""ANDi: distances between the network's steps back and the true ones, by hand on 2x2 images."""

import numpy as np
import pytest
import torch

from uadtools.diffusion.process import add_noise, both
from uadtools.diffusion.schedule import Schedule
from uadtools.errors import UadError
from uadtools.methods import andi

SCHEDULE = Schedule.of("linear")


class Sees:
    """Sees x0 = base + t / 1000 behind every pixel, and keeps what it was asked."""

    def __init__(self, base):
        self.schedule, self.base, self.asked = SCHEDULE, base, []

    def predict(self, x_t, t, *, clamp=False):
        self.asked.append((t, x_t.clone()))
        return both(self.base + t / 1000, "x0", x_t, t, self.schedule, clamp=clamp)


def mean_of_step(x0, x_t, t):
    """The mean of q(x_{t-1} | x_t, x0), as Ho et al. write it (eq. 7)."""
    beta, now, before = SCHEDULE.betas[t], SCHEDULE.alpha_bar(t), SCHEDULE.alpha_bar(t - 1)
    return (np.sqrt(before) * beta * x0 + np.sqrt(1 - beta) * (1 - before) * x_t) / (1 - now)


def test_the_map_is_the_geometric_mean_of_the_distances_of_the_steps():
    x = torch.tensor([[0.5, -0.2], [0.0, 0.9]], dtype=torch.float64).view(1, 1, 2, 2)
    base = torch.tensor([[0.5, 0.3], [-0.4, -0.9]], dtype=torch.float64).view(1, 1, 2, 2)
    draws = [torch.randn(1, 1, 2, 2, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in range(9)]
    left, model = iter(draws), Sees(base)
    made = andi.heal(model, x, andi.Options(t=200, low=100, steps=3), lambda: next(left))
    assert made.healed is None
    assert [t for t, _ in model.asked] == [100, 150, 200]
    distances = []
    for (t, x_t), eps in zip(model.asked, draws, strict=False):
        torch.testing.assert_close(x_t, add_noise(x, t, eps, SCHEDULE), rtol=0, atol=1e-12)
        distances.append(abs(mean_of_step(base + t / 1000, x_t, t) - mean_of_step(x, x_t, t)).numpy())
    expected = np.prod(distances, axis=0) ** (1 / 3)
    np.testing.assert_allclose(made.maps["anomaly"].numpy(), expected, rtol=1e-9)
    assert made.maps["anomaly"][0, 0, 1, 1] > made.maps["anomaly"][0, 0, 0, 0]


def test_channels_are_one_distance():
    """Euclidean, over two channels that are 3 and 4 units off."""
    x = torch.zeros(1, 2, 2, 2, dtype=torch.float64)
    apart = torch.tensor([3.0, 4.0], dtype=torch.float64).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    made = andi.heal(Sees(apart - 0.1), x, andi.Options(t=100, low=100), lambda: torch.zeros_like(x))
    expected = 5 * SCHEDULE.posterior(100).x0_weight
    np.testing.assert_allclose(made.maps["anomaly"].numpy(), np.full((1, 1, 2, 2), expected), rtol=1e-9)


def test_where_the_network_always_knows_the_scan_there_is_next_to_nothing():
    x = torch.rand(2, 1, 4, 4, dtype=torch.float64)

    class Knows(Sees):
        def predict(self, x_t, t, *, clamp=False):
            return both(x, "x0", x_t, t, self.schedule)

    made = andi.heal(Knows(x), x, andi.Options(), lambda: torch.randn_like(x))
    np.testing.assert_allclose(made.maps["anomaly"].numpy(), andi.NEAREST, rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "low", "count"),
    [
        ({}, 75, 126),
        ({"t": 100}, 37, 64),
        ({"low": 0}, 0, 201),
        ({"t": 0}, 0, 1),
        ({"low": 200}, 200, 1),
        ({"steps": 10}, 75, 10),
        ({"t": 80, "low": 75, "steps": 50}, 75, 6),
    ],
)
def test_the_range_and_how_much_of_it_is_asked(given, low, count):
    options, x = andi.Options(**given), torch.zeros(1, 1, 2, 2)
    model = Sees(x)
    andi.heal(model, x, options, lambda: x)
    asked = [t for t, _ in model.asked]
    assert (asked[0], len(asked), options.evaluations((2, 2))) == (low, count, count)
    assert count == 1 or asked[-1] == options.t


@pytest.mark.parametrize("low", [-1, 201])
def test_a_range_that_is_none_is_refused(low):
    with pytest.raises(UadError, match=f"--low {low}: outside 0 to 200"):
        andi.Options(low=low)
