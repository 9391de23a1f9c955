"""A threshold from a score map alone."""

from __future__ import annotations

import numpy as np

from uadtools.errors import UadError
from uadtools.volume.clean import Score


def otsu(values: Score) -> float:
    """Otsu's threshold over the positive values: the split with the largest variance between its two classes.

    Exact, without a histogram: every distinct value is tried. Voxels at or below 0 are left out, because a score is 0
    outside the brain. Returns the highest value of the lower class, so that `values > otsu(values)` is the upper class.
    Raises UadError if there are not two different positive values, or if one is infinite.
    Source: Otsu 1979, eq. 18.
    """
    ranked = np.sort(values[values > 0], axis=None).astype(np.float64)
    if not ranked.size or ranked[0] == ranked[-1] or not np.isfinite(ranked[-1]):
        raise UadError("Otsu's threshold needs at least two different positive, finite scores (give a number instead)")
    ends = np.flatnonzero(ranked[1:] != ranked[:-1])
    lower = ends + 1
    total = np.cumsum(ranked - ranked.mean())
    # with the mean taken off, the two classes' sums are s and -s, and w0 w1 (mu0 - mu1)^2 is s^2 / (n0 n1)
    between = total[ends] ** 2 / (lower * (ranked.size - lower))
    return float(ranked[ends[np.argmax(between)]])
