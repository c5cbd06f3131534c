"""The tables, as the newest migration leaves them. Times are ISO 8601 texts in UTC, so that they sort."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text

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

trace = Table(  # one row a request that a model answered, or was asked to
    "trace",
    metadata,
    Column("id", String, primary_key=True),
    Column("created_at", String, nullable=False),
    Column("route", String, nullable=False),  # chat.completions, embeddings
    Column("model", String, nullable=False),  # as it was asked for
    Column("served", String, nullable=False),  # name@version, or the base model
    Column("run_id", String),
    Column("key_id", String),
    Column("request", JSON, nullable=False),  # messages, tools, parameters; as redaction left them
    Column("answer", JSON(none_as_null=True)),
    Column("status", Integer, nullable=False),  # of HTTP
    Column("error", Text),
    Column("prompt_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Column("first_token_ms", Float),
    Column("total_ms", Float, nullable=False),
    Column("cached", Boolean, nullable=False),
    Column("metadata", JSON(none_as_null=True)),
    Index("ix_trace_newest", "created_at", "id"),
    Index("ix_trace_served", "served", "created_at"),
)

feedback = Table(  # what people say of an answer; traces may be purged before it
    "feedback",
    metadata,
    Column("id", String, primary_key=True),
    Column("created_at", String, nullable=False),
    Column("trace_id", String, nullable=False, index=True),
    Column("kind", String, nullable=False),  # rating, correction, choice, label
    Column("value", JSON, nullable=False),
    Column("rater", String),
    Column("comment", Text),
    Column("review", String),  # accepted, rejected; null: nobody has looked at it
    Index("ix_feedback_newest", "created_at", "id"),
)

file = Table(  # what clients have uploaded, and what jobs leave for them; the bytes are a blob
    "file",
    metadata,
    Column("id", String, primary_key=True),
    Column("created_at", String, nullable=False),
    Column("filename", String, nullable=False),
    Column("purpose", String, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("sha256", String, nullable=False),
    Column("expires_at", String),
)

job = Table(  # work that a server does in order, and goes on with after a crash
    "job",
    metadata,
    Column("id", String, primary_key=True),
    Column("created_at", String, nullable=False),
    Column("updated_at", String, nullable=False),
    Column("finished_at", String),
    Column("kind", String, nullable=False),  # fine_tune, cycle
    Column("status", String, nullable=False),
    Column("request", JSON, nullable=False),
    Column("control", String),
    Column("run_id", String),
    Column("model", String),  # what came of it: the name clients ask for
    Column("version", String),  # name@3 in the registry
    Column("result", JSON, nullable=False),  # what is known of it so far, and at the end what came of it
    Column("error", JSON(none_as_null=True)),
    Index("ix_job_newest", "created_at", "id"),
    Index("ix_job_model", "model"),
)

job_event = Table(
    "job_event",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("job_id", ForeignKey("job.id"), nullable=False, index=True),
    Column("at", String, nullable=False),
    Column("level", String, nullable=False),
    Column("type", String, nullable=False),  # message, metrics
    Column("message", Text, nullable=False),
    Column("data", JSON(none_as_null=True)),
)

api_key = Table(
    "api_key",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("sha256", String, nullable=False, unique=True),  # of the key, which has 256 random bits and is not kept
    Column("created_at", String, nullable=False),
    Column("revoked_at", String),
)

export = Table(  # what was made of a model for an engine or another tool
    "export",
    metadata,
    Column("id", String, primary_key=True),
    Column("created_at", String, nullable=False),
    Column("model", String, nullable=False, index=True),  # name@3, or a base model
    Column("format", String, nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", String, nullable=False),
    Column("measured", JSON(none_as_null=True)),  # size, agreement with the reference, scores
)
