"""The table of all keys, for the documentation."""

from __future__ import annotations

from typing import Any

from pydantic_core import PydanticUndefined

from luthier.recipe.accepts import Key, annotation, dotted, every_key, words


def reference() -> str:
    """A Markdown table of every key: what it takes, its default, its meaning. `N` is a list position."""
    rows = ["| key | takes | default | meaning |", "|---|---|---|---|"]
    for key, section, name in every_key():
        field = section.model_fields[name]
        meaning = " ".join((field.description or "").split())
        rows.append(f"| `{_numbered(key)}` | {words(annotation(key))} | {_default(field.default)} | {meaning} |")
    return "\n".join(rows) + "\n"


def _numbered(key: Key) -> str:
    return dotted(tuple("N" if part == 0 else part for part in key))


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`[{', '.join(value)}]`" if isinstance(value, tuple) else f"`{value}`"
