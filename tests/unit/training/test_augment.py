import json

import numpy as np
import pytest
import torch
from scipy import ndimage

from uadtools.interface.recipe import AugmentConfig
from uadtools.training.augment import POWERS, Drawn, apply, draw

NO_BIAS = (0,) * len(POWERS)
MOVES = {"flip": 0.5, "affine": 0.7, "degrees": 20, "scale": 0.2, "shift": 3}
ALL = AugmentConfig(**MOVES, blur=0.5, bias=0.5, gamma=0.3, gamma_share=0.5, ghosting=0.5)
PLAIN = [[1, 0, 0], [0, 1, 0]]


def drawn(config, batch=64, shape=(12, 20), seed=0):
    return draw(config, batch, shape, np.random.default_rng(seed))


def made(*rows, blur=(0, 0), bias=NO_BIAS, gamma=1.0, ghost=(0, 0, 0)):
    return Drawn(*(np.array([part], dtype=np.float32) for part in (rows or PLAIN, blur, bias, gamma, ghost)))


def part(changes, i):
    return Drawn(*(values[i : i + 1] for values in vars(changes).values()))


def scan(batch=3, shape=(12, 20)):
    """Values of all sizes in [0, 1], with 0 and 1 among them."""
    x = torch.rand(batch, 1, *shape, generator=torch.Generator().manual_seed(0))
    x[:, :, 0, :4] = torch.tensor([0.0, 1.0, 1e-3, 6e-8])
    return x


def test_a_recipe_without_changes_keeps_every_value():
    x = scan(64)
    assert torch.equal(apply(x, drawn(AugmentConfig())), x)


def test_amounts_without_chances_keep_every_value():
    x = scan(64)
    assert torch.equal(apply(x, drawn(AugmentConfig(degrees=20, scale=0.2, shift=3))), x)


def test_all_halves_are_kept():
    x = torch.from_numpy(np.arange(15361, dtype=np.uint16).view(np.float16).astype(np.float32))[None, None, None]
    assert x.max() == 1
    assert torch.equal(apply(x, drawn(AugmentConfig(), 1, (1, 15361))), x)


def test_slices_that_are_not_drawn_keep_every_value_beside_others_that_are():
    x, changes = scan(64), drawn(AugmentConfig(flip=0.3, affine=0.3, degrees=20))
    plain = (changes.matrices == np.array(PLAIN)).all(axis=(1, 2))
    assert 0 < plain.sum() < 64
    after = apply(x, changes)
    assert torch.equal(after[plain], x[plain])
    assert all((after[i] - x[i]).abs().max() > 0.01 for i in np.flatnonzero(~plain))


def test_a_flip_mirrors_left_and_right():
    x = scan()
    np.testing.assert_allclose(apply(x, drawn(AugmentConfig(flip=1), 3)), x.flip(3), rtol=0, atol=1e-5)


def test_the_share_of_flips_and_affines():
    changes = drawn(AugmentConfig(flip=0.25), 4000)
    assert (changes.matrices[:, 0, 0] == -1).mean() == pytest.approx(0.25, abs=0.03)
    changes = drawn(AugmentConfig(affine=0.25, degrees=10), 4000)
    assert (changes.matrices[:, 0, 1] != 0).mean() == pytest.approx(0.25, abs=0.03)


def test_a_shift_is_in_pixels():
    """The matrix leads from output to input: a shift by one pixel shows what lay one pixel further."""
    x = scan()
    after = apply(x[:1], made([1, 0, 2 / 20], [0, 1, -2 / 12]))
    np.testing.assert_allclose(after[0, 0, 1:, :-1], x[0, 0, :-1, 1:], rtol=0, atol=1e-5)
    assert not after[0, 0, 0].any()
    changes = drawn(AugmentConfig(affine=1, shift=3), 4000)
    pixels = changes.matrices[:, :, 2] * np.array([20, 12]) / 2
    assert 2.9 < np.abs(pixels).max() <= 3


def test_a_quarter_turn_on_a_rectangle():
    """Angles are those of the pixels, not of the stretched [-1, 1] square."""
    x = torch.zeros(1, 1, 8, 16)
    x[0, 0, 3:5, 4:12] = 1

    class Quarter:
        @staticmethod
        def random(size):
            return np.full(size, 0.5)

        @staticmethod
        def uniform(low, high, size):
            return np.full(size, high if high == 90 else 0.0)

        @staticmethod
        def integers(low, high=None, size=None, endpoint=False):
            return np.zeros(size, int)

    config = AugmentConfig(affine=1, degrees=90)
    after = apply(x, draw(config, 1, (8, 16), Quarter()))
    expected = torch.zeros_like(x)
    expected[0, 0, :, 7:9] = 1
    np.testing.assert_allclose(after, expected, rtol=0, atol=1e-5)


def test_a_zoom_enlarges_or_shrinks():
    x = torch.zeros(1, 1, 16, 16)
    x[0, 0, 4:12, 4:12] = 1
    half = apply(x, made([2, 0, 0], [0, 2, 0]))
    assert half.sum().item() == pytest.approx(16, rel=0.2)


def test_gamma_bends_the_values_and_keeps_0_and_1():
    x = scan(1)
    np.testing.assert_allclose(apply(x, made(gamma=2.0)), x**2, rtol=0, atol=1e-6)
    bent = apply(scan(64), drawn(AugmentConfig(gamma=0.5)))
    assert not bent[:, :, 0, 0].any()
    assert (bent[:, :, 0, 1] == 1).all()
    gammas = np.log(drawn(AugmentConfig(gamma=0.5), 4000).gammas)
    assert 0.48 < np.abs(gammas).max() <= 0.5


def test_values_stay_in_0_to_1():
    after = apply(scan(64), drawn(ALL))
    assert after.min() >= 0
    assert after.max() <= 1
    assert after.shape == (64, 1, 12, 20)


def test_the_same_generator_draws_the_same():
    one, again, other = drawn(ALL), drawn(ALL), drawn(ALL, seed=1)
    for name, values in vars(one).items():
        np.testing.assert_array_equal(values, vars(again)[name])
    assert np.abs(one.matrices - other.matrices).max() > 0.1
    assert torch.equal(apply(scan(64), one), apply(scan(64), again))


def test_a_batch_is_changed_as_its_items_are():
    x, changes = scan(8), drawn(ALL, 8)
    alone = [apply(x[i : i + 1], part(changes, i)) for i in range(8)]
    np.testing.assert_allclose(apply(x, changes), torch.cat(alone), rtol=0, atol=1e-6)


def test_a_batch_of_windows_is_changed_alike_in_all_its_channels():
    x, changes = scan(4), drawn(ALL, 4)
    np.testing.assert_allclose(apply(x.repeat(1, 3, 1, 1), changes)[:, [2]], apply(x, changes), rtol=0, atol=1e-6)


@pytest.mark.parametrize("deviations", [(0.7, 0.7), (1.0, 0.0), (0.0, 0.5)])
def test_blur_is_a_gaussian_of_its_own_along_each_axis(deviations):
    x = scan(1, (24, 20))
    expected = ndimage.gaussian_filter(x[0, 0].numpy(), deviations, mode="nearest", truncate=6)
    np.testing.assert_allclose(apply(x, made(blur=deviations))[0, 0], expected, rtol=0, atol=1e-3)


def test_bias_is_smooth_and_keeps_the_brightest_and_the_background():
    x = torch.ones(1, 1, 12, 20)
    x[0, 0, :, :4] = 0
    after = apply(x, made(bias=[0.5 * (power == (1, 0)) for power in POWERS]))[0, 0]
    assert not after[:, :4].any()
    assert after.max() == 1
    ratio = after[:, 5:] / after[:, 4:-1]
    np.testing.assert_allclose(ratio, np.exp(0.5 * 2 / 19), rtol=1e-5)


def test_ghosts_repeat_the_head_along_one_axis():
    x = torch.zeros(1, 1, 32, 32)
    x[0, 0, 12:20, 12:20] = 1
    for axis in (0, 1):
        after = apply(x, made(ghost=(2, axis, 1.0)))[0, 0]
        if axis == 1:
            after = after.T
        assert after[:, :12].abs().max() < 1e-5  # nothing beside it
        # every other line alone would leave half of it, and minus half of it half the image away; their mean is kept
        np.testing.assert_allclose(after[12:20, 14], 0.75, rtol=0, atol=1e-5)
        np.testing.assert_allclose(after[28:, 14], 0.25, rtol=0, atol=1e-5)


def test_the_shares_and_ranges_of_what_cddpm_draws():
    changes = drawn(AugmentConfig(blur=0.25, bias=0.25, gamma=0.3, gamma_share=0.5, ghosting=0.5), 4000)
    blurred, drifting = changes.blurs.any(axis=1), changes.biases.any(axis=1)
    curved, ghosted = changes.gammas != 1, changes.ghosts[:, 0] > 0
    shares = [chosen.mean() for chosen in (blurred, drifting, curved, ghosted)]
    np.testing.assert_allclose(shares, [0.25, 0.25, 0.5, 0.5], rtol=0, atol=0.03)
    assert 0.9 < changes.blurs.max() <= 1
    assert 0.49 < np.abs(changes.biases).max() <= 0.5
    assert set(changes.ghosts[ghosted, 0]) == set(range(4, 11))
    assert set(changes.ghosts[ghosted, 1]) == {0, 1}
    assert changes.ghosts[ghosted, 2].min() >= 0.5


def test_what_was_drawn_can_be_told():
    told = drawn(ALL, 2).rows()
    assert json.loads(json.dumps(told)) == told
    assert [set(row) for row in told] == [{"matrices", "blurs", "biases", "gammas", "ghosts"}] * 2
