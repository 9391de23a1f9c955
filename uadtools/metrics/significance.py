"""Whether two sets of figures differ by more than chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from uadtools.errors import UadError

ROUNDS = 10_000


def permutation(a: ArrayLike, b: ArrayLike, *, paired: bool, rounds: int = ROUNDS, seed: int = 0) -> float:
    """Return the p-value of a two-sided permutation test of equal means.

    a, b: (N,) and (M,); paired: a[i] and b[i] belong together, and only they change places. p is (1 + rounds at least
    as extreme) / (1 + rounds), so it is never 0. The same seed gives the same p. Raises UadError for NaN or infinity,
    which would pass for a difference; without values; and for a pair without its other half.
    Source: Raschka, mlxtend.evaluate.permutation_test, with its approximate method.
    """
    from mlxtend.evaluate import permutation_test

    first, second = (np.asarray(values, dtype=np.float64) for values in (a, b))
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise UadError("a permutation test needs numbers, and some are NaN or infinite (leave these scans out of both)")
    if not (first.size and second.size):
        raise UadError("a permutation test needs at least one value on each side")
    if paired and first.size != second.size:
        raise UadError(f"{first.size} and {second.size} values are no pairs (compare them unpaired)")
    seed %= 2**32  # as large as mlxtend takes it
    return float(permutation_test(first, second, method="approximate", num_rounds=rounds, seed=seed, paired=paired))


def holm(ps: Sequence[float]) -> NDArray[np.float64]:
    """Adjust the p-values of several tests so that the chance of any false positive is kept, in the order given.

    The k-th smallest of m is multiplied by m - k + 1, and is at least as large as the one before it, at most 1.
    Source: Holm 1979.
    """
    values = np.asarray(ps, dtype=np.float64)
    order = np.argsort(values)
    stepped = np.maximum.accumulate(values[order] * np.arange(values.size, 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted
