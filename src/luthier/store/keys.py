"""Keys that clients of a server must show. Only their hashes are kept."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Select, insert, select, update

from luthier.errors import NotFound
from luthier.store.clock import now
from luthier.store.home import Home
from luthier.store.tables import api_key

PREFIX = "lk-"


@dataclass(frozen=True)
class Key:
    """A key without its secret."""

    id: str
    name: str
    created_at: str
    revoked_at: str | None


def create(home: Home, name: str) -> tuple[Key, str]:
    """A new key and its secret, 256 random bits, which is not kept."""
    secret = PREFIX + secrets.token_urlsafe(32)
    key = Key(f"key_{secrets.token_hex(8)}", name, now(), None)
    row = {"id": key.id, "name": key.name, "created_at": key.created_at, "sha256": digest(secret)}
    with home.write() as connection:
        connection.execute(insert(api_key).values(row))
    return key, secret


def digest(secret: str) -> str:
    """What is kept of a secret. One round is enough: nobody can try 2^256 of them."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def list_keys(home: Home) -> list[Key]:
    """All keys, revoked ones too, oldest first."""
    with home.read() as connection:
        return [Key(*row) for row in connection.execute(_keys())]


def revoke(home: Home, which: str) -> Key:
    """Let a key, by its id or its name, open nothing any more. Raises NotFound where no live key is called so, or
    several are."""
    with home.write() as connection:
        query = _keys().where((api_key.c.id == which) | (api_key.c.name == which), api_key.c.revoked_at.is_(None))
        found = [Key(*row) for row in connection.execute(query)]
        if len(found) != 1:
            what = "several keys are" if found else "no live key is"
            raise NotFound(f"{what} called {which!r}", str(home.root), "`luthier keys list` shows their ids")
        connection.execute(update(api_key).where(api_key.c.id == found[0].id).values(revoked_at=now()))
    return found[0]


def live(home: Home) -> Mapping[str, str]:
    """The hash of each key that opens the server → its id."""
    with home.read() as connection:
        rows = connection.execute(select(api_key.c.sha256, api_key.c.id).where(api_key.c.revoked_at.is_(None)))
        return {row.sha256: row.id for row in rows}


def _keys() -> Select[Any]:
    return select(*(api_key.c[field.name] for field in fields(Key))).order_by(api_key.c.created_at, api_key.c.id)
