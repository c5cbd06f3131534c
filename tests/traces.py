"""Traces as the gateway leaves them, written by hand."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert

from luthier.store import Home
from luthier.store.clock import now
from luthier.store.tables import trace as table


def chat_trace(
    home: Home, trace_id: str, asked: str | list[dict[str, Any]], *answers: str | dict[str, Any],
    served: str = "bridges@1", **columns: Any,
) -> str:  # fmt: skip
    """A chat completion with one choice an answer; returns its id."""
    messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    said = [one if isinstance(one, dict) else {"role": "assistant", "content": one} for one in answers]
    choices = [{"index": i, "message": message, "finish_reason": "stop"} for i, message in enumerate(said)]
    values = {
        "id": trace_id, "created_at": now(), "route": "chat.completions", "model": served, "served": served,
        "request": {"messages": messages, "model": served}, "status": 200, "prompt_tokens": 5, "completion_tokens": 3,
        "answer": {"id": trace_id, "object": "chat.completion", "choices": choices}, "total_ms": 12.0,
        "cached": False,
    }  # fmt: skip
    with home.write() as connection:
        connection.execute(insert(table).values(values | columns))
    return trace_id


def text_trace(home: Home, trace_id: str, text: str, served: str = "topics@1") -> str:
    """An embedding of a text; returns its id."""
    return chat_trace(home, trace_id, [], served=served, route="embeddings", request={"input": text}, answer=None)


def forget(home: Home, trace_id: str) -> None:
    """Purge a trace, as the service does after a while."""
    with home.write() as connection:
        connection.execute(table.delete().where(table.c.id == trace_id))
