"""Lists as OpenAI's clients page through them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def listed(items: Sequence[dict[str, Any]], more: bool) -> dict[str, Any]:
    """One page; the next one is asked for with `after=<last_id>` while `has_more` holds."""
    ends = {"first_id": items[0]["id"], "last_id": items[-1]["id"]} if items else {"first_id": None, "last_id": None}
    return {"object": "list", "data": list(items), **ends, "has_more": more}
