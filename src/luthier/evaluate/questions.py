"""What was asked and what is right, read from an example in the way every solver and scorer reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from luthier.data.example import Example


def asked(example: Example) -> str:
    """The question as one text without the system message: what similarity and the classic baseline look at."""
    question = example.question()
    if isinstance(question, str):
        return question
    return "\n".join(_content(turn) for turn in question or () if turn.get("role") != "system")


def reference_labels(example: Example) -> list[str] | None:
    """The labels of a multi-label row, else its label or short answer as the only one; None where there is none."""
    if example.labels is not None:
        return list(example.labels)
    answer = example.label if example.label is not None else example.answer()
    return None if answer is None else [normalise(answer)]


def normalise(text: str) -> str:
    """Strips both ends and turns every run of white space into one space; case and punctuation count."""
    return " ".join(text.split())


def shown(value: Any) -> str:
    """A question, reference or prediction as one readable text."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence) and all(isinstance(turn, Mapping) for turn in value):
        if len(value) == 1:
            return _content(value[0])
        return "\n".join(f"{turn.get('role')}: {_content(turn)}" for turn in value)
    return ", ".join(map(str, value)) if isinstance(value, Sequence) else str(value)


def _content(turn: Mapping[str, Any]) -> str:
    """A message's text; content in parts is joined, parts that are not text are left out."""
    content = turn.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)
