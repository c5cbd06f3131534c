"""Drop rows that can teach nothing: a blank question or answer, a pair of equal answers."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.data.example import Example, Message
from luthier.data.steps.reject import Reject

STEP = "usable"


def usable(examples: Sequence[Example]) -> tuple[list[Example], list[Reject]]:
    kept, rejects = [], []
    for example in examples:
        reason = _fault(example)
        if reason is None:
            kept.append(example)
        else:
            rejects.append(Reject(example, STEP, reason, reason))
    return kept, rejects


def _fault(example: Example) -> str | None:
    for name in ("text", "prompt", "completion", "messages", "chosen", "rejected"):
        value = getattr(example, name)
        if value is not None and _blank(value):
            return f"blank {name}" if isinstance(value, str) else f"blank turn in {name}"
    if example.chosen is not None and example.chosen == example.rejected:
        return "chosen equals rejected"
    return None


def _blank(value: str | Sequence[Message]) -> bool:
    if isinstance(value, str):
        return not value or value.isspace()
    return any(_silent(turn) for turn in value)


def _silent(turn: Message) -> bool:
    """Whether a turn says nothing; the empty result of a tool says something."""
    if turn["role"] == "tool" or "tool_calls" in turn:
        return False
    content = turn["content"]
    return not content or content.isspace()
