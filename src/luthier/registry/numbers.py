"""Metrics and their intervals as people read them: shares in percent, others with three decimals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

SHARES = {"exact_match", "json_match", "accuracy", "preference_accuracy", "questions"}
NATS = {"nll", "text_nll"}
NOTHING = "–"


def number(entry: Mapping[str, Any], key: str, missing: float = math.nan) -> float:
    """A number of a run document, where null stands for one that is not finite."""
    value = entry.get(key)
    return missing if value is None else float(value)


def plain(value: Any) -> str:
    """A count, or a quantity to the nearest whole."""
    return NOTHING if value is None else f"{value:,.0f}"


def level(confidence: float) -> str:
    """`95%`, `97.5%`."""
    return f"{100 * confidence:g}%"


def score(value: float | None, metric: str, *, signed: bool = False) -> str:
    """A value without its unit: percent for a share."""
    if value is None or not math.isfinite(value):
        return NOTHING
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.1f}" if metric in SHARES else f"{value:{sign}.3f}"


def with_interval(estimate: Mapping[str, Any] | None, metric: str) -> str:
    """`61.8 % [52.5, 70.4]`."""
    if not estimate or estimate.get("value") is None:
        return NOTHING
    value = score(estimate["value"], metric) + (" %" if metric in SHARES else "")
    if estimate.get("low") is None or estimate.get("high") is None:
        return value
    return f"{value} [{score(estimate['low'], metric)}, {score(estimate['high'], metric)}]"


def change(value: float | None, metric: str) -> str:
    """`+20.9 points`, `-0.031 nats per token`, `+0.120`."""
    unit = " points" if metric in SHARES else " nats per token" if metric in NATS else ""
    return score(value, metric, signed=True) + (unit if value is not None else "")


def interval(delta: Mapping[str, Any], metric: str) -> str:
    """`+11.8 to +29.1`."""
    return f"{score(delta.get('low'), metric, signed=True)} to {score(delta.get('high'), metric, signed=True)}"
