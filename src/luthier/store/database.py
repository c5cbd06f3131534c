"""The database engine: SQLite or PostgreSQL, with one set of statements and one kind of error."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Executable, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

from luthier.errors import MissingExtra, StoreError
from luthier.store.files import disk_errors, to_json

BUSY_SECONDS = 30
COUNTED = {"preserve_rowcount": True}
"""SQLAlchemy asks PostgreSQL for the number of inserted rows only where it is told to."""
URL_FORMS = "LUTHIER_DATABASE_URL must look like postgresql://user:password@host/database or sqlite:////path/luthier.db"


def connect(url: str) -> Engine:
    """An engine for `url`. Raises StoreError if the URL is not one of SQLite or PostgreSQL."""
    parsed = _parse(url)
    where = parsed.render_as_string(hide_password=True)
    try:
        engine = create_engine(parsed, json_serializer=to_json, pool_pre_ping=parsed.get_backend_name() != "sqlite")
    except NoSuchModuleError as error:
        raise StoreError(f"the database URL names an unknown driver ({error})", where, URL_FORMS) from error
    except ModuleNotFoundError as error:
        what = f"PostgreSQL needs a package that is not installed ({error.name})"
        raise MissingExtra(what, mend="pip install 'luthier[postgres]'") from error
    event.listen(engine, "handle_error", _explain)
    if parsed.get_backend_name() == "sqlite":
        assert parsed.database
        where = parsed.database
        with disk_errors(where, "the folder of the database cannot be created"):
            Path(where).parent.mkdir(parents=True, exist_ok=True)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreError("the database URL cannot be read", mend=URL_FORMS) from error
    where = parsed.render_as_string(hide_password=True)
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise StoreError("the database URL names neither SQLite nor PostgreSQL", where, URL_FORMS)
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise StoreError("a database in memory cannot be shared by processes", where, URL_FORMS)
    return parsed


def _prepare_sqlite(connection: Any, record: object) -> None:
    # pysqlite would begin transactions late and lose updates: this engine begins them itself.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout={BUSY_SECONDS * 1000}",
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    reads = connection.get_execution_options().get("luthier_reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def upsert(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    keys: Sequence[str],
    replace: bool,
) -> int:
    """Insert rows; where one with the same `keys` exists, replace its other columns or leave it alone.

    All rows name the same columns. Returns how many rows were written.
    """
    statement = _upsert(connection.dialect.name, table, tuple(keys), replace)
    return connection.execute(statement, list(rows), execution_options=COUNTED).rowcount


@cache
def _upsert(dialect: str, table: Table, keys: tuple[str, ...], replace: bool) -> Executable:
    """Making the statement takes longer than running it."""
    statement: Any = {"sqlite": sqlite, "postgresql": postgresql}[dialect].insert(table)  # type: ignore[attr-defined]
    if not replace:
        return statement.on_conflict_do_nothing(index_elements=keys)  # type: ignore[no-any-return]
    others = {column.name: statement.excluded[column.name] for column in table.c if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=others)  # type: ignore[no-any-return]


def _explain(context: ExceptionContext) -> StoreError | None:
    """What SQLAlchemy raises in the place of its own error: a StoreError that says how to mend it."""
    error = context.original_exception
    where = context.engine.url.render_as_string(hide_password=True) if context.engine else ""
    if context.is_pre_ping:  # the pool tries again with a new connection
        return None
    if isinstance(error, sqlite3.Error):
        return _explain_sqlite(error, where.removeprefix("sqlite:///"))
    if isinstance(context.sqlalchemy_exception, OperationalError):
        mend = "Check that the server runs and that LUTHIER_DATABASE_URL is right"
        return StoreError(f"the database cannot be used: {str(error).strip()}", where, mend)
    return None


SQLITE_ERRORS = {
    "SQLITE_FULL": (
        "the disk is full, nothing was written",
        "Free some space (`luthier clean` empties the caches), or move the home with LUTHIER_HOME",
    ),
    "SQLITE_READONLY": ("the database may not be written", "Check who owns the file and its folder"),
    "SQLITE_CANTOPEN": (
        "the database cannot be opened",
        "Check that its folder exists and that you may write to it",
    ),
    "SQLITE_NOTADB": (
        "this file is not a database, or is damaged",
        "Restore it from a backup, or move it away to begin with an empty one",
    ),
    "SQLITE_CORRUPT": (
        "the database is damaged",
        "Restore it from a backup, or move it away to begin with an empty one",
    ),
    "SQLITE_IOERR": (
        "the disk reported an error",
        "Check the disk; network file systems are not safe for SQLite",
    ),
    "SQLITE_BUSY": (
        f"another process kept the database busy for {BUSY_SECONDS} seconds",
        "Try again, or use PostgreSQL with LUTHIER_DATABASE_URL",
    ),
}


def _explain_sqlite(error: sqlite3.Error, where: str) -> StoreError | None:
    name = getattr(error, "sqlite_errorname", "")
    for prefix, (what, mend) in SQLITE_ERRORS.items():
        if name.startswith(prefix):
            return StoreError(f"{what} ({error})", where, mend)
    return None
