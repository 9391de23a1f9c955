"""How much a figure would vary with other scans: percentile bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from uadtools.metrics.ranking import Ranking, Voxels

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Any]
ROUNDS = 2000
LEVEL = 0.95
MOST_THRESHOLDS = 2000
FEWEST = 4
"""Scans. Of three, one draw in 27 is a single scan, three times over, so that a 95% interval is just their range."""


def bootstrap(
    rows: ArrayLike, statistic: Statistic | None = None, *, rounds: int = ROUNDS, level: float = LEVEL, seed: int = 0
) -> Floats | None:
    """Return the low and the high end of a percentile bootstrap interval over scans: the last axis of (..., 2).

    rows: (N, ...), one row for each scan; see `resampled`. None for fewer than FEWEST. Where a statistic was NaN in
    some rounds the others count; where it was in all, both ends are NaN.
    Source: Efron & Tibshirani 1993, chapter 13. With few scans the interval is too short, as percentile intervals are.
    """
    figures = resampled(rows, statistic, rounds=rounds, seed=seed)
    return None if figures is None else ends(figures, level)


def resampled(
    rows: ArrayLike, statistic: Statistic | None = None, *, rounds: int = ROUNDS, seed: int = 0
) -> Floats | None:
    """Draw as many scans as there are, with replacement, and compute the statistic: (rounds, ...).

    rows: (N, ...), one row for each scan; a row with a NaN is left out. statistic: takes the sum of the drawn rows,
    such as voxel counts, and gives one or several figures; by default their mean. None for fewer than FEWEST.
    """
    values = np.asarray(rows, dtype=np.float64)
    scans = values.reshape(len(values), math.prod(values.shape[1:]))
    scans = scans[~np.isnan(scans).any(axis=1)]
    count = len(scans)
    if count < FEWEST:
        return None
    places = np.random.default_rng(seed).integers(count, size=(rounds, count)) + count * np.arange(rounds)[:, None]
    times = np.bincount(places.ravel(), minlength=rounds * count).reshape(rounds, count)
    sums = (times.astype(np.float64) @ scans).reshape(rounds, *values.shape[1:])
    return sums / count if statistic is None else np.array([statistic(one) for one in sums], dtype=np.float64)


def ends(figures: Floats, level: float = LEVEL) -> Floats:
    """Return the interval that holds `level` of the drawn figures (rounds, ...), which may be NaN: (..., 2)."""
    columns = figures.reshape(len(figures), -1).T
    tails = ((1 - level) / 2, (1 + level) / 2)
    pairs = [np.quantile(c[~np.isnan(c)], tails) if not np.isnan(c).all() else (np.nan, np.nan) for c in columns]
    return np.array(pairs).reshape(*figures.shape[1:], 2)


def ranking_bootstrap(
    scans: Sequence[Voxels],
    pooled: Ranking,
    statistic: Callable[[Ranking], Sequence[float]],
    *,
    rounds: int = ROUNDS,
    level: float = LEVEL,
    seed: int = 0,
) -> Floats | None:
    """Return `bootstrap` intervals of figures of the ranking of all voxels of the scans, taken together.

    pooled: the ranking of all scans. Each scan is counted once at its thresholds, and a round adds up the counts of the
    scans that it draws. Exact up to MOST_THRESHOLDS; of more, so many are taken, evenly.
    """
    chosen = np.linspace(0, pooled.value.size - 1, min(pooled.value.size, MOST_THRESHOLDS)).round().astype(int)
    values = pooled.value[chosen]

    def figures(counts: Floats) -> Sequence[float]:
        tp, fp = counts.astype(np.int64)
        seen = tp + fp > 0
        return statistic(Ranking(values[seen], tp[seen], fp[seen]))

    return bootstrap([s.at_least(values) for s in scans], figures, rounds=rounds, level=level, seed=seed)
