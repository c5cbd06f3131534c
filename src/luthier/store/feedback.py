"""What people say of answers: rows of feedback, and the traces that they belong to."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from sqlalchemy import Connection, Select, delete, func, insert, or_, select, update

from luthier.errors import NotFound, StoreError
from luthier.store import paging
from luthier.store.clock import now
from luthier.store.home import Home
from luthier.store.tables import feedback as table
from luthier.store.tables import trace as trace_table

Kind = Literal["rating", "correction", "choice", "label"]
Review = Literal["accepted", "rejected"]
IDS_PER_STATEMENT = 500


@dataclass(frozen=True)
class New:
    """Feedback that is to be stored under `id`; where one with other content is there, `replaces` says whether this
    takes its place."""

    id: str
    trace_id: str
    kind: Kind
    value: dict[str, Any]
    rater: str | None = None
    comment: str | None = None
    replaces: bool = False


@dataclass(frozen=True)
class Feedback:
    """Feedback as stored. `created_at` is when it was last changed; `review` None: nobody has looked at it."""

    id: str
    created_at: str
    trace_id: str
    kind: Kind
    value: dict[str, Any]
    rater: str | None
    comment: str | None
    review: Review | None


@dataclass(frozen=True)
class Answered:
    """A request and what was answered, as its trace keeps them; `served` is `name@3`, or a base model."""

    id: str
    created_at: str
    route: str
    served: str
    run_id: str | None
    request: dict[str, Any]
    answer: dict[str, Any] | None
    status: int


def add(home: Home, new: Sequence[New]) -> builtins.list[Feedback]:
    """Store all of them, or none. What is there already, word for word, is left alone.

    Raises StoreError where an id that does not replace is there with another content.
    """
    with home.write() as connection:
        return [_add(connection, one) for one in new]


def _add(connection: Connection, new: New) -> Feedback:
    values = {name: value for name, value in asdict(new).items() if name != "replaces"}
    found = connection.execute(_rows().where(table.c.id == new.id).with_for_update()).first()
    if found is None:
        connection.execute(insert(table).values(values | {"created_at": now(), "review": None}))
    elif any(getattr(found, name) != value for name, value in values.items()):
        if not new.replaces:
            raise StoreError(f"there is other feedback with the id {new.id!r}", "id", "Give each its own id")
        changed = values | {"created_at": now(), "review": None}
        connection.execute(update(table).where(table.c.id == new.id).values(changed))
    return Feedback(*tuple(connection.execute(_rows().where(table.c.id == new.id)).one()))


def get(home: Home, feedback_id: str) -> Feedback:
    """Raises NotFound."""
    with home.read() as connection:
        row = connection.execute(_rows().where(table.c.id == feedback_id)).first()
    if row is None:
        raise _missing(feedback_id)
    return Feedback(*row)


def remove(home: Home, feedback_id: str) -> None:
    """Take feedback back: it is not learnt from any more. Raises NotFound."""
    with home.write() as connection:
        if not connection.execute(delete(table).where(table.c.id == feedback_id)).rowcount:
            raise _missing(feedback_id)


def set_review(home: Home, decisions: Mapping[str, Review]) -> None:
    """Let a person's decisions stand, by id: all of them or, where an id is not there, none. Raises NotFound."""
    with home.write() as connection:
        for one, review in decisions.items():
            if not connection.execute(update(table).where(table.c.id == one).values(review=review)).rowcount:
                raise _missing(one)


def list_page(
    home: Home, *, trace_id: str | None = None, kind: str | None = None, after: str | None = None, limit: int = 20
) -> tuple[builtins.list[Feedback], bool]:
    """Newest first, from behind the one whose id is `after`; and whether more follow. Raises NotFound for an unknown
    `after`."""
    query = _rows()
    if trace_id is not None:
        query = query.where(table.c.trace_id == trace_id)
    if kind is not None:
        query = query.where(table.c.kind == kind)
    with home.read() as connection:
        rows, more = paging.page(connection, query, table, after=after, limit=limit)
    return [Feedback(*tuple(row)) for row in rows], more


def of_models(home: Home, name: str, also: Iterable[str] = ()) -> builtins.list[tuple[Feedback, Answered]]:
    """Feedback on answers of any version of the model `name`, and of the models in `also` as they were served; oldest
    first."""
    served = trace_table.c.served
    wanted = or_(served.startswith(f"{name}@", autoescape=True), served.in_([name, *also]))
    columns = (*_columns(table, Feedback), *_columns(trace_table, Answered))
    query = select(*columns).join(trace_table, table.c.trace_id == trace_table.c.id).where(wanted)
    width = len(fields(Feedback))
    with home.read() as connection:
        rows: builtins.list[tuple[Any, ...]] = [
            tuple(row) for row in connection.execute(query.order_by(table.c.created_at, table.c.id))
        ]
    return [(Feedback(*row[:width]), Answered(*row[width:])) for row in rows]


def without_answer(home: Home) -> int:
    """How much feedback there is whose trace was purged: nobody knows any more what it was said of."""
    query = select(func.count()).select_from(table).outerjoin(trace_table, table.c.trace_id == trace_table.c.id)
    with home.read() as connection:
        return connection.execute(query.where(trace_table.c.id.is_(None))).scalar_one()


def standing(home: Home, ids: Iterable[str]) -> set[str]:
    """Those of the ids that were neither taken back nor rejected in review."""
    rows = _by_id(home, select(table.c.id, table.c.review), table, ids)
    return {row.id for row in rows if row.review != "rejected"}


def answers(home: Home, trace_ids: Iterable[str]) -> dict[str, Answered]:
    """Trace id → its request and answer, for those that are still there."""
    rows = _by_id(home, select(*_columns(trace_table, Answered)), trace_table, trace_ids)
    return {row.id: Answered(*row) for row in rows}


def _by_id(home: Home, query: Select[Any], of: Any, ids: Iterable[str]) -> builtins.list[Any]:
    wanted = sorted(set(ids))
    parts = [wanted[start : start + IDS_PER_STATEMENT] for start in range(0, len(wanted), IDS_PER_STATEMENT)]
    with home.read() as connection:
        return [row for part in parts for row in connection.execute(query.where(of.c.id.in_(part)))]


def _rows() -> Select[Any]:
    return select(*_columns(table, Feedback))


def _columns(of: Any, kind: type) -> builtins.list[Any]:
    return [of.c[field.name] for field in fields(kind)]


def _missing(feedback_id: str) -> NotFound:
    return NotFound(f"there is no feedback {feedback_id!r}", "id", "`luthier feedback list` shows what there is")
