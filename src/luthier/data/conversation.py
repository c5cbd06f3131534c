"""From an example to the messages and tools that a chat template is given."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.data.example import Example
from luthier.data.template import Feature, Messages, Template, Tools
from luthier.errors import DataError

Conversation = tuple[list[dict[str, Any]], Tools]


def conversation(example: Example, template: Template) -> Conversation:
    """The messages and tools of a chat row, or of a prompt with its completion, in the form templates expect.

    Raises DataError where the row holds neither, or something that the template would leave out.
    """
    if example.messages is not None:
        return for_template(template, example.messages, example.tools)
    if example.prompt is None or example.completion is None:
        mend = "Plain text is learnt with `objective: pretrain`, labels with `objective: classify`"
        raise DataError("has neither messages nor a prompt with its completion", mend=mend)
    question = {"role": "user", "content": example.prompt}
    answer = {"role": "assistant", "content": example.completion}
    return for_template(template, [question, answer], example.tools)


def for_template(template: Template, messages: Messages, tools: Tools) -> Conversation:
    """Text contents joined, tool arguments as objects, nothing empty; no tools are None, as templates expect.

    What a developer says is a system turn: most templates know no other.

    Raises DataError where the template would leave out tools, tool calls, a system turn or reasoning.
    """
    plain = [_message(message, template) for message in messages]
    if tools:
        _require(template, "tools", "Remove them")
    if any(message["role"] == "system" for message in plain):
        _require(template, "a system turn", "Put it into the first user turn")
    return plain, [dict(tool) for tool in tools] if tools else None


def _message(message: Mapping[str, Any], template: Template) -> dict[str, Any]:
    plain = {key: value for key, value in message.items() if value is not None and key != "weight"}
    if not isinstance(plain.get("role"), str):
        raise DataError("has a message without `role`", mend="Name the role: system, user, assistant or tool")
    plain["role"] = "system" if plain["role"] == "developer" else plain["role"]
    plain["content"] = _content(message.get("content"))
    calls = plain.get("tool_calls")
    if calls:
        _require(template, "tool calls", "Remove the row")
        form = template.call_form
        assert form is not None
        plain["tool_calls"] = [_call(call, form.arguments_as_text) for call in calls]
        plain["content"] = plain["content"] or form.empty_content
    elif plain["content"] is None:
        what = f"has {_article(plain['role'])} turn without content"
        raise DataError(what, mend="Give the turn a `content`, or remove it")
    if plain.get("reasoning_content"):
        _require(template, "`reasoning_content`", "Put it into `content` as <think>…</think>")
    return plain


def _content(content: Any) -> str | None:
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, Sequence) and all(
        isinstance(part, Mapping) and part.get("type") == "text" for part in content
    ):
        return "".join(part["text"] for part in content)
    raise DataError("has a message whose content is not text", mend="Only text can be learnt: remove images and sound")


def _call(call: Mapping[str, Any], as_text: bool) -> dict[str, Any]:
    """Arguments as an object, since most templates write JSON themselves, or else as JSON text."""
    function = dict(call.get("function") or {})
    arguments = function.get("arguments") or {}
    try:
        value = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError as error:
        what = f"calls `{function.get('name')}` with arguments that are not JSON ({error})"
        raise DataError(what, mend="Mend or remove the call") from error
    function["arguments"] = json.dumps(value, ensure_ascii=False) if as_text else value
    return {**call, "function": function}


def _require(template: Template, feature: Feature, mend: str) -> None:
    refusal = template.refusal(feature)
    if refusal is not None:
        other = "or give a `chat_template` that writes this, or choose a base model whose template does"
        raise DataError(f"has {feature}, which the chat template {refusal}", mend=f"{mend}, {other}")


def _article(role: str) -> str:
    return f"an {role}" if role[0] in "aeiou" else f"a {role}"
