"""The autoencoder of bits tells how much of its bits it uses."""

import numpy as np
import pytest
import torch

from uadtools.latents import binary


class Slices:
    """Four slices, of which each is its own number everywhere."""

    def __len__(self):
        return 4

    def windows(self, chosen, reach, device=None):
        return torch.as_tensor(np.asarray(chosen, dtype=np.float32)).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)

    def seen(self, x):
        return x


class Net:
    """Five bits: always 0, always 1, 1 in half of the slices, in a quarter, and in an eighth of the places."""

    def encode(self, x):
        one = torch.zeros_like(x)
        one[:, :, 0, 0] = (x[:, :, 0, 0] < 2).float()
        return torch.cat([torch.zeros_like(x), torch.ones_like(x), (x < 2).float(), (x < 1).float(), one], dim=1)


def test_channels_that_are_always_the_same_are_unused_and_hold_nothing():
    made = binary.measure(Net(), Slices(), torch.device("cpu"))
    half, quarter, eighth = (-p * np.log2(p) - (1 - p) * np.log2(1 - p) for p in (1 / 2, 1 / 4, 1 / 8))
    assert made.used == pytest.approx(3 / 5)
    assert made.entropy == pytest.approx((half + quarter + eighth) / 5, abs=1e-6)
    assert str(made) == "60% of the channels used, 0.47 bits a bit"
