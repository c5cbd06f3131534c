"""The one record that flows through every data step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

Message = Mapping[str, Any]
"""An OpenAI chat message: `role`, `content`, and where present `tool_calls`, `tool_call_id`, `name`, `weight`."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row of data, whatever file it came from.

    Exactly one of these carries the content: `messages` (chat), `prompt` with `completion`, `prompt` with
    `chosen` and `rejected` (preference), or `text`. `messages` may also stand beside `chosen`/`rejected` as their
    shared conversation.

    `row_id` says where the row came from (`file:line`, stable under edits); `content_id` is the hash of what it says.
    """

    row_id: str
    messages: tuple[Message, ...] | None = None
    tools: tuple[Mapping[str, Any], ...] | None = None
    text: str | None = None
    prompt: str | None = None
    completion: str | None = None
    chosen: tuple[Message, ...] | str | None = None
    rejected: tuple[Message, ...] | str | None = None
    label: str | None = None
    labels: tuple[str, ...] | None = None
    desirable: bool | None = None
    ratings: tuple[Mapping[str, Any], ...] = ()
    weight: float = 1.0
    group: str | None = None
    time: str | None = None
    source: str = ""
    licence: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def content_id(self) -> str:
        """SHA-256 (first 32 hex digits) of the content fields: equal rows have equal ids, wherever they came from."""
        payload = {name: getattr(self, name) for name in CONTENT_FIELDS if getattr(self, name) is not None}
        text = json.dumps(payload, sort_keys=True, ensure_ascii=False, default=_plain)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def input_id(self) -> str:
        """The hash of what a model would be asked, without the answer: the key of the leakage check across splits."""
        payload = json.dumps(self.question(), sort_keys=True, ensure_ascii=False, default=_plain)
        return hashlib.sha256(payload.encode()).hexdigest()[:32]

    def question(self) -> Any:
        """The input part: the messages before the last assistant turn, what a pair shares, the prompt, or the text."""
        if self.messages is not None:
            turns = list(self.messages)
            while self.chosen is None and turns and turns[-1].get("role") == "assistant":
                turns.pop()
            return [dict(turn) for turn in turns]
        return self.prompt if self.prompt is not None else self.text

    def answer(self) -> str | None:
        """The reference answer: that of a pair which was chosen, the last assistant turn, the completion, or the label;
        None where there is none."""
        if self.chosen is not None:
            return last_words(self.chosen)
        if self.messages is not None and self.messages[-1].get("role") == "assistant":
            return self.messages[-1].get("content")
        return self.completion if self.completion is not None else self.label

    def to_dict(self) -> dict[str, Any]:
        """All fields that are set, as plain JSON-ready values."""
        default = Example(row_id="")
        return {
            f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != getattr(default, f.name)
        }


CONTENT_FIELDS = (
    "messages",
    "tools",
    "text",
    "prompt",
    "completion",
    "chosen",
    "rejected",
    "label",
    "labels",
    "desirable",
)


def last_words(answer: tuple[Message, ...] | str) -> str | None:
    """An answer of a pair as one text: that of its last turn."""
    return answer if isinstance(answer, str) else answer[-1].get("content")


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else list(value)
