"""Chat templates: Jinja in a sandbox, and the questions of what a template can write."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, NamedTuple

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from luthier.errors import DataError

Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]] | None
Feature = Literal["tools", "tool calls", "a system turn", "`reasoning_content`"]

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""The default where a model has no template but the tokens <|im_start|> and <|im_end|>."""
PLAIN = (
    "{% for message in messages %}{{ '### ' + message['role'] | capitalize + ':\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '### Assistant:\n' }}{% endif %}"
)
"""The default for any other model without a template: no new tokens, answers end with the model's eos."""

SENTINEL = "q7sentinel"
USER = {"role": "user", "content": "Hello"}
ARGUMENTS = {"key": "value"}
_MARK = secrets.token_hex(8)
_OPEN, _CLOSE = f"\0{_MARK}(", f"\0{_MARK})"


def _tool(name: str) -> dict[str, Any]:
    function = {"name": name, "description": "-", "parameters": {"type": "object", "properties": {}}}
    return {"type": "function", "function": function}


PROBES: dict[str, tuple[Messages, Tools]] = {
    "tools": ([USER], [_tool(SENTINEL)]),
    "a system turn": ([{"role": "system", "content": SENTINEL}, USER], None),
    "`reasoning_content`": (
        [USER, {"role": "assistant", "content": "Hi", "reasoning_content": SENTINEL}],
        None,
    ),
}
"""What a template is given to see whether it writes the sentinel in a place that many leave out."""


class CallForm(NamedTuple):
    """What a template takes for the content of an answer that is only tool calls, and for their arguments."""

    empty_content: str | None
    arguments_as_text: bool


CALL_FORMS = tuple(CallForm(content, as_text) for as_text in (False, True) for content in (None, ""))


class Template:
    """One chat template, rendered as transformers renders it, with the model's special tokens at hand."""

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        """Raises jinja2.TemplateSyntaxError."""
        self.source = source
        self._special = dict(special_tokens)
        self._template = _ENVIRONMENT.from_string(source)
        self._refusals: dict[Feature, str | None] = {}

    def text(self, messages: Messages, tools: Tools = None, *, prompt: bool = False) -> str:
        """The conversation as text; with `prompt`, up to where the assistant begins to write.

        Raises DataError where the template refuses the messages.
        """
        return self._render(messages, tools, add_generation_prompt=prompt)

    def tagged(self, messages: Messages, tools: Tools) -> tuple[str, list[tuple[int, int]]]:
        """The conversation as text, and (start, end) in it of each `{% generation %}` block."""
        marked = self._render(messages, tools, mark_answers=True)
        pieces = re.split(f"({re.escape(_OPEN)}|{re.escape(_CLOSE)})", marked)
        text, spans, start = "", [], 0
        for piece in pieces:
            if piece == _OPEN:
                start = len(text)
            elif piece == _CLOSE:
                spans.append((start, len(text)))
            else:
                text += piece
        return text, spans

    def _render(self, messages: Messages, tools: Tools, **flags: bool) -> str:
        flags = {"add_generation_prompt": False, **flags}
        try:
            return self._template.render(messages=messages, tools=tools, documents=None, **flags, **self._special)
        except Exception as error:  # a template is foreign code: what it raises is not known
            reason = str(error) if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"
            mend = "Change the messages, or give another `chat_template` in the recipe"
            raise DataError(f"the chat template cannot write these messages ({reason})", mend=mend) from error

    def refusal(self, feature: Feature) -> str | None:
        """Why rows with `feature` cannot be taken: the template does not write it, or fails on it."""
        if feature == "tool calls":
            return None if self.call_form else self._refuses_call(CALL_FORMS[-1])
        if feature not in self._refusals:
            self._refusals[feature] = self._refuses(*PROBES[feature])
        return self._refusals[feature]

    @cached_property
    def call_form(self) -> CallForm | None:
        """How the template wants an answer that is only tool calls; None where it writes none."""
        return next((form for form in CALL_FORMS if self._refuses_call(form) is None), None)

    @cached_property
    def has_tags(self) -> bool:
        """Whether the template marks answers with `{% generation %}`."""
        return re.search(r"\{%-?\s*generation\b", self.source) is not None

    @property
    def uses_clock(self) -> bool:
        """Whether the template may write today's date."""
        return "strftime_now" in self.source

    def _refuses_call(self, form: CallForm) -> str | None:
        arguments = json.dumps(ARGUMENTS) if form.arguments_as_text else ARGUMENTS
        call = {"id": "call00001", "type": "function", "function": {"name": SENTINEL, "arguments": arguments}}
        answer = {"role": "assistant", "content": form.empty_content, "tool_calls": [call]}
        return self._refuses([USER, answer], [_tool("other")])

    def _refuses(self, messages: Messages, tools: Tools) -> str | None:
        try:
            return None if SENTINEL in self.text(messages, tools) else "does not write"
        except DataError as error:
            return f"cannot write ({error.__cause__})"


class _Generation(Extension):
    """`{% generation %} … {% endgeneration %}`: the block itself, between marks if `mark_answers` is set."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_block", [nodes.ContextReference()])
        return nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _block(self, context: Context, caller: Macro) -> str:
        text = caller()
        return f"{_OPEN}{text}{_CLOSE}" if context.get("mark_answers") else text


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None,
            sort_keys: bool = False) -> str:  # fmt: skip
    """Without Jinja's escapes of <, > and &, which a model should not learn."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _environment() -> ImmutableSandboxedEnvironment:
    extensions = ["jinja2.ext.loopcontrols", _Generation]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    environment.filters["tojson"] = _tojson
    environment.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
    return environment


_ENVIRONMENT = _environment()
