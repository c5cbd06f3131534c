"""What every statistic returns, and the rule that keeps an interval and its p-value in agreement."""

from __future__ import annotations

from typing import NamedTuple


class Interval(NamedTuple):
    """A value with its two-sided confidence interval."""

    value: float
    low: float
    high: float


class Contrast(NamedTuple):
    """A paired difference, its interval, the two-sided p-value of "no difference" and how they were made."""

    value: float
    low: float
    high: float
    p: float
    method: str


def guarded(interval: Interval, p: float, confidence: float, method: str) -> Contrast:
    """The contrast whose interval excludes 0 only where a test that is exact under "no difference" rejects.

    Where `p` exceeds `1 - confidence` the interval is stretched to reach 0. `p` must not be smaller than the
    p-value that belongs to the interval: then `p <= 1 - confidence` and "0 lies outside" say the same.
    """
    if p > 1 - confidence + 1e-12:
        interval = Interval(interval.value, min(interval.low, 0.0), max(interval.high, 0.0))
    return Contrast(*interval, p, method)
