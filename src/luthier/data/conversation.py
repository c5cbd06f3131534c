"""From an example to the messages and tools that a chat template is given."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.data.example import Example
from luthier.data.template import Messages, Template, Tools
from luthier.errors import DataError

OTHER_TEMPLATE = "or give a `chat_template` that writes them, or choose a base model whose template does"


def conversation(example: Example, template: Template) -> tuple[list[dict[str, Any]], Tools]:
    """The messages and tools of a chat row or a prompt with its completion, in the form templates expect.

    Raises DataError where the row holds neither, or something that the template would leave out.
    """
    if example.messages is not None:
        return messages_for(template, example.messages, example.tools), plain_tools(example.tools)
    if example.prompt is None or example.completion is None:
        mend = "Plain text is learnt with `objective: pretrain`, labels with `objective: classify`"
        raise DataError("has neither messages nor a prompt with its completion", mend=mend)
    turns = [
        {"role": "user", "content": example.prompt},
        {"role": "assistant", "content": example.completion},
    ]
    return messages_for(template, turns, example.tools), plain_tools(example.tools)


def messages_for(template: Template, messages: Messages, tools: Tools) -> list[dict[str, Any]]:
    """Messages as templates expect them: text contents joined, tool arguments as objects, nothing empty.

    Raises DataError where the template would leave out tools, tool calls, a system turn or reasoning.
    """
    plain = [_message(message, template) for message in messages]
    if tools and not template.supports_tools:
        raise DataError(
            "has tools, which the chat template does not write", mend=f"Remove them, {OTHER_TEMPLATE}"
        )
    if any(message["role"] == "system" for message in plain) and not template.supports_system:
        mend = f"Put it into the first user turn, {OTHER_TEMPLATE.replace('them', 'it')}"
        raise DataError("has a system turn, which the chat template does not write", mend=mend)
    return plain


def plain_tools(tools: Tools) -> Sequence[Mapping[str, Any]] | None:
    """None where there are no tools: templates ask whether `tools` is set, not whether it is empty."""
    return [dict(tool) for tool in tools] if tools else None


def _message(message: Mapping[str, Any], template: Template) -> dict[str, Any]:
    plain = {key: value for key, value in message.items() if value is not None and key != "weight"}
    if not isinstance(plain.get("role"), str):
        raise DataError("has a message without `role`", mend="Name the role: system, user, assistant or tool")
    plain["content"] = _content(message.get("content"))
    calls = plain.get("tool_calls")
    if calls:
        if not template.supports_tool_calls:
            what = "has tool calls, which the chat template does not write"
            raise DataError(what, mend=f"Remove the row, {OTHER_TEMPLATE}")
        plain["tool_calls"] = [_call(call) for call in calls]
        plain["content"] = plain["content"] or template.empty_content
    elif plain["content"] is None:
        what = f"has {_article(plain['role'])} turn without content"
        raise DataError(what, mend="Give the turn a `content`, or remove it")
    if plain.get("reasoning_content") and not template.supports_reasoning:
        what = "has `reasoning_content`, which the chat template does not write"
        raise DataError(
            what, mend=f"Put it into `content` as <think>…</think>, {OTHER_TEMPLATE.replace('them', 'it')}"
        )
    return plain


def _content(content: Any) -> str | None:
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, Sequence) and all(
        isinstance(part, Mapping) and part.get("type") == "text" for part in content
    ):
        return "".join(part["text"] for part in content)
    raise DataError(
        "has a message whose content is not text", mend="Only text can be learnt: remove images and sound"
    )


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments become an object: templates write JSON themselves, and would quote a string a second time."""
    function = dict(call.get("function") or {})
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            function["arguments"] = json.loads(arguments) if arguments.strip() else {}
        except ValueError as error:
            what = f"calls `{function.get('name')}` with arguments that are not JSON ({error})"
            raise DataError(what, mend="Mend or remove the call") from error
    return {**call, "function": function}


def _article(role: str) -> str:
    return f"an {role}" if role[0] in "aeiou" else f"a {role}"
