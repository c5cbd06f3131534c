"""What a server keeps: traces, feedback, files, jobs with their events, keys; and exports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "step_0002_service"
down_revision = "step_0001_runs_datasets_models"


def upgrade() -> None:
    _trace()
    _feedback()
    _file()
    _job()
    _job_event()
    _api_key()
    _export()


def _trace() -> None:
    op.create_table(
        "trace",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("route", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("served", sa.String, nullable=False),
        sa.Column("run_id", sa.String),
        sa.Column("key_id", sa.String),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("answer", sa.JSON),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("prompt_tokens", sa.Integer, nullable=False),
        sa.Column("completion_tokens", sa.Integer, nullable=False),
        sa.Column("first_token_ms", sa.Float),
        sa.Column("total_ms", sa.Float, nullable=False),
        sa.Column("cached", sa.Boolean, nullable=False),
        sa.Column("metadata", sa.JSON),
    )
    op.create_index("ix_trace_newest", "trace", ["created_at", "id"])
    op.create_index("ix_trace_served", "trace", ["served", "created_at"])


def _feedback() -> None:
    op.create_table(
        "feedback",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("trace_id", sa.String, nullable=False, index=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("value", sa.JSON, nullable=False),
        sa.Column("rater", sa.String),
        sa.Column("comment", sa.Text),
        sa.Column("review", sa.String),
    )
    op.create_index("ix_feedback_newest", "feedback", ["created_at", "id"])


def _file() -> None:
    op.create_table(
        "file",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("filename", sa.String, nullable=False),
        sa.Column("purpose", sa.String, nullable=False),
        sa.Column("bytes", sa.Integer, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("expires_at", sa.String),
    )


def _job() -> None:
    op.create_table(
        "job",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("updated_at", sa.String, nullable=False),
        sa.Column("finished_at", sa.String),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("control", sa.String),
        sa.Column("run_id", sa.String),
        sa.Column("model", sa.String),
        sa.Column("version", sa.String),
        sa.Column("result", sa.JSON, nullable=False),
        sa.Column("error", sa.JSON),
    )
    op.create_index("ix_job_newest", "job", ["created_at", "id"])
    op.create_index("ix_job_model", "job", ["model"])


def _job_event() -> None:
    op.create_table(
        "job_event",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("job_id", sa.String, sa.ForeignKey("job.id"), nullable=False, index=True),
        sa.Column("at", sa.String, nullable=False),
        sa.Column("level", sa.String, nullable=False),
        sa.Column("type", sa.String, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("data", sa.JSON),
    )


def _api_key() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("sha256", sa.String, nullable=False, unique=True),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("revoked_at", sa.String),
    )


def _export() -> None:
    op.create_table(
        "export",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False, index=True),
        sa.Column("format", sa.String, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("measured", sa.JSON),
    )
