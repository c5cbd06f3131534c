"""What a server looks up on each request: few small reads."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select

from luthier.store.home import Home
from luthier.store.tables import alias_move, job, model_version


def stamp(home: Home) -> tuple[Any, ...]:
    """Another value whenever a model's name may lead elsewhere than before."""
    parts = (
        select(func.max(alias_move.c.id)).scalar_subquery(),
        select(func.count()).select_from(model_version).scalar_subquery(),
        select(func.count(job.c.version)).scalar_subquery(),
    )
    with home.read() as connection:
        return tuple(connection.execute(select(*parts)).one())


def jobs_models(home: Home) -> dict[str, str]:
    """The names that fine-tuning jobs left → when."""
    query = select(job.c.model, job.c.updated_at).where(job.c.model.is_not(None), job.c.version.is_not(None))
    with home.read() as connection:
        return {row.model: row.updated_at for row in connection.execute(query)}
