"""How each metric, and each thing that is compared, is named and written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from luthier.evaluate.report.numbers import DASH, fixed, plain_tick, share
from luthier.evaluate.report.reading import Document, finite, part

SOLVERS = {
    "base": ("Base model", "the base model"),
    "few_shot": ("Few-shot prompting", "few-shot prompting"),
    "classic": ("Classic model", "a classic model"),
    "majority": ("Most frequent answer", "the most frequent answer"),
    "in_service": ("Version in service", "the version in service"),
    "tuned": ("Tuned model", "the tuned model"),
}


@dataclass(frozen=True)
class Measure:
    """One metric: a `share` of items, a `score` between 0 and 1, or `nats` (unbounded, lower is better)."""

    name: str
    title: str
    unit: Literal["share", "score", "nats"]
    sentence: str
    method: str = "method not recorded"
    """How `Scores.estimate` makes its interval."""

    @property
    def lower_is_better(self) -> bool:
        return self.unit == "nats"

    @property
    def bounds(self) -> tuple[float, float] | None:
        return None if self.unit == "nats" else (0.0, 1.0)

    def show(self, value: Any, decimals: int = 1) -> str:
        return share(value, decimals) if self.unit == "share" else fixed(value, 3)

    def tick(self, value: float) -> str:
        return (
            share(value, 0 if round(value * 100, 6).is_integer() else 1) if self.unit == "share" else plain_tick(value)
        )

    def points(self, value: Any, decimals: int = 1, signed: bool = True) -> str:
        """A difference, without its unit: percentage points for a share."""
        number = finite(value)
        if number is None:
            return DASH
        return fixed(number * 100, decimals, signed) if self.unit == "share" else fixed(number, 3, signed)

    def change_tick(self, value: float) -> str:
        if self.unit == "share":
            return self.points(value, 0 if round(value * 100, 6).is_integer() else 1)
        return ("+" if value > 0 else "") + plain_tick(value)

    @property
    def difference_unit(self) -> str:
        return {
            "share": "percentage points",
            "score": self.title[0].lower() + self.title[1:],
            "nats": "nats per token saved",
        }[self.unit]

    def interval(self, estimate: dict[str, Any]) -> str:
        low, high = finite(estimate.get("low")), finite(estimate.get("high"))
        if low is None or high is None:
            return "no interval"
        if self.unit == "share":
            return f"[{fixed(low * 100, 1)}, {fixed(high * 100, 1)}]"
        return f"[{fixed(low, 3)}, {fixed(high, 3)}]"

    def change_interval(self, delta: dict[str, Any]) -> str:
        if finite(delta.get("low")) is None or finite(delta.get("high")) is None:
            return "no interval"
        return f"[{self.points(delta['low'])}, {self.points(delta['high'])}]"


WILSON = "Wilson, over groups where rows share one"
PERCENTILE = "percentile bootstrap over rows or groups"
STUDENTISED = "studentised bootstrap over rows or groups"
MEASURES = {
    kind.name: kind
    for kind in (
        Measure(
            "json_match",
            "All fields right",
            "share",
            "answers {value} of {n} held-out items fully right",
            WILSON,
        ),
        Measure(
            "exact_match",
            "Exact match",
            "share",
            "answers {value} of {n} held-out items exactly right",
            WILSON,
        ),
        Measure(
            "preference_accuracy",
            "Preference accuracy",
            "share",
            "scores the chosen answer higher in {value} of {n} held-out pairs",
            WILSON,
        ),
        Measure("accuracy", "Accuracy", "share", "labels {value} of {n} held-out items right", WILSON),
        Measure(
            "questions",
            "General questions",
            "share",
            "answers {value} of {n} general questions right",
            WILSON,
        ),
        Measure("macro_f1", "Macro F1", "score", "reaches a macro F1 of {value} on {n} held-out items", PERCENTILE),
        Measure("micro_f1", "Micro F1", "score", "reaches a micro F1 of {value} on {n} held-out items", PERCENTILE),
        Measure(
            "nll",
            "Negative log-likelihood",
            "nats",
            "needs {value} nats per token on {n} held-out items",
            STUDENTISED,
        ),
    )
}


def measure(name: str) -> Measure:
    """How a metric is written; one that is not in the table is a plain number under its own name.

    Where two objectives are learnt, names begin with theirs: `beside/accuracy`.
    """
    if name in MEASURES:
        return MEASURES[name]
    objective, slash, own = name.rpartition("/")
    if slash:
        return replace(measure(own), name=name, title=f"{measure(own).title} ({objective})")
    title = name.replace("_", " ").strip().capitalize().replace("nll", "NLL")
    unit: Literal["score", "nats"] = "nats" if "nll" in name or "loss" in name else "score"
    return Measure(name, title, unit, f"reaches {title} {{value}} on {{n}} held-out items")


def solver_name(name: str) -> str:
    return SOLVERS[name][0] if name in SOLVERS else name.replace("_", " ").capitalize()


def solver_phrase(name: str) -> str:
    return SOLVERS[name][1] if name in SOLVERS else name.replace("_", " ")


def metrics(document: Document) -> list[str]:
    """All metrics that were measured, the one that decides the verdict first."""
    found = [str(document["metric"])] if document.get("metric") else []
    for scores in (part(document, "tuned"), *solvers(document).values()):
        found += [name for name in scores if name not in found]
    return found


def solvers(document: Document) -> dict[str, dict[str, Any]]:
    """The estimates of every solver that was measured; baselines first, the tuned model last."""
    found = {name: part(document, "solvers", name) for name in part(document, "solvers")}
    for name in ("base", "tuned"):
        if not found.get(name):
            found[name] = part(document, name)
    order = [*(name for name in SOLVERS if name != "tuned"), *(name for name in found if name not in SOLVERS), "tuned"]
    return {name: found[name] for name in order if found.get(name)}
