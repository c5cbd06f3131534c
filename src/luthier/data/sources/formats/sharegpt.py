"""ShareGPT rows: `conversations` of `{from, value}`, where function calls and observations are turns."""

from __future__ import annotations

import json
from typing import Any

from luthier.data.example import Example, Message
from luthier.data.sources.formats.cells import describe, listing, optional_text
from luthier.data.sources.formats.format import Columns, Fields, Format, Role
from luthier.data.sources.formats.messages import call, parse, read_messages, read_tools, require_answer, unknown_role
from luthier.data.sources.formats.turns import messages_of, unsayable
from luthier.data.sources.table import Row
from luthier.errors import DataError

ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    "function_call": "assistant",
    "observation": "tool",
    "tool": "tool",
}
NAMES = {
    "user": "human",
    "assistant": "gpt",
    "system": "system",
    "developer": "system",
    "tool": "observation",
}


def _read(row: Row, columns: Columns) -> Fields:
    column = columns["messages"]
    turns = []
    system = optional_text(row, columns.get("system"))
    if system:
        turns.append({"role": "system", "content": system})
    called: list[str] = []
    for number, item in enumerate(listing(row, column), 1):
        turns.append(_turn(item, number, column, called))
    messages = read_messages(turns, column)
    require_answer(messages, column)
    fields: Fields = {"messages": messages}
    if "tools" in columns:
        fields["tools"] = read_tools(row.get(columns["tools"]), columns["tools"])
    return fields


def _turn(item: Any, number: int, column: str, called: list[str]) -> dict[str, Any]:
    """One message; `called` holds the ids of calls without an observation yet, in order."""
    where = f"{column!r}, turn {number}"
    speaker = item.get("from") if type(item) is dict else None
    if type(speaker) is not str or speaker not in ROLES:
        raise unknown_role(speaker, where, ROLES)
    value = item.get("value")
    if type(value) is not str:
        raise DataError(f"the value of {where} must be text, and is {describe(value)}", "", "Write it as text")
    if speaker == "function_call":
        calls = _calls(value, number, where)
        called[:] = [made["id"] for made in calls]
        return {"role": "assistant", "content": None, "tool_calls": calls}
    turn = {"role": ROLES[speaker], "content": value}
    if turn["role"] == "tool" and called:
        turn["tool_call_id"] = called.pop(0)
    return turn


def _calls(value: str, number: int, where: str) -> list[dict[str, Any]]:
    found = parse(value, where)
    calls = []
    for index, item in enumerate(found if type(found) is list else [found]):
        if type(item) is not dict or type(item.get("name")) is not str:
            mend = 'Write it as {"name": "…", "arguments": {…}}'
            raise DataError(f"{where} is no function call: {describe(item)}", "", mend)
        calls.append(call(item["name"], item.get("arguments", {}), f"call_{number}_{index}"))
    return calls


def _write(example: Example) -> dict[str, Any]:
    turns = [_said(example, message) for message in messages_of(example)]
    row: dict[str, Any] = {"conversations": turns}
    if example.tools:
        functions = [tool["function"] for tool in example.tools]
        row["tools"] = json.dumps(functions, ensure_ascii=False)
    return row


def _said(example: Example, message: Message) -> dict[str, str]:
    if "weight" in message:
        raise unsayable(example, "free of message weights, which ShareGPT does not know")
    if "tool_calls" not in message:
        return {"from": NAMES[message["role"]], "value": message["content"]}
    if message["content"]:
        raise unsayable(example, "free of messages that both speak and call, which ShareGPT does not know")
    calls = [_call(made["function"]) for made in message["tool_calls"]]
    return {
        "from": "function_call",
        "value": json.dumps(calls[0] if len(calls) == 1 else calls, ensure_ascii=False),
    }


def _call(function: dict[str, Any]) -> dict[str, Any]:
    try:
        arguments = json.loads(function["arguments"])
    except json.JSONDecodeError:
        arguments = function["arguments"]
    return {"name": function["name"], "arguments": arguments}


def _fits(row: Row, columns: Columns) -> bool:
    items = row.get(columns["messages"])
    return type(items) is list and bool(items) and type(items[0]) is dict and "from" in items[0]


SHAREGPT = Format(
    "sharegpt",
    {
        "messages": Role(("conversations", "conversation", "messages")),
        "system": Role(("system",), required=False),
        "tools": Role(("tools",), required=False),
    },
    _read,
    _write,
    _fits,
)
