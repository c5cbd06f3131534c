"""Runs: a row and a folder each, with a state machine, events, metrics and a control."""

from __future__ import annotations

import builtins
import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Row, Select, insert, select, update

from luthier.errors import NotFound, StoreError
from luthier.store.clock import now
from luthier.store.database import upsert
from luthier.store.files import disk_errors, held
from luthier.store.home import Home
from luthier.store.tables import event as event_table
from luthier.store.tables import metric as metric_table
from luthier.store.tables import run as run_table

Status = Literal["queued", "running", "paused", "cancelling", "cancelled", "succeeded", "failed"]
Control = Literal["cancel", "pause"]

# What may follow a status. One that is not final may also follow itself: a resumed run is `running` again.
NEXT: dict[str, tuple[str, ...]] = {
    "queued": ("running", "cancelled", "failed"),
    "running": ("paused", "cancelling", "succeeded", "failed"),
    "paused": ("running", "cancelled"),
    "cancelling": ("cancelled", "failed"),
    "cancelled": (),
    "succeeded": (),
    "failed": (),
}
UNFINISHED = ("queued", "running", "paused")
METRIC_ROWS_PER_STATEMENT = 200


@dataclass(frozen=True)
class RunRow:
    """A run as stored. Times are ISO 8601 in UTC; `document` is there once the run has succeeded."""

    id: str
    name: str
    status: Status
    created_at: str
    updated_at: str
    recipe: dict[str, Any]
    recipe_sha256: str
    command: str
    document: dict[str, Any] | None


@dataclass(frozen=True)
class Event:
    """Something that happened to a run."""

    at: str
    kind: str
    message: str
    data: dict[str, Any] | None


RUN_COLUMNS = [run_table.c[field.name] for field in fields(RunRow)]


def run_folder(home: Home, run_id: str) -> Path:
    return home.root / "runs" / run_id


def lock_path(home: Home, run_id: str) -> Path:
    """The file that the process working on the run keeps locked: `with Lock(lock_path(home, run_id)): …`."""
    return run_folder(home, run_id) / "lock"


def create(home: Home, *, name: str, recipe: dict[str, Any], recipe_sha256: str, command: str) -> RunRow:
    """A new run, `queued`, with its folder. Ids sort by time: `20261121-111503-tickets-3f9a`."""
    at = now()
    values = {
        "name": name, "status": "queued", "created_at": at, "updated_at": at, "recipe": recipe,
        "recipe_sha256": recipe_sha256, "command": command, "document": None, "control": None,
    }  # fmt: skip
    with home.write() as connection:
        run_id = _new_id(name, at)
        while not upsert(connection, run_table, [{"id": run_id, **values}], keys=["id"], replace=False):
            run_id = _new_id(name, at)
        with disk_errors(run_folder(home, run_id), "cannot be created"):
            run_folder(home, run_id).mkdir(parents=True)
    return get(home, run_id)


def _new_id(name: str, at: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].rstrip("-") or "run"
    stamp = at[:19].replace("-", "").replace(":", "").replace("T", "-")
    return f"{stamp}-{slug}-{secrets.token_hex(2)}"


def get(home: Home, ref: str) -> RunRow:
    """The run with this id, the `latest`, or the only one whose id begins with `ref`; NotFound else."""
    query = _newest_first().limit(2)
    if ref != "latest":
        query = query.where(run_table.c.id.startswith(ref, autoescape=True))
    with home.read() as connection:
        rows = [_run(row) for row in connection.execute(query)]
        exact = None if ref == "latest" else connection.execute(_newest_first().where(run_table.c.id == ref)).first()
    if exact:
        return _run(exact)
    if not rows or not ref:
        what = "there is no run yet" if ref == "latest" else f"no run has an id that begins with {ref!r}"
        raise NotFound(what, str(home.root), "`luthier runs list` shows the runs of this home")
    if len(rows) > 1 and ref != "latest":
        raise NotFound(
            f"{ref!r} begins the ids of several runs ({rows[0].id}, {rows[1].id} …)",
            mend="Write more of the id",
        )
    return rows[0]


def list(home: Home, limit: int = 20) -> builtins.list[RunRow]:
    """The newest runs, newest first."""
    with home.read() as connection:
        return [_run(row) for row in connection.execute(_newest_first().limit(limit))]


def unended(home: Home) -> builtins.list[RunRow]:
    """Every run that has not ended, newest first, whether a process works on it or not."""
    ended = [status for status, after in NEXT.items() if not after]
    with home.read() as connection:
        return [_run(row) for row in connection.execute(_newest_first().where(run_table.c.status.not_in(ended)))]


def find_unfinished(home: Home, recipe_sha256: str) -> RunRow | None:
    """The newest run of this recipe that can be taken up again here, or None.

    That is one which has not ended, has its folder in this home, and on which no live process works.
    """
    query = _newest_first().where(run_table.c.recipe_sha256 == recipe_sha256, run_table.c.status.in_(UNFINISHED))
    with home.read() as connection:
        rows = [_run(row) for row in connection.execute(query)]
    free = (row for row in rows if run_folder(home, row.id).is_dir() and not held(lock_path(home, row.id)))
    return next(free, None)


def find_succeeded(home: Home, command: str) -> RunRow | None:
    """The newest run that this command started and that has succeeded, or None."""
    query = _newest_first().where(run_table.c.command == command, run_table.c.status == "succeeded")
    with home.read() as connection:
        row = connection.execute(query.limit(1)).first()
    return None if row is None else _run(row)


def set_status(home: Home, run_id: str, status: Status) -> None:
    """Raises StoreError where the state machine has no such step, NotFound if there is no such run."""
    with home.write() as connection:
        _step(connection, run_id, status)


def abandon(home: Home, run_id: str) -> None:
    """Cancel a run on which no process works, so that it is never taken up again; one that has ended is left alone."""
    with home.write() as connection:
        status = connection.execute(select(run_table.c.status).where(run_table.c.id == run_id)).scalar()
        if status == "running":
            _step(connection, run_id, "cancelling")
        if status is not None and NEXT[status]:
            _step(connection, run_id, "cancelled")


def finish(home: Home, run_id: str, document: dict[str, Any]) -> None:
    """Store the run document, and set the status to `succeeded`, in one transaction."""
    with home.write() as connection:
        _step(connection, run_id, "succeeded")
        connection.execute(update(run_table).where(run_table.c.id == run_id).values(document=document))


def _step(connection: Connection, run_id: str, status: Status) -> None:
    query = select(run_table.c.status).where(run_table.c.id == run_id).with_for_update()
    current = connection.execute(query).scalar()
    if current is None:
        raise _no_run(run_id)
    if status not in NEXT[current] and not (status == current and NEXT[current]):
        allowed = ", ".join(NEXT[current]) or "nothing: it has ended"
        raise StoreError(f"a run that is {current} cannot become {status}", run_id, f"What may follow is {allowed}")
    connection.execute(update(run_table).where(run_table.c.id == run_id).values(status=status, updated_at=now()))


def event(home: Home, run_id: str, kind: str, message: str, data: dict[str, Any] | None = None) -> None:
    """Add something that happened; `kind` is one word."""
    values = {"run_id": run_id, "at": now(), "kind": kind, "message": message, "data": data}
    with home.write() as connection:
        connection.execute(insert(event_table).values(values))


def events(home: Home, run_id: str) -> builtins.list[Event]:
    """Oldest first."""
    columns = [event_table.c[field.name] for field in fields(Event)]
    query = select(*columns).where(event_table.c.run_id == run_id).order_by(event_table.c.id)
    with home.read() as connection:
        return [Event(*row) for row in connection.execute(query)]


def log_metrics(home: Home, run_id: str, step: int, values: Mapping[str, float]) -> None:
    """Store numbers under (run, step, name); the same step again replaces them. NaN is kept as NaN."""
    rows = [
        {"run_id": run_id, "step": step, "name": name, "value": None if math.isnan(value) else float(value)}
        for name, value in values.items()
    ]
    with home.write() as connection:
        for start in range(0, len(rows), METRIC_ROWS_PER_STATEMENT):
            part = rows[start : start + METRIC_ROWS_PER_STATEMENT]
            upsert(connection, metric_table, part, keys=["run_id", "step", "name"], replace=True)


def metrics(home: Home, run_id: str, name: str | None = None, after: int = -1) -> builtins.list[tuple[int, str, float]]:
    """(step, name, value) in the order of steps, of one metric or of all, of the steps behind `after`."""
    columns = metric_table.c
    query = select(columns.step, columns.name, columns.value).where(columns.run_id == run_id, columns.step > after)
    if name is not None:
        query = query.where(columns.name == name)
    with home.read() as connection:
        rows = connection.execute(query.order_by(columns.step, columns.name))
        return [(step, key, math.nan if value is None else value) for step, key, value in rows]


def control(home: Home, run_id: str) -> Control | None:
    """What somebody asked the run's process to do."""
    with home.read() as connection:
        row = connection.execute(select(run_table.c.control).where(run_table.c.id == run_id)).first()
    if row is None:
        raise _no_run(run_id)
    return row.control


def set_control(home: Home, run_id: str, wish: Control | None) -> None:
    """Ask the run's process, which looks at each step, to pause or to cancel; None takes the wish back."""
    with home.write() as connection:
        done = connection.execute(update(run_table).where(run_table.c.id == run_id).values(control=wish))
        if not done.rowcount:
            raise _no_run(run_id)


def _newest_first() -> Select[Any]:
    return select(*RUN_COLUMNS).order_by(run_table.c.created_at.desc(), run_table.c.id.desc())


def _run(row: Row[Any]) -> RunRow:
    return RunRow(*tuple(row))


def _no_run(run_id: str) -> NotFound:
    return NotFound(f"there is no run {run_id!r}", mend="`luthier runs list` shows the runs of this home")
