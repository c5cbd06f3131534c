from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.group import group
from luthier.cli.options import AsJson, RunRef
from luthier.cli.screen import emit, facts, heading, table

if TYPE_CHECKING:
    from luthier.store.runs import RunRow

ENDED = ("cancelled", "succeeded", "failed")


def show_all(
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most this many, the newest.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the runs of this home, newest first."""
    from luthier.store import Home, runs

    emit({"runs": [overview(row) for row in runs.list(Home.open(), limit)]}, as_json, show_overviews)


def overview(row: RunRow) -> dict[str, Any]:
    document = row.document or {}
    return {
        "run_id": row.id,
        "name": row.name,
        "status": row.status,
        "verdict": document.get("verdict"),
        "model": document.get("model"),
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "command": row.command,
    }


def show_overviews(document: Mapping[str, Any]) -> None:
    if not document["runs"]:
        print("no runs yet; start one with: luthier run RECIPE")
        return
    rows = [(e["run_id"], e["status"], e["verdict"] or "", e["model"] or "") for e in document["runs"]]
    table(["run", "status", "verdict", "model"], rows)


def show_one(run: RunRef, as_json: AsJson = False) -> None:
    """Show what a run found, as `luthier run` printed it."""
    from luthier.cli import run as judged
    from luthier.cli import train as fitted
    from luthier.store import Home, runs

    home = Home.open()
    row = runs.get(home, run)
    if row.document is not None:
        emit(row.document, as_json, judged.show if "verdict" in row.document else fitted.show)
        return
    step, metrics = newest(runs.metrics(home, row.id))
    events = [asdict(event) for event in runs.events(home, row.id)]
    emit(overview(row) | {"step": step, "metrics": metrics, "events": events}, as_json, show_unfinished)


def newest(metrics: list[tuple[int, str, float]]) -> tuple[int, dict[str, float]]:
    """The last step with metrics, 0 if none, and what was measured there."""
    last = max((step for step, _, _ in metrics), default=0)
    return last, {name: value for step, name, value in metrics if step == last}


def show_unfinished(document: Mapping[str, Any]) -> None:
    known = [(name, document[name]) for name in ("run_id", "status", "command", "created_at", "updated_at")]
    facts([*known, ("step", step_text(document["step"], document["metrics"]))])
    for event in document["events"]:
        print(f"{event['at'][11:19]}  {event['kind']}: {event['message']}")


def step_text(step: int, metrics: Mapping[str, float]) -> str:
    return "  ".join([str(step), *(f"{name} {value:.4g}" for name, value in metrics.items())])


def show_difference(a: RunRef, b: RunRef, as_json: AsJson = False) -> None:
    """Show what differs between two runs: recipe, data and scores."""
    from luthier.jobs.history import diff
    from luthier.store import Home

    emit(diff(Home.open(), a, b), as_json, show_diff)


def show_diff(document: Mapping[str, Any]) -> None:
    from luthier.cli.evaluate import number
    from luthier.evaluate.report.numbers import setting

    facts([("a", document["a"]), ("b", document["b"])])
    heading("Recipe")
    recipe = [(key, setting(a), setting(b)) for key, a, b in document["recipe"]]
    table(["key", "a", "b"], recipe) if recipe else print("the same")
    heading("Outcome")
    outcome = [(name, setting(a), setting(b)) for name, (a, b) in document["data"].items()]
    table(["", "a", "b"], outcome) if outcome else print("the same")
    heading("Scores")
    scores = [
        (metric, number(e["a"]["value"]), number(e["b"]["value"]), number(e["delta"], signed=True))
        for metric, e in document["scores"].items()
    ]
    columns = ["metric", "a", "b", "b minus a"]
    table(columns, scores, right=columns[1:]) if scores else print("none in common")


def watch(
    run: RunRef,
    interval: Annotated[float, typer.Option("--interval", min=0.1, help="Seconds between looks.")] = 1.0,
) -> None:
    """Follow a run that another process carries out, until it ends."""
    from luthier.store import Home, runs
    from luthier.store.files import held

    home = Home.open()
    run_id = runs.get(home, run).id
    seen_events, seen_step = 0, 0
    while True:
        row = runs.get(home, run_id)
        events = runs.events(home, run_id)
        for event in events[seen_events:]:
            print(f"{event.at[11:19]}  {event.kind}: {event.message}", flush=True)
        step, metrics = newest(runs.metrics(home, run_id))
        if step > seen_step:
            print(f"step {step_text(step, metrics)}", flush=True)
        seen_events, seen_step = len(events), step
        if row.status in ENDED:
            print(row.status)
            return
        if not held(runs.lock_path(home, run_id)):
            print(f"{row.status}, and no process works on it; to go on: {row.command}")
            return
        time.sleep(interval)


app = group("What has been run.", list=show_all, show=show_one, diff=show_difference, watch=watch)
