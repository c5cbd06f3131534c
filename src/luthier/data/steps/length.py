"""Drop rows that are too short or too long, in characters."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.data.example import Example, Message
from luthier.data.steps.reject import Reject

STEP = "length"


def length(examples: Sequence[Example], min_chars: int, max_chars: int | None) -> tuple[list[Example], list[Reject]]:
    kept, rejects = [], []
    for example in examples:
        size = chars(example)
        if size < min_chars:
            reason = f"shorter than {min_chars} characters"
        elif max_chars is not None and size > max_chars:
            reason = f"longer than {max_chars} characters"
        else:
            kept.append(example)
            continue
        rejects.append(Reject(example, STEP, reason, reason))
    return kept, rejects


def chars(example: Example) -> int:
    """The characters of all that the row says: question and answer, every turn, both answers of a pair."""
    parts = (getattr(example, name) for name in ("text", "prompt", "completion", "messages", "chosen", "rejected"))
    return sum(_chars(part) for part in parts if part is not None)


def _chars(part: str | Sequence[Message]) -> int:
    if isinstance(part, str):
        return len(part)
    said = sum(len(turn["content"] or "") for turn in part)
    called = sum(len(made["function"]["arguments"]) for turn in part for made in turn.get("tool_calls", ()))
    return said + called
