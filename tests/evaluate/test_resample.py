"""Resampling by sums: the distribution it draws from, and the order statistics read off it."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.evaluate.resample import bootstrap_sums, ends, half_sums, resamples, two_sided_p


def test_bootstrap_sums_have_the_right_mean_and_spread(rng: np.random.Generator) -> None:
    units = rng.normal(size=(60, 2))
    sums = bootstrap_sums(units, 4000)
    assert sums.mean(axis=0) == pytest.approx(units.sum(axis=0), abs=0.5)
    assert sums.std(axis=0) == pytest.approx(units.std(axis=0) * np.sqrt(60), rel=0.05)


def test_every_bootstrap_sample_has_as_many_units() -> None:
    assert set(bootstrap_sums(np.ones((37, 1)), 200)[:, 0]) == {37.0}


def test_half_sums_take_each_unit_half_of_the_time() -> None:
    taken = half_sums(np.eye(19), 4000)
    assert set(np.unique(taken)) == {0.0, 1.0}
    assert taken.mean(axis=0) == pytest.approx(np.full(19, 0.5), abs=0.04)
    assert np.corrcoef(taken.T)[~np.eye(19, dtype=bool)] == pytest.approx(0, abs=0.08)


@pytest.mark.parametrize("draw", [bootstrap_sums, half_sums])
def test_seeded(draw) -> None:
    units = np.arange(12.0).reshape(6, 2)
    assert np.array_equal(draw(units, 50), draw(units, 50))
    assert not np.array_equal(draw(units, 50), draw(units, 50, seed=1))


def test_chunks_do_not_lose_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.evaluate.resample.CHUNK_CELLS", 25)
    assert bootstrap_sums(np.ones((10, 3)), 7).tolist() == [[10.0] * 3] * 7


@pytest.mark.parametrize(("confidence", "times", "beyond"), [(0.95, 1999, 50), (0.9, 1999, 100), (0.999, 19_999, 10)])
def test_ends_leave_half_of_the_rest_on_each_side(confidence: float, times: int, beyond: int) -> None:
    assert resamples(confidence) == times
    low, high = ends(np.arange(times, dtype=float)[::-1], confidence)
    assert (low, high) == (beyond - 1, times - beyond)


def test_p_is_never_zero_and_never_above_one() -> None:
    values = np.arange(1999.0)
    assert two_sided_p(values, 5000.0) == pytest.approx(0.001)
    assert two_sided_p(values, 999.0) == 1.0


def test_p_counts_what_is_equal_up_to_rounding() -> None:
    values = np.array([1.0 - 1e-13] * 9 + [-5.0] * 10)
    assert two_sided_p(values, 1.0) == pytest.approx(0.1)
    assert two_sided_p(values, 1.0, tolerance=1e-9) == pytest.approx(1.0)
