"""What a trace says: the question that was asked, and the answers that were given to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from luthier.data.example import Message
from luthier.data.sources.formats.messages import read_messages, read_tools
from luthier.errors import DataError
from luthier.store.feedback import Answered

EMPTIED = re.compile(r"\[\d+ characters\]")
"""What stands in a trace whose content is not kept."""
Tools = tuple[Mapping[str, Any], ...] | None


def question(trace: Answered) -> tuple[tuple[Message, ...], Tools]:
    """The messages and tools that a chat request had. Raises DataError where it had none that can be learnt from."""
    messages = read_messages(trace.request.get("messages"), "messages")
    if any(EMPTIED.fullmatch(turn["content"] or "") for turn in messages):
        raise DataError("its text was not kept", "messages", "Serve with traces that keep content")
    return messages, read_tools(trace.request.get("tools"), "tools")


def answer(trace: Answered, index: int) -> Message:
    """The message of one choice, which may be empty, as a model may end at once. Raises DataError where the completion
    has no such choice."""
    choices = (trace.answer or {}).get("choices") or []
    found = next((choice for choice in choices if choice.get("index") == index), None)
    if found is None or "message" not in found:
        has = f"{len(choices)} choices" if choices else "no answer"
        raise DataError(f"the completion has {has}, and none with the number {index}", "index", "The first one is 0")
    message = {key: found["message"].get(key) for key in ("role", "content", "tool_calls")}
    if not message["content"] and not message["tool_calls"]:
        return {"role": "assistant", "content": ""}
    return read_messages([message], "answer")[0]


def ended(trace: Answered, index: int) -> bool:
    """Whether the model ended this choice by itself, and was not cut off."""
    choices = (trace.answer or {}).get("choices") or []
    return any(one.get("index") == index and one.get("finish_reason") in ("stop", "tool_calls") for one in choices)


def asked_text(trace: Answered) -> str:
    """The text that was to be labelled: the input of an embedding, or what the user said last. Raises DataError."""
    given = trace.request.get("input")
    if type(given) is str:
        return given
    said = [turn for turn in question(trace)[0] if turn["role"] == "user" and turn["content"]]
    if not said:
        raise DataError("nobody asked anything", "messages", "Label a request that has a user message")
    return said[-1]["content"]
