"""Opening a home: lazy, quick, migrated once, and clear about what is wrong."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from luthier.errors import MissingExtra, StoreError
from luthier.store import Home, migrations, runs
from luthier.store.database import connect
from luthier.store.migrations import VERSION_TABLE, migrate
from luthier.store.tables import metadata


def test_opening_creates_nothing(home: Home) -> None:
    assert str(home.root) == os.environ["LUTHIER_HOME"]
    assert home.blobs.url == str(home.root / "blobs")
    assert not home.root.exists()


def test_the_place_is_given_or_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "a"))
    monkeypatch.setenv("LUTHIER_DATABASE_URL", f"sqlite:///{tmp_path}/other.db")
    monkeypatch.setenv("LUTHIER_BLOB_URL", "memory://place")
    assert Home.open().root == tmp_path / "a"
    home = Home.open(tmp_path / "b")
    assert home.root == tmp_path / "b"
    assert (home.database_url, home.blob_url) == (f"sqlite:///{tmp_path}/other.db", "memory://place")
    monkeypatch.delenv("LUTHIER_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Home.open().root == tmp_path / ".luthier"


def test_a_cache_is_a_folder(home: Home) -> None:
    assert home.cache("models").is_dir()
    assert home.cache("models") == home.root / "cache" / "models"


def test_the_migrated_schema_is_that_of_the_tables(home: Home) -> None:
    with home.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []


def test_steps_are_found_in_alembics_order_and_fit_its_column() -> None:
    script = ScriptDirectory(str(migrations.FOLDER))
    assert [step.revision for step in script.walk_revisions()][::-1] == migrations.steps()
    assert all(len(name) <= 32 for name in migrations.steps())


def test_sqlite_is_opened_so_that_writers_wait_and_readers_do_not(home: Home) -> None:
    pragmas = ("journal_mode", "busy_timeout", "foreign_keys")
    with home.read() as connection:
        values = [connection.execute(text(f"PRAGMA {pragma}")).scalar() for pragma in pragmas]
    assert values == ["wal", 30000, 1]
    with home.write() as writer:
        writer.execute(text("INSERT INTO model VALUES ('tickets')"))
        with home.read() as reader:
            assert reader.execute(text("SELECT count(*) FROM model")).scalar() == 0


def test_opening_again_is_quick_and_loads_no_alembic(home: Home) -> None:
    assert runs.list(home) == []
    program = (
        "import sys, time\nfrom luthier.store import Home, runs\nstart = time.process_time()\n"
        "assert runs.list(Home.open()) == []\nassert 'alembic' not in sys.modules\n"
        "print(time.process_time() - start)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.3


def test_the_first_opening_is_quick(home: Home) -> None:
    start = time.process_time()
    assert runs.list(home) == []
    assert time.process_time() - start < 1


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(StoreError, match="the home is a file, not a folder"):
        Home.open(tmp_path / "home")
    with pytest.raises(StoreError, match=r"cannot be created.*LUTHIER_HOME"):
        runs.list(Home.open(tmp_path / "home" / "deeper"))
    with pytest.raises(StoreError, match="cannot be created"):
        Home.open(tmp_path / "home" / "deeper").cache("models")


def test_a_database_that_may_not_be_written(home: Home) -> None:
    runs.list(home)
    home.engine.dispose()
    other = Home(home.root, f"sqlite:///file:{home.root}/luthier.db?mode=ro&uri=true")
    with pytest.raises(StoreError, match="may not be written"):
        runs.create(other, name="a", recipe={}, recipe_sha256="", command="")


def test_a_file_that_is_no_database(home: Home) -> None:
    home.root.mkdir()
    (home.root / "luthier.db").write_text("not a database at all, but long enough to have a header" * 20)
    with pytest.raises(StoreError, match=r"luthier\.db: this file is not a database, or is damaged.*backup"):
        runs.list(home)


def test_a_damaged_database(home: Home) -> None:
    for number in range(50):
        runs.create(home, name="a", recipe={"x": "y" * 500}, recipe_sha256=str(number), command="")
    home.engine.dispose()
    path = home.root / "luthier.db"
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xee" * (path.stat().st_size - 4096))
    with pytest.raises(StoreError, match=r"luthier\.db: the database is damaged"):
        runs.list(Home.open())


def test_a_full_disk(home: Home) -> None:
    with home.engine.connect() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar()
        connection.execute(text(f"PRAGMA max_page_count={pages}"))
    with pytest.raises(StoreError, match="the disk is full, nothing was written"):
        runs.create(home, name="a", recipe={"x": "y" * 100_000}, recipe_sha256="", command="")
    assert runs.list(home) == []


def test_a_database_of_a_newer_luthier(home: Home) -> None:
    runs.list(home)
    with sqlite3.connect(home.root / "luthier.db") as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = 'step_9999_later'")
    with pytest.raises(StoreError, match=r"schema step_9999_later.*newer Luthier"):
        runs.list(Home.open())


def test_a_migration_that_fails_leaves_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = connect(home.database_url)
    upgrade = migrations._upgrade

    def power_cut(connection: Connection) -> None:
        upgrade(connection)
        raise RuntimeError("power cut")

    monkeypatch.setattr(migrations, "_upgrade", power_cut)
    with pytest.raises(RuntimeError):
        migrate(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM sqlite_master")).scalar() == 0


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "the database URL cannot be read"),
        ("mysql://user:secret@host/db", r"mysql://user:\*\*\*@host/db: the database URL names neither"),
        ("postgresql+nosuch://host/db", "unknown driver"),
        ("sqlite://", "a database in memory cannot be shared"),
    ],
)
def test_a_bad_database_url(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        runs.list(Home(tmp_path, url))
    assert "LUTHIER_DATABASE_URL must look like postgresql://" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_postgresql_that_does_not_answer(tmp_path: Path) -> None:
    pattern = r"luthier\[postgres\]|postgresql://u:\*\*\*@127.0.0.1:1/db: the database cannot be used"
    with pytest.raises((StoreError, MissingExtra), match=pattern):
        runs.list(Home(tmp_path, "postgresql://u:secret@127.0.0.1:1/db"))
