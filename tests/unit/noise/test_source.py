import numpy as np
import pytest
import torch

from uadtools.models.config import NoiseConfig
from uadtools.noise.simplex import noise_at, permutations, simplex_fields
from uadtools.noise.source import SliceNoise, fields

CPU = torch.device("cpu")
SEEDS = np.arange(200)


def test_gaussian_fields_have_mean_0_and_variance_1():
    made = fields(NoiseConfig(kind="gaussian"), (1, 32, 32), SEEDS)
    assert made.shape == (200, 1, 32, 32)
    assert made.dtype == np.float32
    assert abs(made.mean()) < 0.01
    assert abs(made.std() - 1) < 0.01


def test_unit_simplex_fields_have_mean_0_and_variance_1_each():
    made = fields(NoiseConfig(kind="simplex", scale="unit"), (1, 48, 32), SEEDS[:5])
    np.testing.assert_allclose(made.mean(axis=(2, 3)), 0, rtol=0, atol=1e-5)
    np.testing.assert_allclose(made.std(axis=(2, 3)), 1, rtol=0, atol=1e-5)


def test_unit_is_raw_scaled_and_shifted():
    raw, unit = (
        fields(NoiseConfig(kind="simplex", scale=scale), (1, 32, 32), SEEDS[:1]).ravel().astype(float)
        for scale in ("raw", "unit")
    )
    np.testing.assert_allclose(unit, (raw - raw.mean()) / raw.std(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "pyramid", "levels": 2},
        {"kind": "pyramid", "discount": 0.5},
        {"kind": "poisson", "photons": 9.0},
        {"kind": "speckle", "looks": 3.0},
    ],
)
def test_every_setting_of_the_others_is_read(change):
    plain, changed = (fields(NoiseConfig(**c), (2, 16, 24), SEEDS[:1]) for c in ({"kind": change["kind"]}, change))
    assert plain.shape == changed.shape == (1, 2, 16, 24)
    assert np.abs(plain - changed).max() > 0.01
    assert np.abs(plain[:, 0] - plain[:, 1]).max() > 0.1  # channels have noise of their own


@pytest.mark.parametrize("change", [{"octaves": 3}, {"persistence": 0.5}, {"frequency": 2.0**-4}])
def test_every_setting_of_simplex_noise_is_read(change):
    plain, changed = (fields(NoiseConfig(kind="simplex", **c), (1, 16, 16), SEEDS[:1]) for c in ({}, change))
    assert np.abs(plain - changed).max() > 0.01
    np.testing.assert_array_equal(changed[:, 0], simplex_fields((16, 16), SEEDS[:1], **change))


@pytest.mark.parametrize("kind", ["gaussian", "simplex", "pyramid", "poisson", "speckle"])
def test_channels_have_noise_of_their_own(kind):
    """Else the difference of two contrasts would show them without noise."""
    seeds = np.array([5, 2**63 - 1])
    made = fields(NoiseConfig(kind=kind), (2, 32, 24), seeds)
    for one, other in made:
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.7
    if kind == "simplex":
        np.testing.assert_array_equal(
            made[:, :1], fields(NoiseConfig(kind=kind), (1, 32, 24), np.array([5, 2**63 - 1]))
        )


def test_one_octave_is_plain_noise_at_the_pixels():
    """Columns are x, rows are y."""
    made = simplex_fields((5, 7), np.array([3]), octaves=1, frequency=0.25)[0]
    points = 0.25 * np.array([(x, y) for y in range(5) for x in range(7)], dtype=float)
    np.testing.assert_allclose(made.ravel(), noise_at(points, np.array([3]))[0], rtol=0, atol=1e-7)


def test_permutations_hold_every_number_once():
    tables = permutations(np.array([0, -1, 2**63 - 1, -(2**63), 7]))
    np.testing.assert_array_equal(np.sort(tables, axis=1), np.tile(np.arange(256), (5, 1)))
    assert len({tuple(table) for table in tables}) == 5


@pytest.mark.parametrize("kind", ["gaussian", "simplex", "pyramid", "poisson", "speckle"])
def test_slices_draw_from_streams_of_their_own(kind):
    keys = [(0, 1, 250, 0), (0, 2, 250, 0), (0, 1, 250, 1), (0, 1, 250, 0)]
    noise = SliceNoise(NoiseConfig(kind=kind), (1, 8, 12), keys, CPU)
    first, second = noise(), noise()
    assert first.shape == (4, 1, 8, 12)
    assert first.dtype == torch.float32
    assert torch.equal(first[0], first[3])
    for other in (first[1], first[2], second[0]):
        assert (first[0] - other).abs().max() > 0.1
    again = SliceNoise(NoiseConfig(kind=kind), (1, 8, 12), keys, CPU)
    assert torch.equal(again(), first)
    assert torch.equal(again(), second)


def test_neighbouring_pixels_are_alike_in_simplex_noise_alone():
    def likeness(kind):
        made = fields(NoiseConfig(kind=kind), (1, 32, 32), SEEDS[:20]).astype(float)
        made = made - made.mean(axis=(2, 3), keepdims=True)
        return (made[..., 1:] * made[..., :-1]).mean() / made.var()

    assert likeness("simplex") > 0.8
    assert abs(likeness("gaussian")) < 0.05
