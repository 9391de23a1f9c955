"""Slices with lesions to learn from."""

import numpy as np
import pytest

from uadtools.training.data import Slices


@pytest.fixture
def sick():
    """Make grey slices of a scan, of which every second has a bright square somewhere."""

    def make(count, seed):
        rng = np.random.default_rng(seed)
        waves, labels = rng.uniform(0.38, 0.42, (count, 16, 16)), np.zeros((count, 16, 16), np.uint8)
        for pixels, label in zip(waves[::2], labels[::2], strict=True):
            y, x = rng.integers(1, 12, 2)
            pixels[y : y + 3, x : x + 3], label[y : y + 3, x : x + 3] = 0.9, 1
        return Slices(waves.astype(np.float16), np.zeros(count, int), labels=labels)

    return make
