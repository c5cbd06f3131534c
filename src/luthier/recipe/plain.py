"""A recipe as text, as a hash, and against another one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from luthier.recipe.accepts import Key, dotted, fields
from luthier.recipe.document import dump
from luthier.recipe.types import Part, Recipe


def fingerprint(recipe: Recipe) -> str:
    """SHA-256 (64 hex digits) of the recipe as canonical JSON, defaults included."""
    text = json.dumps(recipe.to_plain(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def dump_yaml(recipe: Recipe) -> str:
    """The recipe as YAML, defaults written out unless they are nothing; `load` reads it back equal."""
    return dump(_written(recipe))


def _written(part: Part) -> dict[str, Any]:
    plain = part.model_dump(mode="json")
    absent = {name for name, field in type(part).model_fields.items() if field.default is None and plain[name] is None}
    return {name: _deep(getattr(part, name), plain[name]) for name in plain if name not in absent}


def _deep(value: Any, plain: Any) -> Any:
    if isinstance(value, Part):
        return _written(value)
    return [_written(item) for item in value] if _is_parts(value) else plain


def diff(a: Recipe, b: Recipe) -> list[tuple[str, Any, Any]]:
    """(dotted key, value in `a`, value in `b`) where they differ, in the order of the keys.

    A list entry that only one of them has stands as a whole (`data.1`), against None.
    """
    return [(dotted(key), _plain(old), _plain(new)) for key, old, new in _differences(a, b, ())]


def _differences(old: Any, new: Any, key: Key) -> Iterator[tuple[Key, Any, Any]]:
    if isinstance(old, Part) and isinstance(new, Part):
        for name in fields(type(old)):
            yield from _differences(getattr(old, name), getattr(new, name), (*key, name))
    elif _is_parts(old) and _is_parts(new):
        for index in range(max(len(old), len(new))):
            before, after = (items[index] if index < len(items) else None for items in (old, new))
            yield from _differences(before, after, (*key, index))
    elif old != new:
        yield key, old, new


def _is_parts(value: Any) -> bool:
    return isinstance(value, tuple) and any(isinstance(item, Part) for item in value)


def _plain(value: Any) -> Any:
    if isinstance(value, Part):
        return _written(value)
    return list(value) if isinstance(value, tuple) else value
