"""Rows of what models were asked and answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Select, select

from luthier.store.database import upsert
from luthier.store.home import Home
from luthier.store.tables import trace


@dataclass(frozen=True)
class TraceRow:
    """One request, whether it was answered, refused or failed."""

    id: str
    created_at: str
    route: str
    model: str
    """As it was asked for."""
    served: str
    """`name@3` or the base model; empty where the request did not come so far."""
    run_id: str | None
    key_id: str | None
    request: Mapping[str, Any]
    answer: Mapping[str, Any] | None
    status: int
    """Of HTTP; 499 where the client left before the end."""
    error: str | None
    prompt_tokens: int
    completion_tokens: int
    first_token_ms: float | None
    total_ms: float
    cached: bool
    metadata: Mapping[str, Any] | None


def add(home: Home, rows: Sequence[TraceRow]) -> None:
    """Write rows in one transaction; those that are there already stay as they are."""
    if rows:
        values = [{field.name: getattr(row, field.name) for field in fields(TraceRow)} for row in rows]
        with home.write() as connection:
            upsert(connection, trace, values, keys=["id"], replace=False)


def get(home: Home, id: str) -> TraceRow | None:
    """The trace of the reply with this id."""
    with home.read() as connection:
        row = connection.execute(_rows().where(trace.c.id == id)).first()
    return None if row is None else TraceRow(*row)


def newest(
    home: Home, limit: int, *, served: str | None = None, before: tuple[str, str] | None = None
) -> list[TraceRow]:
    """The newest first, of all models or of one; `before` is (created_at, id) of the last row of the page before."""
    query = _rows().order_by(trace.c.created_at.desc(), trace.c.id.desc()).limit(limit)
    if served is not None:
        query = query.where(trace.c.served == served)
    if before is not None:
        at, id = before
        query = query.where((trace.c.created_at < at) | ((trace.c.created_at == at) & (trace.c.id < id)))
    with home.read() as connection:
        return [TraceRow(*row) for row in connection.execute(query)]


def _rows() -> Select[Any]:
    return select(*(trace.c[field.name] for field in fields(TraceRow)))
