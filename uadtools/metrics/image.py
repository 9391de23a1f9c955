"""How alike two images are: a scan and its healed twin, in 2-D or 3-D.

Every figure takes two images of one shape and, where it makes sense, a mask of the voxels that count. Means over no
voxel are NaN. All raise UadError if the shapes differ or if a voxel that counts is NaN or infinite.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadtools.errors import UadError
from uadtools.metrics.overlap import Mask, require_same_shape

Array = NDArray[np.floating[Any]]
Kernel = Literal["gaussian", "uniform"]
TRUNCATE = 3.5
"""A Gaussian kernel ends after this many standard deviations."""


def ssim_map(a: Array, b: Array, *, kernel: Kernel = "gaussian", size: float = 1.5, data_range: float = 1.0) -> Array:
    """Structural similarity around each voxel, in [-1, 1]; 1 where both are alike.

    size: standard deviation in voxels of a Gaussian kernel, or width of a uniform one (odd, at least 3). The kernel
    spans all axes, and images are mirrored at their border. Float32 stays float32. Raises UadError for an impossible
    size.
    Source: Wang et al. 2004, eq. 13 with K1 = 0.01 and K2 = 0.03. A uniform kernel divides by n - 1, as is usual for
    variances of a sample; a Gaussian one does not, as in the paper.
    """
    _radius(kernel, size)
    require_same_shape(a=a, b=b)
    _require_finite(a, b)
    dtype = np.result_type(a, b, np.float32)
    a, b = a.astype(dtype, copy=False), b.astype(dtype, copy=False)
    mean_a, mean_b = _blur(a, kernel, size), _blur(b, kernel, size)
    product, squares = mean_a * mean_b, mean_a**2 + mean_b**2
    covariance = _blur(a * b, kernel, size) - product
    variances = _blur(a * a + b * b, kernel, size) - squares
    if kernel == "uniform":
        count = size**a.ndim
        covariance *= count / (count - 1)
        variances *= count / (count - 1)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    similarity: Array = (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
    return similarity


def ssim(
    a: Array,
    b: Array,
    within: Mask | None = None,
    *,
    kernel: Kernel = "gaussian",
    size: float = 1.5,
    data_range: float = 1.0,
) -> float:
    """Mean structural similarity, of the voxels `within`, or of those whose window lies inside the image.

    The latter is the figure of scikit-image. Raises UadError, too, if no window fits into the image.
    """
    similarity = ssim_map(a, b, kernel=kernel, size=size, data_range=data_range)
    if within is not None:
        require_same_shape(a=a, within=within)
        return mean_of(similarity, within)
    radius = _radius(kernel, size)
    if min(a.shape) <= 2 * radius:
        raise UadError(f"image {a.shape} is smaller than the window of {2 * radius + 1} voxels (give a mask)")
    return _mean(similarity[(slice(radius, -radius),) * a.ndim])


def mean_of(values: Array, within: Mask) -> float:
    """Mean of a map over the voxels within, in double precision."""
    return _mean(values[within])


def psnr(a: Array, b: Array, within: Mask | None = None, *, data_range: float = 1.0) -> float:
    """Peak signal-to-noise ratio, 10 log10(data_range^2 / mean squared difference), in dB; inf if a equals b."""
    a, b = _values(a, b, within)
    error = _mean((a - b) ** 2)
    return 10 * math.log10(data_range**2 / error) if error else math.inf


def l1(a: Array, b: Array, within: Mask | None = None) -> float:
    """Mean absolute difference."""
    a, b = _values(a, b, within)
    return _mean(np.abs(a - b))


def histogram_kld(a: Array, b: Array, within: Mask | None = None, *, bins: int = 500) -> float:
    """Kullback-Leibler divergence, sum of p_a log(p_a / p_b), between the histograms of two images in [0, 1]; in nats.

    What lies beyond [0, 1] counts in the end bins. One count is added to every bin of both, so that an empty bin costs
    much, but not infinitely much. Voxels of a grey level are spread halfway to the next ones: of a scan with fewer
    levels than bins, as 8 bits make it, the divergence would else be the gaps between its levels. NaN without voxels.
    Source: Behrendt et al. 2023 (cDDPM), 4.5.2, with 500 bins; the formula printed there is a difference of entropies,
    which is 0 for many pairs of unlike histograms.
    """
    p, q = (1 + _histogram(v, bins) for v in _values(a, b, within))
    if p.sum() == bins:
        return math.nan
    return float(np.sum(p * np.log(p / q)) / p.sum())  # both have the same number of voxels


def _histogram(values: Array, bins: int) -> Array:
    """Count values in [0, 1], each grey level spread halfway to its neighbours; an only level stays where it is."""
    levels, counts = np.unique(np.clip(values, 0, 1), return_counts=True)
    if levels.size < 2:
        return np.histogram(levels, bins, (0, 1), weights=counts)[0].astype(float)
    middles = (levels[1:] + levels[:-1]) / 2
    ends = np.concatenate([[2 * levels[0] - middles[0]], middles, [2 * levels[-1] - middles[-1]]])
    below = np.interp(np.linspace(0, 1, bins + 1), ends, np.concatenate([[0], np.cumsum(counts)]))
    below[0], below[-1] = 0, values.size
    return np.asarray(np.diff(below))


def _radius(kernel: Kernel, size: float) -> int:
    """Return how far the kernel reaches, in voxels."""
    if kernel == "uniform":
        if size < 3 or size % 2 != 1:
            raise UadError(f"uniform kernel of width {size:g}: there is no such window (give an odd width from 3 on)")
        return int(size) // 2
    if not 0 < size < math.inf:
        raise UadError(f"Gaussian kernel of {size:g} voxels (give a standard deviation above 0)")
    return int(TRUNCATE * size + 0.5)


def _blur(image: Array, kernel: Kernel, size: float) -> Array:
    if kernel == "uniform":
        return ndimage.uniform_filter(image, int(size))
    return ndimage.gaussian_filter(image, size, truncate=TRUNCATE)


def _values(a: Array, b: Array, within: Mask | None) -> tuple[Array, Array]:
    """Return the voxels that count, in double precision."""
    if within is not None:
        require_same_shape(a=a, b=b, within=within)
        a, b = a[within], b[within]
    require_same_shape(a=a, b=b)
    _require_finite(a, b)
    return a.astype(np.float64, copy=False), b.astype(np.float64, copy=False)


def _require_finite(*images: Array) -> None:
    if not all(np.isfinite(image).all() for image in images):
        raise UadError("the images have NaN or infinite voxels (an image must be a number everywhere)")


def _mean(values: Array) -> float:
    return float(np.mean(values, dtype=np.float64)) if values.size else math.nan
