"""Means of per-row scores and ratios of sums (nll per token): one value, and the paired difference of two.

Every value here is Σ score·weight / Σ weight over independent units: rows, or groups of rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from luthier.errors import DataError
from luthier.evaluate.intervals import Contrast, Interval, guarded
from luthier.evaluate.resample import (
    Floats,
    bootstrap_sums,
    by_group,
    ends,
    half_sums,
    resamples,
    two_sided_p,
)

TINY = float(np.finfo(float).tiny)


def weighted_mean(scores_N: Floats, weights_N: Floats, groups: Sequence[str | None], confidence: float) -> Interval:
    """Σ score·weight / Σ weight with the studentised bootstrap interval of `bootstrap_t`."""
    units_GK = by_group(np.stack([scores_N * weights_N, weights_N], axis=1), groups)
    value, error, t_B = bootstrap_t(units_GK, resamples(confidence))
    t_low, t_high = ends(t_B, confidence)
    return Interval(value, value - t_high * error, value - t_low * error)


def paired_mean(differences_N: Floats, weights_N: Floats, groups: Sequence[str | None], confidence: float) -> Contrast:
    """Σ difference·weight / Σ weight with the studentised bootstrap interval, guarded by a sign-flip test.

    The bootstrap allows for skewed differences. Flipping the sign of each unit's difference at random, that is
    swapping the two solvers (Fisher 1935), is exact where they are exchangeable, also with few rows or many ties.
    """
    units_GK = by_group(np.stack([differences_N * weights_N, weights_N], axis=1), groups)
    times = resamples(confidence)
    value, error, t_B = bootstrap_t(units_GK, times)
    t_low, t_high = ends(t_B, confidence)
    interval = Interval(value, value - t_high * error, value - t_low * error)
    p = max(two_sided_p(t_B, value / max(error, TINY)), sign_flip(units_GK[:, 0], times))
    return guarded(interval, p, confidence, "studentised bootstrap interval, sign-flip test")


def bootstrap_t(units_GK: Floats, times: int) -> tuple[float, float, Floats]:
    """The ratio of the two column sums, its linearised standard error, and `times` studentised resampled ratios.

    Hall (1988), Theoretical comparison of bootstrap confidence intervals; the standard error of a ratio is from
    Cochran (1977), Sampling Techniques, 6.4. A resample's standard error counts as at least a tenth of the
    sample's, so that resamples without spread stay finite. Raises DataError for fewer than two units.
    """
    num_units = len(units_GK)
    if num_units < 2:
        raise DataError(
            f"an interval needs at least 2 independent rows or groups, and there is {num_units}",
            mend="Hold out more rows for the test split",
        )
    sums_GK, weights_G = units_GK[:, 0], units_GK[:, 1]
    value = float(sums_GK.sum() / weights_G.sum())
    residuals_G = sums_GK - value * weights_G
    bessel = num_units / (num_units - 1)
    error = float(np.sqrt(bessel * (residuals_G @ residuals_G)) / weights_G.sum())
    columns = (residuals_G, weights_G, residuals_G**2, residuals_G * weights_G, weights_G**2)
    e, w, ee, ew, ww = bootstrap_sums(np.stack(columns, axis=1), times).T
    shift_B = e / w
    errors_B = np.sqrt(bessel * np.maximum(ee - 2 * shift_B * ew + shift_B**2 * ww, 0)) / w
    return value, error, shift_B / np.maximum(errors_B, max(error / 10, TINY))


def sign_flip(differences_G: Floats, times: int) -> float:
    """The two-sided p-value of Σ difference when each unit's sign is flipped at random.

    Flipping a subset leaves the sum as large or larger where the subset's own sum is not above 0.
    """
    flipped_B = half_sums(differences_G[:, None], times)[:, 0]
    return two_sided_p(flipped_B, 0.0, tolerance=1e-9 * float(np.abs(differences_G).sum()))
