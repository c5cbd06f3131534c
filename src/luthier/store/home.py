"""The one place where the state of Luthier lives: a folder, a database and a blob store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.errors import StoreError
from luthier.store.files import disk_errors

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from luthier.store.blobs import Blobs


class Home:
    """Opens its database and its blobs when they are first used; until then it creates nothing."""

    def __init__(self, root: Path, database_url: str | None = None, blob_url: str | None = None) -> None:
        """By default the database is `root/luthier.db` (SQLite) and blobs are files under `root/blobs`."""
        self.root = root
        self.database_url = database_url or f"sqlite:///{root / 'luthier.db'}"
        self.blob_url = blob_url or str(root / "blobs")

    @classmethod
    def open(cls, path: Path | None = None) -> Home:
        """The home at `path`, else at $LUTHIER_HOME, else at ~/.luthier.

        $LUTHIER_DATABASE_URL and $LUTHIER_BLOB_URL name another database and another place for blobs. Raises
        StoreError if the home is a file.
        """
        root = Path(path or os.environ.get("LUTHIER_HOME") or Path.home() / ".luthier").expanduser().absolute()
        if root.exists() and not root.is_dir():
            raise StoreError("the home is a file, not a folder", str(root), "Name a folder with LUTHIER_HOME")
        return cls(root, os.environ.get("LUTHIER_DATABASE_URL"), os.environ.get("LUTHIER_BLOB_URL"))

    def __repr__(self) -> str:
        return f"Home({str(self.root)!r})"

    def cache(self, name: str) -> Path:
        """The folder `cache/<name>` of the home, created; what is in it may be deleted at any time."""
        folder = self.root / "cache" / name
        with disk_errors(folder, "cannot be created"):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    @cached_property
    def engine(self) -> Engine:
        """The database, created and migrated if need be. Raises StoreError if it cannot be used."""
        from luthier.store.database import connect
        from luthier.store.migrations import migrate

        engine = connect(self.database_url)
        migrate(engine)
        return engine

    @cached_property
    def blobs(self) -> Blobs:
        from luthier.store.blobs import Blobs

        return Blobs(self.blob_url)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is committed at the end of the block, or undone by an error.

        On SQLite it is the only writer while it lasts, so what it reads stays true until it commits.
        """
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading, which waits for no writer."""
        with self.engine.connect().execution_options(luthier_reads=True) as connection:
            yield connection
