"""What is kept of requests and answers: all, nothing, or all but what looks personal or secret."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from luthier.data.personal import without_personal

Redaction = Literal["off", "patterns", "content"]


def redact(value: Any, how: Redaction, field: str = "") -> Any:
    """A JSON value with its texts as `how` wants them: untouched, without what matches a pattern, or empty.

    `content` keeps the shape, numbers, roles and names of models and tools; log-probabilities, which spell the text,
    are kept by `off` alone. `field` is the name under which the value stands.
    """
    return value if how == "off" else _walk(value, without_personal if how == "patterns" else _emptied, field)


KEPT = frozenset({"role", "model", "type", "finish_reason", "object", "id", "encoding_format", "name"})
"""Fields whose texts are no content."""


def _walk(value: Any, change: Callable[[str], str], field: str = "") -> Any:
    if isinstance(value, str):
        return without_personal(value) if field in KEPT else change(value)
    if isinstance(value, Mapping):
        return {without_personal(key): _walk(item, change, key) for key, item in value.items() if key != "logprobs"}
    if isinstance(value, list | tuple):
        return [_walk(item, change, field) for item in value]
    return value


def _emptied(text: str) -> str:
    return f"[{len(text)} characters]" if text else ""
