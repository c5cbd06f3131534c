from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.cli.options import AsJson, Overrides, RecipePath
from luthier.cli.screen import bullets, emit, facts, heading, table


def check(recipe: RecipePath, overrides: Overrides, as_json: AsJson = False) -> None:
    """Fill in every `auto` and forecast the run; trains nothing."""
    from luthier.cli.progress import note
    from luthier.jobs.check import check as look
    from luthier.store import Home

    emit(look(recipe, overrides, Home.open(), note), as_json, show)


def show(document: Mapping[str, Any]) -> None:
    from luthier.evaluate.report.numbers import count, share

    splits, coverage = document["splits"], document["coverage"]
    trained = coverage["trained_tokens"] / max(coverage["tokens"], 1)
    facts(
        [
            ("rows", count(document["rows"])),
            ("splits", ", ".join(f"{name} {count(rows)}" for name, rows in splits.items())),
            ("tokens", f"{count(coverage['tokens'])}, of them learnt {share(trained)}"),
            (
                "longest row",
                f"{count(coverage['longest'])} tokens; {count(coverage['truncated'])} rows truncated",
            ),
        ]
    )
    show_steps(document["steps"])
    heading("What each `auto` became")
    rows = [(entry["key"], entry["value"], entry["why"]) for entry in document["resolved"]]
    table(["key", "value", "why"], rows)
    show_forecast(document["forecast"])
    heading("Licences")
    facts((name, licence or "not stated") for name, licence in document["licences"].items())
    for title, key in (("Notes", "notes"), ("Warnings", "warnings"), ("Findings", "findings")):
        if document[key]:
            heading(title)
            bullets(document[key])


def show_steps(steps: list[dict[str, Any]]) -> None:
    if not steps:
        return
    heading("What happened to the rows")
    rows = [
        (s["name"], s["rows_in"], s["rows_out"], "; ".join(f"{n} × {why}" for why, n in s["dropped"].items()))
        for s in steps
    ]
    table(["step", "in", "out", "dropped"], rows, right=["in", "out"])


def show_forecast(forecast: Mapping[str, Any]) -> None:
    from luthier.evaluate.report.numbers import count, duration, money, size

    heading("Forecast")
    facts(
        [
            ("steps", count(forecast["steps"])),
            ("tokens", count(forecast["tokens"])),
            ("time", duration(forecast["seconds"])),
            ("memory", size(forecast["peak_memory_bytes"])),
            ("cost", money(forecast["cost"]) if forecast["cost"] else None),
        ]
    )
