"""The gate: does the evidence allow a tuned model to ship? It reads the numbers of a run document alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from luthier.recipe.types import Ship
from luthier.registry.advice import BESIDE_WORSE, advise_forgetting, advise_task
from luthier.registry.numbers import change, interval, level, number

Deltas = Mapping[str, Mapping[str, Any]]
NAMES = {
    "base": "the base model", "few_shot": "few-shot prompting", "classic": "the classic model",
    "majority": "the most frequent answer", "in_service": "the version in service",
}  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """`ship` or `hold`, why (plain sentences with numbers), and what to do next."""

    verdict: Literal["ship", "hold"]
    reasons: list[str]
    next: list[str]


@dataclass(frozen=True)
class Finding:
    passes: bool
    reason: str
    next: list[str]


def decide(
    *, metric: str, deltas: Deltas, forgetting: Mapping[str, Mapping[str, Any]], ship: Ship, confidence: float,
    beside: Mapping[str, Any] = {}, whom: str = "the tuned model",
) -> Verdict:  # fmt: skip
    """Decide on `metric`, from the `deltas` and `forgetting` entries of a run document.

    `deltas[baseline][metric]` is `{value, low, high, n}`, the paired difference to that baseline, positive
    where the tuned model is better. Against every baseline `low` must lie above 0 (`better`) or above minus
    `ship.margin` (`not_worse`). As all of these tests must succeed, their number needs no correction (Berger,
    Technometrics 24, 1982: the intersection-union test). The strongest baseline comes first in the reasons.

    `forgetting[check]` is `{delta, low, high, margin, n}`, tuned minus base: a share of questions, or, for
    `text_nll`, nats per token, which exp(x) - 1 turns into the relative increase of perplexity. The worst end
    of the interval must lie within the margin (non-inferiority).

    `beside` has the `metric` and `deltas` of a second objective, which need not be better: it fails where it is shown
    to be worse than a baseline, that is, where `high` lies below 0 (or below minus `ship.margin`).

    `whom` is what the reasons call what is judged.
    """
    entries = {name: found[metric] for name, found in deltas.items() if metric in found}
    strongest_first = sorted(entries, key=lambda name: number(entries[name], "value", missing=-math.inf))
    findings = [_against(name, entries[name], metric, ship, confidence, whom) for name in strongest_first]
    if not entries:
        reason = f"No baseline was measured on {metric}, so there is nothing to be better than."
        findings = [Finding(False, reason, ["Measure at least one baseline: `evaluate.baselines: [base]`."])]
    findings += [_kept(name, check, confidence) for name, check in forgetting.items()]
    findings += [
        _beside(name, found[beside["metric"]], beside["metric"], ship, confidence, whom)
        for name, found in beside.get("deltas", {}).items()
    ]
    unmeasured = [] if forgetting else ["What the model forgot was not measured."]
    if ship.require == "nothing":
        first = "The recipe requires nothing (`ship.require: nothing`): the version ships whatever was measured."
        return Verdict("ship", [first, *(finding.reason for finding in findings), *unmeasured], [])
    failed = [finding for finding in findings if not finding.passes]
    passed = [finding for finding in findings if finding.passes]
    reasons = [finding.reason for finding in failed + passed] + unmeasured
    advice = dict.fromkeys(line for finding in failed for line in finding.next)
    return Verdict("hold" if failed else "ship", reasons, list(advice))


def _against(name: str, delta: Mapping[str, Any], metric: str, ship: Ship, confidence: float, whom: str) -> Finding:
    rival = NAMES.get(name, name)
    floor = _floor(ship)
    value, low, high = (number(delta, key) for key in ("value", "low", "high"))
    if not (math.isfinite(value) and math.isfinite(low)):
        reason = f"The difference to {rival} on {metric} has no interval, so it shows nothing."
        return Finding(False, reason, ["Use a test split of at least two rows, better some hundred."])
    passes = low > floor
    bound = f"minus the margin of {change(ship.margin, metric).lstrip('+')}" if floor else "0"
    told = f"the {level(confidence)} interval, {interval(delta, metric)}, " + _lies(low, high, floor, bound)
    reason = (
        f"On {metric} {whom} is {change(abs(value), metric).lstrip('+')} "
        f"{'better' if value >= 0 else 'worse'} than {rival} (n = {delta.get('n', 'unknown')}); {told}."
    )
    return Finding(passes, reason, [] if passes else advise_task(name, delta, floor, confidence))


def _beside(name: str, delta: Mapping[str, Any], metric: str, ship: Ship, confidence: float, whom: str) -> Finding:
    """The second objective against a baseline: its interval must reach the floor, and need not lie above it."""
    told = _against(name, delta, metric, ship, confidence, whom)
    floor, high = _floor(ship), number(delta, "high")
    passes = told.passes or not math.isfinite(high) or high >= floor
    return Finding(passes, f"Beside it: {told.reason[0].lower()}{told.reason[1:]}", [] if passes else [BESIDE_WORSE])


def _floor(ship: Ship) -> float:
    return -ship.margin if ship.require == "not_worse" else 0.0


def _lies(low: float, high: float, floor: float, bound: str) -> str:
    if low > floor:
        return f"lies above {bound}"
    return f"lies below {bound}" if high < floor else f"reaches down to {bound} or below"


def _kept(name: str, check: Mapping[str, Any], confidence: float) -> Finding:
    delta, low, high, margin = (number(check, key) for key in ("delta", "low", "high", "margin"))
    if name == "text_nll":
        what, unit = "the perplexity of general text", "%"
        least, moved, worst = math.expm1(low), math.expm1(delta), math.expm1(high)
        end = worst
    else:
        what, unit = "the share of general questions answered" if name == "questions" else name, "points"
        least, worst = -high, -low
        moved, end = delta, low
    if not (math.isfinite(moved) and math.isfinite(worst)):
        reason = f"The change of {what} has no interval, so what was forgotten is unknown."
        return Finding(False, reason, ["Measure forgetting on more than one item."])
    passes = worst <= margin
    where = "within" if passes else "beyond" if least > margin else "possibly beyond"
    reason = (
        f"Tuning changed {what} by {100 * moved:+.1f} {unit} (at worst {100 * end:+.1f} at "
        f"{level(confidence)} confidence, n = {check.get('n', 'unknown')}): {where} the margin of "
        f"{100 * margin:g} {unit}."
    )
    return Finding(passes, reason, [] if passes else advise_forgetting(name, check, confidence))
