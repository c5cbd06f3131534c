"""Means and ratios of sums: known values, error rates, agreement of interval and p."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from luthier.errors import DataError
from luthier.evaluate.means import bootstrap_t, paired_mean, sign_flip, weighted_mean
from luthier.evaluate.resample import by_group

Draw = Callable[[], tuple[np.ndarray, np.ndarray, list[str | None]]]


def alone(rows: np.ndarray) -> list[None]:
    return [None] * len(rows)


def units(values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    weights = np.ones(len(values)) if weights is None else weights
    return np.stack([values * weights, weights], axis=1)


def test_the_value_is_the_ratio_of_sums() -> None:
    found = weighted_mean(np.array([1.0, 3.0, 2.0]), np.array([10.0, 1.0, 1.0]), [None] * 3, 0.95)
    assert found.value == pytest.approx(15 / 12)
    assert found.low < found.value < found.high


def test_standard_error_of_a_plain_mean(rng: np.random.Generator) -> None:
    values = rng.normal(size=50)
    _, error, _ = bootstrap_t(units(values), 10)
    assert error == pytest.approx(values.std(ddof=1) / np.sqrt(50))


def test_rows_of_a_group_are_one_unit(rng: np.random.Generator) -> None:
    values = rng.normal(size=30).repeat(4)
    grouped = paired_mean(values, np.ones(120), [str(i // 4) for i in range(120)], 0.95)
    single = paired_mean(values[::4], np.ones(30), [None] * 30, 0.95)
    assert grouped == pytest.approx(single)


def test_by_group_keeps_rows_without_a_group() -> None:
    summed = by_group(np.array([[1.0], [2.0], [4.0], [8.0]]), ["a", None, "a", None])
    assert sorted(summed[:, 0]) == [2, 5, 8]


def test_nearly_the_t_interval_for_normal_differences(rng: np.random.Generator) -> None:
    from scipy.stats import ttest_1samp

    values = rng.normal(0.2, 1, size=300)
    exact = ttest_1samp(values, 0)
    found = paired_mean(values, np.ones(300), alone(values), 0.95)
    assert (found.low, found.high) == pytest.approx(tuple(exact.confidence_interval()), abs=0.012)
    assert found.p == pytest.approx(exact.pvalue, abs=0.01)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_interval_and_p_agree(seed: int, confidence: float) -> None:
    skewed = np.random.default_rng(seed).gamma(0.5, 1, 30) - 0.5
    for shift in np.linspace(-0.6, 0.6, 25):
        found = paired_mean(skewed + shift, np.ones(30), alone(skewed), confidence)
        assert (found.low > 0 or found.high < 0) == (found.p <= 1 - confidence + 1e-12)


def test_swapping_the_solvers_turns_the_sign(rng: np.random.Generator) -> None:
    values = rng.normal(0.3, 1, size=40)
    there, back = (paired_mean(sign * values, np.ones(40), alone(values), 0.95) for sign in (1, -1))
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low), rel=0.05)


def test_the_same_data_give_the_same_numbers(rng: np.random.Generator) -> None:
    values = rng.normal(size=40)
    assert paired_mean(values, np.ones(40), alone(values), 0.95) == paired_mean(
        values, np.ones(40), alone(values), 0.95
    )


def test_sign_flip_is_the_share_of_sign_patterns(rng: np.random.Generator) -> None:
    values = rng.normal(0.4, 1, size=10)
    totals = np.array(list(product((-1, 1), repeat=10))) @ values
    exact = 2 * np.mean(totals >= values.sum() - 1e-9)
    assert sign_flip(values, 19_999) == pytest.approx(exact, abs=0.012)


def test_few_differing_rows_prove_nothing() -> None:
    found = paired_mean(np.repeat([1.0, 0.0], [4, 36]), np.ones(40), [None] * 40, 0.95)
    assert found.low == 0
    assert found.p == pytest.approx(0.125, abs=0.03)


def test_no_difference_at_all() -> None:
    assert paired_mean(np.zeros(10), np.ones(10), [None] * 10, 0.95)[:4] == (0, 0, 0, 1)


def test_one_row_has_no_interval() -> None:
    with pytest.raises(DataError, match="at least 2 independent"):
        weighted_mean(np.array([1.0, 2.0]), np.ones(2), ["a", "a"], 0.95)


def rejections(draw: Draw, times: int) -> tuple[float, float]:
    """How often `low > 0` and `high < 0`, with a true difference of 0."""
    found = [paired_mean(*draw(), 0.95) for _ in range(times)]
    return sum(c.low > 0 for c in found) / times, sum(c.high < 0 for c in found) / times


def test_error_rate_of_symmetric_differences() -> None:
    rng = np.random.default_rng(3)
    better, worse = rejections(lambda: (rng.normal(size=40), np.ones(40), [None] * 40), 100)
    assert better <= 0.06
    assert worse <= 0.06
    assert better + worse > 0


def test_error_rate_of_skewed_differences() -> None:
    """Seldom wrong where a t interval often is."""
    from scipy.stats import ttest_1samp

    rng = np.random.default_rng(4)
    rows = [np.exp(0.5) - rng.lognormal(size=20) for _ in range(120)]
    by_t = sum(ttest_1samp(row, 0).confidence_interval().low > 0 for row in rows) / 120
    better, _ = rejections(lambda: (rows.pop(), np.ones(20), [None] * 20), 120)
    assert better <= 0.09
    assert by_t >= 1.4 * better


def test_error_rate_of_groups_that_rise_and_fall_together() -> None:
    rng = np.random.default_rng(5)
    rows = [rng.normal(size=20).repeat(5) for _ in range(120)]
    better, _ = rejections(lambda: (rows.pop(), np.ones(100), [str(i // 5) for i in range(100)]), 60)
    ignored, _ = rejections(lambda: (rows.pop(), np.ones(100), [None] * 100), 60)
    assert better <= 0.07 < 0.12 <= ignored


def test_three_thousand_rows_take_a_moment(rng: np.random.Generator) -> None:
    values = rng.normal(size=3000)
    start = time.process_time()
    paired_mean(values, np.ones(3000), alone(values), 0.95)
    assert time.process_time() - start < 0.6
