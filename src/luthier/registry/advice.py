"""What to do about evidence that did not pass the gate, in sentences with numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

POWER = 0.8
FAR = 20  # that many times the present rows is more than anybody labels
BESIDE_WORSE = (
    "What is learnt beside is worse than that: raise `objective.beside`, train longer, or train it in a run of its own."
)


def advise_task(baseline: str, delta: Mapping[str, Any], floor: float, confidence: float) -> list[str]:
    """For a difference to a baseline whose interval does not lie above `floor`."""
    value, low, high = float(delta["value"]), float(delta["low"]), delta.get("high")
    if high is not None and float(high) < 0:
        return [
            "The tuned model is worse: look at the worsened samples in the report, then at the labels of the "
            "training rows like them, and try half the learning rate or fewer epochs.",
            *_instead(baseline),
        ]
    if value <= floor:
        return [
            "More test rows would not help: as measured, the tuned model is no better. Add or correct training "
            "rows, or train longer.",
            *_instead(baseline),
        ]
    return [_more_rows(value - floor, value - low, delta.get("n"), confidence), *_instead(baseline)]


def _more_rows(effect: float, half_width: float, n: Any, confidence: float) -> str:
    if not n or half_width <= 0:
        return "Use more test rows."
    rows = rows_needed(effect, half_width, int(n), confidence)
    if rows > FAR * n:
        return (
            f"About {rows} test rows would be needed to show so small a difference (there are {n}); "
            "add or correct training rows so that the difference grows."
        )
    return (
        f"Use about {rows} test rows instead of {n}: a difference of this size, if it is real, would then "
        f"pass {POWER:.0%} of the time."
    )


def rows_needed(effect: float, half_width: float, n: int, confidence: float) -> int:
    """Test rows at which an interval excludes 0 with 80 % power, if the true difference is `effect`.

    The standard error is that of the interval on `n` rows, and falls with the square root of the rows:
    n × (half_width / effect)² × ((z_confidence + z_power) / z_confidence)².
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    power = (z + NormalDist().inv_cdf(POWER)) / z
    return math.ceil(n * (half_width / effect * power) ** 2)


def _instead(baseline: str) -> list[str]:
    if baseline == "few_shot":
        return ["Few-shot prompting does at least as well here without training: it may be all that is needed."]
    if baseline == "classic":
        return [
            "The classic model does at least as well here and costs next to nothing to run: consider it, or add "
            "training rows."
        ]
    if baseline == "majority":
        return [
            "Nothing was learnt but how often each answer occurs, or of pairs, how long the better ones are: look for "
            "wrong labels, or for better questions."
        ]
    if baseline == "in_service":
        return [
            "The version in service stays; more corrections, or rows like those it gets wrong, may make a difference."
        ]
    return []


def advise_forgetting(check: str, entry: Mapping[str, Any], confidence: float) -> list[str]:
    """For a loss of general ability whose interval reaches beyond its margin."""
    sign = 1 if check == "text_nll" else -1
    value = sign * float(entry["delta"])
    worst = max(sign * float(entry[end]) for end in ("low", "high") if entry.get(end) is not None)
    margin = math.log1p(float(entry["margin"])) if check == "text_nll" else float(entry["margin"])
    milder = "To forget less, halve `train.learning_rate`, train fewer epochs, or raise `train.rehearsal`."
    if value >= margin or not entry.get("n"):
        return [milder]
    rows = rows_needed(margin - value, worst - value, int(entry["n"]), confidence)
    unit = "texts" if check == "text_nll" else "questions"
    return [
        milder,
        f"The measured loss is within the margin, its interval is too wide: about {rows} {unit} instead of "
        f"{entry['n']} would settle it. If you accept a loss up to its worst end, raise "
        "`evaluate.forgetting_margin`.",
    ]
