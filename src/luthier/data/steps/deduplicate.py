"""Keep the first of several rows with the same content."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.data.example import Example
from luthier.data.steps.reject import Reject

STEP = "deduplicate"


def deduplicate(examples: Sequence[Example]) -> tuple[list[Example], list[Reject]]:
    kept: dict[str, Example] = {}
    rejects = []
    for example in examples:
        first = kept.setdefault(example.content_id, example)
        if first is not example:
            reason = f"duplicate of {first.row_id}"
            rejects.append(Reject(example, STEP, reason, "duplicate of another row"))
    return list(kept.values()), rejects
