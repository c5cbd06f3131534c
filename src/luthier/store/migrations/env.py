"""Run by alembic: applies the steps on the connection, and in the transaction, that `migrate` has opened."""

from __future__ import annotations

from alembic import context

from luthier.store.migrations import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,  # `alembic_version` would clash with other libraries in the same database
)
context.run_migrations()
