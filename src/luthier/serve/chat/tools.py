"""The tools of a request, which of them must be called, and what the text must look like."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from luthier.serve.chat.fields import boolean, inside, listing, mapping, required, text, wrong
from luthier.serve.chat.request import Tool
from luthier.serve.refusals import BadRequest

MOST_TOOLS = 128
NAME = re.compile(r"[\w.-]{1,64}")
ANY_OBJECT = {"type": "object"}
MODES = ("none", "auto", "required")


def read_tools(body: Mapping[str, Any]) -> tuple[tuple[Tool, ...], tuple[str, ...]]:
    """The tools that the model is told of, and the names of those of which it must call one.

    With `tool_choice: none` the model is told of none.
    """
    items = listing(body, "tools") or []
    if len(items) > MOST_TOOLS:
        raise BadRequest(f"`tools` has {len(items)} entries, and at most {MOST_TOOLS} are taken", "tools")
    tools = tuple(_tool(item, f"tools[{number}]") for number, item in enumerate(items))
    names = [tool["function"]["name"] for tool in tools]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadRequest(f"`tools` has two functions called {twice!r}: give each a name of its own", "tools")
    asked = body.get("tool_choice")
    if asked is None or (asked == "none" and not tools):
        return tools, ()
    if not tools:
        raise BadRequest("`tool_choice` needs `tools`: give them, or leave it out", "tool_choice")
    return (() if asked == "none" else tools), _forced(asked, names)


def read_schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The JSON schema that `response_format` asks for; None for plain text."""
    given = mapping(body, "response_format")
    if given is None or given.get("type") == "text":
        return None
    if given.get("type") == "json_object":
        return ANY_OBJECT
    if given.get("type") != "json_schema":
        raise wrong("response_format.type", given.get("type"), "one of text, json_object, json_schema")
    with inside("response_format"):
        named = required(mapping(given, "json_schema"), "json_schema", "an object with `name` and `schema`")
        with inside("json_schema"):
            required(text(named, "name"), "name", "text")
            boolean(named, "strict")
            return _schema(named, "schema") or {}


def _tool(item: Any, at: str) -> Tool:
    function = item.get("function") if type(item) is dict else None
    if type(function) is not dict or item.get("type", "function") != "function":
        raise wrong(at, item, 'a function such as {"type": "function", "function": {"name": …, "parameters": {…}}}')
    with inside(f"{at}.function"):
        name = required(text(function, "name"), "name", "the name of a function")
        if not NAME.fullmatch(name):
            raise wrong("name", name, "1 to 64 letters, digits, `_`, `-` and `.`")
        text(function, "description")
        boolean(function, "strict")
        _schema(function, "parameters")
    return {"type": "function", "function": function}


def _forced(asked: Any, names: list[str]) -> tuple[str, ...]:
    if type(asked) is str and asked in MODES:
        return tuple(names) if asked == "required" else ()
    function = asked.get("function") if type(asked) is dict and asked.get("type") == "function" else None
    name = function.get("name") if type(function) is dict else None
    if type(name) is not str:
        expected = 'none, auto, required or {"type": "function", "function": {"name": …}}'
        raise wrong("tool_choice", asked, expected)
    if name not in names:
        known = ", ".join(names)
        raise BadRequest(f"`tool_choice` names the function {name!r}, and `tools` has: {known}", "tool_choice")
    return (name,)


def _schema(given: Mapping[str, Any], key: str) -> dict[str, Any] | None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    schema = mapping(given, key)
    if schema is None:
        return None
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise BadRequest(f"`{key}` is not a JSON schema: {error.message} (at {error.json_path})", key) from None
    return schema
