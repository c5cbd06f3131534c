"""The gate, on both sides of every bound."""

from __future__ import annotations

import math
import random
from statistics import NormalDist
from typing import Any

import pytest

from luthier.recipe.types import Ship
from luthier.registry.advice import rows_needed
from luthier.registry.gate import Verdict, decide


def delta(value: float | None, low: float | None, high: float | None, n: int = 100) -> dict[str, Any]:
    return {"accuracy": {"value": value, "low": low, "high": high, "p": 0.01, "n": n}}


BETTER = delta(0.2, 0.1, 0.3)
UNCERTAIN = delta(0.05, -0.05, 0.15)
WORSE = delta(-0.2, -0.3, -0.1)


def judge(
    deltas: dict[str, Any], forgetting: dict[str, Any] | None = None, metric: str = "accuracy", **ship: Any
) -> Verdict:
    return decide(metric=metric, deltas=deltas, forgetting=forgetting or {}, ship=Ship(**ship), confidence=0.95)


def questions(value: float, low: float, high: float = 0.1) -> dict[str, Any]:
    return {"questions": {"delta": value, "low": low, "high": high, "margin": 0.05, "n": 60}}


def perplexity(value: float, high: float, low: float = -0.01) -> dict[str, Any]:
    return {"text_nll": {"delta": value, "low": low, "high": high, "margin": 0.05, "n": 200}}


def test_better_than_every_baseline_ships() -> None:
    verdict = judge({"base": delta(0.4, 0.3, 0.5), "few_shot": BETTER})
    assert (verdict.verdict, verdict.next) == ("ship", [])
    assert verdict.reasons == [
        "On accuracy the tuned model is 20.0 points better than few-shot prompting (n = 100); "
        "the 95% interval, +10.0 to +30.0, lies above 0.",
        "On accuracy the tuned model is 40.0 points better than the base model (n = 100); "
        "the 95% interval, +30.0 to +50.0, lies above 0.",
        "What the model forgot was not measured.",
    ]


@pytest.mark.parametrize("weak", [UNCERTAIN, WORSE, delta(0.1, 0.0, 0.2)])
def test_one_baseline_that_is_not_beaten_holds(weak: dict[str, Any]) -> None:
    verdict = judge({"base": BETTER, "few_shot": weak})
    assert verdict.verdict == "hold"
    assert "few-shot prompting" in verdict.reasons[0]
    assert any("Few-shot prompting does at least as well" in line for line in verdict.next)


@pytest.mark.parametrize(
    ("low", "margin", "expected"),
    [
        (-0.009, 0.01, "ship"),
        (-0.01, 0.01, "hold"),
        (-0.011, 0.01, "hold"),
        (0.0, 0.0, "hold"),
        (-0.04, 0.05, "ship"),
    ],
)
def test_not_worse_allows_the_margin(low: float, margin: float, expected: str) -> None:
    verdict = judge({"base": delta(0.02, low, 0.05)}, require="not_worse", margin=margin)
    assert verdict.verdict == expected


def test_not_worse_names_the_margin() -> None:
    reason = judge({"base": UNCERTAIN}, require="not_worse", margin=0.02).reasons[0]
    assert reason.endswith("-5.0 to +15.0, reaches down to minus the margin of 2.0 points or below.")


@pytest.mark.parametrize("missing", [{}, {"base": {"f1": {}}}])
def test_without_a_baseline_nothing_is_shown(missing: dict[str, Any]) -> None:
    verdict = judge(missing)
    assert verdict.verdict == "hold"
    assert "No baseline was measured on accuracy" in verdict.reasons[0]
    assert "evaluate.baselines" in verdict.next[0]


@pytest.mark.parametrize("low", [None, math.nan])
def test_without_an_interval_nothing_is_shown(low: float | None) -> None:
    verdict = judge({"base": delta(0.2, low, low)})
    assert (verdict.verdict, "has no interval" in verdict.reasons[0]) == ("hold", True)


@pytest.mark.parametrize(
    ("forgetting", "expected"),
    [
        (questions(0.0, -0.05), "ship"),
        (questions(0.0, -0.051), "hold"),
        (questions(-0.2, -0.3, -0.1), "hold"),
        (perplexity(0.01, math.log(1.0499)), "ship"),
        (perplexity(0.01, math.log(1.0501)), "hold"),
        (perplexity(-0.3, -0.2, -0.4), "ship"),
        ({**questions(0.0, -0.01), **perplexity(0.0, 0.2)}, "hold"),
        ({"questions": {"delta": 0.0, "low": None, "high": None, "margin": 0.05, "n": 1}}, "hold"),
    ],
)
def test_a_loss_that_may_exceed_the_margin_holds(forgetting: dict[str, Any], expected: str) -> None:
    assert judge({"base": BETTER}, forgetting).verdict == expected


def test_reasons_and_advice_about_forgetting_carry_numbers() -> None:
    verdict = judge({"base": BETTER}, {**questions(-0.02, -0.1), **perplexity(0.1, 0.2, 0.09)})
    assert verdict.reasons[0] == (
        "Tuning changed the share of general questions answered by -2.0 points (at worst -10.0 at 95% "
        "confidence, n = 60): possibly beyond the margin of 5 points."
    )
    assert verdict.reasons[1] == (
        "Tuning changed the perplexity of general text by +10.5 % (at worst +22.1 at 95% confidence, "
        "n = 200): beyond the margin of 5 %."
    )
    assert len(verdict.next) == 2
    assert "halve `train.learning_rate`" in verdict.next[0]
    assert "872 questions instead of 60" in verdict.next[1]


def test_requiring_nothing_ships_and_says_what_was_found() -> None:
    verdict = judge({"base": WORSE}, questions(-0.5, -0.6), require="nothing")
    assert (verdict.verdict, verdict.next) == ("ship", [])
    assert verdict.reasons[0].startswith("The recipe requires nothing")
    assert "20.0 points worse" in verdict.reasons[1]
    assert "possibly beyond" in verdict.reasons[2]


def test_other_units() -> None:
    entry = {"base": {"nll": {"value": 0.12, "low": 0.1, "high": 0.14, "n": 9}}}
    assert judge(entry, metric="nll").reasons[0] == (
        "On nll the tuned model is 0.120 nats per token better than the base model (n = 9); the 95% "
        "interval, +0.100 to +0.140, lies above 0."
    )
    f1 = {"base": {"macro_f1": {"value": -0.12, "low": -0.2, "high": -0.04, "n": 9}}}
    assert "is 0.120 worse than" in judge(f1, metric="macro_f1").reasons[0]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (UNCERTAIN, "Use about 818 test rows instead of 100"),
        (delta(0.001, -0.099, 0.101), "so small a difference (there are 100)"),
        (delta(-0.01, -0.1, 0.1), "More test rows would not help"),
        (WORSE, "worsened samples"),
    ],
)
def test_advice_fits_the_evidence(entry: dict[str, Any], words: str) -> None:
    assert words in judge({"base": entry}).next[0]


def test_the_rows_needed_do_pass_four_times_in_five() -> None:
    rng, z = random.Random(0), NormalDist().inv_cdf(0.975)
    effect, deviation = 0.1, 0.6
    rows = rows_needed(effect, z * deviation / math.sqrt(50), 50, 0.95)
    error = deviation / math.sqrt(rows)
    passed = sum(rng.gauss(effect, error) - z * error > 0 for _ in range(20_000)) / 20_000
    assert passed == pytest.approx(0.8, abs=0.01)


def beside(against: dict[str, Any], **ship: Any) -> Verdict:
    """The first objective is better; the second stands `against` its one baseline like this."""
    second = {"metric": "accuracy", "deltas": {"classic": against}}
    return decide(
        metric="accuracy", deltas={"base": BETTER}, forgetting={}, ship=Ship(**ship), confidence=0.95, beside=second
    )


@pytest.mark.parametrize("against", [BETTER, UNCERTAIN, delta(-0.1, -0.2, 0.0), delta(0.1, None, None)])
def test_what_is_learnt_beside_need_not_be_better(against: dict[str, Any]) -> None:
    assert beside(against).verdict == "ship"


def test_what_is_learnt_beside_holds_where_it_is_shown_to_be_worse() -> None:
    verdict = beside(WORSE)
    assert verdict.verdict == "hold"
    assert verdict.reasons[0] == (
        "Beside it: on accuracy the tuned model is 20.0 points worse than the classic model (n = 100); "
        "the 95% interval, -30.0 to -10.0, lies below 0."
    )
    assert any("`objective.beside`" in line for line in verdict.next)
    assert beside(WORSE, require="nothing").verdict == "ship"


@pytest.mark.parametrize(("margin", "verdict"), [(0.05, "hold"), (0.2, "ship")])
def test_the_margin_holds_beside_as_well(margin: float, verdict: str) -> None:
    assert beside(WORSE, require="not_worse", margin=margin).verdict == verdict
