"""The same exchange said as messages, or as one prompt and one completion: what writers build on."""

from __future__ import annotations

from typing import Any, NamedTuple

from luthier.data.example import Example
from luthier.errors import DataError


class Exchange(NamedTuple):
    """One question, one answer."""

    prompt: str
    completion: str
    system: str


def messages_of(example: Example) -> list[dict[str, Any]]:
    """The example as messages; a label counts as the answer to its text."""
    if example.chosen is None:
        if example.messages is not None:
            return [dict(message) for message in example.messages]
        question, answer = example.question(), example.answer()
        if question is not None and answer is not None:
            return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    raise unsayable(example, "a conversation")


def exchange_of(example: Example) -> Exchange:
    """The example as one question and one answer, where it is no more than that."""
    turns = messages_of(example)
    system = turns.pop(0)["content"] if turns[0]["role"] == "system" else ""
    plain = not example.tools and all(set(turn) <= {"role", "content"} for turn in turns)
    if not plain or [turn["role"] for turn in turns] != ["user", "assistant"]:
        raise unsayable(example, "one question and one answer")
    return Exchange(turns[0]["content"], turns[1]["content"], system)


def unsayable(example: Example, form: str) -> DataError:
    """`form` says what the row would have to be."""
    own = "preference" if example.chosen is not None else "text" if example.text is not None else "chat"
    return DataError(f"the row is not {form}", example.row_id, f"Choose another type to write, such as {own}")
