"""Files that clients upload, and that jobs leave for them: a row each, whose bytes are a blob."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Select, delete, or_, select

from luthier.errors import NotFound
from luthier.store import paging
from luthier.store.clock import now
from luthier.store.database import upsert
from luthier.store.home import Home
from luthier.store.tables import file as table


@dataclass(frozen=True)
class File:
    """A file as stored. Times are ISO 8601 in UTC; after `expires_at` it is not there any more."""

    id: str
    created_at: str
    filename: str
    purpose: str
    bytes: int
    sha256: str
    expires_at: str | None


def add(
    home: Home, path: Path, *, filename: str, purpose: str, lifetime_seconds: int | None = None, id: str | None = None
) -> File:
    """Store the bytes at `path`; a file that has this `id` already is left alone and returned."""
    at = now()
    expires = None
    if lifetime_seconds is not None:
        expires = (datetime.now(UTC) + timedelta(seconds=lifetime_seconds)).isoformat(timespec="microseconds")
    name = id or f"file-{secrets.token_hex(12)}"
    new = File(name, at, filename, purpose, path.stat().st_size, home.blobs.put_file(path), expires)
    with home.write() as connection:
        upsert(connection, table, [asdict(new)], keys=["id"], replace=False)
    return get(home, new.id)


def get(home: Home, file_id: str) -> File:
    """The file with this id; NotFound where there is none, or its time is over."""
    with home.read() as connection:
        row = connection.execute(_present().where(table.c.id == file_id)).first()
    if row is None:
        raise NotFound(f"there is no file {file_id!r}", mend="Upload it, or list the files that there are")
    return File(*tuple(row))


def list_page(
    home: Home, *, after: str | None = None, limit: int = 20, newest_first: bool = True, purpose: str | None = None
) -> tuple[Sequence[File], bool]:
    """A page of files, in the order in which they came, and whether more follow. Raises NotFound for an unknown
    `after`."""
    query = _present() if purpose is None else _present().where(table.c.purpose == purpose)
    with home.read() as connection:
        rows, more = paging.page(connection, query, table, after=after, limit=limit, newest_first=newest_first)
    return [File(*tuple(row)) for row in rows], more


def remove(home: Home, file_id: str) -> None:
    """Forget a file; its bytes stay among the blobs, since jobs may have been given them. Raises NotFound."""
    get(home, file_id)
    with home.write() as connection:
        connection.execute(delete(table).where(table.c.id == file_id))


def _present() -> Select[Any]:
    columns = [table.c[field.name] for field in fields(File)]
    return select(*columns).where(or_(table.c.expires_at.is_(None), table.c.expires_at > now()))
