"""Comparing two solvers on the same rows, and the error rate of the whole decision."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from luthier.errors import DataError
from luthier.evaluate.paired import best_baseline, compare, rows_needed
from luthier.evaluate.scores import Sample, Scores


def binary(solver: str, right: object, group: list[str] | None = None) -> Scores:
    rows = [
        Sample(f"r{i}", group[i] if group else None, "q", "a", None, {"exact_match": float(is_right)})
        for i, is_right in enumerate(np.asarray(right))
    ]
    return Scores(solver, "generate", tuple(rows), 0.0)


def likelihoods(solver: str, nats: np.ndarray, tokens: np.ndarray) -> Scores:
    rows = [
        Sample(f"r{i}", None, "q", None, None, {"nll": float(n)}, {"nll": float(t)})
        for i, (n, t) in enumerate(zip(nats, tokens, strict=True))
    ]
    return Scores(solver, "text", tuple(rows), 0.0)


def test_binary_rows_are_paired_by_id() -> None:
    tuned = binary("tuned", [1] * 30 + [0] * 10)
    baseline = binary("base", [1] * 12 + [0] * 28)
    shuffled = dataclasses.replace(baseline, samples=baseline.samples[::-1])
    found = compare(tuned, shuffled, "exact_match")
    assert found == compare(tuned, baseline, "exact_match")
    assert (found.value, found.n) == (pytest.approx(18 / 40), 40)
    assert found.low > 0
    assert found.p == pytest.approx(2 * 0.5**18)
    assert "Tango" in found.method


def test_groups_are_the_units() -> None:
    right = np.array([1, 1, 1, 0] * 10)
    groups = [str(i // 4) for i in range(40)]
    alone = compare(binary("t", right), binary("b", 1 - right), "exact_match")
    few = [str(i // 10) for i in range(40)]
    grouped = compare(binary("t", right, few), binary("b", 1 - right, few), "exact_match")
    assert alone.low > 0
    assert grouped.p > 0.05 >= alone.p
    assert grouped.low <= 0
    assert "bootstrap" in compare(binary("t", right, groups), binary("b", right, groups), "exact_match").method


def test_lower_nll_is_better(rng: np.random.Generator) -> None:
    tokens = rng.integers(5, 50, 60)
    base = rng.gamma(4, 1, 60)
    tuned = base - 0.3 + rng.normal(0, 0.1, 60)
    found = compare(likelihoods("t", tuned, tokens), likelihoods("b", base, tokens), "nll")
    assert found.value == pytest.approx(np.average(base - tuned, weights=tokens))
    assert 0.2 < found.low < found.value < found.high < 0.4


def test_other_tokens_cannot_be_compared() -> None:
    nats = np.ones(3)
    with pytest.raises(DataError, match="different units"):
        compare(likelihoods("t", nats, np.array([1, 2, 3])), likelihoods("b", nats, np.array([1, 2, 4])), "nll")


def test_macro_f1_is_paired_too() -> None:
    rows = [Sample(f"r{i}", None, "q", "xy"[i % 2], "xy"[i % 2], {"macro_f1": 1.0}) for i in range(40)]
    always_x = [dataclasses.replace(row, prediction="x") for row in rows]
    tuned, base = (Scores(name, "classify", tuple(s), 0.0) for name, s in (("t", rows), ("b", always_x)))
    assert compare(tuned, base, "macro_f1").value == pytest.approx(1 - 1 / 3)


@pytest.mark.parametrize("change", [{"row_id": "r9"}, {"row_id": "r0"}, {"reference": "b"}])
def test_other_rows_are_refused(change: dict[str, str]) -> None:
    tuned = binary("tuned", [1, 0, 1])
    last = dataclasses.replace(tuned.samples[-1], **change)
    other = dataclasses.replace(tuned, solver="base", samples=(*tuned.samples[:-1], last))
    with pytest.raises(DataError, match="exact_match of tuned and base"):
        compare(tuned, other, "exact_match")


def test_the_best_baseline() -> None:
    solvers = {
        "base": binary("base", [0, 0, 1]),
        "few_shot": binary("f", [1, 0, 1]),
        "classic": binary("c", [1, 1, 0]),
    }
    assert best_baseline(solvers, "exact_match") == "few_shot"
    with pytest.raises(DataError, match="no baseline is scored by nll"):
        best_baseline(solvers, "nll")


def test_the_best_nll_is_the_lowest() -> None:
    solvers = {name: likelihoods(name, np.full(3, nats), np.ones(3)) for name, nats in (("a", 2.0), ("b", 1.0))}
    assert best_baseline(solvers, "nll") == "b"


def test_rows_needed_gives_the_power_it_promises() -> None:
    rows = rows_needed(0.1, 0.3, power=0.8)
    rng = np.random.default_rng(0)
    signs = rng.choice([1, -1, 0], p=[0.2, 0.1, 0.7], size=(4000, rows))
    z = signs.sum(axis=1) / np.sqrt(np.abs(signs).sum(axis=1))
    assert np.mean(z > 1.96) == pytest.approx(0.8, abs=0.03)
    assert rows_needed(0.05, 0.3) == pytest.approx(4 * rows, rel=0.03)


@pytest.mark.parametrize(("delta", "discordance"), [(0.0, 0.2), (0.5, 0.2)])
def test_rows_needed_for_what_cannot_be(delta: float, discordance: float) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        rows_needed(delta, discordance)


def test_the_whole_decision_is_rarely_wrong() -> None:
    """Four equally good solvers on 60 rows of shared difficulty; the best of three is the one to beat."""
    rng = np.random.default_rng(11)
    shipped, times = 0, 250
    for _ in range(times):
        easy = rng.beta(1, 1, 60)
        answers = {name: binary(name, rng.random(60) < easy) for name in ("tuned", "base", "few_shot", "classic")}
        tuned = answers.pop("tuned")
        shipped += compare(tuned, answers[best_baseline(answers, "exact_match")], "exact_match").low > 0
    assert shipped / times <= 0.025 + 2 * math.sqrt(0.025 * 0.975 / times)
