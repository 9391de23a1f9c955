"""What is done with maps of slices, against SciPy."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from uadtools.interface.maps import closed, dilated, over_quantile, quantiles, smoothed


@pytest.fixture
def maps():
    return torch.rand(3, 1, 17, 23, generator=torch.Generator().manual_seed(0))


def each(function, maps):
    return np.stack([function(one)[None] for one in maps[:, 0].numpy()])


@pytest.mark.parametrize("size", [3, 13])
def test_morphology_is_that_of_scipy(maps, size):
    square = (size, size)
    np.testing.assert_array_equal(
        dilated(maps, size), each(lambda m: ndimage.grey_dilation(m, square, mode="nearest"), maps)
    )
    np.testing.assert_array_equal(
        closed(maps, size), each(lambda m: ndimage.grey_closing(m, square, mode="nearest"), maps)
    )


def test_smoothing_is_that_of_scipy(maps):
    expected = each(lambda m: ndimage.gaussian_filter(m, 2.0, mode="nearest"), maps)
    np.testing.assert_allclose(smoothed(maps, 2.0), expected, rtol=0, atol=1e-6)


def test_each_slice_is_divided_by_a_quantile_of_its_own(maps):
    maps = maps * torch.tensor([1.0, 10.0, 0.0]).view(3, 1, 1, 1)
    inside = maps < 5
    made = over_quantile(maps, inside, 0.95).numpy()
    for i in range(2):
        level = np.quantile(maps[i].numpy()[inside[i].numpy()], 0.95)
        np.testing.assert_allclose(made[i], maps[i].numpy() / level, rtol=1e-5)
    assert not made[2].any()
    nothing = over_quantile(maps, torch.zeros_like(inside), 0.95)
    assert torch.equal(nothing, maps)
    assert quantiles(maps, maps < 0, 0.95).shape == (3, 1, 1, 1)
    assert not quantiles(maps, maps < 0, 0.95).any()
