"""What was made of models for engines and other tools, and what was measured of it."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from luthier.store.clock import now
from luthier.store.home import Home
from luthier.store.tables import export


@dataclass(frozen=True)
class Export:
    """`model`, a version or a base, in `format` at `path`; `sha256` is the hash of what it was made from."""

    id: str
    created_at: str
    model: str
    format: str
    path: Path
    sha256: str
    measured: dict[str, Any] | None = None


def add(home: Home, *, model: str, format: str, path: Path, sha256: str, measured: dict[str, Any] | None) -> Export:
    """Keep what was made and measured."""
    new = Export(f"export-{secrets.token_hex(8)}", now(), model, format, path, sha256, measured)
    with home.write() as connection:
        connection.execute(insert(export).values(asdict(new) | {"path": str(path)}))
    return new


def newest(home: Home, model: str, format: str, sha256: str | None = None) -> Export | None:
    """The last one of a model in a format, and, where it is given, of those that were made from these bytes."""
    made_from = () if sha256 is None else (export.c.sha256 == sha256,)
    query = (
        select(*(export.c[field.name] for field in fields(Export)))
        .where(export.c.model == model, export.c.format == format, *made_from)
        .order_by(export.c.created_at.desc(), export.c.id)
    )
    with home.read() as connection:
        row = connection.execute(query.limit(1)).first()
    return None if row is None else Export(**{**row._mapping, "path": Path(row.path)})
