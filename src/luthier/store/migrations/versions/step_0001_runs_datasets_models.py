"""Runs with their events and metrics, dataset versions, model versions and aliases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "step_0001_runs_datasets_models"
down_revision = None


def upgrade() -> None:
    _runs()
    _datasets_and_models()


def _runs() -> None:
    op.create_table(
        "run",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("updated_at", sa.String, nullable=False),
        sa.Column("recipe", sa.JSON, nullable=False),
        sa.Column("recipe_sha256", sa.String, nullable=False, index=True),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("document", sa.JSON),
        sa.Column("control", sa.String),
    )
    op.create_index("ix_run_newest", "run", ["created_at", "id"])
    op.create_table(
        "event",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("run_id", sa.String, sa.ForeignKey("run.id"), nullable=False, index=True),
        sa.Column("at", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("data", sa.JSON),
    )
    op.create_table(
        "metric",
        sa.Column("run_id", sa.String, sa.ForeignKey("run.id"), primary_key=True),
        sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.Float),
    )


def _datasets_and_models() -> None:
    op.create_table(
        "dataset_version",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("manifest", sa.JSON, nullable=False),
        sa.Column("tree_sha", sa.String, nullable=False),
    )
    op.create_table("model", sa.Column("name", sa.String, primary_key=True))
    op.create_table(
        "model_version",
        sa.Column("name", sa.String, sa.ForeignKey("model.name"), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("run_id", sa.String, sa.ForeignKey("run.id"), nullable=False, unique=True),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("base", sa.JSON, nullable=False),
        sa.Column("adapter_sha256", sa.String, nullable=False),
        sa.Column("recipe_sha256", sa.String, nullable=False),
        sa.Column("dataset_version", sa.String, sa.ForeignKey("dataset_version.id"), nullable=False),
        sa.Column("scores", sa.JSON, nullable=False),
        sa.Column("card", sa.Text, nullable=False),
        sa.Column("lineage", sa.JSON, nullable=False),
    )
    op.create_table(
        "alias_move",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("name", sa.String, sa.ForeignKey("model.name"), nullable=False),
        sa.Column("alias", sa.String, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.String, nullable=False),
    )
    op.create_index("ix_alias_move_alias", "alias_move", ["alias", "name"])
