"""Resampling of independent units (rows, or whole groups of rows) by sums: seeded, chunked, vectorised.

A statistic that is a function of column sums needs no row of a resample, only the sums: a matrix of how often each
unit was drawn, times the columns. 2 000 resamples of 3 000 units take about 40 ms on one core.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CHUNK_CELLS = 150_000
"""Draws per chunk: small enough for the counts to stay in a core's cache."""


def by_group(rows_NK: Floats, groups: Sequence[str | None]) -> Floats:
    """Sums the rows of each group, shape (G, K): the independent units. A row without a group is its own unit."""
    keys: dict[object, int] = {}
    units = [keys.setdefault((i,) if group is None else group, len(keys)) for i, group in enumerate(groups)]
    if len(keys) == len(rows_NK):
        return rows_NK
    sums_GK = np.zeros((len(keys), rows_NK.shape[1]))
    np.add.at(sums_GK, units, rows_NK)
    return sums_GK


def resamples(confidence: float) -> int:
    """How many to draw: 1 999, more above 99 %, so that at least ten lie beyond each end of the interval."""
    return max(2000, math.ceil(20 / (1 - confidence) - 1e-9)) - 1


def bootstrap_sums(units_GK: Floats, times: int, seed: int = 0) -> Floats:
    """Column sums of `times` samples of G units drawn with replacement, shape (times, K)."""
    rng = np.random.default_rng(seed)
    num_units = len(units_GK)

    def draw(size: int) -> Floats:
        drawn = rng.integers(0, num_units, size=(size, num_units))
        drawn += np.arange(size)[:, None] * num_units
        counts = np.bincount(drawn.ravel(), minlength=size * num_units)
        return counts.reshape(size, num_units).astype(float)

    return _sums(units_GK, times, draw)


def half_sums(units_GK: Floats, times: int, seed: int = 0) -> Floats:
    """Column sums of `times` random subsets, each unit in with probability 1/2, shape (times, K)."""
    rng = np.random.default_rng(seed)
    num_units = len(units_GK)

    def draw(size: int) -> Floats:
        bits = np.frombuffer(rng.bytes(size * math.ceil(num_units / 8)), dtype=np.uint8)
        return np.unpackbits(bits.reshape(size, -1), axis=1, count=num_units).astype(float)

    return _sums(units_GK, times, draw)


def ends(values_B: Floats, confidence: float) -> tuple[float, float]:
    """The order statistics with a share of `(1 - confidence) / 2` at and beyond each, the sample itself counted."""
    beyond = math.floor((1 - confidence) / 2 * (len(values_B) + 1) + 1e-9)
    ordered = np.sort(values_B)
    return float(ordered[beyond - 1]), float(ordered[-beyond])


def two_sided_p(values_B: Floats, observed: float, tolerance: float = 0.0) -> float:
    """Twice the smaller share of resampled values at or beyond `observed`, the sample itself counted: never 0.

    Phipson and Smyth (2010), Permutation p-values should never be zero. `tolerance` is what counts as equal.
    """
    above = 1 + np.count_nonzero(values_B >= observed - tolerance)
    below = 1 + np.count_nonzero(values_B <= observed + tolerance)
    return float(min(1.0, 2 * min(above, below) / (len(values_B) + 1)))


def _sums(units_GK: Floats, times: int, draw: Callable[[int], Floats]) -> Floats:
    """`draw(size)` gives how often each unit counts, shape (size, G). One thread: products this thin are slower on
    several, and stall when the cores are busy."""
    from threadpoolctl import threadpool_limits

    chunk = max(1, CHUNK_CELLS // len(units_GK))
    sizes = [min(chunk, times - start) for start in range(0, times, chunk)]
    with threadpool_limits(1, user_api="blas"):
        return np.vstack([draw(size) @ units_GK for size in sizes])
