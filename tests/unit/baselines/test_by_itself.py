"""The methods without a model: threshold and blur."""

import subprocess
import sys

import numpy as np
import pytest

from uadtools.baselines import blur, threshold
from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.metrics.ranking import average_precision
from uadtools.volume.io import Image

SHAPE = (20, 18, 15)


def scan(data, spacing=(2.0, 2.0, 2.0), signs=(1, 1, 1)):
    return Image(data.astype(np.float32), Grid(data.shape, np.diag([*np.multiply(spacing, signs), 1.0])), "scan")


@pytest.fixture
def brain():
    places = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))
    return (places**2).sum(axis=0) < 0.9


@pytest.fixture
def values(brain):
    return np.where(brain, np.random.default_rng(0).uniform(0.1, 0.9, SHAPE), 0)


def test_threshold_heals_to_the_median_of_the_brain(brain, values):
    made = threshold.heal(scan(values), brain, threshold.Options())
    assert made.dtype == np.float32
    assert (made[brain] == np.float32(np.median(values[brain].astype(np.float32)))).all()


def test_the_bright_half_of_the_threshold_finds_what_the_intensity_finds(brain, values):
    """Where all lesions are brighter than usual, as in FLAIR, the ranking is that of the intensity itself."""
    x = values[brain].astype(np.float32)
    truth = x > np.random.default_rng(1).uniform(0.5, 1.2, x.shape)
    assert x[truth].min() > np.median(x)
    residual = x - threshold.heal(scan(values), brain, threshold.Options())[brain]
    expected = average_precision(x, truth)
    assert average_precision(np.maximum(residual, 0), truth) == pytest.approx(expected, abs=1e-9)
    assert 0.3 < expected < 0.9


def test_blur_keeps_what_is_the_same_everywhere_up_to_the_edge(brain):
    made = blur.heal(scan(0.4 * brain), brain, blur.Options())
    np.testing.assert_allclose(made[brain], 0.4, rtol=0, atol=1e-5)


def test_blur_is_a_gaussian_average_of_the_brain(brain, values):
    """By the formula, voxel by voxel, at a few places."""
    spacing, sigma = (2.0, 1.0, 3.0), 4.0
    made = blur.heal(scan(values, spacing), brain, blur.Options(sigma))
    places = np.moveaxis(np.indices(SHAPE), 0, -1) * spacing
    for voxel in [(10, 9, 7), (4, 9, 7), (10, 9, 13)]:
        assert brain[voxel]
        weight = np.exp(-((places - places[voxel]) ** 2).sum(axis=-1) / (2 * sigma**2)) * brain
        assert made[voxel] == pytest.approx((weight * values).sum() / weight.sum(), abs=2e-3)


def test_the_wider_the_blur_the_nearer_to_the_mean(brain, values):
    spread = [blur.heal(scan(values), brain, blur.Options(sigma))[brain].std() for sigma in (1, 4, 16)]
    assert spread[0] > 2 * spread[1] > 4 * spread[2]


def test_blur_smooths_pictures_one_by_one(brain, values):
    """A stack of pictures is one in which slices are no neighbours; it is turned as pictures are, LPS."""
    other, here = values.copy(), np.arange(15) == 7
    other[:, :, here] *= 0.5
    for signs, changed in (((-1, -1, 1), here), ((1, 1, 1), here | True)):
        one, two = (blur.heal(scan(v, signs=signs), brain, blur.Options()) for v in (values, other))
        np.testing.assert_array_equal((one != two).any(axis=(0, 1)), changed)


@pytest.mark.parametrize("sigma", [0, -1.0, float("nan"), float("inf")])
def test_a_width_that_is_none_is_refused(sigma):
    with pytest.raises(UadError, match=r"--sigma .*: a width in mm, above 0"):
        blur.Options(sigma)


def test_one_voxel_of_brain_stays_what_it_is():
    data = np.zeros((5, 5, 1))
    data[2, 2] = 0.7
    for module in (blur, threshold):
        assert module.heal(scan(data), data > 0, module.Options())[2, 2, 0] == pytest.approx(0.7, abs=1e-6)


def test_neither_loads_torch():
    code = (
        "import sys; from uadtools.healing.plan import plan; import uadtools.healing.heal; "
        "plan(method='blur'), plan(method='threshold'); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
