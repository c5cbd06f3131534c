"""What the run took: forecast against actual, where the time went, cost and energy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from luthier.evaluate.report.charts import bar
from luthier.evaluate.report.numbers import count, duration, fixed, money, share, size
from luthier.evaluate.report.reading import Document, absent, finite, part, records

FORECAST = (
    ("steps", "Steps", count),
    ("tokens", "Tokens", count),
    ("before_seconds", "Before the first step", duration),
    ("seconds", "Steps and validation", duration),
    ("job_seconds", "Whole job", duration),
    ("peak_memory_bytes", "Peak memory of the fit", size),
    ("cost", "Cost", money),
)
OFF, WORTH_SECONDS = 0.2, 5.0
"""An error of a forecast above which it is named at the end of a run, if it is worth so many seconds."""


def spending(document: Document) -> dict[str, Any]:
    return {
        "forecast": _forecast(document),
        "no_forecast": absent(document, "forecast", "the run document holds neither a forecast nor actual figures"),
        "stages": _stages(document),
        "no_stages": absent(document, "timeline", "the run document holds no times by stage"),
        "totals": _totals(document),
    }


def _forecast(document: Document) -> list[dict[str, str]]:
    kinds = {kind: part(document, kind) for kind in ("forecast", "forecast_after_probe", "actual")}
    return [
        {
            "name": name,
            **{kind: show(values.get(key)) for kind, values in kinds.items()},
            "error": share(errors(document).get(key), 0, signed=True),
        }
        for key, name, show in FORECAST
        if any(finite(values.get(key)) is not None for values in kinds.values())
    ]


def errors(document: Document) -> dict[str, float]:
    """How far the last forecast was above what it took, as a share of that: of time and of memory."""
    found = part(document, "forecast_error")
    return found.get("forecast_after_probe") or found.get("forecast") or {}


def misses(document: Document) -> list[str]:
    """A line for each forecast that was off by more than `OFF`."""
    last = part(document, "forecast_after_probe") or part(document, "forecast")
    shown = {key: (name, show) for key, name, show in FORECAST}
    return [
        f"{shown[key][0]}: {shown[key][1](last.get(key))} forecast, {shown[key][1](part(document, 'actual').get(key))} "
        f"taken ({share(error, 0, signed=True)})"
        for key, error in errors(document).items()
        if abs(error) > OFF and (not key.endswith("seconds") or abs(error) * _taken(document, key) > WORTH_SECONDS)
    ]


def _taken(document: Document, key: str) -> float:
    return finite(part(document, "actual").get(key)) or 0.0


def _stages(document: Document) -> list[dict[str, Any]]:
    known = [(str(entry.get("stage")), finite(entry.get("seconds"))) for entry in records(document, "timeline")]
    timed = [(stage, seconds) for stage, seconds in known if seconds is not None]
    total = sum(seconds for _, seconds in timed) or 1.0
    return [
        {
            "stage": stage,
            "time": duration(seconds),
            "share": share(seconds / total),
            "bar": bar([seconds / total]),
        }
        for stage, seconds in timed
    ]


def _totals(document: Document) -> list[tuple[str, str]]:
    return [
        ("Wall-clock time", _recorded(document, "wall_seconds", duration)),
        (
            "Training speed",
            _recorded(document, "tokens_per_second", lambda speed: f"{fixed(speed, 1)} tokens per second"),
        ),
        ("Peak memory", _recorded(document, "peak_memory_bytes", size)),
        ("Cost", _cost(document)),
        ("Energy", _energy(document)),
    ]


def _recorded(document: Document, key: str, show: Callable[[float], str]) -> str:
    number = finite(document.get(key))
    return absent(document, key, "the run did not record it") if number is None else show(number)


def _cost(document: Document) -> str:
    price = finite(part(document, "recipe", "machine").get("price_per_hour"))
    cost = finite(part(document, "actual").get("cost"))
    if cost is None or not price:
        return absent(document, "cost", "the recipe names no machine.price_per_hour")
    return f"{money(cost)} at {money(price)} per hour, in the currency of machine.price_per_hour"


def _energy(document: Document) -> str:
    energy = finite(document.get("energy_wh"))
    if energy is None:
        return absent(document, "energy", "the run document holds no energy estimate")
    return f"about {fixed(energy, 1)} Wh: an estimate, not a reading; {_assumption(document, energy)}"


def _assumption(document: Document, energy: float) -> str:
    """Where the estimate's power comes from: the resolved setting, the recipe, or the run's own average."""
    for entry in records(document, "resolved"):
        if entry.get("key") == "machine.power_watts":
            return f"it assumes a draw of {entry.get('value')} W ({entry.get('why')})"
    watts, seconds = (
        finite(part(document, "recipe", "machine").get("power_watts")),
        finite(document.get("wall_seconds")),
    )
    if watts is not None:
        return f"it assumes the recipe's draw of {fixed(watts, 0)} W (machine.power_watts)"
    if seconds:
        return f"it amounts to a steady draw of {fixed(energy * 3600 / seconds, 0)} W over the whole run"
    return "its assumed draw was not recorded"
