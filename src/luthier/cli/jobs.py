from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.group import group
from luthier.cli.options import AsJson
from luthier.cli.screen import emit, facts, one_line, table, when

if TYPE_CHECKING:
    from luthier.store.jobs import Job

JobId = Annotated[str, typer.Argument(metavar="JOB", help="A job's id.", show_default=False)]
EVENTS_SHOWN = 1000


def show_all(
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most this many, the newest.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the fine-tuning jobs of this home, newest first."""
    from luthier.jobs.tuning import KIND
    from luthier.store import Home, jobs

    found, _ = jobs.list_page(Home.open(), KIND, limit=limit)
    emit({"jobs": [overview(job) for job in found]}, as_json, show_overviews)


def overview(job: Job) -> dict[str, Any]:
    return {
        "job_id": job.id,
        "status": job.status,
        "base_model": job.request["base_model"],
        "model": job.model,
        "version": job.version,
        "verdict": job.result.get("verdict"),
        "run_id": job.run_id,
        "created_at": job.created_at,
        "finished_at": job.finished_at,
        "error": job.error,
    }


def show_overviews(document: Mapping[str, Any]) -> None:
    if not document["jobs"]:
        print("no jobs yet; clients of a server start them: POST /v1/fine_tuning/jobs")
        return
    rows = [(e["job_id"], e["status"], e["verdict"] or "", e["version"] or "") for e in document["jobs"]]
    table(["job", "status", "verdict", "model"], rows)


def show_one(job: JobId, as_json: AsJson = False) -> None:
    """Show a job and what happened to it."""
    from luthier.store import Home, job_events, jobs

    home = Home.open()
    found = jobs.get(home, job)
    events = [asdict(event) for event in job_events.list_page(home, job, limit=EVENTS_SHOWN)[0]][::-1]
    emit(overview(found) | {"events": events}, as_json, show_whole)


def show_whole(document: Mapping[str, Any]) -> None:
    names = {"job": "job_id", "status": "status", "base model": "base_model", "run": "run_id", "model": "version",
             "called": "model", "verdict": "verdict"}  # fmt: skip
    told = [(name, document[key]) for name, key in names.items() if document[key]]
    facts([*told, ("created (UTC)", when(document["created_at"]))])
    for event in document["events"]:
        print(f"{event['at'][11:19]}  {one_line(event['message'])}")


def cancel(job: JobId, as_json: AsJson = False) -> None:
    """Cancel a job: at once if it waits, else after the step it is at."""
    from luthier.store import Home, jobs

    emit(overview(jobs.cancel(Home.open(), job)), as_json, lambda document: print(document["status"]))


app = group("What clients of a server asked for.", list=show_all, show=show_one, cancel=cancel)
