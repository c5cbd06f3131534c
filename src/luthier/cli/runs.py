from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.group import group
from luthier.cli.options import AsJson, RunRef
from luthier.cli.screen import emit, facts, heading, table, when
from luthier.cli.watch import step_text, watch

if TYPE_CHECKING:
    from luthier.store import Home
    from luthier.store.runs import RunRow

ENDED = ("cancelled", "succeeded", "failed")


def show_all(
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most this many, the newest.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the runs of this home, newest first."""
    from luthier.store import Home, runs

    home = Home.open()
    emit({"runs": [overview(home, row) for row in runs.list(home, limit)]}, as_json, show_overviews)


def overview(home: Home, row: RunRow) -> dict[str, Any]:
    from luthier.store import runs
    from luthier.store.files import held

    document = row.document or {}
    return {
        "run_id": row.id,
        "name": row.name,
        "status": row.status,
        "alive": row.status not in ENDED and held(runs.lock_path(home, row.id)),
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
    rows = [(e["run_id"], status_text(e), e["verdict"] or "", e["model"] or "") for e in document["runs"]]
    table(["run", "status", "verdict", "model"], rows)


def status_text(entry: Mapping[str, Any]) -> str:
    """The stored status, or `interrupted` where no process works on a run that has not ended."""
    return entry["status"] if entry["alive"] or entry["status"] in ENDED else "interrupted"


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
    emit(overview(home, row) | {"step": step, "metrics": metrics, "events": events}, as_json, show_unfinished)


def newest(metrics: list[tuple[int, str, float]]) -> tuple[int, dict[str, float]]:
    """The last step with metrics, 0 if none, and what was measured there."""
    last = max((step for step, _, _ in metrics), default=0)
    return last, {name: value for step, name, value in metrics if step == last}


def show_unfinished(document: Mapping[str, Any]) -> None:
    status = status_text(document)
    facts(
        [
            ("run", document["run_id"]),
            ("status", f"{status}; to go on, repeat the command" if status == "interrupted" else status),
            ("command", document["command"]),
            ("created (UTC)", when(document["created_at"])),
            ("updated (UTC)", when(document["updated_at"])),
            ("step", step_text(document["step"], document["metrics"])),
        ]
    )
    for event in document["events"]:
        print(f"{event['at'][11:19]}  {event['kind']}: {event['message']}")


def show_difference(a: RunRef, b: RunRef, as_json: AsJson = False) -> None:
    """Show what differs between two runs: recipe, data and scores."""
    from luthier.jobs.history import diff
    from luthier.store import Home

    emit(diff(Home.open(), a, b), as_json, show_diff)


def show_diff(document: Mapping[str, Any]) -> None:
    from luthier.cli.evaluate import difference
    from luthier.evaluate.report.measures import measure
    from luthier.evaluate.report.numbers import count, duration, setting, size

    facts([("a", document["a"]), ("b", document["b"])])
    heading("Recipe")
    recipe = [(key, setting(a), setting(b)) for key, a, b in document["recipe"]]
    table(["key", "a", "b"], recipe) if recipe else print("the same")
    heading("Outcome")
    written = {"wall_seconds": duration, "tokens_per_second": count, "peak_memory_bytes": size}
    outcome = [
        (OUTCOMES.get(name, name), *(written.get(name, setting)(value) for value in pair))
        for name, pair in document["data"].items()
    ]
    table(["", "a", "b"], outcome) if outcome else print("the same")
    heading("Scores")
    scores = [
        (name, measure(name).show(e["a"]["value"]), measure(name).show(e["b"]["value"]), difference(name, e["delta"]))
        for name, e in document["scores"].items()
    ]
    columns = ["metric", "a", "b", "b minus a"]
    table(columns, scores, right=columns[1:]) if scores else print("none in common")


OUTCOMES = {
    "dataset_version": "data",
    "wall_seconds": "time",
    "tokens_per_second": "tokens a second",
    "peak_memory_bytes": "memory",
}
"""How keys of a run's document are called where they differ."""


app = group("What has been run.", list=show_all, show=show_one, diff=show_difference, watch=watch)
