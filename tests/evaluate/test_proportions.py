"""Shares of right answers: known values, reference implementations, exact error rates."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.proportion import proportion_confint

from luthier.evaluate.proportions import mcnemar, paired_proportions, proportion, tango

ALONE = [None] * 1000


def ones(count: int, num_rows: int) -> np.ndarray:
    return (np.arange(num_rows) < count).astype(float)


def pair(gained: int, lost: int, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    tuned, baseline = np.zeros(num_rows), np.zeros(num_rows)
    tuned[:gained] = 1
    baseline[gained : gained + lost] = 1
    return tuned, baseline


@pytest.mark.parametrize(("count", "num_rows"), [(0, 10), (1, 7), (33, 110), (110, 110)])
def test_one_share_has_wilsons_interval(count: int, num_rows: int) -> None:
    found = proportion(ones(count, num_rows), ALONE[:num_rows], 0.9)
    assert (found.low, found.high) == pytest.approx(proportion_confint(count, num_rows, 0.1, "wilson"))
    assert found.value == count / num_rows


def test_rows_of_one_group_count_less() -> None:
    right = np.repeat([1.0, 0, 1, 1, 0, 1, 0, 1, 1, 1], 10)
    alone = proportion(right, ALONE[:100], 0.95)
    grouped = proportion(right, [f"customer {i // 10}" for i in range(100)], 0.95)
    ten_rows = proportion(right[::10], ALONE[:10], 0.95)
    assert grouped.value == alone.value
    assert grouped.high - grouped.low >= ten_rows.high - ten_rows.low > alone.high - alone.low


def test_one_group_shows_nothing() -> None:
    assert proportion(ones(3, 6), ["a"] * 6, 0.95) == (0.5, 0.0, 1.0)


def test_grouped_interval_covers_the_true_share() -> None:
    rng = np.random.default_rng(1)
    groups = [str(i // 5) for i in range(200)]
    hits = 0
    for _ in range(300):
        level = rng.beta(2, 2, 40).repeat(5)
        found = proportion((rng.random(200) < level).astype(float), groups, 0.95)
        hits += found.low <= 0.5 <= found.high
    assert 0.91 <= hits / 300 <= 0.985


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (4, 0), (1, 7), (12, 2), (30, 21)])
def test_exact_mcnemar(gained: int, lost: int) -> None:
    table = [[5, gained], [lost, 3]]
    assert mcnemar(gained, lost) == pytest.approx(reference_mcnemar(table, exact=True).pvalue)


def test_tango_gives_the_published_interval() -> None:
    """Airway hyper-responsiveness, 1 and 7 discordant of 21 (Fagerland, Lydersen and Laake 2014)."""
    assert tango(1, 7, 21, 0.95) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize(("gained", "lost", "num_rows"), [(0, 0, 40), (9, 0, 9), (0, 9, 9), (3, 5, 60), (40, 12, 80)])
def test_tango_is_antisymmetric_and_holds_the_value(gained: int, lost: int, num_rows: int) -> None:
    low, high = tango(gained, lost, num_rows, 0.95)
    assert -1 <= low <= (gained - lost) / num_rows <= high <= 1
    assert tango(lost, gained, num_rows, 0.95) == pytest.approx((-high, -low))


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_interval_and_p_agree(confidence: float) -> None:
    for gained in range(26):
        for lost in range(26):
            found = paired_proportions(*pair(gained, lost, 60), confidence)
            assert (found.low > 0 or found.high < 0) == (found.p <= 1 - confidence + 1e-12)


def test_few_differing_rows_prove_nothing() -> None:
    assert tango(4, 0, 40, 0.95)[0] > 0
    found = paired_proportions(*pair(4, 0, 40), 0.95)
    assert found.low == 0
    assert found.p == 0.125


def chance(num_rows: int, gained: int, lost: int, p_gain: float, p_loss: float) -> float:
    """The trinomial probability of these counts."""
    rest = num_rows - gained - lost
    ways = math.comb(num_rows, gained) * math.comb(num_rows - gained, lost)
    return ways * p_gain**gained * p_loss**lost * (1 - p_gain - p_loss) ** rest


@cache
def contrasts(num_rows: int) -> dict[tuple[int, int], tuple[float, float]]:
    counts = [(g, l) for g in range(num_rows + 1) for l in range(num_rows + 1 - g)]
    return {c: paired_proportions(*pair(*c, num_rows), 0.95)[1:3] for c in counts}


@pytest.mark.parametrize("discordance", [0.02, 0.05, 0.1, 0.2, 0.4])
def test_equal_solvers_are_rarely_told_apart(discordance: float) -> None:
    """The exact chance, over all outcomes of 40 rows, that `low > 0` although nothing improved."""
    share = discordance / 2
    error = sum(chance(40, *c, share, share) * (low > 0) for c, (low, _) in contrasts(40).items())
    assert error <= 0.025


@pytest.mark.parametrize(("delta", "discordance"), [(0.05, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.4)])
def test_the_interval_covers_the_true_difference(delta: float, discordance: float) -> None:
    gain, loss = (discordance + delta) / 2, (discordance - delta) / 2
    cover = sum(chance(40, *c, gain, loss) * (low <= delta <= high) for c, (low, high) in contrasts(40).items())
    assert 0.93 <= cover <= 0.985
