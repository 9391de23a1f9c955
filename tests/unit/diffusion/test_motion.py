"""Masks that are moved: from their place, where nothing is done to them, out of the image."""

import math

import numpy as np
import pytest
import torch

from uadtools.diffusion.motion import TURN, moved
from uadtools.diffusion.samplers import cold
from uadtools.diffusion.schedule import Schedule
from uadtools.diffusion.steps import spaced

SHAPE = (32, 48)
LINEAR = Schedule.of("linear")


def blobs(count, seed=0):
    """Masks, (count, 1, H, W), of a smooth blob near the middle each, and where that is, in pixels from there."""
    rng = np.random.default_rng(seed)
    down, along = (np.arange(n) - (n - 1) / 2 for n in SHAPE)
    places = rng.uniform(-4, 4, (count, 2))
    far = (down[:, None] - places[:, :1, None]) ** 2 + (along - places[:, 1:, None]) ** 2
    return torch.from_numpy(np.exp(-far / 8)).float()[:, None], places


def noise(count, seed=0):
    return torch.randn(count, 1, *SHAPE, generator=torch.Generator().manual_seed(seed))


def test_before_the_first_step_a_mask_is_where_it_was():
    mask = (torch.rand(4, 1, *SHAPE) < 0.3).float()
    torch.testing.assert_close(moved(mask, -1, noise(4), LINEAR), mask, rtol=0, atol=1e-5)
    assert (moved(mask, 30, noise(4), LINEAR) - mask).abs().max() > 0.1


def test_after_the_last_step_nothing_is_left():
    assert moved(torch.ones(64, 1, *SHAPE), 999, noise(64), LINEAR).max() < 1e-3


def test_an_empty_mask_stays_one():
    assert not moved(torch.zeros(4, 1, *SHAPE), torch.tensor([-1, 0, 300, 999]), noise(4), LINEAR).any()


@pytest.mark.parametrize("t", [0, 20, 60, 100])
def test_a_mask_is_turned_about_the_middle_and_shifted_by_its_share(t):
    """By hand, from where its centre of mass was."""
    (mask, places), eps, share = blobs(6), noise(6), 1 - LINEAR.alpha_bar(t)
    made = moved(mask, t, eps, LINEAR)[:, 0].double().numpy()
    for image, (y, x), drawn in zip(made, places, eps[:, 0, 0, :3].tolist(), strict=True):
        angle = share * TURN * math.erf(drawn[2] / math.sqrt(2))
        length = share * math.hypot(*SHAPE)
        turned = np.array([math.cos(angle) * y + math.sin(angle) * x, math.cos(angle) * x - math.sin(angle) * y])
        wanted = turned + length * np.array([drawn[1], drawn[0]]) / math.hypot(drawn[0], drawn[1])
        index = [np.arange(n) - (n - 1) / 2 for n in SHAPE]
        found = [(image.sum(axis=1 - axis) * index[axis]).sum() / image.sum() for axis in range(2)]
        np.testing.assert_allclose(found, wanted, atol=0.05)


def test_each_goes_its_own_way_in_any_batch_and_at_steps_of_its_own():
    (mask, _), eps, steps = blobs(3), noise(3), [5, 60, 150]
    made = moved(mask, torch.tensor(steps), eps, LINEAR)
    for i, t in enumerate(steps):
        torch.testing.assert_close(made[i : i + 1], moved(mask[i : i + 1], t, eps[i : i + 1], LINEAR))
    same = mask[:1].expand(3, -1, -1, -1)
    assert (moved(same, 60, eps, LINEAR)[0] - moved(same, 60, eps, LINEAR)[1]).abs().max() > 0.1


@pytest.mark.parametrize("steps", [1, 5, 50])
def test_the_cold_walk_of_who_knows_the_mask_goes_where_that_goes(steps):
    (mask, _), eps = blobs(3), noise(3)

    def degraded(x0, t):
        return moved(x0, t, eps, LINEAR)

    def knows(x_t, t):
        torch.testing.assert_close(x_t, degraded(mask, t), rtol=0, atol=1e-5)
        return mask

    *_, last = cold(knows, torch.zeros_like(mask), spaced(999, steps), degraded)
    torch.testing.assert_close(last.x_t, mask, rtol=0, atol=1e-5)
