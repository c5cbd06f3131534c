"""What a job was forecast to take, before and after its probe, and what it took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.jobs.workbench import Work

FORECAST = ("steps", "tokens", "before_seconds", "seconds", "job_seconds", "peak_memory_bytes", "cost")
JUDGED = ("seconds", "job_seconds", "peak_memory_bytes")
"""Of these, those whose errors count."""


def spent_part(work: Work, fitted: Mapping[str, Any]) -> dict[str, Any]:
    """`forecast`, `forecast_after_probe` and `actual`; the seconds of the whole job are known at its end, and
    counted beforehand only where it has an evaluation."""
    probe = fitted["probe"]["forecast"]
    hours = (probe["before_seconds"] + fitted["seconds"]) / 3600
    actual = {
        "steps": fitted["steps"], "tokens": fitted["tokens"], "before_seconds": probe["before_seconds"],
        "seconds": fitted["seconds"], "job_seconds": None, "peak_memory_bytes": fitted["peak_memory_bytes"],
        "cost": hours * work.recipe.machine.price_per_hour,
    }  # fmt: skip
    return {
        "forecast": {key: work.plan.forecast[key] for key in FORECAST},
        "forecast_after_probe": {key: probe[key] for key in FORECAST},
        "actual": actual,
    }


def judged(document: Mapping[str, Any], job_seconds: float) -> dict[str, Any]:
    """`actual` with the seconds of the job, and `forecast_error`: how far each forecast was above what it took, as a
    share of that. Of a fit that ended early, a forecast of seconds counts for the steps that were taken."""
    actual = {**document["actual"], "job_seconds": job_seconds}
    errors = {name: _errors(document[name], actual) for name in ("forecast", "forecast_after_probe")}
    return {"actual": actual, "forecast_error": errors}


def _errors(forecast: Mapping[str, Any], actual: Mapping[str, Any]) -> dict[str, float]:
    untaken = forecast["seconds"] * (1 - actual["steps"] / forecast["steps"])
    expected = {key: forecast[key] - untaken * key.endswith("seconds") for key in JUDGED if forecast[key] is not None}
    return {key: value / actual[key] - 1 for key, value in expected.items() if actual[key]}
