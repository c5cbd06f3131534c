"""Tool calls in a model's text.

Each template writes them in a form of its own, which is found by letting it write one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from luthier.data.render import Renderer
from luthier.errors import DataError
from luthier.serve.chat.stops import held_back

MARKS = {"<tool_call>": "</tool_call>", "[TOOL_CALLS]": "", "<|tool_call|>": "<|/tool_call|>", "": ""}
"""What stands before the JSON of a call → what ends it; nothing where an answer is calls or text, told by a `{`."""
PROBE = "q7probe"
ASKED = {"role": "user", "content": "Hello"}
CALL = {"id": "call00001", "type": "function", "function": {"name": PROBE, "arguments": '{"key": "value"}'}}
TOOL = {"type": "function", "function": {"name": "other", "parameters": {"type": "object", "properties": {}}}}
WRITTEN = re.compile(
    f"(?P<before>(?P<opens>{'|'.join(re.escape(mark) for mark in MARKS if mark)})\\s*\\[?\\s*)?"
    f'{{"name": ?"{PROBE}", ?"(?P<key>arguments|parameters)":'
)
BETWEEN = re.compile(r"[\s,;\[\]]*")
"""What may stand between the calls of one answer."""


@dataclass(frozen=True)
class CallForm:
    """`opens` and `closes` stand around the JSON of a call, whose arguments stand under `key`.

    `before` is what the template writes from there to the JSON, white space included.
    """

    opens: str
    closes: str
    before: str
    key: str


class Call(NamedTuple):
    """A function's name, and its arguments as JSON text."""

    name: str
    arguments: str


def call_form(renderer: Renderer) -> CallForm | None:
    """How the model's chat template writes a call; None where it does not, or in a form that is not in `MARKS`."""
    try:
        text = renderer.text([ASKED, {"role": "assistant", "content": None, "tool_calls": [CALL]}], [TOOL])
    except DataError:
        return None
    found = WRITTEN.search(text)
    if found is None:
        return None
    opens = found["opens"] or ""
    return CallForm(opens, MARKS[opens], found["before"] or "", found["key"])


def forced_schema(form: CallForm, tools: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The JSON schema of one call of one of these functions (name → its JSON schema of arguments)."""
    one = len(tools) == 1
    calls = [
        {
            "type": "object",
            "properties": {
                "name": {"const": name},
                form.key: rebased(schema, f"#/properties/{form.key}" if one else f"#/anyOf/{i}/properties/{form.key}"),
            },
            "required": ["name", form.key],
            "additionalProperties": False,
        }
        for i, (name, schema) in enumerate(tools.items())
    ]
    return calls[0] if one else {"anyOf": calls}


def rebased(schema: Any, at: str) -> Any:
    """A schema that stands at `at` of another one: its references lead there."""
    if isinstance(schema, list):
        return [rebased(item, at) for item in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    moved = {key: rebased(value, at) for key, value in schema.items()}
    return moved | {"$ref": at + reference[1:]} if isinstance(reference, str) and reference[:1] == "#" else moved


def calls_in(text: str, form: CallForm, names: Collection[str]) -> list[Call] | None:
    """The calls that this text consists of; None where it is anything else than calls of these functions."""
    try:
        return [_call(value, form, names) for value in _values(text)] or None
    except (KeyError, TypeError, ValueError):
        return None


def _values(text: str) -> Iterator[Any]:
    decoder, at = json.JSONDecoder(), BETWEEN.match(text).end()  # type: ignore[union-attr]
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        yield value
        at = BETWEEN.match(text, at).end()  # type: ignore[union-attr]


def _call(value: Any, form: CallForm, names: Collection[str]) -> Call:
    name, arguments = value["name"], value.get(form.key, {})
    if name not in names:
        raise ValueError(name)
    return Call(name, arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False))


class CallFinder:
    """Parts text, as it comes, into what is said and what is called. What looks like a call and is none is said.

    With `begun`, the text begins within a call.
    """

    def __init__(self, form: CallForm, names: Collection[str], begun: bool = False) -> None:
        self._form, self._names = form, names
        self._inside = begun
        self._opened = "" if begun else form.opens
        self._text = ""
        self._plain = False
        self._found = False

    def add(self, text: str, last: bool = False) -> tuple[str, list[Call]]:
        """What can be said, and what is called, now that `text` has come; `last`: nothing comes after it."""
        self._text += text
        said, calls = "", list[Call]()
        while True:
            before = self._inside, self._text
            more, called = self._close(last) if self._inside else (self._open(last), [])
            said, calls = said + more, calls + called
            if (self._inside, self._text) == before:
                return said, calls

    def _open(self, last: bool) -> str:
        """What can be said outside of calls. White space waits for what follows: beside a call it is not said."""
        at, opens = self._begin(), self._form.opens
        if at is not None:
            said = self._text[:at].rstrip()
            self._inside, self._opened = True, self._text[len(said) : at] + opens
            self._text = self._text[at + len(opens) :]
            return said
        end = len(self._text) - (0 if last else held_back(self._text, (opens,) if opens else ()))
        end = end if last and not self._found else len(self._text[:end].rstrip())
        said, self._text = self._text[:end], "" if last else self._text[end:]
        return said

    def _begin(self) -> int | None:
        """Where a call begins; without a mark, only at a `{` that opens the text."""
        if self._form.opens:
            at = self._text.find(self._form.opens)
            return at if at >= 0 else None
        start = self._text.lstrip()
        self._plain = self._plain or start[:1] not in ("", "{")
        return None if self._plain or not start else len(self._text) - len(start)

    def _close(self, last: bool) -> tuple[str, list[Call]]:
        body, closes, rest = self._text.partition(self._form.closes) if self._form.closes else (self._text, "", "")
        if not closes and not last:
            return "", []
        self._text, self._inside = rest, False
        calls = calls_in(body, self._form, self._names)
        if calls is None:
            self._plain = True
            return self._opened + body + closes, []
        self._found = True
        return "", calls
