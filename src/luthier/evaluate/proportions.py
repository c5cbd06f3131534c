"""Shares of right answers: one share, and the paired difference of two shares on the same rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np

from luthier.evaluate.intervals import Contrast, Interval, guarded
from luthier.evaluate.resample import Floats, by_group


def proportion(right_N: Floats, groups: Sequence[str | None], confidence: float) -> Interval:
    """Wilson's interval of the share of ones; with groups, at the effective number of rows.

    That is n / deff, where deff is the variance of the share between groups over the binomial one, not below 1; the
    quantile is Student's with G - 1 degrees of freedom (Korn and Graubard 1998; Dean and Pagano 2015). At a share
    of 0 or 1 deff cannot be seen, and every group counts as one row.
    """
    value, num_rows = float(right_N.mean()), len(right_N)
    units_GK = by_group(np.stack([right_N, np.ones(num_rows)], axis=1), groups)
    num_units = len(units_GK)
    if num_units == num_rows:
        return Interval(value, *wilson(value, num_rows, NormalDist().inv_cdf(0.5 + confidence / 2)))
    if num_units == 1:
        return Interval(value, 0.0, 1.0)
    residuals_G = units_GK[:, 0] - value * units_GK[:, 1]
    between = num_units / (num_units - 1) * float(residuals_G @ residuals_G) / num_rows**2
    within = value * (1 - value)
    effective = min(num_rows, within / between) if between > 0 and within > 0 else num_units
    return Interval(value, *wilson(value, effective, _student(0.5 + confidence / 2, num_units - 1)))


def wilson(share: float, num_rows: float, quantile: float) -> tuple[float, float]:
    """Wilson (1927): the shares that a score test with this normal quantile does not reject."""
    shrink = 1 + quantile**2 / num_rows
    centre = (share + quantile**2 / (2 * num_rows)) / shrink
    spread = math.sqrt(share * (1 - share) / num_rows + (quantile / (2 * num_rows)) ** 2)
    half = quantile * spread / shrink
    return (0.0 if share == 0 else max(0.0, centre - half)), (1.0 if share == 1 else min(1.0, centre + half))


def paired_proportions(tuned_N: Floats, baseline_N: Floats, confidence: float) -> Contrast:
    """Share of ones, tuned minus baseline, on the same independent rows.

    Interval: Tango (1998), Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design. p: McNemar's test (1947), exact, which guards the interval (`guarded`): Tango's alone
    excludes 0 too often where few rows differ (4 better, 0 worse: p = 0.125).
    """
    gained = int(np.count_nonzero(tuned_N > baseline_N))
    lost = int(np.count_nonzero(tuned_N < baseline_N))
    low, high = tango(gained, lost, len(tuned_N), confidence)
    interval = Interval((gained - lost) / len(tuned_N), low, high)
    return guarded(interval, mcnemar(gained, lost), confidence, "Tango score interval, exact McNemar test")


def mcnemar(gained: int, lost: int) -> float:
    """The exact two-sided p-value: twice the binomial tail of the rows that differ, either way equally likely."""
    from scipy.special import bdtr

    differing = gained + lost
    return 1.0 if differing == 0 else min(1.0, 2 * float(bdtr(min(gained, lost), differing, 0.5)))


def tango(gained: int, lost: int, num_rows: int, confidence: float) -> tuple[float, float]:
    """The differences that Tango's score test does not reject at this confidence."""
    quantile = NormalDist().inv_cdf(0.5 + confidence / 2)

    def statistic(delta: float) -> float:
        a = 2 * num_rows
        b = (2 * num_rows - gained + lost) * delta - gained - lost
        c = -lost * delta * (1 - delta)
        lost_share = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
        variance = num_rows * (2 * lost_share + delta * (1 - delta))
        return (gained - lost - num_rows * delta) / math.sqrt(max(variance, 1e-300))

    value = (gained - lost) / num_rows
    low = -1.0 if lost == num_rows else _crossing(lambda d: statistic(d) - quantile, -1.0, value)
    high = 1.0 if gained == num_rows else _crossing(lambda d: statistic(d) + quantile, value, 1.0)
    return low, high


def _crossing(falling: Callable[[float], float], left: float, right: float) -> float:
    """Where a falling function crosses 0, by bisection."""
    for _ in range(60):
        middle = (left + right) / 2
        left, right = (middle, right) if falling(middle) > 0 else (left, middle)
    return (left + right) / 2


def _student(probability: float, degrees: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, probability))
