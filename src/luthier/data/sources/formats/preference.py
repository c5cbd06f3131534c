"""Pairs of answers to one conversation, the first preferred to the second.

Four ways of saying it are read: a prompt with two texts; two lists of messages, with or without a prompt;
OpenAI's `input`, `preferred_output`, `non_preferred_output`; and two transcripts with `Human:` and
`Assistant:` turns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from luthier.data.example import Example, Message
from luthier.data.sources.formats.cells import describe, optional_text, text
from luthier.data.sources.formats.format import Columns, Fields, Format, Role
from luthier.data.sources.formats.messages import read_messages, read_tools, require_answer
from luthier.data.sources.formats.turns import unsayable
from luthier.data.sources.table import Row
from luthier.errors import DataError

SPEAKERS = {"Human": "user", "Assistant": "assistant"}
TURN = re.compile(r"(?:\n\n|\A)(Human|Assistant):")


def _read(row: Row, columns: Columns) -> Fields:
    chosen, rejected = columns["chosen"], columns["rejected"]
    if type(row.get(chosen)) is list:
        return _from_messages(row, columns)
    pair = text(row, chosen), text(row, rejected)
    if "prompt" not in columns:
        return _split(_transcript(pair[0], chosen), _transcript(pair[1], rejected))
    prompt, system = text(row, columns["prompt"]), optional_text(row, columns.get("system"))
    if not system:
        return {"prompt": prompt, "chosen": pair[0], "rejected": pair[1]}
    asked = ({"role": "system", "content": system}, {"role": "user", "content": prompt})
    return {"messages": asked, "chosen": (_answer(pair[0]),), "rejected": (_answer(pair[1]),)}


def _from_messages(row: Row, columns: Columns) -> Fields:
    pair = [read_messages(row.get(columns[role]), columns[role]) for role in ("chosen", "rejected")]
    for role, messages in zip(("chosen", "rejected"), pair, strict=True):
        require_answer(messages, columns[role])
    given = row.get(columns["prompt"]) if "prompt" in columns else None
    asked, fields = _prompt(given, columns.get("prompt", "prompt"))
    if asked and pair[0][0]["role"] == "assistant" and pair[1][0]["role"] == "assistant":
        return fields | {"messages": asked, "chosen": pair[0], "rejected": pair[1]}
    return fields | _split(*pair)


def _prompt(given: Any, column: str) -> tuple[tuple[Message, ...], Fields]:
    if given is None:
        return (), {}
    if type(given) is str:
        return ({"role": "user", "content": given},), {}
    if type(given) is dict:
        return read_messages(given.get("messages"), f"{column}.messages"), {
            "tools": read_tools(given.get("tools"), f"{column}.tools")
        }
    return read_messages(given, column), {}


def _transcript(said: str, column: str) -> tuple[Message, ...]:
    """A text such as `\\n\\nHuman: …\\n\\nAssistant: …` as messages; a turn may be blank."""
    parts = TURN.split(said)
    if parts[0].strip() or len(parts) < 3:
        mend = "Set `field_prompt`, or write transcripts with Human: and Assistant: turns"
        raise DataError(f"{column!r} stands without a prompt and is no transcript: {describe(said)}", "", mend)
    turns = zip(parts[1::2], parts[2::2], strict=True)
    messages = tuple({"role": SPEAKERS[who], "content": content.strip()} for who, content in turns)
    if messages[-1]["role"] != "assistant":
        raise DataError(f"the transcript in {column!r} does not end with the Assistant", "", "Add the answer")
    return messages


def _split(chosen: Sequence[Message], rejected: Sequence[Message]) -> Fields:
    """The messages that both share, and how each goes on; the last message is never shared."""
    limit = min(len(chosen), len(rejected)) - 1
    shared = next((index for index in range(limit) if chosen[index] != rejected[index]), limit)
    if not shared:
        raise DataError("chosen and rejected share no prompt", "", "Start both with the same messages")
    return {
        "messages": tuple(chosen[:shared]),
        "chosen": tuple(chosen[shared:]),
        "rejected": tuple(rejected[shared:]),
    }


def _answer(content: str) -> Message:
    return {"role": "assistant", "content": content}


def _write(example: Example) -> dict[str, Any]:
    if example.chosen is None or example.rejected is None:
        raise unsayable(example, "a pair of answers")
    if example.messages is None:
        return {"prompt": example.prompt, "chosen": example.chosen, "rejected": example.rejected}
    pair = {"chosen": list(example.chosen), "rejected": list(example.rejected)}
    if example.tools:
        asked = {"messages": list(example.messages), "tools": list(example.tools)}
        return {"input": asked, "preferred_output": pair["chosen"], "non_preferred_output": pair["rejected"]}
    return {"prompt": list(example.messages)} | pair


PREFERENCE = Format(
    "preference",
    {
        "prompt": Role(("prompt", "input", "question", "instruction"), required=False),
        "chosen": Role(("chosen", "preferred_output")),
        "rejected": Role(("rejected", "non_preferred_output")),
        "system": Role(("system",), required=False),
    },
    _read,
    _write,
)
