"""The messages of a request, in the very form that the row formats give those of a training row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.data.example import Message
from luthier.serve.chat.fields import choice, inside, listing, required, text, wrong
from luthier.serve.refusals import BadRequest

ROLES = ("system", "developer", "user", "assistant", "tool")
IGNORED = {"annotations", "weight"}
"""Keys that say nothing to a model: what answers have, and what training rows have."""
KNOWN = {"role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content", "refusal"}
TEXT_PARTS = {"text": "text", "refusal": "refusal"}
"""Type of a content part → the key that holds its text."""


def read_messages(body: Mapping[str, Any]) -> tuple[Message, ...]:
    """Raises BadRequest, naming the message, where one is not text, tool calls or a tool's result."""
    items = required(listing(body, "messages"), "messages", "a list of messages")
    if not items:
        raise BadRequest("`messages` is empty: give at least one message", "messages")
    return tuple(_message(item, f"messages[{number}]") for number, item in enumerate(items))


def _message(item: Any, at: str) -> Message:
    if type(item) is not dict:
        raise wrong(at, item, 'an object such as {"role": "user", "content": "…"}')
    given = {key: value for key, value in item.items() if value is not None and key not in IGNORED}
    for key in given.keys() - KNOWN:
        raise BadRequest(
            f"`{at}.{key}` is not a part of a message that this service knows: leave it out", f"{at}.{key}"
        )
    with inside(at):
        role = required(choice(given, "role", ROLES), "role", "one of " + ", ".join(ROLES))
        message: dict[str, Any] = {"role": role}
        for key in ("name", "tool_call_id", "reasoning_content"):
            if (said := text(given, key)) is not None:
                message[key] = said
        if calls := _calls(given, role):
            message["tool_calls"] = calls
        message["content"] = _content(given.get("content", given.get("refusal")), "tool_calls" in message)
    return message


def _content(value: Any, calls: bool) -> str | None:
    if value is None and not calls:
        raise BadRequest("`content` is missing: give its text", "content")
    if value is None or type(value) is str:
        return value
    if type(value) is not list:
        raise wrong("content", value, "text, or a list of parts")
    return "".join(_part(part, f"content[{number}]") for number, part in enumerate(value))


def _part(part: Any, at: str) -> str:
    if type(part) is not dict or type(part.get("type")) is not str:
        raise wrong(at, part, 'a part such as {"type": "text", "text": "…"}')
    key = TEXT_PARTS.get(part["type"])
    if key is None:
        raise BadRequest(f"`{at}` is {part['type']!r}, and the models of this service read text only", at)
    with inside(at):
        said = required(text(part, key), key, "text")
    return str(said)


def _calls(given: Mapping[str, Any], role: str) -> list[dict[str, Any]]:
    items = listing(given, "tool_calls") or []
    if items and role != "assistant":
        raise BadRequest(
            f"`tool_calls` stands in a message of the role {role!r}: only the assistant calls", "tool_calls"
        )
    return [_call(item, number, f"tool_calls[{number}]") for number, item in enumerate(items)]


def _call(item: Any, number: int, at: str) -> dict[str, Any]:
    function = item.get("function") if type(item) is dict else None
    if type(function) is not dict:
        raise wrong(at, item, 'a call such as {"id": "…", "type": "function", "function": {"name": …, "arguments": …}}')
    with inside(f"{at}.function"):
        name = required(text(function, "name"), "name", "the name of a function")
        arguments = text(function, "arguments")
    with inside(at):
        identity = text(item, "id") or f"call_{number}"
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments or "{}"}}
