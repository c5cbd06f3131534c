"""Lists that are read a page at a time: in the order of creation, from where the page before has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, select, tuple_

from luthier.errors import NotFound


def page(
    connection: Connection,
    query: Select[Any],
    table: Table,
    *,
    after: str | None,
    limit: int,
    newest_first: bool = True,
) -> tuple[Sequence[Row[Any]], bool]:
    """At most `limit` rows of `query`, which selects from `table`, and whether more follow.

    `table` has the columns `created_at` and `id`; the page begins behind the row whose id is `after`. Raises NotFound
    where there is no such row.
    """
    place = tuple_(table.c.created_at, table.c.id)
    if after is not None:
        last = connection.execute(select(table.c.created_at, table.c.id).where(table.c.id == after)).first()
        if last is None:
            raise NotFound(
                f"no {table.name} has the id {after!r}", "after", "Give the id of the last one that was listed"
            )
        query = query.where(place < tuple_(*last) if newest_first else place > tuple_(*last))
    order = (column.desc() if newest_first else column for column in (table.c.created_at, table.c.id))
    rows = connection.execute(query.order_by(*order).limit(limit + 1)).all()
    return rows[:limit], len(rows) > limit
