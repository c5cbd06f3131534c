"""Jobs: work that a server was asked for and does in order, each with a state machine and events.

A process works on a job while it holds the job's lock, and sets its status in transactions of its own. A job that is
`running` while its lock is free lost its process; whoever claims it goes on with it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, Row, Select, insert, select, update

from luthier.errors import NotFound, StoreError
from luthier.store import paging
from luthier.store.clock import now
from luthier.store.home import Home
from luthier.store.job_events import insert_event
from luthier.store.tables import job as table

Status = Literal[
    "validating_files", "queued", "running", "paused", "cancelling", "cancelled", "succeeded", "failed",
]  # fmt: skip
NEXT: dict[str, tuple[str, ...]] = {
    "validating_files": ("queued", "failed", "cancelled"),
    "queued": ("running", "paused", "cancelled"),
    "running": ("paused", "cancelling", "succeeded", "failed"),
    "paused": ("queued", "cancelled"),
    "cancelling": ("cancelled",),
    "cancelled": (),
    "succeeded": (),
    "failed": (),
}
"""What may follow a status. `running` and `cancelling` also follow themselves: another process goes on."""
CHECKPOINT = ":ckpt-step-"
"""Stands in a model's name before the step of a checkpoint."""
ENDED = tuple(status for status, following in NEXT.items() if not following)


class WrongState(StoreError):
    """A job is not in a state in which this can be done to it."""


class Note(NamedTuple):
    """Something that happened to a job, for people: level `info`, `warn` or `error`."""

    message: str
    level: str = "info"
    data: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Job:
    """A job as stored. Times are ISO 8601 in UTC; `request` never changes, `result` grows."""

    id: str
    created_at: str
    updated_at: str
    finished_at: str | None
    kind: str
    status: Status
    request: dict[str, Any]
    control: str | None
    run_id: str | None
    model: str | None
    version: str | None
    result: dict[str, Any]
    error: dict[str, Any] | None


def job_folder(home: Home, job_id: str) -> Path:
    return home.root / "jobs" / job_id


def lock_path(home: Home, job_id: str) -> Path:
    """The file that the process working on the job keeps locked."""
    return job_folder(home, job_id) / "lock"


def device_lock(home: Home) -> Path:
    """The file that the process which fits keeps locked: one at a time, whichever server of the home started it."""
    return home.root / "jobs" / "device.lock"


def create(home: Home, *, kind: str, prefix: str, status: Status, request: dict[str, Any], note: Note) -> Job:
    """A new job, with its first event. Its id begins with `prefix`."""
    at = now()
    job = Job(
        f"{prefix}-{secrets.token_hex(12)}", at, at, None, kind, status, request, None, None, None, None, {}, None
    )
    with home.write() as connection:
        connection.execute(insert(table).values(vars(job)))
        add_note(connection, job.id, note)
    return job


def get(home: Home, job_id: str) -> Job:
    """Raises NotFound."""
    with home.read() as connection:
        return _get(connection, job_id)


def version_of(home: Home, model: str) -> str | None:
    """`name@3` for the name that clients have for the model of a job, or for its kept checkpoint,
    `<model>:ckpt-step-<step>`; None where there is none."""
    name, checkpoint, step = model.partition(CHECKPOINT)
    with home.read() as connection:
        row = connection.execute(_jobs().where(table.c.model == name)).first()
    if row is None or (checkpoint and step != str(row.result["best_step"])):
        return None
    return row.version


def waiting(home: Home, kind: str, statuses: Sequence[Status]) -> list[Job]:
    """Jobs in one of these states, oldest first."""
    with home.read() as connection:
        return [_job(row) for row in connection.execute(_in_order(kind, statuses))]


def list_page(
    home: Home, kind: str, *, after: str | None = None, limit: int = 20,
    metadata: Mapping[str, str] | Literal["none"] | None = None,
) -> tuple[Sequence[Job], bool]:  # fmt: skip
    """A page of jobs, newest first, and whether more follow: those whose request has all of this `metadata`, or
    `none` at all. Raises NotFound for an unknown `after`."""
    query, kept = _jobs().where(table.c.kind == kind), table.c.request
    if metadata == "none":
        query = query.where(kept["metadata"].as_string().is_(None))
    else:
        for key, value in (metadata or {}).items():
            query = query.where(kept[("metadata", key)].as_string() == value)
    with home.read() as connection:
        rows, more = paging.page(connection, query, table, after=after, limit=limit)
    return [_job(row) for row in rows], more


def claim(
    home: Home, kind: str, statuses: Sequence[Status], take: Callable[[str], bool], become: Mapping[str, Status]
) -> Job | None:  # fmt: skip
    """The first job in one of these states whose lock `take` (job id) gets, in the state that `become` names for it.

    The states are looked at in their order, jobs in the order in which they came; nobody else claims meanwhile.
    """
    with home.write() as connection:
        for status in statuses:
            for row in connection.execute(_in_order(kind, [status]).with_for_update()).all():
                if take(row.id):
                    return _set(connection, row.id, status=become.get(status, status))
    return None


def move(home: Home, job_id: str, status: Status, *notes: Note, **values: Any) -> Job:
    """Set the status, with events and other columns, in one transaction. Raises WrongState where the state machine
    has no such step."""
    with home.write() as connection:
        current = _get(connection, job_id, lock=True).status
        if status not in NEXT[current] and not (status == current and NEXT[current]):
            allowed = ", ".join(NEXT[current]) or "nothing: it has ended"
            raise WrongState(f"a job that is {current} cannot become {status}", job_id, f"What may follow is {allowed}")
        for note in notes:
            add_note(connection, job_id, note)
        return _set(connection, job_id, status=status, **values)


def change(home: Home, job_id: str, **values: Any) -> Job:
    """Set other columns than the status."""
    with home.write() as connection:
        return _set(connection, job_id, **values)


def cancel(home: Home, job_id: str) -> Job:
    """End a job, at once where no process trains; else ask its process to. Raises WrongState where it has ended."""
    steps = dict.fromkeys(("validating_files", "queued", "paused"), "cancelled") | {"running": "cancelling"}
    notes = {"cancelled": Note("The job was cancelled"), "cancelling": Note("The job is being cancelled")}
    with home.write() as connection:
        status = _get(connection, job_id, lock=True).status
        if status == "cancelling":
            return _get(connection, job_id)
        if status not in steps:
            raise WrongState(f"the job is {status} and cannot be cancelled", job_id)
        add_note(connection, job_id, notes[steps[status]])
        return _set(connection, job_id, status=steps[status])


def pause(home: Home, job_id: str) -> Job:
    """Hold a job that waits; ask the process of one that runs to stop after its step. Raises WrongState else."""
    with home.write() as connection:
        job = _get(connection, job_id, lock=True)
        if job.status == "queued":
            add_note(connection, job_id, Note("The job is paused"))
            return _set(connection, job_id, status="paused")
        if job.status != "running":
            raise WrongState(f"the job is {job.status} and cannot be paused", job_id)
        if job.control != "pause":
            add_note(connection, job_id, Note("The job is being paused"))
        return _set(connection, job_id, control="pause")


def resume(home: Home, job_id: str) -> Job:
    """Put a paused job back into the queue, or take back the wish to pause it. Raises WrongState else."""
    with home.write() as connection:
        job = _get(connection, job_id, lock=True)
        if job.status != "paused" and not (job.status == "running" and job.control == "pause"):
            raise WrongState(f"the job is {job.status} and not paused", job_id)
        add_note(connection, job_id, Note("The job goes on"))
        return _set(connection, job_id, status="queued" if job.status == "paused" else job.status, control=None)


def add_note(connection: Connection, job_id: str, note: Note) -> None:
    """Write an event within a transaction."""
    insert_event(connection, job_id, note.level, "message", note.message, note.data)


def _set(connection: Connection, job_id: str, **values: Any) -> Job:
    at = now()
    ended = {"finished_at": at} if values.get("status") in ENDED else {}
    connection.execute(update(table).where(table.c.id == job_id).values(updated_at=at, **ended, **values))
    return _get(connection, job_id)


def _get(connection: Connection, job_id: str, lock: bool = False) -> Job:
    query = _jobs().where(table.c.id == job_id)
    row = connection.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise NotFound(f"there is no job {job_id!r}", mend="List the jobs that there are")
    return _job(row)


def _in_order(kind: str, statuses: Sequence[str]) -> Select[Any]:
    query = _jobs().where(table.c.kind == kind, table.c.status.in_(statuses))
    return query.order_by(table.c.created_at, table.c.id)


def _jobs() -> Select[Any]:
    return select(*(table.c[field.name] for field in fields(Job)))


def _job(row: Row[Any]) -> Job:
    return Job(*tuple(row))
