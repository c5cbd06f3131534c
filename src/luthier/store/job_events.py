"""What happened to jobs: messages for people, and the metrics of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, insert, select

from luthier.errors import NotFound
from luthier.store.clock import now
from luthier.store.home import Home
from luthier.store.tables import job_event as table


@dataclass(frozen=True)
class JobEvent:
    """An event as stored; `type` is `message` or `metrics`, `level` is `info`, `warn` or `error`."""

    id: int
    job_id: str
    at: str
    level: str
    type: str
    message: str
    data: dict[str, Any] | None


def insert_event(
    connection: Connection, job_id: str, level: str, type: str, message: str, data: Mapping[str, Any] | None
) -> None:
    """Write one within a transaction."""
    values = {"job_id": job_id, "at": now(), "level": level, "type": type, "message": message, "data": data}
    connection.execute(insert(table).values(values))


def add_metrics(home: Home, job_id: str, message: str, data: Mapping[str, Any]) -> None:
    """The metrics of a step, `data["step"]`; a step that is there already, from before a process was lost, is left
    alone."""
    with home.write() as connection:
        columns = select(table.c.data).where(table.c.job_id == job_id, table.c.type == "metrics")
        last = connection.execute(columns.order_by(table.c.id.desc()).limit(1)).scalar()
        if last is None or last["step"] < data["step"]:
            insert_event(connection, job_id, "info", "metrics", message, data)


def add_message(home: Home, job_id: str, message: str, level: str = "info") -> None:
    """Something for people."""
    with home.write() as connection:
        insert_event(connection, job_id, level, "message", message, None)


def list_page(
    home: Home, job_id: str, *, after: int | None = None, limit: int = 20
) -> tuple[Sequence[JobEvent], bool]:  # fmt: skip
    """A page of a job's events, newest first, and whether more follow. Raises NotFound for an unknown `after`."""
    query = select(*(table.c[field.name] for field in fields(JobEvent))).where(table.c.job_id == job_id)
    with home.read() as connection:
        if after is not None:
            if connection.execute(query.where(table.c.id == after)).first() is None:
                raise NotFound(f"the job has no event {after}", "after", "Give the id of the last one that was listed")
            query = query.where(table.c.id < after)
        rows = connection.execute(query.order_by(table.c.id.desc()).limit(limit + 1)).all()
    return [JobEvent(*row) for row in rows[:limit]], len(rows) > limit
