"""Chat messages and tools: checked, and brought to the form of the OpenAI API."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from luthier.data.example import Message
from luthier.data.sources.formats.cells import describe
from luthier.errors import DataError

ROLES = ("system", "developer", "user", "assistant", "tool")


def read_messages(items: Any, column: str) -> tuple[Message, ...]:
    """Messages with a known role and something to say.

    Content given as a list of text parts is joined; the old `function_call` and role `function` become tool
    calls; arguments that are objects become JSON text; null keys are left out, other keys are kept.
    """
    if type(items) is not list or not items:
        raise DataError(f"the column {column!r} must be a list of messages, and is {describe(items)}", "", FORM)
    return tuple(_message(item, f"{column!r}, message {number}") for number, item in enumerate(items, 1))


def require_answer(messages: Sequence[Message], column: str) -> None:
    """Raise `DataError` unless at least one assistant turn counts."""
    weights = [turn.get("weight", 1) for turn in messages if turn["role"] == "assistant"]
    if not weights:
        raise DataError(f"no assistant turn in {column!r}: there is nothing to learn", "", "Add one, or remove the row")
    if not any(weights):
        mend = "Give one of them weight 1, or remove the row"
        raise DataError(f"every assistant turn in {column!r} has weight 0", "", mend)


def read_tools(value: Any, column: str) -> tuple[Mapping[str, Any], ...] | None:
    """Tools as `{"type": "function", "function": {…}}`, from a list or its JSON text; None where none are."""
    if isinstance(value, str):
        value = parse(value, f"the column {column!r}") if value.strip() else None
    if not value:
        return None
    if type(value) is not list:
        raise DataError(f"the column {column!r} must be a list of tools, and is {describe(value)}", "", TOOL)
    return tuple(_tool(item, column) for item in value)


def parse(value: str, what: str) -> Any:
    """JSON text as a value."""
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise DataError(f"{what} is not JSON ({error}): {value[:60]}", "", "Mend the JSON") from None


def call(name: Any, arguments: Any, identity: str) -> dict[str, Any]:
    """A tool call; arguments that are not text are written as JSON."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": text}}


def _message(item: Any, where: str) -> Message:
    if type(item) is not dict:
        raise DataError(f"{where} must be an object, and is {describe(item)}", "", FORM)
    role = item.get("role")
    message = {key: value for key, value in item.items() if value is not None}
    message["role"] = role = "tool" if role == "function" else role
    if role not in ROLES:
        raise unknown_role(role, where, ROLES)
    if "function_call" in message:
        message["tool_calls"] = [{"function": message.pop("function_call")}]
    if calls := message.pop("tool_calls", None):
        message["tool_calls"] = _tool_calls(calls, role, where)
    if "weight" in message:
        _check_weight(message["weight"], role, where)
    message["content"] = _content(item.get("content"), where)
    if not message["content"] and "tool_calls" not in message and (role, message["content"]) != ("tool", ""):
        raise DataError(f"{where} ({role}) is empty", "", "Fill it, or remove the row")
    return message


def unknown_role(role: Any, where: str, known: Iterable[str]) -> DataError:
    what = f"{where} has no role" if role is None else f"{where} has the unknown role {role!r}"
    return DataError(what, "", f"Known roles: {', '.join(known)}")


def _content(value: Any, where: str) -> str | None:
    if value is None or type(value) is str:
        return value
    if type(value) is not list:
        raise DataError(f"the content of {where} must be text, and is {describe(value)}", "", FORM)
    if not all(type(part) is dict and type(part.get("text")) is str for part in value):
        raise DataError(f"the content of {where} has parts that are not text", "", "Only text can be trained on")
    return "".join(part["text"] for part in value)


def _tool_calls(value: Any, role: str, where: str) -> list[dict[str, Any]]:
    if role != "assistant":
        raise DataError(f"{where} has tool calls, and its role is {role!r}", "", "Only the assistant calls tools")
    if type(value) is not list:
        raise DataError(f"the tool calls of {where} must be a list, and are {describe(value)}", "", FORM)
    calls = []
    for index, item in enumerate(value):
        function = item.get("function") if type(item) is dict else None
        if type(function) is not dict or type(function.get("name")) is not str:
            raise DataError(f"a tool call of {where} has no function name: {describe(item)}", "", FORM)
        calls.append(call(function["name"], function.get("arguments", "{}"), item.get("id") or f"call_{index}"))
    return calls


def _check_weight(value: Any, role: str, where: str) -> None:
    if role != "assistant" or value not in (0, 1):
        what = f"{where} ({role}) has weight {value!r}"
        raise DataError(what, "", "Only assistant messages have a weight, and it is 0 or 1")


def _tool(item: Any, column: str) -> Mapping[str, Any]:
    function = item.get("function", item) if type(item) is dict else None
    if type(function) is not dict or type(function.get("name")) is not str:
        raise DataError(f"a tool in {column!r} has no name: {describe(item)}", "", TOOL)
    return {"type": "function", "function": function}


FORM = 'Write messages as [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]'
TOOL = 'Write tools as [{"type": "function", "function": {"name": "…", "parameters": {…}}}]'
