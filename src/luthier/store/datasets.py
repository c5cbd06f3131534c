"""Dataset versions: a manifest and the tree of its files, under an id made from the content."""

from __future__ import annotations

import builtins
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Select, select

from luthier.errors import NotFound
from luthier.store.clock import now
from luthier.store.database import upsert
from luthier.store.home import Home
from luthier.store.tables import dataset_version as table


@dataclass(frozen=True)
class DatasetRow:
    """A dataset version as stored. `tree_sha` is the hash of its tree of files."""

    id: str
    created_at: str
    manifest: dict[str, Any]
    tree_sha: str


def add(home: Home, version_id: str, manifest: dict[str, Any], tree_sha: str) -> DatasetRow:
    """Store a version; one with this id that is there already is left alone and returned."""
    row = {"id": version_id, "created_at": now(), "manifest": manifest, "tree_sha": tree_sha}
    with home.write() as connection:
        upsert(connection, table, [row], keys=["id"], replace=False)
    return get(home, version_id)


def get(home: Home, ref: str) -> DatasetRow:
    """The version with this id, or the only one whose id begins with `ref`; NotFound else."""
    with home.read() as connection:
        exact = connection.execute(_newest_first().where(table.c.id == ref)).first()
        begins = _newest_first().where(table.c.id.startswith(ref, autoescape=True)).limit(2)
        rows = [exact] if exact else connection.execute(begins).all()
    if not rows or not ref:
        mend = "`luthier data versions` shows the dataset versions of this home"
        raise NotFound(f"no dataset version has an id that begins with {ref!r}", str(home.root), mend)
    if len(rows) > 1:
        several = f"{rows[0].id}, {rows[1].id} …"
        raise NotFound(f"{ref!r} begins the ids of several dataset versions ({several})", mend="Write more of the id")
    return DatasetRow(*rows[0])


def list(home: Home) -> builtins.list[DatasetRow]:
    """All versions, newest first."""
    with home.read() as connection:
        return [DatasetRow(*row) for row in connection.execute(_newest_first())]


def _newest_first() -> Select[Any]:
    columns = [table.c[field.name] for field in fields(DatasetRow)]
    return select(*columns).order_by(table.c.created_at.desc(), table.c.id)
