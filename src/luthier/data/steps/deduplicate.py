"""Keep the first of several rows with the same content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from luthier.data.example import Example
from luthier.data.steps.reject import Reject

STEP = "deduplicate"


def deduplicate(examples: Sequence[Example]) -> tuple[list[Example], list[Reject]]:
    kept: dict[str, Example] = {}
    rejects = []
    for example in examples:
        first = kept.setdefault(says(example), example)
        if first is not example:
            reason = f"duplicate of {first.row_id}"
            rejects.append(Reject(example, STEP, reason, "duplicate of another row"))
    return list(kept.values()), rejects


def says(example: Example) -> str:
    """Equal for equal content: a prompt with its completion says the same as a conversation of the two."""
    if example.messages is None and example.completion is not None:
        turns = {"role": "user", "content": example.prompt}, {"role": "assistant", "content": example.completion}
        return replace(example, messages=turns, prompt=None, completion=None).content_id
    return example.content_id
