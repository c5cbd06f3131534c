"""The prompt of a request has the very ids that a training row has before its answer, for rows of every format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from script import HERMES, PRICE, Served, served

from luthier.data.example import Example
from luthier.data.pairs import as_rows
from luthier.data.sources.formats import FORMATS
from luthier.serve.chat.parse import parse
from luthier.serve.chat.prepare import prepare

SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {"id": "call_0", "type": "function", "function": {"name": "price", "arguments": '{"part":  "bridge"}'}}
TALK = [
    {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
    {"role": "user", "content": "What does a bridge cost?", "name": "Ann"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_0", "content": "150"},
    {"role": "assistant", "content": "\n150 euros.", "weight": 1},
    {"role": "user", "content": "And 🎻?\n\n"},
    {"role": "assistant", "content": "  30 euros."},
]
ROWS: dict[str, dict[str, Any]] = {
    "chat": {"messages": TALK, "tools": [PRICE]},
    "sharegpt": {
        "conversations": [
            {"from": "system", "value": "Be brief."},
            {"from": "human", "value": "Price?"},
            {"from": "function_call", "value": '{"name": "price", "arguments": {"part": "bridge"}}'},
            {"from": "observation", "value": "150"},
            {"from": "gpt", "value": "150 euros."},
        ],
        "tools": json.dumps([PRICE["function"]]),
    },
    "alpaca": {"instruction": "Name the wood.", "input": "A violin's top.", "output": " Spruce", "system": "Be brief."},
    "prompt_completion": {"prompt": "The top is of", "completion": " spruce."},
    "preference": {
        "prompt": [SYSTEM, {"role": "user", "content": "Hi\n"}],
        "chosen": [TALK[-1]],
        "rejected": [TALK[4]],
    },
    "kto": {"prompt": "The top is of", "completion": "\nspruce.", "label": True},
}
WITHOUT_A_PROMPT = {"text", "classification"}
"""Formats of plain text and of labels: no model is asked for them in a chat."""


def test_every_format_is_looked_at() -> None:
    assert ROWS.keys() | WITHOUT_A_PROMPT == FORMATS.keys()


@pytest.fixture(scope="module")
def model(tiny_llama: Path) -> Served:
    return served(tiny_llama, template=HERMES, context_length=4096)


def example_of(name: str) -> Example:
    form = FORMATS[name]
    columns = {role: column for role, one in form.roles.items() for column in one.names if column in ROWS[name]}
    return Example(row_id=f"{name}:1", **form.read(ROWS[name], columns))


def asked(model: Served, messages: list[Any], tools: Any) -> list[int]:
    """The prompt of a request, as it comes over the wire."""
    body = json.loads(json.dumps({"model": "tickets", "messages": messages, "tools": tools}))
    return prepare(model, parse(body), "x").prompt


@pytest.mark.parametrize("name", ROWS)
def test_a_prompt_is_the_beginning_of_its_row(model: Served, name: str) -> None:
    example = example_of(name)
    rows = as_rows(example) if example.chosen is not None else (example,)
    for row in rows:
        rendered = model.renderer.rows([row], sequence_len=None)
        (ids, weights) = rendered.row(0)
        messages = row.messages or ({"role": "user", "content": row.prompt}, {"role": "assistant"})
        answers = [i for i, turn in enumerate(messages) if turn["role"] == "assistant"]
        for index in answers:
            prompt = asked(model, list(messages[:index]), row.tools)
            assert ids[: len(prompt)].tolist() == prompt, (row.row_id, index)
            assert weights[len(prompt)] > 0 or messages[index].get("weight") == 0
            assert weights[len(prompt) - 1] == 0


def test_a_request_is_written_as_a_row_of_its_own_messages(model: Served) -> None:
    """Messages as clients send them, not as the reader of rows left them: parts, a developer, a name."""
    rendered = model.renderer.rows([example_of("chat")], sequence_len=None)
    sent = [{key: value for key, value in turn.items() if key != "weight"} for turn in TALK]
    for index in (2, 4, 6):
        prompt = asked(model, sent[:index], [PRICE])
        assert rendered.row(0)[0][: len(prompt)].tolist() == prompt


def test_a_forced_call_begins_as_a_learnt_call_does(model: Served) -> None:
    rendered = model.renderer.rows([example_of("chat")], sequence_len=None)
    body = {"model": "x", "messages": TALK[:2], "tools": [PRICE], "tool_choice": "required"}
    prompt = prepare(model, parse(body), "x").prompt
    text = model.renderer.tokens.tokenizer.decode(prompt, skip_special_tokens=False)
    whole = model.renderer.tokens.tokenizer.decode(rendered.row(0)[0].tolist(), skip_special_tokens=False)
    assert whole.startswith(text)
    assert text.endswith("<tool_call>\n")
