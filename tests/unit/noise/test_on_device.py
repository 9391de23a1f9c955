"""Simplex noise by torch is simplex noise by NumPy."""

import numpy as np
import pytest
import torch

from uadtools.models.config import NoiseConfig
from uadtools.noise import source
from uadtools.noise.on_device import permutations_on, simplex_on
from uadtools.noise.simplex import permutations, simplex_fields

SEEDS = np.array([0, 1, -5, 2**62, -(2**63), 2**63 - 1], dtype=np.int64)


def test_the_shuffles_are_the_same():
    np.testing.assert_array_equal(permutations_on(torch.from_numpy(SEEDS)).numpy(), permutations(SEEDS))


@pytest.mark.parametrize("options", [{}, {"unit": True}, {"octaves": 2, "persistence": 0.5, "frequency": 0.1}])
@pytest.mark.parametrize("shape", [(32, 32), (24, 40)])
def test_fields_agree(shape, options):
    made = simplex_on(shape, torch.from_numpy(SEEDS), **options)
    assert made.shape == (len(SEEDS), *shape)
    assert made.dtype == torch.float32
    np.testing.assert_allclose(made.numpy(), simplex_fields(shape, SEEDS, **options), rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("error")
def test_nothing_is_said_about_it():
    simplex_on((8, 12), torch.from_numpy(SEEDS[:1]), frequency=0.03)


def test_a_gpu_computes_its_own(monkeypatch):
    """There is none here: what it would be asked is computed on the CPU."""
    asked = []

    def on_cpu(shape, seeds, **options):
        asked.append(shape)
        return simplex_on(shape, seeds, **options)

    class Gpu:
        type = "cuda"

    monkeypatch.setattr(source, "simplex_on", on_cpu)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device: self)
    config = NoiseConfig(kind="simplex", scale="unit")
    made = source.fields_on(config, (2, 16, 24), SEEDS, Gpu())
    np.testing.assert_allclose(made.numpy(), source.fields(config, (2, 16, 24), SEEDS), rtol=0, atol=1e-5)
    assert asked == [(16, 24)] * 2  # for each channel
