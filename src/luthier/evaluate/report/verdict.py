"""The verdict and the one sentence of evidence for it."""

from __future__ import annotations

import re
from typing import Any

from luthier.evaluate.report.measures import Measure, measure, solver_phrase, solvers
from luthier.evaluate.report.numbers import count, p_value
from luthier.evaluate.report.reading import Document, entries, finite, level, part

WORDS = {
    "ship": ("Ship", "The tuned model passes the gate."),
    "hold": ("Hold", "The tuned model does not pass the gate."),
}


def verdict(document: Document) -> dict[str, Any]:
    kind = str(document.get("verdict"))
    unknown = ("No verdict", f"The run is {document.get('status') or 'unfinished'}.")
    word, gate = WORDS.get(kind, unknown)
    return {
        "kind": kind if kind in WORDS else "none",
        "word": word,
        "gate": gate,
        "evidence": evidence(document),
        "footing": footing(document),
        "reasons": [str(reason) for reason in entries(document, "reasons")],
        "next": [str(step) for step in entries(document, "next")],
        "warnings": len(entries(document, "warnings")),
    }


def evidence(document: Document) -> str:
    """What the tuned model does and how far it is from the best alternative, in one sentence."""
    name = document.get("metric")
    estimate = solvers(document).get("tuned", {}).get(str(name)) if name else None
    if not estimate or finite(estimate.get("value")) is None:
        return "The tuned model was not measured on held-out items, so nothing can be said about it."
    kind = measure(str(name))
    delta = part(document, "delta", str(name))
    decimals = _decimals([estimate, delta] if finite(delta.get("value")) is not None else [estimate])
    value = kind.show(estimate["value"], decimals)
    sentence = "The tuned model " + kind.sentence.format(value=value, n=count(estimate.get("n")))
    if finite(delta.get("value")) is None:
        return sentence + "; no alternative was measured beside it."
    return sentence + _against(kind, delta, document, decimals) + "."


def _against(kind: Measure, delta: dict[str, Any], document: Document, decimals: int) -> str:
    rival = solver_phrase(str(delta.get("against") or document.get("best_baseline") or "another solver"))
    value, low, high = (finite(delta.get(key)) for key in ("value", "low", "high"))
    assert value is not None
    unit = " points" if kind.unit == "share" else ""
    if low is None or high is None:
        return f", {kind.points(value, decimals)}{unit} (no interval) from the best alternative, {rival}"
    if low <= 0 <= high:
        span = f"{kind.points(low, decimals)} to {kind.points(high, decimals)}"
        change = f"{kind.points(value, decimals)}{unit}, {span}"
        return f"; that cannot be told apart from the best alternative, {rival} ({change})"
    more, less = ("lower", "higher") if kind.lower_is_better else ("more", "less")
    near, far = sorted((abs(low), abs(high)))
    amount = f"{kind.points(abs(value), decimals, signed=False)}{unit}"
    span = f"{kind.points(near, decimals, signed=False)} to {kind.points(far, decimals, signed=False)}"
    return f", {amount} ({span}) {more if value > 0 else less} than the best alternative, {rival}"


def _decimals(estimates: list[dict[str, Any]]) -> int:
    """Whole percents where the intervals are wide; one decimal where rounding would hide something."""
    for estimate in estimates:
        known = [finite(estimate.get(key)) for key in ("value", "low", "high")]
        numbers = [number for number in known if number is not None]
        if len(numbers) < 3 or numbers[2] - numbers[1] < 0.05 or min(map(abs, numbers)) < 0.02:
            return 1
    return 0


def footing(document: Document) -> str:
    """What the brackets of the sentence are: level, method, p, n."""
    delta = part(document, "delta", str(document.get("metric")))
    if finite(delta.get("value")) is None:
        return ""
    method = delta.get("method") or "method not recorded"
    figures = f"{p_value(delta.get('p'))}; n = {count(delta.get('n'))}"
    return f"In brackets: {level(document)} interval of the paired difference ({method}); {figures}."


MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def run_date(run_id: Any) -> str:
    """The date inside a run id such as `20261121-111503-tickets-3f9a`; empty for other ids."""
    match = re.match(r"(\d{4})(\d{2})(\d{2})-\d{6}-", str(run_id))
    if not match or not 1 <= int(match[2]) <= 12:
        return ""
    return f"{int(match[3])} {MONTHS[int(match[2]) - 1]} {match[1]}"
