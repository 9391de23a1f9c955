"""How well a model restores what is healthy: figures after the three of Bercea et al. 2025.

Their formulas were not at hand: what each figure is made of follows the published program, how that becomes one number
is ours (docs/eval.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import UadError
from uadtools.metrics.overlap import ratio

Rows = NDArray[np.float64]


def restoration_quality(ssim: float, l1: float, perceptual: float) -> float:
    """Return SSIM (1 - l1) (1 - perceptual), each from 0 to 1: 1 for a scan that came back as it was. After RQI."""
    return float(np.prod(np.clip([ssim, 1 - l1, 1 - perceptual], 0, 1)))


def conservation_correction(ssim_healthy: float, ssim_lesion: float) -> float:
    """Return the harmonic mean of SSIM outside of lesions and 1 - SSIM inside: 1 where these alone changed. After CACI.

    Each counts from 0 to 1. NaN where either is undefined.
    """
    kept, changed = np.clip([ssim_healthy, 1 - ssim_lesion], 0, 1)
    return ratio(2 * kept * changed, kept + changed) if kept + changed != 0 else 0.0


def anomaly_to_healthy(before: float, after: float) -> float:
    """Return 1 - after / before: by how much healing brought scans nearer to healthy ones, 1 all the way. After AHI.

    before, after: distances of the scans and of the healed ones from healthy ones. Below 0 where they are farther off
    than before; NaN where they were not away.
    """
    return 1 - ratio(after, before)


def frechet(a: Rows, b: Rows) -> float:
    """Return |m - n|^2 + tr(A + B - 2 (A B)^(1/2)) for two sets of features, m and n their means, A and B covariances.

    a, b: (N, D), of at least two images each. Raises UadError for fewer.
    Source: Heusel et al. 2017 (FID), after Dowson & Landau 1982.
    """
    if min(len(a), len(b)) < 2:
        raise UadError(f"sets of {len(a)} and {len(b)} images have no covariance (at least two each)")
    values, vectors = np.linalg.eigh(_covariance(a))
    root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ _covariance(b) @ root), 0, None)).sum()
    apart = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    return max(float(apart + values.sum() + np.trace(_covariance(b)) - 2 * shared), 0.0)


def _covariance(rows: Rows) -> Rows:
    return np.atleast_2d(np.cov(rows, rowvar=False))
