"""What a server looks up on each request: few small reads."""

from __future__ import annotations

import asyncio
import sqlite3
from functools import cached_property
from typing import Any, NamedTuple

from sqlalchemy import func, select

from luthier.store.home import Home
from luthier.store.tables import alias_move, api_key, job, model_version

_PARTS = (
    select(func.count()).select_from(api_key),
    select(func.count(api_key.c.revoked_at)),
    select(func.max(alias_move.c.id)),
    select(func.count()).select_from(model_version),
    select(func.count(job.c.version)),
)
_STAMP = select(*(part.scalar_subquery() for part in _PARTS))


class Stamp(NamedTuple):
    """What the home holds at a moment, as far as it decides who may ask and where a name leads."""

    keys: tuple[int, int]
    """Another value whenever a key was made or revoked."""
    names: tuple[int | None, int, int]
    """Another value whenever a model's name may lead elsewhere than before."""


def stamp(home: Home) -> Stamp:
    """One read for all of it."""
    with home.read() as connection:
        found = connection.execute(_STAMP).one()
    return Stamp(tuple(found[:2]), tuple(found[2:]))  # type: ignore[arg-type]


class Watch:
    """Reads the stamp of one home again and again, from one event loop."""

    def __init__(self, home: Home) -> None:
        self.home = home

    async def stamp(self) -> Stamp:
        """As `stamp`, on a thread where the database is another machine's; a file is read sooner than a thread wakes.

        Of a file it asks SQLite itself, over a connection that stays open: SQLAlchemy takes four times as long.
        """
        if not self.home.database_url.startswith("sqlite"):
            return await asyncio.to_thread(stamp, self.home)
        try:
            found = self._sqlite.execute(self._query).fetchone()
        except sqlite3.Error:
            return stamp(self.home)  # which says what is wrong
        return Stamp(found[:2], found[2:])

    @cached_property
    def _sqlite(self) -> sqlite3.Connection:
        pooled = self.home.engine.raw_connection()
        found: Any = pooled.driver_connection
        pooled.detach()
        return found  # type: ignore[no-any-return]

    @cached_property
    def _query(self) -> str:
        return str(_STAMP.compile(self.home.engine))


def jobs_models(home: Home) -> dict[str, str]:
    """The names that fine-tuning jobs left → when."""
    query = select(job.c.model, job.c.updated_at).where(job.c.model.is_not(None), job.c.version.is_not(None))
    with home.read() as connection:
        return {row.model: row.updated_at for row in connection.execute(query)}
