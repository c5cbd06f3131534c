"""The same code on PostgreSQL, where LUTHIER_TEST_POSTGRES is `postgresql://user:password@host/database`."""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hammer import check, hammer, open_fresh, prepare, together
from sqlalchemy import create_engine, text

from luthier.errors import StoreError
from luthier.store import Home, datasets, runs
from luthier.store.database import upsert
from luthier.store.migrations import VERSION_TABLE
from luthier.store.tables import metadata, model

SERVER = os.environ.get("LUTHIER_TEST_POSTGRES", "")
pytestmark = pytest.mark.skipif(not SERVER, reason="LUTHIER_TEST_POSTGRES names no server")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home whose tables lie in a schema of their own, dropped afterwards."""
    schema = f"luthier_test_{secrets.token_hex(4)}"
    engine = create_engine(SERVER)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    home = Home(tmp_path, f"{SERVER}?options=-csearch_path={schema}")
    yield home
    home.engine.dispose()
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))


def test_a_run_from_beginning_to_end(home: Home) -> None:
    run = runs.create(home, name="a", recipe={"lr": 0.1}, recipe_sha256="sha", command="luthier run")
    assert runs.find_unfinished(home, "sha") == runs.get(home, run.id[:-1]) == runs.get(home, "latest") == run
    for turn in range(2):
        runs.log_metrics(home, run.id, 1, {"loss": 2.0 - turn, "bad": math.nan, "big": math.inf})
    assert runs.metrics(home, run.id, "loss") == [(1, "loss", 1.0)]
    assert math.isnan(runs.metrics(home, run.id, "bad")[0][2])
    runs.set_control(home, run.id, "cancel")
    assert runs.control(home, run.id) == "cancel"
    runs.event(home, run.id, "stage", "data", {"rows": 3})
    runs.set_status(home, run.id, "running")
    runs.finish(home, run.id, {"loss": math.nan})
    assert runs.get(home, run.id).document == {"loss": None}
    with pytest.raises(StoreError, match="cannot become running"):
        runs.set_status(home, run.id, "running")
    assert datasets.add(home, "ds", {"a": 1}, "t") == datasets.add(home, "ds", {}, "u")


def test_rows_that_are_there_already_are_not_counted(home: Home) -> None:
    with home.write() as connection:
        counts = [
            upsert(connection, model, [{"name": name} for name in names], keys=["name"], replace=False)
            for names in ("a", "a", "bac", "ba")
        ]
    assert counts == [1, 0, 2, 0]


def test_the_migrated_schema_is_that_of_the_tables(home: Home) -> None:
    with home.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []


def test_a_lost_connection_is_made_again(home: Home) -> None:
    with home.read() as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar()
    with create_engine(SERVER).begin() as other:
        other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    assert runs.list(home) == []


def test_four_processes_open_a_fresh_home_at_once(home: Home) -> None:
    assert len(set(together(open_fresh, [home] * 4))) == 4


def test_three_processes_write_at_once(home: Home) -> None:
    prepare(home)
    check(home, 3, together(hammer, [home] * 3))
