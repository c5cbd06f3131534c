"""Reading the run document: every part may be missing, null or not finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Document = Mapping[str, Any]


def part(document: Document, *keys: str) -> dict[str, Any]:
    """The mapping under nested `keys`; empty where any of them is missing or is not a mapping."""
    found: Any = document
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else {}


def entries(document: Document, *keys: str) -> list[Any]:
    """The list under nested `keys`; empty where it is missing."""
    found = part(document, *keys[:-1]).get(keys[-1])
    return list(found) if isinstance(found, list | tuple) else []


def records(document: Document, *keys: str) -> list[dict[str, Any]]:
    """The mappings of the list under nested `keys`."""
    return [dict(entry) for entry in entries(document, *keys) if isinstance(entry, Mapping)]


def finite(value: Any) -> float | None:
    """The number, or None for anything that is not a finite one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def absent(document: Document, block: str, default: str) -> str:
    """Why a block has no content: the run's own reason under `not_measured`, else `default`."""
    return unmeasured(part(document, "not_measured").get(block) or default)


def unmeasured(why: Any) -> str:
    return f"Not measured: {str(why).rstrip('.')}."


def level(document: Document) -> str:
    """The level of every interval, such as `95 %`."""
    confidence = finite(document.get("confidence"))
    return "unknown level" if confidence is None else f"{confidence * 100:.3g}\u202f%"
