import math

import numpy as np
import pytest
from scipy.stats import entropy
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from uadtools.errors import UadError
from uadtools.metrics.image import _histogram, histogram_kld, l1, psnr, ssim, ssim_map

WANG = {"gaussian_weights": True, "use_sample_covariance": False, "data_range": 1.0}
"""What scikit-image says gives the figure of the paper."""


def images(size=(24, 25, 26), dtype=np.float64, seed=0):
    """An image with a background of zeros, and a noisy twin."""
    rng = np.random.default_rng(seed)
    a = rng.random(size)
    a[:8] = 0
    b = np.clip(a + 0.2 * rng.normal(size=size) * (a > 0), 0, 1)
    return a.astype(dtype), b.astype(dtype)


@pytest.mark.parametrize("size", [(40, 37), (24, 25, 26)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("sigma", [0.3, 1.5, 2.0])
def test_gaussian_ssim_is_that_of_scikit_image(size, dtype, tolerance, sigma):
    a, b = images(size, dtype)
    expected, expected_map = structural_similarity(a, b, sigma=sigma, full=True, **WANG)
    assert ssim(a, b, size=sigma) == pytest.approx(expected, abs=tolerance)
    np.testing.assert_allclose(ssim_map(a, b, size=sigma), expected_map, rtol=0, atol=10 * tolerance)


@pytest.mark.parametrize("size", [(40, 37), (24, 25, 26)])
@pytest.mark.parametrize("width", [3, 7])
def test_uniform_ssim_is_that_of_scikit_image(size, width):
    a, b = images(size)
    expected, expected_map = structural_similarity(a, b, win_size=width, full=True, data_range=1.0)
    assert ssim(a, b, kernel="uniform", size=width) == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(ssim_map(a, b, kernel="uniform", size=width), expected_map, rtol=0, atol=1e-12)


def test_a_larger_data_range_forgives_more():
    a, b = images()
    expected = structural_similarity(a, b, **WANG | {"data_range": 2.0})
    assert ssim(a, b, data_range=2.0) == pytest.approx(expected, abs=1e-12)
    assert ssim(a, b, data_range=2.0) > ssim(a, b)


def test_an_image_is_like_itself():
    a, _ = images()
    np.testing.assert_allclose(ssim_map(a, a), 1, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ssim_map(a * 0, a * 0), 1, rtol=0, atol=1e-12)


def test_ssim_within_a_mask_is_the_mean_of_the_map_there():
    a, b = images()
    within = np.random.default_rng(1).random(a.shape) < 0.3
    assert ssim(a, b, within) == pytest.approx(ssim_map(a, b)[within].mean(), abs=1e-12)


def test_a_thin_slab_has_an_ssim_only_within_a_mask():
    a, b = images((24, 25, 4))
    with pytest.raises(UadError, match=r"\(24, 25, 4\) is smaller than the window of 11 voxels"):
        ssim(a, b)
    assert 0 < ssim(a, b, a > 0) < 1


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
def test_the_map_of_what_fits_into_single_precision_is_single(dtype):
    a, b = (image.astype(dtype) for image in images())
    assert ssim_map(a, b).dtype == np.float32


@pytest.mark.parametrize(
    ("kernel", "size"), [("uniform", 1), ("uniform", 4), ("uniform", 3.5), ("gaussian", 0), ("gaussian", math.nan)]
)
def test_impossible_kernels_are_told(kernel, size):
    with pytest.raises(UadError, match=r"kernel of .*\(give"):
        ssim_map(*images(), kernel=kernel, size=size)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_psnr_is_that_of_scikit_image(dtype):
    a, b = images(dtype=dtype)
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1.0), abs=1e-6)
    assert psnr(a, b, data_range=2) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=2), abs=1e-6)


def test_psnr_of_an_image_to_itself_is_infinite():
    a, _ = images()
    assert psnr(a, a) == math.inf


def test_l1_is_the_mean_absolute_difference():
    a, b = np.array([0.0, 0.5, 1.0]), np.array([0.5, 0.5, 0.0])
    assert l1(a, b) == pytest.approx(0.5, abs=1e-15)
    assert l1(a, b, np.array([True, True, False])) == pytest.approx(0.25, abs=1e-15)


def test_integers_do_not_wrap_around():
    a, b = np.array([0, 250], dtype=np.uint8), np.array([10, 240], dtype=np.uint8)
    assert l1(a, b) == 10
    assert psnr(a, b, data_range=255) == pytest.approx(20 * math.log10(25.5), abs=1e-12)


def test_kld_is_that_of_scipy():
    a, b = images()
    p, q = (np.histogram(image, 500, (0, 1))[0] + 1 for image in (a, b))
    assert histogram_kld(a, b) == pytest.approx(entropy(p, q), rel=0.03)
    within = a > 0.5
    p, q = (np.histogram(image[within], 20, (0, 1))[0] + 1 for image in (a, b))
    assert histogram_kld(a, b, within, bins=20) == pytest.approx(entropy(p, q), rel=0.01)


def test_kld_does_not_count_the_gaps_between_grey_levels():
    """An 8-bit scan of few levels is as like its smooth self as a scan of many."""
    smooth = np.random.default_rng(0).beta(2, 3, 200_000)
    few = np.round(smooth * 60) / 60
    p, q = (np.histogram(v, 500, (0, 1))[0] + 1 for v in (few, smooth))
    assert entropy(p, q) > 1.5
    assert histogram_kld(few, smooth) < 0.01
    assert histogram_kld(few**2, smooth) == pytest.approx(histogram_kld(smooth**2, smooth), rel=0.02)


def test_the_histogram_counts_every_voxel_once():
    for values in (np.full(7, 0.3), np.array([0.0, 1.0]), np.array([-1.0, 0.2, 0.2, 3.0])):
        assert _histogram(values, 10).sum() == pytest.approx(len(values), abs=1e-9)


def test_kld_is_zero_for_like_histograms_and_above_for_unlike_ones_of_one_entropy():
    a, _ = images()
    assert histogram_kld(a, a[::-1]) == 0
    low, high = np.full(1000, 0.1), np.full(1000, 0.9)
    assert histogram_kld(low, high) == pytest.approx(1000 * math.log(1001) / 1500, abs=1e-12)


def test_kld_counts_what_lies_beyond_in_the_end_bins():
    a, b = np.array([-3.0, 0.5, 7.0]), np.array([0.2, 0.3, 0.4])
    assert histogram_kld(a, b) == histogram_kld(np.clip(a, 0, 1), b) > 0


FIGURES = [ssim, psnr, l1, histogram_kld]


@pytest.mark.parametrize("figure", FIGURES)
def test_of_no_voxel_every_figure_is_undefined(figure):
    a, b = images()
    assert math.isnan(figure(a, b, np.zeros(a.shape, dtype=bool)))


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_voxels_that_are_not_numbers_are_refused(figure, bad):
    a, b = images()
    b[12, 12, 12] = bad
    for pair in [(a, b), (b, a)]:
        with pytest.raises(UadError, match="NaN or infinite"):
            figure(*pair)


def test_voxels_outside_the_mask_need_be_no_numbers():
    a, b = images()
    within = a > 0
    expected = [figure(a, b, within) for figure in (psnr, l1, histogram_kld)]
    b[~within] = np.nan
    assert [figure(a, b, within) for figure in (psnr, l1, histogram_kld)] == expected


@pytest.mark.parametrize("figure", FIGURES)
def test_shapes_that_differ_are_told(figure):
    a, b = images()
    with pytest.raises(UadError, match="shapes differ"):
        figure(a, b.T)
    with pytest.raises(UadError, match=r"within \(26, 25, 24\)"):
        figure(a, b, a.T > 0)


def test_the_input_is_left_alone():
    a, b = images()
    before = a.copy(), b.copy()
    for figure in FIGURES:
        figure(a, b)
    np.testing.assert_array_equal(a, before[0])
    np.testing.assert_array_equal(b, before[1])
