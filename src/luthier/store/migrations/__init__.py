"""The steps to the present schema: one file each in `versions`, applied in the order of their names."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from luthier.errors import StoreError

FOLDER = Path(__file__).parent
VERSION_TABLE = "luthier_version"
ADVISORY_LOCK = 0x6C757468  # PostgreSQL: one process migrates at a time


def steps() -> list[str]:
    """The names of all steps, oldest first; each is the stem of its file."""
    return sorted(path.stem for path in (FOLDER / "versions").glob("step_*.py"))


def migrate(engine: Engine) -> None:
    """Bring the database to the newest schema; alembic is loaded only if there is something to do.

    Raises StoreError if the database was made by a newer Luthier.
    """
    with engine.connect().execution_options(luthier_reads=True) as connection:
        current = _is_current(connection)
    if not current:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            _upgrade(connection)


def _is_current(connection: Connection) -> bool:
    if not inspect(connection).has_table(VERSION_TABLE):
        return False
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    known = steps()
    if found is not None and found not in known:
        what = f"the database has schema {found}, this Luthier knows schemas up to {known[-1]}"
        where = connection.engine.url.render_as_string(hide_password=True)
        raise StoreError(
            what, where, "It was made by a newer Luthier: install that version, or use another LUTHIER_HOME"
        )
    return found == known[-1]


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    command.upgrade(config, "head")
