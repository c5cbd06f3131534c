from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from luthier.cli.options import AsJson, Overrides, RecipePath
from luthier.cli.screen import bullets, emit, facts, heading, table

LISTED = 5


Probe = Annotated[
    bool, typer.Option("--probe", help="Load the model and try some micro-batches: measured, not counted.")
]


def check(recipe: RecipePath, overrides: Overrides, probe: Probe = False, as_json: AsJson = False) -> None:
    """Fill in every `auto` and forecast the run; trains nothing."""
    from luthier.cli.progress import notes
    from luthier.engine.allocator import keep_pages
    from luthier.jobs.check import check as look
    from luthier.store import Home

    if probe:
        keep_pages()  # as the process that trains does
    emit(look(recipe, overrides, Home.open(), notes(as_json), probe), as_json, show)


def show(document: Mapping[str, Any]) -> None:
    from luthier.evaluate.report.numbers import setting

    show_data(document)
    show_steps(document["steps"])
    show_list("Dropped rows", document["findings"])
    heading("What each `auto` became")
    rows = [(entry["key"], setting(entry["value"]), entry["why"]) for entry in document["resolved"]]
    table(["key", "value", "why"], rows)
    heading("Licences")
    facts((near(name), licence or "not stated") for name, licence in document["licences"].items())
    show_list("Notes", document["notes"])
    show_forecast("Forecast", document["forecast"])
    if document["probe"] is not None:
        show_forecast("Forecast after the probe", document["probe"]["forecast"])
    show_list("Warnings", document["warnings"])


def show_data(document: Mapping[str, Any]) -> None:
    from luthier.evaluate.report.numbers import count, share

    coverage = document["coverage"]
    learnt = share(coverage["trained_tokens"] / coverage["tokens"]) if coverage["trained_tokens"] else ""
    facts(
        [
            *(("data", f"{near(s['path'])}: {s['type']}, {s['why']}") for s in document["sources"]),
            ("rows", ", ".join(f"{name} {count(rows)}" for name, rows in document["splits"].items())),
            ("tokens", count(coverage["tokens"]) + (f", of them learnt {learnt}" if learnt else "")),
            (
                "longest row",
                f"{count(coverage['longest'])} tokens; {count(coverage['truncated'])} rows truncated",
            ),
        ],
        wrap=True,
    )


def near(path: str) -> str:
    """A path as it is written from the current folder, where it lies there."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def show_list(title: str, lines: list[str]) -> None:
    if not lines:
        return
    heading(title)
    bullets(lines[:LISTED])
    if len(lines) > LISTED:
        print(f"- and {len(lines) - LISTED} more; --json has them all")


def show_steps(steps: list[dict[str, Any]]) -> None:
    if not steps:
        return
    from luthier.evaluate.report.numbers import count

    heading("What happened to the rows")
    rows = [
        (
            s["name"],
            count(s["rows_in"]),
            count(s["rows_out"]),
            "; ".join([*(f"{n} × {why}" for why, n in s["dropped"].items()), *_changed(s)]),
        )
        for s in steps
    ]
    table(["step", "in", "out", "dropped"], rows, right=["in", "out"])


def _changed(step: Mapping[str, Any]) -> list[str]:
    return [f"{step['changed']} changed"] if step.get("changed") else []


def show_forecast(title: str, forecast: Mapping[str, Any]) -> None:
    from luthier.evaluate.report.numbers import count, duration, money, size

    heading(title)
    facts(
        [
            ("steps", count(forecast["steps"])),
            ("tokens", count(forecast["tokens"])),
            ("before them", duration(forecast["before_seconds"]) if forecast["before_seconds"] >= 1 else None),
            ("time", duration(forecast["seconds"])),
            ("whole job", f"about {duration(forecast['job_seconds'])}"),
            ("memory", size(forecast["peak_memory_bytes"])),
            ("cost", money(forecast["cost"]) if forecast["cost"] else None),
        ]
    )
