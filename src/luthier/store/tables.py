"""The tables, as the newest migration leaves them. Times are ISO 8601 texts in UTC, so that they sort."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

run = Table(
    "run",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("status", String, nullable=False),
    Column("created_at", String, nullable=False),
    Column("updated_at", String, nullable=False),
    Column("recipe", JSON, nullable=False),
    Column("recipe_sha256", String, nullable=False, index=True),
    Column("command", Text, nullable=False),
    Column("document", JSON(none_as_null=True)),
    Column("control", String),
    Index("ix_run_newest", "created_at", "id"),
)

event = Table(
    "event",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run_id", ForeignKey("run.id"), nullable=False, index=True),
    Column("at", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("message", Text, nullable=False),
    Column("data", JSON(none_as_null=True)),
)

metric = Table(
    "metric",
    metadata,
    Column("run_id", ForeignKey("run.id"), primary_key=True),
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("name", String, primary_key=True),
    Column("value", Float),  # null: not a number
)

dataset_version = Table(
    "dataset_version",
    metadata,
    Column("id", String, primary_key=True),
    Column("created_at", String, nullable=False),
    Column("manifest", JSON, nullable=False),
    Column("tree_sha", String, nullable=False),
)

model = Table(  # one row per name; a writer locks it to be alone with the name's versions and aliases
    "model",
    metadata,
    Column("name", String, primary_key=True),
)

model_version = Table(
    "model_version",
    metadata,
    Column("name", ForeignKey("model.name"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("run_id", ForeignKey("run.id"), nullable=False, unique=True),
    Column("created_at", String, nullable=False),
    Column("base", JSON, nullable=False),
    Column("adapter_sha256", String, nullable=False),
    Column("recipe_sha256", String, nullable=False),
    Column("dataset_version", ForeignKey("dataset_version.id"), nullable=False),
    Column("scores", JSON, nullable=False),
    Column("card", Text, nullable=False),
    Column("lineage", JSON, nullable=False),
)

alias_move = Table(  # the history of every alias; its last row says where the alias is
    "alias_move",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("name", ForeignKey("model.name"), nullable=False),
    Column("alias", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("kind", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", String, nullable=False),
    Index("ix_alias_move_alias", "alias", "name"),
)
